"""Arithmetic on cotangents that leaves out ones and zeros, so that gradients read like our own.

A cotangent that is zero by structure is dropped before it gets here, so `0 * inf` does not arise.
"""

from __future__ import annotations

import math

from tensorc.dtypes import DType, bool_
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Call,
    Compare,
    CompareOp,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    UnaryOp,
    Where,
)
from tensorc.ir.walk import walk


def number(value: float, like: Expr) -> Const:
    """`value` in the dtype of `like`."""
    return Const(value, like.dtype)


def is_number(expr: Expr, value: float) -> bool:
    """Whether `expr` is the constant `value`."""
    return isinstance(expr, Const) and not expr.dtype.is_bool and expr.value == value


def add(a: Expr, b: Expr) -> Expr:
    """`a + b`."""
    if is_number(a, 0.0) or is_number(b, 0.0):
        return b if is_number(a, 0.0) else a
    if a is b:
        return mul(number(2.0, a), a)
    if isinstance(a, Const) and isinstance(b, Const):
        return number(a.value + b.value, a)
    if isinstance(b, Unary) and b.op is UnaryOp.NEG:
        return Binary(BinaryOp.SUB, a, b.operand)
    if isinstance(a, Unary) and a.op is UnaryOp.NEG:
        return Binary(BinaryOp.SUB, b, a.operand)
    return Binary(BinaryOp.ADD, a, b)


def neg(a: Expr) -> Expr:
    """`-a`."""
    match a:
        case Const(value):
            return number(-value, a)
        case Unary(UnaryOp.NEG, x):
            return x
        case Binary(BinaryOp.MUL, Const(value) as c, x):
            return mul(number(-value, c), x)
        case _:
            return Unary(UnaryOp.NEG, a)


def mul(a: Expr, b: Expr) -> Expr:
    """`a * b`, with a constant in front."""
    if isinstance(b, Const) and not isinstance(a, Const):
        a, b = b, a
    if is_number(a, 1.0):
        return b
    if is_number(a, -1.0):
        return neg(b)
    if isinstance(a, Const) and isinstance(b, Const):
        return number(a.value * b.value, a)
    if isinstance(a, Const) and _is_power_of_two(a):  # Folding is exact then.
        match b:
            case Binary(BinaryOp.MUL, Const(value), x):
                return mul(number(a.value * value, a), x)
            case _:
                pass
    if isinstance(a, Unary) and a.op is UnaryOp.NEG:
        return neg(mul(a.operand, b))
    return Binary(BinaryOp.MUL, a, b)


def div(a: Expr, b: Expr) -> Expr:
    """`a / b`."""
    if is_number(b, 1.0):
        return a
    if isinstance(a, Const) and isinstance(b, Const) and b.value:
        return number(a.value / b.value, a)
    if isinstance(a, Unary) and a.op is UnaryOp.NEG:
        return neg(div(a.operand, b))
    return Binary(BinaryOp.DIV, a, b)


def sub(a: Expr, b: Expr) -> Expr:
    """`a - b`."""
    if is_number(b, 0.0):
        return a
    if isinstance(a, Const) or isinstance(b, Unary):
        return add(a, neg(b)) if not isinstance(b, Binary) else Binary(BinaryOp.SUB, a, b)
    return Binary(BinaryOp.SUB, a, b)


def intrinsic(name: str, *args: Expr) -> Expr:
    """A call of an intrinsic whose result has its arguments' dtype."""
    return Call(name, args, args[0].dtype)


def power(a: Expr, b: Expr) -> Expr:
    """`a ** b`; an exponent of 0, 1 or 2 needs no call."""
    if is_number(b, 0.0):
        return number(1.0, a)
    if is_number(b, 1.0):
        return a
    if is_number(b, 2.0):
        return Binary(BinaryOp.MUL, a, a)
    return intrinsic("pow", a, b)


def select(cond: Expr, a: Expr, b: Expr) -> Expr:
    """`a` where `cond` holds, else `b`; both may be evaluated."""
    if isinstance(cond, Const):
        return a if cond.value else b
    return a if a is b else Select(cond, a, b)


def where(cond: Expr, a: Expr, b: Expr) -> Expr:
    """`a` where `cond` holds, else `b`, lazily."""
    if isinstance(cond, Const):
        return a if cond.value else b
    return a if a is b else Where(cond, a, b)


def compare(op: CompareOp, a: Expr, b: Expr) -> Expr:
    """`a op b`, decided at once between numbers."""
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(_COMPARE[op](a.value, b.value), bool_)
    return Compare(op, a, b)


def both(a: Expr, b: Expr) -> Expr:
    """`a and b`; `b` is evaluated only where `a` holds if it reads anything."""
    for x, y in ((a, b), (b, a)):
        if isinstance(x, Const):
            return y if x.value else x
    if reads(b):
        return Where(a, b, FALSE)
    return Binary(BinaryOp.AND, a, b)


def either(a: Expr, b: Expr) -> Expr:
    """`a or b`; `b` is evaluated only where `a` does not hold if it reads anything."""
    for x, y in ((a, b), (b, a)):
        if isinstance(x, Const):
            return x if x.value else y
    if reads(b):
        return Where(a, TRUE, b)
    return Binary(BinaryOp.OR, a, b)


def negate(cond: Expr) -> Expr:
    """`not cond`. A comparison of floats keeps its `not`, for the sake of NaN."""
    match cond:
        case Const(value):
            return Const(not value, bool_)
        case Compare(op, a, b) if not a.dtype.is_float or op in (CompareOp.EQ, CompareOp.NE):
            return Compare(_NEGATED[op], a, b)
        case Unary(UnaryOp.NOT, x):
            return x
        case Binary(BinaryOp.AND, a, b):
            return Binary(BinaryOp.OR, negate(a), negate(b))
        case Binary(BinaryOp.OR, a, b):
            return Binary(BinaryOp.AND, negate(a), negate(b))
        case Where(a, b, Const(False)):
            return either(negate(a), negate(b))
        case _:
            return Unary(UnaryOp.NOT, cond)


def reads(expr: Expr) -> bool:
    """Whether evaluating `expr` loads anything."""
    return any(isinstance(n, Load) for n in walk(expr))


def zero(dtype: DType) -> Const:
    """The zero cotangent."""
    return Const(0.0, dtype)


def _is_power_of_two(c: Const) -> bool:
    return c.value != 0 and math.isfinite(c.value) and abs(math.frexp(c.value)[0]) == 0.5


TRUE = Const(True, bool_)
FALSE = Const(False, bool_)

_NEGATED = {
    CompareOp.EQ: CompareOp.NE,
    CompareOp.NE: CompareOp.EQ,
    CompareOp.LT: CompareOp.GE,
    CompareOp.LE: CompareOp.GT,
    CompareOp.GT: CompareOp.LE,
    CompareOp.GE: CompareOp.LT,
}
_COMPARE = {
    CompareOp.EQ: lambda a, b: a == b,
    CompareOp.NE: lambda a, b: a != b,
    CompareOp.LT: lambda a, b: a < b,
    CompareOp.LE: lambda a, b: a <= b,
    CompareOp.GT: lambda a, b: a > b,
    CompareOp.GE: lambda a, b: a >= b,
}
