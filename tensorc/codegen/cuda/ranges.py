"""What integers can be: whether 32 bits hold one, whether it is negative, or a multiple."""

from __future__ import annotations

from math import gcd, inf
from typing import TYPE_CHECKING, TypeAlias

from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Call,
    Cast,
    Const,
    Dim,
    Expr,
    Let,
    Load,
    Select,
    Unary,
    UnaryOp,
    Var,
    Where,
)
from tensorc.ir.walk import walk

if TYPE_CHECKING:
    from tensorc.ir.stmt import For

Range: TypeAlias = tuple[float, float]
INT32 = (-(2**31), 2**31 - 1)
INT64 = (-(2**63), 2**63 - 1)
_ANY: Range = (-inf, inf)


def within(found: Range, limits: tuple[int, int]) -> bool:
    """Whether all values of a range lie inside the limits, both included."""
    return limits[0] <= found[0] and found[1] <= limits[1]


class Ranges:
    """The ranges of loop variables, and of expressions over them."""

    def __init__(self) -> None:
        """No variable is known."""
        self.vars: dict[Var, Range] = {}
        self._memo: dict[int, tuple[Expr, Range]] = {}

    def enter(self, loop: For) -> Range:
        """The range of a loop's variable, which is known from now on."""
        start, extent = self.of(loop.start), self.of(loop.extent)
        found = (start[0], max(start[0], start[1] + extent[1] - 1))
        self.vars[loop.var] = found
        return found

    def of(self, expr: Expr) -> Range:
        """The least and greatest value, infinite where nothing is known."""
        known = self._memo.get(id(expr))
        if known is None:
            known = self._memo[id(expr)] = (expr, self._find(expr))
        return known[1]

    def is_exact(self, expr: Expr) -> bool:
        """Whether an integer operation cannot leave its type, and so need not wrap.

        What holds no data is an index or a size, which memory bounds.
        """
        match expr:
            case Binary(op, a, b):
                found = _combine(op, self.of(a), self.of(b))
            case Unary(UnaryOp.NEG, a):
                low, high = self.of(a)
                found = (-high, -low)
            case _:
                return False
        if expr.dtype.bits == 64:
            return within(found, INT64) or not any(isinstance(n, Load) for n in walk(expr))
        return within(found, (int(expr.dtype.min_value), int(expr.dtype.max_value)))

    def _find(self, expr: Expr) -> Range:
        match expr:
            case Const(value, dtype):
                return (int(value), int(value)) if not dtype.is_float else _ANY
            case Dim():
                return (expr.lower, inf)
            case Var():
                return self.vars.get(expr, _of_type(expr))
            case Binary(op, a, b) if expr.dtype.is_int:
                return self._wrapped(expr, _combine(op, self.of(a), self.of(b)))
            case Unary(UnaryOp.NEG, a) if expr.dtype.is_int:
                low, high = self.of(a)
                return self._wrapped(expr, (-high, -low))
            case Cast(a, dtype) if dtype.is_int and not a.dtype.is_float:
                return self._wrapped(expr, self.of(a))
            case Select(_, a, b) | Where(_, a, b):
                x, y = self.of(a), self.of(b)
                return (min(x[0], y[0]), max(x[1], y[1]))
            case Let(var, value, body):
                self.vars[var] = self.of(value)
                return self.of(body)
            case Load() | Call():
                return _of_type(expr)
            case _:
                return _of_type(expr)

    def _wrapped(self, expr: Expr, found: Range) -> Range:
        """`found`, unless its type cannot hold it; what is beyond memory's size is no index."""
        limits = _of_type(expr)
        if expr.dtype.bits == 64 or (limits[0] <= found[0] and found[1] <= limits[1]):
            return found
        return limits


def _of_type(expr: Expr) -> Range:
    dtype = expr.dtype
    if dtype.is_float or dtype.bits == 64:
        return _ANY
    return (int(dtype.min_value), int(dtype.max_value))


def _combine(op: BinaryOp, x: Range, y: Range) -> Range:
    match op:
        case BinaryOp.ADD:
            return (x[0] + y[0], x[1] + y[1])
        case BinaryOp.SUB:
            return (x[0] - y[1], x[1] - y[0])
        case BinaryOp.MUL:
            ends = [_times(a, b) for a in x for b in y]
            return (min(ends), max(ends))
        case BinaryOp.MIN:
            return (min(x[0], y[0]), min(x[1], y[1]))
        case BinaryOp.MAX:
            return (max(x[0], y[0]), max(x[1], y[1]))
        case BinaryOp.FLOORDIV if y[0] == y[1] and 0 < y[0] < inf:
            c = int(y[0])
            return tuple(v if abs(v) == inf else int(v) // c for v in x)  # type: ignore[return-value]
        case BinaryOp.MOD if y[0] == y[1] and 0 < y[0] < inf:
            return x if x[0] >= 0 and x[1] < y[0] else (0, y[0] - 1)
        case BinaryOp.AND if x[0] >= 0 or y[0] >= 0:
            return (0, min(v[1] for v in (x, y) if v[0] >= 0))
        case BinaryOp.OR | BinaryOp.XOR if x[0] >= 0 and y[0] >= 0 and max(x[1], y[1]) < inf:
            return (0, (1 << int(max(x[1], y[1])).bit_length()) - 1)
        case _:
            return _ANY


def _times(a: float, b: float) -> float:
    return 0 if a == 0 or b == 0 else a * b


def is_multiple(expr: Expr, of: int) -> bool:
    """Whether an integer expression is a multiple of `of`, whatever its variables are.

    >>> from tensorc.ir.expr import Var
    >>> is_multiple(Var("i") * 8 + Var("n") * 4, 4)
    True
    """
    match expr:
        case Const(value, _):
            return int(value) % of == 0
        case Binary(BinaryOp.ADD | BinaryOp.SUB, a, b):
            return is_multiple(a, of) and is_multiple(b, of)
        case Binary(BinaryOp.MUL, a, b):
            for x, y in ((a, b), (b, a)):
                if isinstance(x, Const):
                    value = int(x.value)
                    common = gcd(value, of)
                    return is_multiple(y, of // common) if value else True
            return is_multiple(a, of) or is_multiple(b, of)
        case Binary(BinaryOp.MOD, a, Const(value, _)) if int(value) % of == 0 and value > 0:
            return is_multiple(a, of)
        case Unary(UnaryOp.NEG, a):
            return is_multiple(a, of)
        case _:
            return of == 1
