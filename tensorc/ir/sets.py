"""Integer sets through islpy: proofs about index expressions, with counterexamples.

The one door to isl. A condition is over-approximated where it is not affine (a load, a product of
variables): such a part may take any value its type holds. So a proof stands whatever the data, and
a failed proof shows numbers only where they are exact.

Sets are built as text: isl parses it in tens of microseconds, equal questions give equal texts,
and their answers are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from math import inf
from typing import TYPE_CHECKING, Any

from tensorc.dtypes import int64
from tensorc.ir.affine import exact_linear
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Cast,
    Compare,
    CompareOp,
    Const,
    Dim,
    Expr,
    Select,
    Unary,
    UnaryOp,
    Var,
    Where,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

# How many elementary operations isl may spend on one question before we call it too hard.
MAX_OPERATIONS = 2_000_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a proof.

    Attributes:
        holds: the claim is true at every point.
        witness: values of the variables for which it is false; None where it holds, or where the
            counterexample is not exact (the question has parts that are not affine).
        too_hard: isl gave up within its limit; nothing is proved.
    """

    holds: bool
    witness: Mapping[Var, int] | None = None
    too_hard: bool = False


class Encoder:
    """Expressions as isl text over named integer variables.

    Each `Var` gets the name `v0`, `v1`... in order of first use; each part that is not affine a
    variable of its own. `copy` keeps two instances of one variable apart.
    """

    def __init__(self) -> None:
        """No variables yet."""
        self.names: dict[tuple[Var, int], str] = {}
        self.side: list[str] = []  # Constraints that hold for the variables whatever they are for.
        self.exact = True
        self._opaque: dict[tuple[int, int], str] = {}
        self._keep: list[Expr] = []  # Keeps ids alive while they are keys.
        self._count = 0

    def fresh(self) -> str:
        """A new variable, any integer."""
        self._count += 1
        return f"u{self._count}"

    def var(self, var: Var, copy: int = 0) -> str:
        """The name of `var`; a size is at least its lower limit."""
        if isinstance(var, Dim):
            copy = 0
        name = self.names.get((var, copy))
        if name is None:
            name = self.names[var, copy] = f"v{len(self.names)}"
            if isinstance(var, Dim):
                self.side.append(f"{name} >= {var.lower}")
        return name

    def number(self, expr: Expr, copy: int = 0) -> str:
        """An integer expression as isl text; a part that is not affine becomes a variable."""
        match expr:
            case Const(value, _):
                return str(int(value))
            case Var():
                return self.var(expr, copy)
            case Unary(UnaryOp.NEG, x):
                return f"(-{self.number(x, copy)})"
            case Cast(x, dtype) if x.dtype.is_int and (dtype == int64 or dtype == x.dtype):
                return self.number(x, copy)
            case Binary(op, lhs, rhs) if expr.dtype == int64:  # Narrower ones may wrap.
                found = self._binary(op, lhs, rhs, copy)
                return self.opaque(expr, copy) if found is None else found
            case Select(cond, a, b) | Where(cond, a, b):
                name = self.fresh()
                left, right = self.number(a, copy), self.number(b, copy)
                yes, no = self.condition(cond, True, copy), self.condition(cond, False, copy)
                self.side.append(f"(({yes} and {name} = {left}) or ({no} and {name} = {right}))")
                return name
            case _:
                return self.opaque(expr, copy)

    def _binary(self, op: BinaryOp, a: Expr, b: Expr, copy: int) -> str | None:
        match op:
            case BinaryOp.ADD | BinaryOp.SUB:
                return f"({self.number(a, copy)} {op.value} {self.number(b, copy)})"
            case BinaryOp.MUL if isinstance(a, Const):
                return f"({int(a.value)}*{self.number(b, copy)})"
            case BinaryOp.MUL if isinstance(b, Const):
                return f"({int(b.value)}*{self.number(a, copy)})"
            case BinaryOp.FLOORDIV if isinstance(b, Const) and b.value > 0:
                return f"floor(({self.number(a, copy)})/{int(b.value)})"
            case BinaryOp.MOD if isinstance(b, Const) and b.value > 0:
                text, c = self.number(a, copy), int(b.value)
                return f"({text} - {c}*floor(({text})/{c}))"
            case BinaryOp.MIN | BinaryOp.MAX:
                x, y, name = self.number(a, copy), self.number(b, copy), self.fresh()
                sign = "<=" if op is BinaryOp.MIN else ">="
                self.side.append(f"{name} {sign} {x} and {name} {sign} {y}")
                self.side.append(f"({name} = {x} or {name} = {y})")
                return name
            case _:
                return None

    def opaque(self, expr: Expr, copy: int = 0) -> str:
        """A variable for a part that is not affine: any value of its type."""
        self.exact = False
        name = self._opaque.get((id(expr), copy))
        if name is None:
            name = self._opaque[id(expr), copy] = self.fresh()
            self._keep.append(expr)
            if expr.dtype.bits < 32:
                low, high = int(expr.dtype.min_value), int(expr.dtype.max_value)
                self.side.append(f"{low} <= {name} <= {high}")
        return name

    def condition(self, cond: Expr, holds: bool = True, copy: int = 0) -> str:
        """The isl text of the points where `cond` is `holds`, or of a superset."""
        match cond:
            case Const(value, _):
                return "true" if bool(value) is holds else "false"
            case Unary(UnaryOp.NOT, x):
                return self.condition(x, not holds, copy)
            case Binary(BinaryOp.AND | BinaryOp.OR as op, a, b):
                both = (op is BinaryOp.AND) is holds
                left, right = self.condition(a, holds, copy), self.condition(b, holds, copy)
                return f"({left} {'and' if both else 'or'} {right})"
            case Compare(op, a, b) if a.dtype.is_int:
                sign = _SIGNS[op][0 if holds else 1]
                return f"({self.number(a, copy)} {sign} {self.number(b, copy)})"
            case _:
                self.exact = False
                return "true"

    def set_of(self, *constraints: str) -> str:
        """The text of the set of all points that satisfy `constraints`."""
        every = [*constraints, *self.side]
        dims = [*self.names.values(), *(f"u{i + 1}" for i in range(self._count))]
        return f"{{ [{', '.join(dims)}] : {' and '.join(every) or 'true'} }}"

    def read(self, point: Sequence[int]) -> dict[tuple[Var, int], int]:
        """The values of the variables at a point of `set_of`."""
        return dict(zip(self.names, point, strict=False))


