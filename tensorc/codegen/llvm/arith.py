"""Arithmetic on values in registers, scalar or vector, with tensorc's meaning of each operation.

No fast-math flag is ever set. Integer division by zero gives 0, the least integer divided by -1
wraps, a shift by the width or more gives 0 (or -1 for a negative value shifted right).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.llvm.narrow import double_to_float_odd, is_narrow, rounded
from tensorc.codegen.llvm.types import Val, literal, scalar_type
from tensorc.dtypes import DType, bool_, float32
from tensorc.ir.expr import BinaryOp, CompareOp, UnaryOp

if TYPE_CHECKING:
    from tensorc.codegen.llvm.builder import Builder

_FLOAT_OPS = {
    BinaryOp.ADD: "fadd",
    BinaryOp.SUB: "fsub",
    BinaryOp.MUL: "fmul",
    BinaryOp.DIV: "fdiv",
}
_INT_OPS = {
    BinaryOp.ADD: "add",
    BinaryOp.SUB: "sub",
    BinaryOp.MUL: "mul",
    BinaryOp.AND: "and",
    BinaryOp.OR: "or",
    BinaryOp.XOR: "xor",
}
_COMPARE = {
    CompareOp.EQ: "eq",
    CompareOp.NE: "ne",
    CompareOp.LT: "lt",
    CompareOp.LE: "le",
    CompareOp.GT: "gt",
    CompareOp.GE: "ge",
}


def constant(value: int | float | bool, dtype: DType) -> Val:
    """A uniform literal."""
    return Val(literal(value, dtype), dtype)


def plain(b: Builder, op: str, x: Val, y: Val, dtype: DType | None = None) -> Val:
    """One two-operand instruction; `dtype` where the result is of another."""
    x, y = b.together(x, y)
    return Val(b.pure(f"{op} {b.type_of(x)} {x.text}, {y.text}"), dtype or x.dtype, x.varying)


def select(b: Builder, cond: Val, x: Val, y: Val) -> Val:
    """`x` where `cond` holds, else `y`; a uniform condition chooses whole vectors."""
    if cond.is_literal and not cond.varying:
        return x if cond.text == "true" else y
    if cond.varying:
        cond, x, y = b.together(cond, x, y)
    else:
        x, y = b.together(x, y)
    type_ = b.type_of(x)
    text = b.op(f"select {b.type_of(cond)} {cond.text}, {type_} {x.text}, {type_} {y.text}")
    return Val(text, x.dtype, x.varying)


def compare(b: Builder, op: CompareOp, x: Val, y: Val) -> Val:
    """A comparison; floats compare ordered, but for NE."""
    name = _COMPARE[op]
    if x.dtype.is_float:
        return plain(b, f"fcmp {'u' if op is CompareOp.NE else 'o'}{name}", x, y, bool_)
    sign = "" if op in (CompareOp.EQ, CompareOp.NE) else "s" if x.dtype.kind == "i" else "u"
    return plain(b, f"icmp {sign}{name}", x, y, bool_)


def unary(b: Builder, op: UnaryOp, x: Val) -> Val:
    """Negation, or not."""
    if op is UnaryOp.NOT:
        if x.dtype.is_bool:
            return b.negated(x)
        return plain(b, "xor", x, constant(-1, _signed(x.dtype)))
    if x.dtype.is_float:
        return Val(b.op(f"fneg {b.type_of(x)} {x.text}"), x.dtype, x.varying)
    return plain(b, "sub", constant(0, x.dtype), x)


def _signed(dtype: DType) -> DType:
    return DType(f"int{dtype.bits}", "i", dtype.bits)


def binary(b: Builder, op: BinaryOp, x: Val, y: Val) -> Val:
    """`x op y`."""
    if op in (BinaryOp.MIN, BinaryOp.MAX):
        return _extremum(b, op, x, y)
    if x.dtype.is_float:
        return rounded(b, plain(b, _FLOAT_OPS[op], x, y), x.dtype)
    if op in (BinaryOp.FLOORDIV, BinaryOp.MOD):
        return _divide(b, op, x, y)
    if op in (BinaryOp.SHL, BinaryOp.SHR):
        return _shift(b, op, x, y)
    return plain(b, _INT_OPS[op], x, y)


def _extremum(b: Builder, op: BinaryOp, x: Val, y: Val) -> Val:
    least = op is BinaryOp.MIN
    if x.dtype.is_bool:
        return plain(b, "and" if least else "or", x, y)
    if x.dtype.is_int:
        sign = "s" if x.dtype.kind == "i" else "u"
        return b.intrinsic(f"{sign}{'min' if least else 'max'}", x.dtype, (x, y))
    better = CompareOp.LT if least else CompareOp.GT
    if _is_number(x):  # One comparison does: `y`, where it may be NaN, is the default.
        return select(b, compare(b, better, x, y), x, y)
    if _is_number(y):
        return select(b, compare(b, better, y, x), y, x)
    found = select(b, compare(b, better, x, y), x, y)  # `y` where either is NaN.
    if x.varying and y.varying:
        return _nan_where(b, plain(b, "fcmp uno", x, x, bool_), found)
    # Were the first side `x`, LLVM would join both selections, which for scalars is a branch.
    return select(b, plain(b, "fcmp uno", x, x, bool_), plain(b, "fadd", x, x), found)


def _nan_where(b: Builder, lanes: Val, x: Val) -> Val:
    """`x`, with all bits set in some lanes: one instruction less than a selection."""
    ints = b.vector("i64" if scalar_type(x.dtype) == "double" else "i32")
    mask = b.op(f"sext {b.type_of(lanes)} {lanes.text} to {ints}")
    bits = b.op(f"or {ints} {mask}, {b.op(f'bitcast {b.type_of(x)} {x.text} to {ints}')}")
    return Val(b.op(f"bitcast {ints} {bits} to {b.type_of(x)}"), x.dtype, True)


def _is_number(x: Val) -> bool:
    return x.is_literal and not x.varying and x.text[:6] not in ("0x7FF8", "0xFFF8")


def _divide(b: Builder, op: BinaryOp, x: Val, y: Val) -> Val:
    """Floor division or modulo; a literal divisor needs no guard."""
    dtype = x.dtype
    zero, one = constant(0, dtype), constant(1, dtype)
    signed = dtype.kind == "i"
    if y.is_literal and not y.varying:
        divisor = int(y.text)
        if divisor == 0:
            return zero
        if divisor > 0 and divisor & (divisor - 1) == 0:
            if op is BinaryOp.MOD:
                return plain(b, "and", x, constant(divisor - 1, dtype))
            count = constant(divisor.bit_length() - 1, dtype)
            return plain(b, "ashr" if signed else "lshr", x, count)
        if divisor == -1 and signed:
            return zero if op is BinaryOp.MOD else plain(b, "sub", zero, x)
        safe = y
    else:
        bad = compare(b, CompareOp.EQ, y, zero)
        if signed:
            bad = plain(b, "or", bad, compare(b, CompareOp.EQ, y, constant(-1, dtype)))
        safe = select(b, bad, one, y)
    quotient = plain(b, "sdiv" if signed else "udiv", x, safe)
    if signed:
        rest = plain(b, "sub", x, plain(b, "mul", quotient, safe))
        nonzero = compare(b, CompareOp.NE, rest, zero)
        apart = compare(b, CompareOp.LT, plain(b, "xor", rest, safe), zero)
        fix = plain(b, "and", nonzero, apart)
        if op is BinaryOp.MOD:
            result = select(b, fix, plain(b, "add", rest, safe), rest)
        else:
            result = select(b, fix, plain(b, "sub", quotient, one), quotient)
    elif op is BinaryOp.MOD:
        result = plain(b, "sub", x, plain(b, "mul", quotient, safe))
    else:
        result = quotient
    if safe is y:
        return result
    if op is BinaryOp.FLOORDIV and signed:
        minus = compare(b, CompareOp.EQ, y, constant(-1, dtype))
        result = select(b, minus, plain(b, "sub", zero, x), result)
    return select(b, compare(b, CompareOp.EQ, y, zero), zero, result)


def _shift(b: Builder, op: BinaryOp, x: Val, y: Val) -> Val:
    bits = x.dtype.bits
    arithmetic = op is BinaryOp.SHR and x.dtype.kind == "i"
    name = "shl" if op is BinaryOp.SHL else "ashr" if arithmetic else "lshr"
    unsigned = f"u{x.dtype.name.removeprefix('u')}"
    if y.is_literal and not y.varying:
        count = int(y.text) % (1 << bits)
        if count >= bits and not arithmetic:
            return constant(0, x.dtype)
        return plain(b, name, x, constant(min(count, bits - 1), x.dtype))
    as_unsigned = Val(y.text, DType(unsigned, "u", bits), y.varying)
    most = Val(str(bits - 1), as_unsigned.dtype)
    limited = b.intrinsic("umin", x.dtype, (as_unsigned, most))
    shifted = plain(b, name, x, limited)
    if arithmetic:
        return shifted
    inside = compare(b, CompareOp.LE, as_unsigned, most)
    return select(b, inside, shifted, constant(0, x.dtype))


def fused_multiply_add(b: Builder, x: Val, y: Val, z: Val) -> Val:
    """`x * y + z` rounded once where the target has the instruction, else twice."""
    if b.module.features.fma:
        return rounded(b, b.intrinsic("fma", x.dtype, (x, y, z)), x.dtype)
    return rounded(b, plain(b, "fadd", plain(b, "fmul", x, y), z), x.dtype)


def convert(b: Builder, x: Val, dtype: DType) -> Val:
    """`x` as `dtype`: floats to integers toward zero (saturating), anything to bool by != 0."""
    source = x.dtype
    if source == dtype:
        return x
    if dtype.is_bool:
        return compare(b, CompareOp.NE, x, constant(0, source))
    target, here = scalar_type(dtype), b.type_of(x)
    there = b.vector(target, x.varying)
    if source.is_float and dtype.is_float:
        return _resize(b, x, dtype)
    if source.is_float:
        name = "fptosi" if dtype.kind == "i" else "fptoui"
        suffix = b.suffix(target, x.varying), b.suffix(scalar_type(source), x.varying)
        full = b.module.declare(f"llvm.{name}.sat.{suffix[0]}.{suffix[1]}", there, [here])
        return Val(b.op(f"call {there} @{full}({here} {x.text})"), dtype, x.varying)
    if dtype.is_float:
        name = "sitofp" if source.kind == "i" else "uitofp"
        wide = Val(b.op(f"{name} {here} {x.text} to {there}"), dtype, x.varying)
        return rounded(b, wide, dtype)
    if dtype.bits == source.bits:
        return Val(x.text, dtype, x.varying)
    name = "trunc" if dtype.bits < source.bits else "sext" if source.kind == "i" else "zext"
    return Val(b.op(f"{name} {here} {x.text} to {there}"), dtype, x.varying)


def _resize(b: Builder, x: Val, dtype: DType) -> Val:
    single, double = b.vector("float", x.varying), b.vector("double", x.varying)
    if x.dtype.bits == 64:
        if dtype.name == "float16":
            return rounded(b, double_to_float_odd(b, x), dtype)
        near = Val(b.op(f"fptrunc {double} {x.text} to {single}"), float32, x.varying)
        return Val(rounded(b, near, dtype).text, dtype, x.varying)
    if dtype.bits == 64:
        return Val(b.op(f"fpext {single} {x.text} to {double}"), dtype, x.varying)
    value = Val(x.text, dtype, x.varying)
    return rounded(b, value, dtype) if is_narrow(dtype) else value
