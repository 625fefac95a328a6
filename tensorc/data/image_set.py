"""Labelled images, split into a training and a test set, ready for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Images as rows of pixels from 0 (paper) to 1 (ink), with their classes.

    `train_images` (n, height * width) and `test_images` (m, height * width) are float32,
    `train_labels` (n,) and `test_labels` (m,) int32 from 0 to `classes` - 1; all are C-contiguous.
    `image_shape` is (height, width). `source` says, for people, which data these are and where
    they come from.
    """

    train_images: NDArray[np.float32]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.float32]
    test_labels: NDArray[np.int32]
    image_shape: tuple[int, int]
    classes: int
    source: str

    def __repr__(self) -> str:
        """Name the sizes and the source; the pixels would fill pages."""
        return (
            f"ImageSet({len(self.train_labels)} + {len(self.test_labels)} images of "
            f"{self.image_shape[0]}x{self.image_shape[1]}, {self.classes} classes, {self.source})"
        )


def to_rows(images: NDArray[Any], white: int) -> NDArray[np.float32]:
    """Flatten (n, height, width) integers in 0..white to (n, height * width) float32 in 0..1."""
    rows = images.reshape(len(images), -1)
    result: NDArray[np.float32] = np.divide(rows, np.float32(white), dtype=np.float32)
    return result


def check_pair(images: NDArray[Any], labels: NDArray[Any], names: str, classes: int) -> None:
    """Refuse images and labels that do not belong together; `names` is for the messages.

    Raises:
        DataError: not uint8, not of rank 3 and 1, of different counts, none at all, or with a label
            that is no class.
    """
    if images.dtype != np.uint8 or images.ndim != 3 or labels.dtype != np.uint8 or labels.ndim != 1:
        raise DataError(
            f"{names}: expected uint8 images (n, height, width) and uint8 labels (n,), got "
            f"{images.dtype.name} {images.shape} and {labels.dtype.name} {labels.shape}"
        )
    if len(images) != len(labels) or not len(images):
        raise DataError(
            f"{names}: {len(images)} images and {len(labels)} labels; "
            "there must be as many of both, and at least one"
        )
    if labels.max() >= classes:
        worst = int(labels.argmax())
        raise DataError(
            f"{names}: label {labels[worst]} of image {worst} is not one of 0 to {classes - 1}"
        )
