"""Calls of named intrinsics that LLVM and the target do directly.

The transcendental ones never get here: `lower.math` wrote them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tensorc.codegen.llvm.arith import compare, constant, convert, fused_multiply_add, plain, select
from tensorc.codegen.llvm.narrow import is_narrow, narrow_bits, rounded, widen
from tensorc.codegen.llvm.types import Val, scalar_type
from tensorc.dtypes import DType, bool_, float64, int64, uint32
from tensorc.ir.expr import CompareOp

if TYPE_CHECKING:
    from tensorc.codegen.llvm.builder import Builder

_ROUNDING = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "roundeven"}


def intrinsic(b: Builder, name: str, args: tuple[Val, ...], dtype: DType) -> Val:
    """The value of a call; narrow floats are rounded after it."""
    x = args[0]
    match name:
        case "stop_gradient":
            return x
        case "bitcast":
            return _bitcast(b, x, dtype)
        case "sqrt":
            return rounded(b, b.intrinsic("sqrt", dtype, args), dtype)
        case "abs":
            return _magnitude(b, x)
        case "sign":
            return _sign(b, x)
        case "isnan":
            return plain(b, "fcmp uno", x, x, bool_)
        case "isinf":
            return compare(b, CompareOp.EQ, _magnitude(b, x), _infinity(x.dtype))
        case "isfinite":
            return compare(b, CompareOp.LT, _magnitude(b, x), _infinity(x.dtype))
        case "fma":
            return _explicit_fma(b, args)
        case "tf32":
            return _tf32(b, x)
        case "eighths":
            return _eighths(b, x)
        case "floor" | "ceil" | "trunc" | "round":
            if b.module.features.rounding:
                return b.intrinsic(_ROUNDING[name], dtype, args)
            return _round_by_adding(b, name, x)
        case _:
            raise AssertionError(f"{name} of {x.dtype} should have been expanded by lower.math")


def _infinity(dtype: DType) -> Val:
    return constant(float("inf"), dtype)


def _magnitude(b: Builder, x: Val) -> Val:
    if x.dtype.is_float:
        return b.intrinsic("fabs", x.dtype, (x,))
    if x.dtype.kind == "u":
        return x
    return b.intrinsic("abs", x.dtype, (x,), extra="i1 false")


def _sign(b: Builder, x: Val) -> Val:
    zero, one = constant(0, x.dtype), constant(1, x.dtype)
    if x.dtype.kind == "u":
        return select(b, compare(b, CompareOp.NE, x, zero), one, zero)
    minus = constant(-1, x.dtype)
    # Zeros and NaN fall through as they are.
    up = select(b, compare(b, CompareOp.GT, x, zero), one, x)
    return select(b, compare(b, CompareOp.LT, x, zero), minus, up)


def _bitcast(b: Builder, x: Val, dtype: DType) -> Val:
    if is_narrow(x.dtype):
        bits = narrow_bits(b, x, x.dtype)
        return widen(b, bits, dtype, x.varying) if is_narrow(dtype) else Val(bits, dtype, x.varying)
    if is_narrow(dtype):
        return widen(b, x.text, dtype, x.varying)
    if scalar_type(x.dtype) == scalar_type(dtype):
        return Val(x.text, dtype, x.varying)
    if dtype.is_bool:
        return compare(b, CompareOp.NE, x, constant(0, x.dtype))
    there = b.vector(scalar_type(dtype), x.varying)
    if x.dtype.is_bool:
        return Val(b.op(f"zext {b.type_of(x)} {x.text} to {there}"), dtype, x.varying)
    return Val(b.op(f"bitcast {b.type_of(x)} {x.text} to {there}"), dtype, x.varying)


def _tf32(b: Builder, x: Val) -> Val:
    """10 bits of fraction: half a unit is added to the bits, and the rest cut off."""
    bits = _bitcast(b, x, uint32)
    nearest = plain(b, "add", bits, constant(0x1000, uint32))
    cut = _bitcast(b, plain(b, "and", nearest, constant(0xFFFFE000, uint32)), x.dtype)
    finite = compare(b, CompareOp.LT, _magnitude(b, x), _infinity(x.dtype))
    return select(b, finite, cut, x)


_EIGHTHS = [f"i32 {int(np.exp2(np.float32(i / 8)).view(np.int32)) - (i << 20)}" for i in range(8)]
_LOOK_UP = {8: "llvm.x86.avx2.permd", 16: "llvm.x86.avx512.permvar.si.512"}


def _eighths(b: Builder, x: Val) -> Val:
    """Numbers in a register, of which each lane picks one by its three lowest bits.

    The instruction has as many lanes as a register: fewer are filled up, more are taken in parts.
    """
    size = min(b.module.features.table, 16 if x.varying and b.lanes > 8 else 8)
    one = f"<{size} x i32>"
    name = b.module.declare(_LOOK_UP[size], one, [one, one])
    table = ", ".join(_EIGHTHS * (size // 8))

    def picked(places: str) -> str:
        return b.op(f"call {one} @{name}({one} <{table}>, {one} {places})")

    if not x.varying:
        alone = b.op(f"insertelement {one} poison, i32 {x.text}, i64 0")
        return Val(b.op(f"extractelement {one} {picked(alone)}, i64 0"), x.dtype)
    whole = -(-b.lanes // size) * size
    places = _resized(b, x.text, b.lanes, whole)
    if whole == size:
        return Val(_resized(b, picked(places), size, b.lanes), x.dtype, True)
    wide, of = f"<{whole} x i32>", f"v{size}i32"
    cut = b.module.declare(f"llvm.vector.extract.{of}.v{whole}i32", one, [wide, "i64"])
    put = b.module.declare(f"llvm.vector.insert.v{whole}i32.{of}", wide, [wide, one, "i64"])
    result = "poison"
    for at in range(0, whole, size):
        part = picked(b.op(f"call {one} @{cut}({wide} {places}, i64 {at})"))
        result = b.op(f"call {wide} @{put}({wide} {result}, {one} {part}, i64 {at})")
    return Val(_resized(b, result, whole, b.lanes), x.dtype, True)


def _resized(b: Builder, text: str, lanes: int, wanted: int) -> str:
    """A vector of int32 with its last lanes cut off, or with more of any value."""
    if lanes == wanted:
        return text
    order = ", ".join(f"i32 {i % lanes}" for i in range(wanted))
    vec = f"<{lanes} x i32>"
    return b.op(f"shufflevector {vec} {text}, {vec} poison, <{wanted} x i32> <{order}>")


def _explicit_fma(b: Builder, args: tuple[Val, ...]) -> Val:
    """The user's `fma`: exact even where the target lacks it, through float64 or libm's `fma`."""
    dtype = args[0].dtype
    if b.module.features.fma or dtype.bits == 64:
        return rounded(b, b.intrinsic("fma", dtype, args), dtype)
    if is_narrow(dtype):  # Products are exact in float32, twice the precision.
        return fused_multiply_add(b, *args)
    # The product of two float32 is exact in float64; the sum is rounded to odd, so that the last
    # rounding is as if it were the only one.
    x, y, z = b.together(*(convert(b, a, float64) for a in args))
    product = plain(b, "fmul", x, y)
    total = plain(b, "fadd", product, z)
    part = plain(b, "fsub", total, product)
    left = plain(b, "fsub", product, plain(b, "fsub", total, part))
    lost = plain(b, "fadd", left, plain(b, "fsub", z, part))
    zero = constant(0, float64)
    inexact = plain(b, "fcmp one", lost, zero, bool_)
    outward = plain(
        b, "xor", compare(b, CompareOp.GT, total, zero), compare(b, CompareOp.LT, lost, zero)
    )
    bits = _bitcast(b, total, int64)
    even = compare(b, CompareOp.EQ, plain(b, "and", bits, constant(1, int64)), constant(0, int64))
    step = select(b, outward, constant(1, int64), constant(-1, int64))
    moved = plain(b, "add", bits, step)
    odd = select(b, plain(b, "and", inexact, even), moved, bits)
    return convert(b, _bitcast(b, odd, float64), dtype)


def _round_by_adding(b: Builder, name: str, x: Val) -> Val:
    """Rounding without an instruction for it: adding and subtracting 2**(p - 1) rounds to even."""
    dtype = x.dtype
    big = constant(2.0**52 if dtype.bits == 64 else 2.0**23, dtype)
    size = _magnitude(b, x)
    near = plain(b, "fsub", plain(b, "fadd", size, big), big)
    if name == "trunc":
        over = compare(b, CompareOp.GT, near, size)
        near = select(b, over, plain(b, "fsub", near, constant(1, dtype)), near)
    whole = plain(b, "fcmp uge", size, big, bool_)  # Large, infinite or NaN: x itself.
    signed = select(b, whole, x, b.intrinsic("copysign", dtype, (near, x)))
    if name in ("trunc", "round"):
        return signed
    one = constant(1, dtype)
    if name == "floor":
        over = compare(b, CompareOp.GT, signed, x)
        moved = select(b, over, plain(b, "fsub", signed, one), signed)
    else:
        over = compare(b, CompareOp.LT, signed, x)
        moved = select(b, over, plain(b, "fadd", signed, one), signed)
    return b.intrinsic("copysign", dtype, (moved, x))
