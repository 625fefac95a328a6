"""Batches of examples, in order or shuffled anew for each epoch."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.data.dataset import ArrayDataset, Dataset, equally_long
from tensorc.data.prefetch import ahead
from tensorc.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


class DataLoader:
    """Batches of a dataset, or of `arrays`, whose first axis counts the examples.

    Each `for` over the loader is one epoch, and yields tuples of fresh C-contiguous arrays, one for
    each part of an example, holding the same `batch_size` examples; the last batch holds what is
    left, unless `drop_last` leaves it out. With `shuffle`, the order of an epoch follows from
    `seed` and the number of the epoch alone, so that training can resume: set `epoch` to the one to
    come. What is random about examples, such as transforms, follows from these and the number of
    the batch. With `prefetch`, a thread makes up to so many batches ahead; they are the same ones.

        >>> loader = DataLoader((np.arange(10), np.arange(10) ** 2), batch_size=4)
        >>> [squares.tolist() for numbers, squares in loader]
        [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81]]
        >>> len(loader), loader.epoch
        (3, 1)
    """

    def __init__(
        self,
        data: Dataset | Sequence[NDArray[Any]],
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        prefetch: int = 0,
    ) -> None:
        """Check the arguments; nothing is copied.

        Raises:
            ArgumentError: no arrays, scalars, or arrays that differ in length or hold no example;
                a batch size below 1, or one that with `drop_last` leaves no batch at all; a
                negative seed or number of batches ahead.
        """
        if isinstance(data, Dataset):
            self.data = data
        else:
            self.data = ArrayDataset(equally_long("DataLoader", data))
        self.examples = len(self.data)
        if not self.examples:
            raise ArgumentError(f"DataLoader: {type(self.data).__name__} holds no examples")
        self.batch_size = _integer("batch_size", batch_size, least=1)
        self.shuffle = shuffle
        self.seed = _integer("seed", seed, least=0)
        self.drop_last = drop_last
        self.prefetch = _integer("prefetch", prefetch, least=0)
        self.epoch = 0
        if not len(self):
            raise ArgumentError(
                f"DataLoader: drop_last leaves no batch of {batch_size} out of {self.examples} "
                "examples; make batch_size smaller, or keep the last one"
            )

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        whole, left = divmod(self.examples, self.batch_size)
        return whole + (left > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], ...]]:
        """Start the next epoch."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        batches = self._batches(epoch)
        return ahead(batches, self.prefetch) if self.prefetch else batches

    def _batches(self, epoch: int) -> Iterator[tuple[NDArray[Any], ...]]:
        order = np.arange(self.examples)
        if self.shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        for batch in range(len(self)):
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield self.data.take(chosen, np.random.default_rng([self.seed, epoch, batch]))


def _integer(name: str, value: int, least: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentError(
            f"DataLoader: {name} must be an integer, got {type(value).__name__}"
        ) from None
    if number < least:
        raise ArgumentError(f"DataLoader: {name} must be at least {least}, got {number}")
    return number
