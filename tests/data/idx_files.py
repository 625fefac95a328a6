"""IDX files for the tests, written from the format's description, not the reader's tables."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CODES = {"uint8": 8, "int8": 9, "int16": 11, "int32": 12, "float32": 13, "float64": 14}


def idx_bytes(array: NDArray[Any]) -> bytes:
    header = struct.pack(">HBB", 0, CODES[array.dtype.name], array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return header + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def small_mnist(train: int = 7, test: int = 3) -> dict[str, bytes]:
    """Give the four files, unpacked, with so few images; pixel 0 of image i holds i."""
    contents = {}
    for part, count in (("train", train), ("t10k", test)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(count)
        images[:, 27, 27] = 255
        contents[f"{part}-images-idx3-ubyte"] = idx_bytes(images)
        contents[f"{part}-labels-idx1-ubyte"] = idx_bytes((np.arange(count) % 10).astype(np.uint8))
    return contents


def write_files(folder: Path, contents: dict[str, bytes], *, packed: bool = True) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / name).write_bytes(content)
