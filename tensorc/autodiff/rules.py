# ruff: noqa: ARG005 - the functions of a row share one signature.
"""The derivative of every operator and intrinsic, in one table.

A row holds one function for each operand: given the cotangent g of the result y and the operands,
it returns the operand's cotangent, g times the partial derivative. None stands for zero. A
cotangent `where(cond, g, 0)` is zero wherever `cond` does not hold, whatever g is there: the sweep
keeps `cond` as a guard around everything derived from it, so that neither NaN nor infinity leaks
out of a side that was not taken.

Choices at points where the derivative does not exist, as torch and JAX have them:

    abs(x) at 0          0
    minimum, maximum     half to each side where they tie; against a constant, which has no load in
                         it, nothing at a tie: the derivative of maximum(x, 0.0) at 0 is 0.
                         Then the result tells as well who won, y > c exactly where x > c, and
                         where x was computed it is asked: so x need not be kept for the gradient
    pow(x, y)            0 for x where y == 0; 0 for y where x == 0 and y >= 0
    floor, sign...       0 everywhere
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

from tensorc.autodiff.arith import (
    add,
    both,
    compare,
    div,
    intrinsic,
    mul,
    neg,
    number,
    power,
    reads,
    select,
    sub,
    where,
    zero,
)
from tensorc.ir.expr import Binary, BinaryOp, CompareOp, Expr, Load, UnaryOp
from tensorc.ir.walk import walk
from tensorc.te.tensor import Compute, Tensor

# (g, y, operands...) -> the cotangent of one operand.
Partial: TypeAlias = Callable[..., Expr]
Row: TypeAlias = tuple[Partial, ...] | None

LN2 = math.log(2.0)
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


def _pow_base(g: Expr, y: Expr, a: Expr, b: Expr) -> Expr:  # noqa: ARG001
    slope = mul(b, power(a, sub(b, number(1.0, b))))
    return where(compare(CompareOp.NE, b, number(0.0, b)), mul(g, slope), zero(g.dtype))


def _pow_exponent(g: Expr, y: Expr, a: Expr, b: Expr) -> Expr:
    flat = both(compare(CompareOp.EQ, a, number(0.0, a)), compare(CompareOp.GE, b, number(0.0, b)))
    return where(flat, zero(g.dtype), mul(g, mul(y, intrinsic("log", a))))


def _wins(op: CompareOp) -> Callable[[Expr, Expr, Expr, Expr], Expr]:
    """The cotangent of `mine` in a minimum or maximum y of it and `other`."""

    def partial(g: Expr, y: Expr, mine: Expr, other: Expr) -> Expr:
        if not reads(other):
            strict = CompareOp.GT if op is CompareOp.GE else CompareOp.LT
            # Exact at NaN too: it wins as either operand, and compares false in y as in `mine`.
            winner = y if isinstance(y, Load) and _is_computed(mine) else mine
            return where(compare(strict, winner, other), g, zero(g.dtype))
        if not reads(mine):
            return where(compare(op, mine, other), g, zero(g.dtype))
        half = select(compare(CompareOp.EQ, mine, other), number(0.5, g), number(1.0, g))
        return where(compare(op, mine, other), mul(g, half), zero(g.dtype))

    return partial


def _is_computed(operand: Expr) -> bool:
    """Whether an operand must be kept, or computed again, to be asked once more.

    A placeholder is there anyway. What is clipped on its other side is asked for that in any case.
    """
    if isinstance(operand, Load):
        return isinstance(operand.buffer, Tensor) and isinstance(operand.buffer.op, Compute)
    return not any(
        isinstance(n, Binary) and n.op in (BinaryOp.MIN, BinaryOp.MAX) for n in walk(operand)
    )


_AT_MOST, _AT_LEAST = _wins(CompareOp.LE), _wins(CompareOp.GE)

UNARY: Mapping[UnaryOp, Row] = {
    UnaryOp.NEG: (lambda g, y, x: neg(g),),
    UnaryOp.NOT: None,
}

BINARY: Mapping[BinaryOp, Row] = {
    BinaryOp.ADD: (lambda g, y, a, b: g, lambda g, y, a, b: g),
    BinaryOp.SUB: (lambda g, y, a, b: g, lambda g, y, a, b: neg(g)),
    BinaryOp.MUL: (lambda g, y, a, b: mul(g, b), lambda g, y, a, b: mul(a, g)),
    BinaryOp.DIV: (lambda g, y, a, b: div(g, b), lambda g, y, a, b: neg(div(mul(g, y), b))),
    BinaryOp.MIN: (
        lambda g, y, a, b: _AT_MOST(g, y, a, b),
        lambda g, y, a, b: _AT_MOST(g, y, b, a),
    ),
    BinaryOp.MAX: (
        lambda g, y, a, b: _AT_LEAST(g, y, a, b),
        lambda g, y, a, b: _AT_LEAST(g, y, b, a),
    ),
    BinaryOp.FLOORDIV: None,
    BinaryOp.MOD: None,
    BinaryOp.AND: None,
    BinaryOp.OR: None,
    BinaryOp.XOR: None,
    BinaryOp.SHL: None,
    BinaryOp.SHR: None,
}

INTRINSIC: Mapping[str, Row] = {
    "exp": (lambda g, y, x: mul(g, y),),
    "exp2": (lambda g, y, x: mul(g, mul(number(LN2, y), y)),),
    "expm1": (lambda g, y, x: mul(g, intrinsic("exp", x)),),
    "log": (lambda g, y, x: div(g, x),),
    "log2": (lambda g, y, x: div(mul(number(1.0 / LN2, x), g), x),),
    "log1p": (lambda g, y, x: div(g, add(number(1.0, x), x)),),
    "sqrt": (lambda g, y, x: div(mul(number(0.5, g), g), y),),
    "rsqrt": (lambda g, y, x: mul(mul(number(-0.5, g), g), div(y, x)),),
    "sin": (lambda g, y, x: mul(g, intrinsic("cos", x)),),
    "cos": (lambda g, y, x: neg(mul(g, intrinsic("sin", x))),),
    "tanh": (lambda g, y, x: mul(g, sub(number(1.0, y), mul(y, y))),),
    "sigmoid": (lambda g, y, x: mul(g, mul(y, sub(number(1.0, y), y))),),
    "erf": (
        lambda g, y, x: mul(g, mul(number(TWO_OVER_SQRT_PI, x), intrinsic("exp", neg(mul(x, x))))),
    ),
    "pow": (_pow_base, _pow_exponent),
    "abs": (lambda g, y, x: mul(g, intrinsic("sign", x)),),
    "sign": None,
    "floor": None,
    "ceil": None,
    "round": None,
    "trunc": None,
    "isnan": None,
    "isinf": None,
    "isfinite": None,
    "fma": (
        lambda g, y, a, b, c: mul(g, b),
        lambda g, y, a, b, c: mul(a, g),
        lambda g, y, a, b, c: g,
    ),
    "stop_gradient": None,
    "tf32": (lambda g, y, x: g,),
}

# Intrinsics that have a derivative nobody can mean: the sweep refuses them by name.
REFUSED = ("bitcast", "eighths")
