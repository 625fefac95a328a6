"""Scalar types, and the rule that says what two of them make together.

Promotion follows JAX and torch, not NumPy, in one point: an integer beside a float takes the
float's type (`int64 * float32` is `float32`), so that index variables can stand in a formula
without widening it. Between integers, and between floats, the wider one wins; a Python number
is weak: it takes the type of what it meets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from tensorc.errors import DTypeError

__all__ = [
    "ALL_DTYPES",
    "DType",
    "accumulator",
    "as_dtype",
    "bfloat16",
    "bool_",
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "promote",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]


@dataclass(frozen=True, slots=True)
class DType:
    """A scalar type. `kind` is "b" (bool), "i" (signed), "u" (unsigned) or "f" (float)."""

    name: str
    kind: str
    bits: int

    def __str__(self) -> str:
        return self.name

    @property
    def bytes(self) -> int:
        """Size in memory; a bool takes one byte, as in NumPy."""
        return max(1, self.bits // 8)

    @property
    def is_float(self) -> bool:
        """One of the four float types."""
        return self.kind == "f"

    @property
    def is_int(self) -> bool:
        """Signed or unsigned integer; a bool is neither."""
        return self.kind in "iu"

    @property
    def is_bool(self) -> bool:
        """The type of conditions."""
        return self.kind == "b"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype of the same bits (`ml_dtypes` brings bfloat16)."""
        return np.dtype(ml_dtypes.bfloat16) if self.name == "bfloat16" else np.dtype(self.name)

    @property
    def min_value(self) -> int | float:
        """The least value: minus infinity for floats."""
        if self.kind == "f":
            return -np.inf
        return -(1 << (self.bits - 1)) if self.kind == "i" else 0

    @property
    def max_value(self) -> int | float:
        """The greatest value: infinity for floats."""
        if self.kind == "f":
            return np.inf
        if self.kind == "b":
            return 1
        return (1 << (self.bits - 1)) - 1 if self.kind == "i" else (1 << self.bits) - 1

    def holds(self, other: DType) -> bool:
        """Whether this type has every value of `other`, exactly."""
        if other.is_bool or self == other:
            return True
        if self.is_bool or (other.is_float and not self.is_float):
            return False
        if other.is_float:
            return self.bits > other.bits
        bits = other.bits - (other.kind == "i")
        if self.is_float:
            return bits <= _PRECISION[self.name]
        return bits <= self.bits - (self.kind == "i") and not (
            other.kind == "i" and self.kind == "u"
        )


_PRECISION = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}  # Bits of a fraction.


bool_ = DType("bool", "b", 1)
int8 = DType("int8", "i", 8)
int16 = DType("int16", "i", 16)
int32 = DType("int32", "i", 32)
int64 = DType("int64", "i", 64)
uint8 = DType("uint8", "u", 8)
uint16 = DType("uint16", "u", 16)
uint32 = DType("uint32", "u", 32)
uint64 = DType("uint64", "u", 64)
float16 = DType("float16", "f", 16)
bfloat16 = DType("bfloat16", "f", 16)
float32 = DType("float32", "f", 32)
float64 = DType("float64", "f", 64)

ALL_DTYPES = (
    bool_,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
    float16,
    bfloat16,
    float32,
    float64,
)
_BY_NAME = {d.name: d for d in ALL_DTYPES}


def as_dtype(value: DType | str | type | np.dtype[Any]) -> DType:
    """The `DType` that `value` names: a name, a NumPy dtype or scalar type, or a DType itself.

    Raises:
        DTypeError: no such scalar type here (complex, str, object, float128...).
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in _BY_NAME:
        return _BY_NAME[value]
    try:
        name = np.dtype(value).name
    except (TypeError, ValueError):  # A ValueError of what has a `dtype` that NumPy does not know.
        name = str(value)
    if name not in _BY_NAME:
        raise DTypeError(f"dtype {name} is not supported; there are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def promote(a: DType, b: DType) -> DType:
    """The type of `a + b`, both typed (see the module's first lines).

    bool gives way to everything; float16 with bfloat16 makes float32; a signed with an unsigned
    integer makes the least signed type that holds both.

    Raises:
        DTypeError: uint64 with a signed integer, which no integer type holds.
    """
    if a == b or b.is_bool:
        return a
    if a.is_bool:
        return b
    if a.is_float or b.is_float:
        if not (a.is_float and b.is_float):
            return a if a.is_float else b
        return float32 if a.bits == b.bits else max(a, b, key=lambda d: d.bits)
    if a.kind == b.kind:
        return max(a, b, key=lambda d: d.bits)
    signed, unsigned = (a, b) if a.kind == "i" else (b, a)
    if signed.bits > unsigned.bits:
        return signed
    if unsigned.bits == 64:
        raise DTypeError(f"no integer type holds both {a} and {b}: cast one of them")
    return _BY_NAME[f"int{unsigned.bits * 2}"]


def accumulator(dtype: DType) -> DType:
    """The type in which values of `dtype` are summed or multiplied up.

    float16 and bfloat16 accumulate in float32, integers of fewer than 32 bits and bools in
    int32 or uint32; the rest in themselves.
    """
    if dtype.is_float:
        return dtype if dtype.bits >= 32 else float32
    if dtype.bits >= 32:
        return dtype
    return uint32 if dtype.kind == "u" else int32
