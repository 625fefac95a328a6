"""The images to learn from on any machine: MNIST where it can be had, else the embedded digits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tensorc.data.digits import load_digits
from tensorc.data.mnist import load_mnist, named_folder
from tensorc.errors import DataError

if TYPE_CHECKING:
    import os

    from tensorc.data.image_set import ImageSet


def load_images(directory: str | os.PathLike[str] | None = None) -> ImageSet:
    """Load MNIST as `load_mnist` does, or the embedded digits where it cannot be downloaded.

    `source` of the result says which, and why MNIST was not to be had.

    Raises:
        DataError: `directory` or `TENSORC_DATA_DIR` is given, and does not hold MNIST: a folder
            that the user names is never passed over in silence.
    """
    if named_folder(directory) is not None:
        return load_mnist(directory)
    try:
        return load_mnist()
    except DataError as problem:
        digits = load_digits()
        return replace(digits, source=f"{digits.source}, since MNIST is not here: {problem}")
