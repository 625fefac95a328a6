"""What each operation gives on single values: the semantics of the IR, in NumPy scalars.

Values are NumPy scalars of the exact dtype, so integers wrap and floats round as they must. The
interpreter runs on this and the simplifier folds constants with it. Call inside `exact()`, which
silences NumPy's warnings about overflow and the like.

A float intrinsic is computed in float64 and rounded once to its dtype; that is the reference
against which a backend's bound in ulp is stated.
"""

from __future__ import annotations

import math
import operator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tensorc.ir.expr import BinaryOp, CompareOp, Const, UnaryOp

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.dtypes import DType

Scalar: TypeAlias = Any  # A NumPy scalar; ml_dtypes has one for bfloat16 that NumPy cannot name.


def exact() -> np.errstate:
    """The context in which the functions of this module work."""
    return np.errstate(all="ignore")


def scalar(value: float | np.generic, dtype: DType) -> Scalar:
    """`value` as a scalar of `dtype`, rounded or wrapped to it."""
    if dtype.is_int and isinstance(value, int):  # NumPy refuses a Python int that does not fit.
        value = (value - int(dtype.min_value)) % (1 << dtype.bits) + int(dtype.min_value)
    return np.asarray(value, dtype=dtype.numpy)[()]


def constant(value: Scalar, dtype: DType) -> Const:
    """The constant of `value`, a scalar of `dtype`."""
    return Const(float(value) if dtype.is_float else int(value), dtype)


def _divide(a: Scalar, b: Scalar) -> Scalar:
    return a // b if b else b  # By zero: zero, never a trap.


def _modulo(a: Scalar, b: Scalar) -> Scalar:
    return a % b if b else b


def _minimum(a: Scalar, b: Scalar) -> Scalar:
    return a if a < b or a != a else b


def _maximum(a: Scalar, b: Scalar) -> Scalar:
    return a if a > b or a != a else b


BINARY: dict[BinaryOp, Callable[[Scalar, Scalar], Scalar]] = {
    BinaryOp.ADD: operator.add,
    BinaryOp.SUB: operator.sub,
    BinaryOp.MUL: operator.mul,
    BinaryOp.DIV: operator.truediv,
    BinaryOp.FLOORDIV: _divide,
    BinaryOp.MOD: _modulo,
    BinaryOp.MIN: _minimum,
    BinaryOp.MAX: _maximum,
    BinaryOp.AND: operator.and_,
    BinaryOp.OR: operator.or_,
    BinaryOp.XOR: operator.xor,
    # A count beyond the width, or negative, shifts every bit out; NumPy says the same.
    BinaryOp.SHL: operator.lshift,
    BinaryOp.SHR: operator.rshift,
}

UNARY: dict[UnaryOp, Callable[[Scalar], Scalar]] = {
    UnaryOp.NEG: operator.neg,
    UnaryOp.NOT: operator.invert,
}

COMPARE: dict[CompareOp, Callable[[Scalar, Scalar], Scalar]] = {
    CompareOp.EQ: operator.eq,
    CompareOp.NE: operator.ne,
    CompareOp.LT: operator.lt,
    CompareOp.LE: operator.le,
    CompareOp.GT: operator.gt,
    CompareOp.GE: operator.ge,
}


def convert(value: Scalar, dtype: DType) -> Scalar:
    """`Cast`: floats to integers toward zero, integers wrap, anything to bool by `!= 0`."""
    return value.astype(dtype.numpy)


def bitcast(value: Scalar, dtype: DType) -> Scalar:
    """The same bits read as `dtype`."""
    return np.asarray(value).view(dtype.numpy)[()]


def fma(a: Scalar, b: Scalar, c: Scalar) -> Scalar:
    """`a * b + c`, rounded once."""
    if isinstance(a, np.float64):
        return _fma64(a, b, c)
    product, addend = np.float64(a) * np.float64(b), np.float64(c)  # The product is exact.
    total = product + addend
    if np.isfinite(total):
        # Round to odd, so that rounding again to the narrow type is as if from the exact sum:
        # S. Boldo and G. Melquiond, "Emulation of FMA and correctly rounded sums: proved
        # algorithms using rounding to odd", IEEE Transactions on Computers 57(4), 2008.
        back = total - product
        error = (product - (total - back)) + (addend - back)
        if error != 0 and not int(total.view(np.uint64)) & 1:
            total = np.nextafter(total, np.inf if error > 0 else -np.inf)
    return total.astype(a.dtype)


def _fma64(a: np.float64, b: np.float64, c: np.float64) -> np.float64:
    plain = a * b + c
    if not (np.isfinite(a) and np.isfinite(b) and np.isfinite(c)):
        return plain
    total = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if total == 0:
        return plain  # The sign of zero is that of the rounded sum.
    try:
        return np.float64(float(total))
    except OverflowError:
        return np.float64(math.inf if total > 0 else -math.inf)


def tf32(x: Scalar) -> Scalar:
    """A float32 rounded to TF32: 10 bits of fraction, to nearest, ties away from zero.

    It is what `cvt.rna.tf32.f32` does: PTX ISA 8.8, "cvt". Infinities and NaN stay.
    """
    if not np.isfinite(x):
        return x
    bits = int(np.float32(x).view(np.uint32))
    return np.uint32((bits + 0x1000) & 0xFFFFE000).view(np.float32)


def _sigmoid(x: np.float64) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def _rsqrt(x: np.float64) -> Any:
    return 1.0 / np.sqrt(x)


def _erf(x: np.float64) -> Any:
    return np.float64(math.erf(x))


_IN_FLOAT64: dict[str, Callable[..., Any]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "rsqrt": _rsqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "erf": _erf,
    "pow": np.power,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
}


def _eighths(x: np.int32) -> Any:
    part = int(x) % 8
    return np.exp2(np.float64(part / 8)).astype(np.float32).view(np.int32) - np.int32(part << 20)


_IN_DTYPE: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "sign": np.sign,
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "fma": fma,
    "stop_gradient": lambda x: x,
    "tf32": tf32,
    "eighths": _eighths,
}


def intrinsic(name: str, dtype: DType) -> Callable[..., Scalar]:
    """The function that `Call(name, ...)` of result `dtype` computes."""
    if name == "bitcast":
        return lambda x: bitcast(x, dtype)
    if name in _IN_DTYPE:
        return _IN_DTYPE[name]
    wide, target = _IN_FLOAT64[name], dtype.numpy
    return lambda *args: np.float64(wide(*[np.float64(a) for a in args])).astype(target)
