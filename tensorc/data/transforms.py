"""Random changes of images that leave what they show: each is a `Transform` of a batch."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RandomFlip:
    """Each image mirrored along `axis` with probability `rate`.

    `axis` counts the dimensions of a batch: 2 is the width of (n, height, width), -2 that of
    (n, height, width, channels).
    """

    rate: float = 0.5
    axis: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.rate, int | float | np.number) or not 0 <= self.rate <= 1:
            raise ArgumentError(f"RandomFlip: rate must be from 0 to 1, got {self.rate!r}")

    def __call__(self, images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """The images, some of them mirrored.

        Raises:
            ArgumentError: there is no such dimension, or it counts the images.
        """
        if not -images.ndim < self.axis < images.ndim or self.axis % images.ndim == 0:
            raise ArgumentError(
                f"RandomFlip: axis {self.axis} is none of an image, in a batch of shape "
                f"{images.shape}"
            )
        chosen = rng.random(len(images)) < self.rate
        chosen = chosen.reshape(-1, *(1,) * (images.ndim - 1))
        return np.where(chosen, np.flip(images, self.axis), images)


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """Each image moved by up to `padding` pixels up or down and left or right, filled with 0.

    Images are (n, height, width, ...), or with `channels_first` (n, channels, height, width).
    """

    padding: int = 3
    channels_first: bool = False

    def __post_init__(self) -> None:
        try:
            valid = operator.index(self.padding) >= 0
        except TypeError:
            valid = False
        if not valid:
            raise ArgumentError(
                f"RandomCrop: padding must be an integer of at least 0, got {self.padding!r}"
            )

    def __call__(self, images: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """The images, moved.

        Raises:
            ArgumentError: a batch without a height and a width.
        """
        first = 2 if self.channels_first else 1
        if images.ndim < first + 2:
            raise ArgumentError(
                f"RandomCrop: a batch of shape {images.shape} has no height and width in "
                f"dimensions {first} and {first + 1}"
            )
        p = self.padding
        widths = [(0, 0)] * images.ndim
        widths[first] = widths[first + 1] = (p, p)
        padded = np.pad(images, widths)
        height, width = images.shape[first : first + 2]
        result = np.empty_like(images, order="C")
        lead = (slice(None),) * (first - 1)
        for k, (down, right) in enumerate(rng.integers(0, 2 * p + 1, (len(images), 2))):
            window = (*lead, slice(down, down + height), slice(right, right + width))
            result[k] = padded[k][window]
        return result
