"""float16 and bfloat16: memory bits to float32 registers and back, rounding to nearest even.

The integer sequences are those of M. Dukhan's FP16 library (half), with the usual round-to-even
on the upper 16 bits for bfloat16; every NaN becomes a quiet one. Where the target converts
float16 in hardware, LLVM's own instructions are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.llvm.types import Val, literal
from tensorc.dtypes import DType, float32

if TYPE_CHECKING:
    from tensorc.codegen.llvm.builder import Builder


def is_narrow(dtype: DType) -> bool:
    """Whether a value of `dtype` is kept as a float32 in registers."""
    return dtype.is_float and dtype.bits == 16


class _Bits:
    """Shorthand for instructions on float32 values and their bits, scalar or vector."""

    def __init__(self, b: Builder, varying: bool) -> None:
        self.b = b
        self.f32, self.f64 = b.vector("float", varying), b.vector("double", varying)
        self.i32, self.i16 = b.vector("i32", varying), b.vector("i16", varying)
        self.f16, self.i1 = b.vector("half", varying), b.vector("i1", varying)
        self.varying = varying

    def whole(self, value: int) -> str:
        value = value - (1 << 32) if value >> 31 else value
        return f"splat (i32 {value})" if self.varying else str(value)

    def real(self, value: float) -> str:
        text = literal(value, float32)
        return f"splat (float {text})" if self.varying else text

    def i(self, op: str, x: str, y: str | int) -> str:
        other = self.whole(y) if isinstance(y, int) else y
        return self.b.op(f"{op} {self.i32} {x}, {other}")

    def f(self, op: str, x: str, y: str | float) -> str:
        other = self.real(y) if isinstance(y, float) else y
        return self.b.op(f"{op} {self.f32} {x}, {other}")

    def to_int(self, x: str) -> str:
        return self.b.op(f"bitcast {self.f32} {x} to {self.i32}")

    def to_float(self, x: str) -> str:
        return self.b.op(f"bitcast {self.i32} {x} to {self.f32}")

    def select(self, cond: str, x: str, y: str) -> str:
        return self.b.op(f"select {self.i1} {cond}, {self.i32} {x}, {self.i32} {y}")


def widen(b: Builder, text: str, dtype: DType, varying: bool) -> Val:
    """The 16 bits `text` as the float32 of the same value."""
    t = _Bits(b, varying)
    if dtype.name == "float16" and b.module.features.half:
        half = b.op(f"bitcast {t.i16} {text} to {t.f16}")
        return Val(b.op(f"fpext {t.f16} {half} to {t.f32}"), dtype, varying)
    bits = b.op(f"zext {t.i16} {text} to {t.i32}")
    high = t.i("shl", bits, 16)
    if dtype.name == "bfloat16":
        return Val(t.to_float(high), dtype, varying)
    sign = t.i("and", high, 0x8000_0000)
    twice = t.i("add", high, high)
    exponent = t.i("add", t.i("lshr", twice, 4), 0xE0 << 23)
    normal = t.to_int(t.f("fmul", t.to_float(exponent), 2.0**-112))
    magic = t.i("or", t.i("lshr", twice, 17), 126 << 23)
    subnormal = t.to_int(t.f("fsub", t.to_float(magic), 0.5))
    tiny = t.i("icmp ult", twice, 1 << 27)
    return Val(t.to_float(t.i("or", sign, t.select(tiny, subnormal, normal))), dtype, varying)


def narrow_bits(b: Builder, value: Val, dtype: DType) -> str:
    """The 16 bits of a register; a float32 is rounded to float16, a bfloat16 was (`rounded`)."""
    t = _Bits(b, value.varying)
    if dtype.name == "float16" and b.module.features.half:
        half = b.op(f"fptrunc {t.f32} {value.text} to {t.f16}")
        return b.op(f"bitcast {t.f16} {half} to {t.i16}")
    bits = t.to_int(value.text)
    wide = t.i("lshr", bits, 16) if dtype.name == "bfloat16" else _round_half(t, bits)
    return b.op(f"trunc {t.i32} {wide} to {t.i16}")


def _round_bfloat16(t: _Bits, value: str) -> str:
    """A float32 rounded, as the bits of a float32."""
    bits = t.to_int(value)
    last = t.i("and", t.i("lshr", bits, 16), 1)
    rounded = t.i("add", t.i("add", bits, 0x7FFF), last)
    is_nan = t.b.op(f"fcmp uno {t.f32} {value}, {value}")
    return t.i("and", t.select(is_nan, t.i("or", bits, 0x0040_0000), rounded), 0xFFFF_0000)


def _round_half(t: _Bits, bits: str) -> str:
    magnitude = t.to_float(t.i("and", bits, 0x7FFF_FFFF))
    base = t.f("fmul", t.f("fmul", magnitude, 2.0**112), 2.0**-110)
    twice = t.i("add", bits, bits)
    exponent = t.i("and", twice, 0xFF00_0000)
    low = t.i("icmp ult", exponent, 0x7100_0000)
    bias = t.select(low, t.whole(0x7100_0000), exponent)
    anchor = t.to_float(t.i("add", t.i("lshr", bias, 1), 0x0780_0000))
    rounded = t.to_int(t.f("fadd", anchor, base))
    body = t.i("add", t.i("and", t.i("lshr", rounded, 13), 0x7C00), t.i("and", rounded, 0xFFF))
    is_nan = t.i("icmp ugt", twice, 0xFF00_0000)
    sign = t.i("lshr", t.i("and", bits, 0x8000_0000), 16)
    return t.i("or", sign, t.select(is_nan, t.whole(0x7E00), body))


def rounded(b: Builder, value: Val, dtype: DType) -> Val:
    """A float32 register rounded to what `dtype` can hold; itself for the wider types."""
    if not is_narrow(dtype):
        return value
    if dtype.name == "bfloat16":
        t = _Bits(b, value.varying)
        return Val(t.to_float(_round_bfloat16(t, value.text)), dtype, value.varying)
    return widen(b, narrow_bits(b, value, dtype), dtype, value.varying)


def double_to_float_odd(b: Builder, value: Val) -> Val:
    """A float64 as a float32 rounded to odd, which a second rounding to float16 then gets right.

    S. Boldo and G. Melquiond, "When double rounding is odd", IMACS 2005.
    """
    t = _Bits(b, value.varying)
    near = b.op(f"fptrunc {t.f64} {value.text} to {t.f32}")
    back = b.op(f"fpext {t.f32} {near} to {t.f64}")
    zero = "zeroinitializer" if value.varying else "0.0"
    below = b.op(f"fcmp olt {t.f64} {back}, {value.text}")
    above = b.op(f"fcmp ogt {t.f64} {back}, {value.text}")
    inexact = b.op(f"or {t.i1} {below}, {above}")
    positive = b.op(f"fcmp ogt {t.f64} {value.text}, {zero}")
    short = b.op(f"xor {t.i1} {positive}, {above}")  # The magnitude was rounded down.
    bits = t.to_int(near)
    even = t.i("icmp eq", t.i("and", bits, 1), 0)
    moved = t.select(short, t.i("add", bits, 1), t.i("sub", bits, 1))
    fix = b.op(f"and {t.i1} {inexact}, {even}")
    return Val(t.to_float(t.select(fix, moved, bits)), float32, value.varying)
