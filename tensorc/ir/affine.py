"""Expressions as sums of variables with integer coefficients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING

from tensorc.dtypes import int64
from tensorc.ir.expr import Binary, BinaryOp, Cast, Const, Expr, Unary, UnaryOp, Var, is_const
from tensorc.ir.walk import walk

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Linear:
    """`sum(coeffs[v] * v) + const`; no coefficient is 0."""

    coeffs: Mapping[Var, int]
    const: int


@lru_cache(maxsize=32768)  # One index is asked about in many pairs of accesses.
def linear(expr: Expr) -> Linear | None:
    """`expr` as a sum with integer coefficients; None of a product of variables, `//`, a load."""
    match expr:
        case Const(value, dtype) if dtype.is_int:
            return Linear({}, int(value))
        case Var():
            return Linear({expr: 1}, 0)
        case Unary(UnaryOp.NEG, x):
            return _scale(linear(x), -1)
        case Cast(x, dtype) if dtype.is_int and x.dtype.is_int and dtype.bits >= x.dtype.bits:
            return linear(x)
        case Binary(BinaryOp.ADD, a, b):
            return _add(linear(a), linear(b))
        case Binary(BinaryOp.SUB, a, b):
            return _add(linear(a), _scale(linear(b), -1))
        case Binary(BinaryOp.MUL, a, b):
            return _multiply(linear(a), linear(b))
        case _:
            return None


@lru_cache(maxsize=16384)
def exact_linear(index: Expr) -> Linear | None:
    """As `linear`; None too where a part is narrower than int64, since its sums may wrap."""
    if any(n.dtype != int64 for n in walk(index)):  # type: ignore[union-attr]
        return None
    return linear(index)


def _scale(a: Linear | None, by: int) -> Linear | None:
    if a is None:
        return None
    return Linear({v: c * by for v, c in a.coeffs.items()} if by else {}, a.const * by)


def _multiply(a: Linear | None, b: Linear | None) -> Linear | None:
    if a is None or b is None:
        return None
    if not a.coeffs:
        return _scale(b, a.const)
    return _scale(a, b.const) if not b.coeffs else None


def _add(a: Linear | None, b: Linear | None) -> Linear | None:
    if a is None or b is None:
        return None
    total = dict(a.coeffs)
    for v, c in b.coeffs.items():
        total[v] = total.get(v, 0) + c
    return Linear({v: c for v, c in total.items() if c}, a.const + b.const)


def split_digits(
    form: Linear, by: int, limits: Mapping[Var, tuple[int, int]]
) -> tuple[int, Linear, Linear]:
    """The greatest `step` that divides `by`, with `high` and `low`: `form` is `step*high + low`.

    `low` lies in 0 .. step - 1, as `limits`, of variables, tell. So `form // by` is
    `high // (by / step)`, and `form % by` is `step * (high % (by / step)) + low`.
    """
    terms = sorted(form.coeffs.items(), key=lambda t: abs(t[1]))
    least = most = 0
    found = 1, form, Linear({}, 0)
    for count in range(len(terms) + 1):
        if count:
            var, c = terms[count - 1]
            if var not in limits:
                break
            ends = [c * x for x in limits[var]]
            least, most = least + min(ends), most + max(ends)
        step = gcd(by, *(c for _, c in terms[count:]))
        quotient = (form.const + least) // step
        rest = form.const - quotient * step
        if most + rest < step:
            near = {v for v, _ in terms[:count]}
            high = {v: c // step for v, c in form.coeffs.items() if v not in near}
            low = {v: c for v, c in form.coeffs.items() if v in near}
            found = step, Linear(high, quotient), Linear(low, rest)
    return found


def to_expr(form: Linear) -> Expr:
    """The expression of a linear form, variables in their order, the constant last."""
    result: Expr | None = None
    for var, c in form.coeffs.items():
        size = Const(abs(c), var.dtype)
        term: Expr = var if abs(c) == 1 else Binary(BinaryOp.MUL, var, size)
        if result is None:
            result = term if c > 0 else Unary(UnaryOp.NEG, term)
        else:
            result = Binary(BinaryOp.ADD if c > 0 else BinaryOp.SUB, result, term)
    if result is None:
        return Const(form.const)
    if form.const:
        op = BinaryOp.ADD if form.const > 0 else BinaryOp.SUB
        result = Binary(op, result, Const(abs(form.const), result.dtype))
    return result


def coefficient(expr: Expr, var: Var) -> Expr | None:
    """The factor of `var` in `expr`, which may hold other variables (a symbolic stride).

    None where `expr` is not affine in `var` (`var // 2`, `var * var`, a load at `var`).
    """
    zero = Const(0, expr.dtype)
    if all(n is not var for n in walk(expr)):
        return zero
    match expr:
        case Var():
            return Const(1, expr.dtype)
        case Unary(UnaryOp.NEG, operand):
            inner = coefficient(operand, var)
            return None if inner is None else Unary(UnaryOp.NEG, inner)
        case Binary(BinaryOp.ADD | BinaryOp.SUB as op, lhs, rhs):
            left, right = coefficient(lhs, var), coefficient(rhs, var)
            return None if left is None or right is None else _combine(op, left, right)
        case Binary(BinaryOp.MUL, lhs, rhs):
            left, right = coefficient(lhs, var), coefficient(rhs, var)
            if left is None or right is None:
                return None
            if is_const(left, 0):
                return _combine(BinaryOp.MUL, lhs, right)
            return _combine(BinaryOp.MUL, left, rhs) if is_const(right, 0) else None
        case _:
            return None


def _combine(op: BinaryOp, a: Expr, b: Expr) -> Expr:
    """`a op b` with the trivial cases folded."""
    if isinstance(a, Const) and isinstance(b, Const):
        x, y = int(a.value), int(b.value)
        value = x + y if op is BinaryOp.ADD else x - y if op is BinaryOp.SUB else x * y
        return Const(value, a.dtype)
    if isinstance(b, Const) and b.value == (1 if op is BinaryOp.MUL else 0):
        return a
    if isinstance(a, Const) and op is BinaryOp.MUL and a.value == 1:
        return b
    if isinstance(a, Const) and op is BinaryOp.ADD and a.value == 0:
        return b
    return Binary(op, a, b)
