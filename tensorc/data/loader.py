"""Batches of arrays, in order or shuffled anew for each epoch."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


class DataLoader:
    """Batches of `arrays`, whose first axis counts the examples.

    Each `for` over the loader is one epoch, and yields tuples of fresh C-contiguous arrays, one for
    each of `arrays`, holding the same `batch_size` examples; the last batch holds what is left,
    unless `drop_last` leaves it out. With `shuffle`, the order of an epoch follows from `seed` and
    the number of the epoch alone, so that training can resume: set `epoch` to the one to come.

        >>> loader = DataLoader((np.arange(10), np.arange(10) ** 2), batch_size=4)
        >>> [squares.tolist() for numbers, squares in loader]
        [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81]]
        >>> len(loader), loader.epoch
        (3, 1)
    """

    def __init__(
        self,
        arrays: Sequence[NDArray[Any]],
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        """Check the arguments; nothing is copied.

        Raises:
            ArgumentError: no arrays, scalars, or arrays that differ in length or hold no example;
                a batch size below 1, or one that with `drop_last` leaves no batch at all; a
                negative seed.
        """
        self.arrays = _equally_long(arrays)
        self.examples = len(self.arrays[0])
        self.batch_size = _integer("batch_size", batch_size, least=1)
        self.shuffle = shuffle
        self.seed = _integer("seed", seed, least=0)
        self.drop_last = drop_last
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
        return self._batches(epoch)

    def _batches(self, epoch: int) -> Iterator[tuple[NDArray[Any], ...]]:
        order = np.arange(self.examples)
        if self.shuffle:
            np.random.default_rng([self.seed, epoch]).shuffle(order)
        for batch in range(len(self)):
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield tuple(array.take(chosen, axis=0) for array in self.arrays)


def _equally_long(arrays: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    if isinstance(arrays, np.ndarray):  # Its rows would pass for the arrays.
        raise ArgumentError("DataLoader: arrays is one array; give a tuple of arrays, as in (x,)")
    converted = tuple(np.asarray(array) for array in arrays)
    if not converted:
        raise ArgumentError("DataLoader: arrays is empty; give at least one array")
    for position, array in enumerate(converted):
        if array.ndim == 0:
            raise ArgumentError(
                f"DataLoader: arrays[{position}] is a scalar, without an axis that counts examples"
            )
        if len(array) != len(converted[0]):
            raise ArgumentError(
                f"DataLoader: arrays[0] holds {len(converted[0])} examples "
                f"and arrays[{position}] holds {len(array)}; all must hold as many"
            )
    if not len(converted[0]):
        raise ArgumentError("DataLoader: the arrays hold no examples")
    return converted


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
