"""PTX's scalar types, and the C++ types that hold them."""

from __future__ import annotations

import re

from tensorc.errors import CompileError


class UnsupportedPtxError(CompileError):
    """PTX that the emulator does not translate; the message quotes the line."""


C_TYPES = {
    "pred": "bool",
    "b8": "uint8_t",
    "u8": "uint8_t",
    "s8": "int8_t",
    "b16": "uint16_t",
    "u16": "uint16_t",
    "s16": "int16_t",
    "f16": "uint16_t",
    "bf16": "uint16_t",
    "b32": "uint32_t",
    "u32": "uint32_t",
    "s32": "int32_t",
    "f16x2": "uint32_t",
    "bf16x2": "uint32_t",
    "tf32": "uint32_t",
    "b64": "uint64_t",
    "f32x2": "uint64_t",
    "u64": "uint64_t",
    "s64": "int64_t",
    "f32": "float",
    "f64": "double",
    "b128": "unsigned __int128",
}
FLOATS = ("float", "double")
HALVES = ("f16", "bf16")
PAIRS = ("f16x2", "bf16x2")
HALF_CLASS = {"f16": "Half", "bf16": "Bfloat", "f16x2": "Half", "bf16x2": "Bfloat"}
INTEGERS = tuple(f"{sign}{bits}" for sign in "us" for bits in (8, 16, 32, 64))

_UNSIGNED = {
    "int8_t": "uint8_t",
    "int16_t": "uint16_t",
    "int32_t": "uint32_t",
    "int64_t": "uint64_t",
}


def c_type(ptx_type: str) -> str:
    """The C++ type in which an instruction of this type computes.

    Raises:
        UnsupportedPtxError: there is none.
    """
    if ptx_type not in C_TYPES:
        raise UnsupportedPtxError(f"type .{ptx_type}")
    return C_TYPES[ptx_type]


def register_c_type(ptx_type: str) -> str:
    """The C++ type of a register: integers are unsigned, whatever their declaration says."""
    ctype = c_type(ptx_type)
    return _UNSIGNED.get(ctype, ctype)


def type_bytes(ptx_type: str) -> int:
    """Size in memory."""
    if ptx_type in PAIRS or ptx_type == "tf32":
        return 4
    if ptx_type == "f32x2":
        return 8
    found = re.search(r"\d+", ptx_type)
    if ptx_type not in C_TYPES or found is None:
        raise UnsupportedPtxError(f"type .{ptx_type}")
    return int(found.group()) // 8
