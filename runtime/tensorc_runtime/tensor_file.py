"""Arrays in one file that C reads as easily as Python: saved state, and input for the C hosts.

All numbers are little-endian, and every part starts at a multiple of 64 bytes:

    magic   "TCTENSOR"              8 bytes
    uint32  version, 1
    uint32  count of tensors
    uint64  steps                   how many slices a stacked tensor has
    padding
    for each tensor:
      uint8   code, bits            DLPack's type
      uint16  lanes, 1
      uint32  ndim
      uint32  flags                 1: stacked, 2: to be printed by a host
      uint32  bytes of the name
      uint64  bytes of the data     all of it: `steps` times one slice where it is stacked
      int64   shape[ndim]           of one slice
      name, in UTF-8
      padding
      data, row-major
      padding

A stacked tensor has one slice for each step: the batches of a training run. The others are there
once, and keep from step to step what was written to them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from tensorc_runtime.dlpack import DTYPE_CODES, DTYPE_NAMES, dtype_of
from tensorc_runtime.errors import LoadError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    from tensorc_runtime.signature import Array

MAGIC = b"TCTENSOR"
STACKED, PRINTED = 1, 2

_ALIGN = 64
_HEADER = struct.Struct("<8sIIQ")
_TENSOR = struct.Struct("<BBHIIIQ")


@dataclass(frozen=True, slots=True)
class Record:
    """One tensor; where it is stacked, `array` has the steps as its first dimension."""

    name: str
    array: Array
    stacked: bool = False
    printed: bool = False


def write_tensors(path: str | os.PathLike[str], records: Iterable[Record], steps: int = 0) -> None:
    """Write `records` to a file, in order.

    Raises:
        ValueError: a stacked array has not `steps` slices, or a dtype is none of DLPack's.
    """
    listed = list(records)
    with open(path, "wb") as file:
        _padded(file, _HEADER.pack(MAGIC, 1, len(listed), steps))
        for r in listed:
            if r.stacked and (r.array.ndim == 0 or len(r.array) != steps):
                raise ValueError(f"{r.name}: shape {r.array.shape} has not {steps} slices")
            if r.array.dtype.name not in DTYPE_CODES:
                raise ValueError(f"{r.name}: dtype {r.array.dtype} cannot be written")
            code, bits = DTYPE_CODES[r.array.dtype.name]
            shape = r.array.shape[1:] if r.stacked else r.array.shape
            flags = STACKED * r.stacked | PRINTED * r.printed
            name = r.name.encode()
            head = _TENSOR.pack(code, bits, 1, len(shape), flags, len(name), r.array.nbytes)
            _padded(file, head + struct.pack(f"<{len(shape)}q", *shape) + name)
            # Native order is little-endian on every machine that LLVM makes such code for.
            _padded(file, np.ascontiguousarray(r.array).tobytes())


def read_tensors(path: str | os.PathLike[str]) -> list[Record]:
    """The records of a file; the arrays are new and can be written.

    Raises:
        LoadError: the file is missing, is no such file, or ends too early.
    """
    try:
        return _parse(Path(path).read_bytes())
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror or error}") from None
    except (ValueError, struct.error, UnicodeDecodeError) as error:
        raise LoadError(f"{path}: not a whole tensor file: {error}") from None


def save_state(path: str | os.PathLike[str], state: Mapping[str, Array]) -> None:
    """Write named arrays, such as the state of a training step."""
    write_tensors(path, [Record(name, array) for name, array in state.items()])


def load_state(path: str | os.PathLike[str]) -> dict[str, Array]:
    """The named arrays that `save_state` wrote.

    Raises:
        LoadError: as `read_tensors`.
    """
    return {r.name: r.array for r in read_tensors(path)}


def _padded(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.write(b"\0" * (-len(data) % _ALIGN))


def _parse(data: bytes) -> list[Record]:
    magic, version, count, steps = _HEADER.unpack_from(data)
    if magic != MAGIC or version != 1:
        raise ValueError(f"starts with {magic!r}, version {version}")
    at = _ALIGN
    records = []
    for _ in range(count):
        code, bits, lanes, ndim, flags, name_bytes, size = _TENSOR.unpack_from(data, at)
        start = at + _TENSOR.size
        shape = struct.unpack_from(f"<{ndim}q", data, start)
        start += 8 * ndim
        name = data[start : start + name_bytes].decode()
        begin = _aligned(start + name_bytes)
        if begin + size > len(data):
            raise ValueError(f"{name!r} needs {begin + size} bytes, there are {len(data)}")
        dtype_name = DTYPE_NAMES.get((code, bits)) if lanes == 1 else None
        if dtype_name is None:
            raise ValueError(f"{name!r} has the unknown type ({code}, {bits}, {lanes})")
        stacked = bool(flags & STACKED)
        dtype = dtype_of(dtype_name)
        full: Sequence[int] = (steps, *shape) if stacked else shape
        items = np.frombuffer(data, dtype, size // dtype.itemsize, begin)
        records.append(Record(name, items.reshape(full).copy(), stacked, bool(flags & PRINTED)))
        at = _aligned(begin + size)
    return records


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN
