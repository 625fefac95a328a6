"""Datasets: examples by their number, one at a time or several together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tensorc.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Transform(Protocol):
    """Changes the first array of a batch: images (n, ...) and a source of random numbers."""

    def __call__(self, images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """The images to learn from, as many of them."""


class Dataset:
    """Examples that have a number; a subclass defines `__len__` and `__getitem__`.

    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 10
    ...     def __getitem__(self, index):
    ...         return np.float32(index), np.float32(index) ** 2
    >>> [part.tolist() for part in Squares().take([2, 3], np.random.default_rng(0))]
    [[2.0, 3.0], [4.0, 9.0]]
    """

    def __len__(self) -> int:
        """Count the examples."""
        raise ArgumentError(f"{type(self).__name__} must define __len__")

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """The parts of one example, numbers or arrays: of every example the same ones."""
        raise ArgumentError(f"{type(self).__name__} must define __getitem__, got {index}")

    def take(
        self, indices: Sequence[int] | NDArray[np.intp], rng: np.random.Generator
    ) -> tuple[NDArray[Any], ...]:
        """The examples at `indices` as one array for each part, which counts them first.

        A subclass that can do better than one after the other overrides it. `rng` is for what is
        random about an example: it is the same for the same epoch and batch.
        """
        del rng
        examples = [self[int(index)] for index in indices]
        parts = zip(*examples, strict=True)
        return tuple(np.stack([np.asarray(item) for item in part]) for part in parts)


class ArrayDataset(Dataset):
    """Arrays whose first axis counts the examples; `transforms` change the first of them.

    >>> data = ArrayDataset((np.arange(6).reshape(3, 2), np.arange(3)))
    >>> len(data), data[1]
    (3, (array([2, 3]), np.int64(1)))
    """

    def __init__(
        self, arrays: Sequence[NDArray[Any]], transforms: Sequence[Transform] = ()
    ) -> None:
        """Check the arrays; nothing is copied.

        Raises:
            ArgumentError: no arrays, scalars, or arrays that differ in length or hold no example.
        """
        self.arrays = equally_long("ArrayDataset", arrays)
        self.transforms = tuple(transforms)

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """The parts of one example, as they are: without transforms."""
        return tuple(array[index] for array in self.arrays)

    def take(
        self, indices: Sequence[int] | NDArray[np.intp], rng: np.random.Generator
    ) -> tuple[NDArray[Any], ...]:
        """Copies of the examples at `indices`, transformed.

        Raises:
            ArgumentError: a transform that gives another number of examples.
        """
        first, *rest = (array.take(indices, axis=0) for array in self.arrays)
        for transform in self.transforms:
            changed = np.asarray(transform(first, rng))
            if changed.shape[:1] != first.shape[:1]:
                raise ArgumentError(
                    f"ArrayDataset: {transform!r} turned {len(first)} examples into an array of "
                    f"shape {changed.shape}"
                )
            first = changed
        return np.ascontiguousarray(first), *rest


def equally_long(asked: str, arrays: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """The arrays, which hold as many examples each, and at least one.

    Raises:
        ArgumentError: they do not.
    """
    if isinstance(arrays, np.ndarray):  # Its rows would pass for the arrays.
        raise ArgumentError(f"{asked}: arrays is one array; give a tuple of arrays, as in (x,)")
    if not isinstance(arrays, tuple | list):
        raise ArgumentError(
            f"{asked}: give a tuple of arrays, as in (x, y), got a {type(arrays).__name__}"
        )
    converted = tuple(np.asarray(array) for array in arrays)
    if not converted:
        raise ArgumentError(f"{asked}: arrays is empty; give at least one array")
    for position, array in enumerate(converted):
        if array.ndim == 0:
            raise ArgumentError(
                f"{asked}: arrays[{position}] is a scalar, without an axis that counts examples"
            )
        if len(array) != len(converted[0]):
            raise ArgumentError(
                f"{asked}: arrays[0] holds {len(converted[0])} examples "
                f"and arrays[{position}] holds {len(array)}; all must hold as many"
            )
    if not len(converted[0]):
        raise ArgumentError(f"{asked}: the arrays hold no examples")
    return converted
