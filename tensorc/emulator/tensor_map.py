"""What stands in the 128 bytes of a CUtensorMap here; TensorMap of tensors.cpp reads it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BYTES = 128
_MAGIC = 0x74634D70
_FORMATS = {"f16": 0, "bf16": 1, "tf32": 2, "f32": 3, "s8": 4, "u8": 5, "f64": 6, "s32": 7}


def encode_tensor_map(
    address: int,
    extents: Sequence[int],
    strides: Sequence[int],
    box: Sequence[int],
    element_bytes: int,
    format_name: str,
    swizzle: int,
) -> bytes:
    """A tensor map.

    Args:
        address: of the tensor.
        extents: elements along each axis, innermost first.
        strides: bytes from one element to the next along each axis but the first.
        box: elements along each axis that one copy moves.
        element_bytes: of an element.
        format_name: its type, for copies that add; "" where it is none of those.
        swizzle: 0 none, 1 of 32 bytes, 2 of 64, 3 of 128.
    """
    rank = len(extents)

    def five(values: Sequence[int], fill: int) -> tuple[int, ...]:
        return (*values, *[fill] * 5)[:5]

    packed = struct.pack(
        "<11Q5I4HI",
        address,
        *five(extents, 1),
        *five((element_bytes, *strides), 0),
        *five(box, 1),
        element_bytes,
        _FORMATS.get(format_name, 0xFF),
        rank,
        swizzle,
        _MAGIC,
    )
    return packed.ljust(BYTES, b"\0")
