"""IDX files, the format of MNIST: a header of big-endian numbers, then the array.

Two zero bytes, one byte that names the type, one that holds the rank, four for each size, and the
values in C order: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.errors import DataError

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_GZIP_MAGIC = b"\x1f\x8b"
_MAX_RANK = 32  # NumPy 1 allowed no more, and no file has that many.


def read_idx(path: str | os.PathLike[str]) -> NDArray[Any]:
    """Read an IDX file, plain or packed with gzip, whatever its name ends with.

    Returns:
        A writable array of the shape that the header gives, in native byte order.

    Raises:
        DataError: the file cannot be read, is no IDX file, or is truncated, too long or corrupt.
    """
    return parse_idx(unpack(read_bytes(path), str(path)), str(path))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a whole file; DataError where the operating system refuses."""
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        raise DataError(f"cannot read {path}: {problem.strerror or problem}") from problem


def unpack(packed: bytes, name: str) -> bytes:
    """Undo gzip where `packed` starts with its magic number; other bytes come back as they are.

    Raises:
        DataError: the stream ends early, fails its checksum or is no gzip past its magic number.
    """
    if not packed.startswith(_GZIP_MAGIC):
        return packed
    try:
        return gzip.decompress(packed)
    except (EOFError, gzip.BadGzipFile, zlib.error) as problem:
        raise DataError(
            f"{name}: the gzip stream of {len(packed)} bytes is truncated or corrupt: {problem}"
        ) from problem


def parse_idx(content: bytes, name: str) -> NDArray[Any]:
    """Turn the unpacked bytes of an IDX file into an array; `name` is for the messages.

    Raises:
        DataError: the magic number, the sizes or the length of `content` are not those of a file.
    """
    dtype, shape = _parse_header(content, name)
    start = 4 + 4 * len(shape)
    expected, found = math.prod(shape) * dtype.itemsize, len(content) - start
    if found != expected:
        raise DataError(
            f"{name}: the header says {dtype.newbyteorder('=').name} values of shape {shape}, "
            f"{expected} bytes, and {found} bytes follow it: the file is "
            + ("truncated" if found < expected else "too long")
        )
    return (
        np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    )


def _parse_header(content: bytes, name: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    if len(content) < 4:
        raise DataError(f"{name}: {len(content)} bytes, too short for the magic number of IDX")
    code, rank = content[2], content[3]
    if content[:2] != b"\0\0" or code not in _DTYPES or not 1 <= rank <= _MAX_RANK:
        raise DataError(
            f"{name}: not an IDX file: the magic number is 0x{content[:4].hex()}, and should be "
            f"0x0000TTRR, TT one of {', '.join(f'{known:02x}' for known in _DTYPES)} "
            f"and RR the rank, 1 to {_MAX_RANK}"
        )
    if len(content) < 4 + 4 * rank:
        raise DataError(
            f"{name}: {len(content)} bytes, truncated within the header, "
            f"which takes {4 + 4 * rank} bytes for {rank} sizes"
        )
    return _DTYPES[code], tuple(np.frombuffer(content, ">u4", rank, offset=4).tolist())