_SIGNS = {
    CompareOp.EQ: ("=", "!="),
    CompareOp.NE: ("!=", "="),
    CompareOp.LT: ("<", ">="),
    CompareOp.LE: ("<=", ">"),
    CompareOp.GT: (">", "<="),
    CompareOp.GE: (">=", "<"),
}

EMPTY = ()


@cache
def _islpy() -> Any:
    """The library, imported with the first question: it takes as long as all of `tensorc`."""
    import islpy  # noqa: PLC0415 - see above

    return islpy


@lru_cache(maxsize=65536)
def sample(text: str) -> tuple[int, ...] | None:
    """A point of the set, `EMPTY` where there is none, None where isl gives up in its limit."""
    isl = _islpy()
    context = isl.DEFAULT_CONTEXT
    context.set_max_operations(MAX_OPERATIONS)
    context.reset_operations()
    try:
        found = isl.Set(text)
        if found.is_empty():
            return EMPTY
        point = found.sample_point()
        count = found.dim(isl.dim_type.set)
        return tuple(
            int(point.get_coordinate_val(isl.dim_type.set, d).to_python()) for d in range(count)
        ) or (0,)
    except isl.Error as error:
        if "operations" in str(error):  # The limit set above; anything else is our bug.
            return None
        raise
    finally:
        context.set_max_operations(0)


def prove(claim: Expr, given: Sequence[Expr] = ()) -> Verdict:
    """Whether `claim` holds at every point where all of `given` hold, for every size.

    Variables are integers without limits but those that `given` states (a `Dim` is at least its
    `lower`).
    """
    known_by_ranges = _by_ranges(claim, given)
    if known_by_ranges is not None:
        return known_by_ranges
    encoder = Encoder()
    wrong = encoder.condition(claim, False)
    known = [encoder.condition(g) for g in given]
    point = sample(encoder.set_of(wrong, *known))
    if point is None:
        return Verdict(False, None, too_hard=True)
    if point == EMPTY:
        return Verdict(True)
    if not encoder.exact:
        return Verdict(False)
    return Verdict(False, {var: value for (var, _), value in encoder.read(point).items()})


