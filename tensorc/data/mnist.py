"""MNIST, from a folder that the user names, from the cache, or from the network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tensorc.data.download import CHECKSUMS, cache_folder, fetch_mnist
from tensorc.data.idx import parse_idx, read_bytes, unpack
from tensorc.data.image_set import ImageSet, check_pair, to_rows
from tensorc.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHAPE = (28, 28)


def load_mnist(directory: str | os.PathLike[str] | None = None) -> ImageSet:
    """Load MNIST: 60,000 images of 28x28 pixels to train on, 10,000 to test with.

    Looks in `directory`; without one, in the folder that `TENSORC_DATA_DIR` names; without that, in
    the user's cache folder, downloading the files into it where they are missing. The files of a
    named folder may be plain or packed (`.gz`), and may be fewer images in the same form; those of
    the cache are checked against the published SHA-256.

    Raises:
        DataError: a file of the named folder is missing, corrupt, or not like MNIST's; or none is
            named, and the download fails.
    """
    folder = named_folder(directory)
    if folder is None:
        return _image_set(fetch_mnist(), f"MNIST, from the cache {cache_folder()}")
    return _image_set({name: _read(folder, name) for name in CHECKSUMS}, f"MNIST, from {folder}")


def named_folder(directory: str | os.PathLike[str] | None) -> Path | None:
    """Return the folder that the caller or `TENSORC_DATA_DIR` names, or None where neither does."""
    named = directory if directory is not None else os.environ.get("TENSORC_DATA_DIR") or None
    return None if named is None else Path(named).expanduser()


def _read(folder: Path, name: str) -> bytes:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return unpack(read_bytes(path), str(path))
    raise DataError(f"MNIST: neither {name} nor {name}.gz is in {folder}")


def _image_set(contents: dict[str, bytes], source: str) -> ImageSet:
    train_images, train_labels = _pair(contents, "train", source)
    test_images, test_labels = _pair(contents, "t10k", source)
    return ImageSet(train_images, train_labels, test_images, test_labels, _SHAPE, 10, source)


def _pair(
    contents: dict[str, bytes], part: str, source: str
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    image_name, label_name = f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"
    images = parse_idx(contents[image_name], f"{source}: {image_name}")
    labels = parse_idx(contents[label_name], f"{source}: {label_name}")
    check_pair(images, labels, f"{source}: {part}", classes=10)
    if images.shape[1:] != _SHAPE:
        raise DataError(f"{source}: {image_name}: images are {images.shape[1:]}, not {_SHAPE}")
    return to_rows(images, white=255), labels.astype(np.int32)
