"""How values look while a function is emitted: LLVM types, constants, and two kinds of value.

A `Val` is any value but a 64-bit integer: a literal or an SSA name, the same in all lanes or
varying over the lanes of the vector loop around it. A float16 or bfloat16 lives in registers as a
float32 that the narrow type holds exactly.

A `Poly` is a 64-bit integer: a polynomial over SSA names with integer coefficients, exact since
both wrap. `LANE` is the lane number, so the stride of an access over the lanes is a coefficient,
and what stays constant in unrolled code stays a constant.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc.dtypes import DType

LANE = "lane"
Key = tuple[str, ...]
_WRAP, _HALF = 1 << 64, 1 << 63


@dataclass(frozen=True, slots=True)
class Val:
    """A literal or SSA name of `dtype`; `varying` ones are vectors with a value for each lane."""

    text: str
    dtype: DType
    varying: bool = False

    @property
    def is_literal(self) -> bool:
        """Whether it is a constant and no name."""
        return not self.text.startswith("%")


@dataclass(frozen=True, slots=True)
class Poly:
    """`sum(coefficient * product of names)`; the key `()` holds the constant."""

    terms: Mapping[Key, int] = field(default_factory=dict)

    @property
    def const(self) -> int | None:
        """The value, where it does not depend on any name."""
        if not self.terms:
            return 0
        return self.terms.get(()) if len(self.terms) == 1 else None

    def __add__(self, other: Poly) -> Poly:
        if not other.terms:
            return self
        if not self.terms:
            return other
        total = dict(self.terms)
        for key, c in other.terms.items():
            total[key] = total.get(key, 0) + c
        return _normal(total)

    def __mul__(self, other: Poly) -> Poly:
        for one, many in ((self, other), (other, self)):
            scale = one.const
            if scale == 1:
                return many
            if scale is not None:
                return _normal({k: c * scale for k, c in many.terms.items()})
        total: dict[Key, int] = {}
        for a, x in self.terms.items():
            for b, y in other.terms.items():
                key = tuple(sorted(a + b))
                total[key] = total.get(key, 0) + x * y
        return _normal(total)

    def __neg__(self) -> Poly:
        return _normal({k: -c for k, c in self.terms.items()})

    def __sub__(self, other: Poly) -> Poly:
        return self + -other


@lru_cache(maxsize=4096)
def number(value: int) -> Poly:
    """A constant."""
    return _normal({(): value})


def symbol(name: str) -> Poly:
    """The value of one SSA name, or of `LANE`."""
    return Poly({(name,): 1})


def _normal(terms: dict[Key, int]) -> Poly:
    for c in terms.values():
        if not c or not -_HALF <= c < _HALF:
            wrapped = {k: (c + _HALF) % _WRAP - _HALF for k, c in terms.items()}
            terms = {k: c for k, c in wrapped.items() if c}
            break
    made = object.__new__(Poly)  # Thousands are made: the constructor takes twice as long.
    _set_terms(made, terms)
    return made


_set_terms = Poly.__dict__["terms"].__set__


Value = Val | Poly


def memory_type(dtype: DType) -> str:
    """The LLVM type of an element in memory: bools are bytes, narrow floats their 16 bits."""
    if dtype.is_float and dtype.bits > 16:
        return "float" if dtype.bits == 32 else "double"
    return "i8" if dtype.is_bool else f"i{dtype.bits}"


def scalar_type(dtype: DType) -> str:
    """The LLVM type of a value in a register (see the module's first lines)."""
    if dtype.is_float:
        return "double" if dtype.bits == 64 else "float"
    return "i1" if dtype.is_bool else f"i{dtype.bits}"


def literal(value: int | float | bool, dtype: DType) -> str:
    """A constant in LLVM's syntax; floats as the bits of a double, which is exact."""
    if dtype.is_bool:
        return "true" if value else "false"
    if dtype.is_int:
        value = int(value)
        return str(value - (1 << dtype.bits) if value >> (dtype.bits - 1) > 0 else value)
    (bits,) = struct.unpack("<Q", struct.pack("<d", float(value)))
    return f"0x{bits:016X}"