def _by_ranges(claim: Expr, given: Sequence[Expr]) -> Verdict | None:
    """The verdict where constant limits of variables are enough, or all there is; else None."""
    if not isinstance(claim, Compare) or not claim.lhs.dtype.is_int:
        return None
    left, right = exact_linear(claim.lhs), exact_linear(claim.rhs)
    if left is None or right is None:
        return None
    coeffs = dict(left.coeffs)
    for var, c in right.coeffs.items():
        coeffs[var] = coeffs.get(var, 0) - c
    limits = _Limits(given)
    low: float = left.const - right.const
    high = low
    for var, c in coeffs.items():
        ends = [c * end for end in limits.of(var)] if c else [0]
        low, high = low + min(ends), high + max(ends)
    if _is_sure(claim.op, low, high):
        return Verdict(True)
    ordered = claim.op in (CompareOp.LT, CompareOp.LE, CompareOp.GT, CompareOp.GE)
    if not ordered or not limits.is_box(coeffs):
        return None
    side = 1 if claim.op in (CompareOp.LT, CompareOp.LE) else 0
    worst = {v: limits.of(v)[side if coeffs.get(v, 0) > 0 else 1 - side] for v in limits.vars}
    return Verdict(False, {v: int(n) for v, n in worst.items()})


def _is_sure(op: CompareOp, low: float, high: float) -> bool:
    """Whether `x op 0` for all `low <= x <= high`."""
    match op:
        case CompareOp.LT:
            return high < 0
        case CompareOp.LE:
            return high <= 0
        case CompareOp.GT:
            return low > 0
        case CompareOp.GE:
            return low >= 0
        case CompareOp.EQ:
            return low == high == 0
        case CompareOp.NE:
            return low > 0 or high < 0


class _Limits:
    """The constant limits of variables that facts state as `c <= v` and `v < c`."""

    def __init__(self, given: Sequence[Expr]) -> None:
        self.lows: dict[Var, float] = {}
        self.highs: dict[Var, float] = {}
        self.more = False  # Whether there are facts of another kind.
        for fact in given:
            match fact:
                case Compare(CompareOp.LE, Const(value, _), Var() as var):
                    self.lows[var] = max(self.lows.get(var, -inf), int(value))
                case Compare(CompareOp.LT, Var() as var, Const(value, _)):
                    self.highs[var] = min(self.highs.get(var, inf), int(value) - 1)
                case _:
                    self.more = True

    @property
    def vars(self) -> list[Var]:
        """The variables that have a limit, in order."""
        return list(dict.fromkeys((*self.lows, *self.highs)))

    def of(self, var: Var) -> tuple[float, float]:
        """The least and greatest value of `var`, infinite where there is no limit."""
        least = var.lower if isinstance(var, Dim) else -inf
        return max(self.lows.get(var, -inf), least), self.highs.get(var, inf)

    def is_box(self, wanted: Iterable[Var]) -> bool:
        """Whether the facts are finite limits of `wanted` and others, and some point fits all."""
        ranges = [self.of(v) for v in {*wanted, *self.vars}]
        return not self.more and all(-inf < low <= high < inf for low, high in ranges)


def bounds(expr: Expr, given: Sequence[Expr]) -> tuple[int | None, int | None]:
    """The least and greatest value of `expr` where `given` holds; None where there is no limit."""
    encoder = Encoder()
    value = encoder.number(expr)
    known = [encoder.condition(g) for g in given]
    name = encoder.fresh()
    text = encoder.set_of(f"{name} = {value}", *known)
    return _range_of_last(text)


@lru_cache(maxsize=4096)
def _range_of_last(text: str) -> tuple[int | None, int | None]:
    isl = _islpy()
    found = isl.Set(text)
    last = found.dim(isl.dim_type.set) - 1
    if found.is_empty():
        return None, None
    low, high = found.dim_min_val(last), found.dim_max_val(last)
    return (
        int(low.to_python()) if low.is_int() else None,
        int(high.to_python()) if high.is_int() else None,
    )
