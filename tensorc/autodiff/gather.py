"""What one read of a tensor contributes to its cotangent: a sum over the points that read.

    Y[i] = sum(A[2 * i + r] * w[r], axis=r)

gives `dA[p] = sum(dY[p // 2 - t] * w[2 * t + p % 2], axis=t, where=...)`. Where the terms of a sum
depend on `p % 2`, there is a definition for each remainder instead, a dense sum without a test
inside, and `dA` picks from them (`layout`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from tensorc.autodiff.access import Inverse, Kind, invert
from tensorc.autodiff.arith import mul, negate, reads, where, zero
from tensorc.autodiff.forms import Forms
from tensorc.autodiff.intern import Interner
from tensorc.autodiff.layout import by_remainder, remainders
from tensorc.autodiff.sweep import Guard, Term, guarded
from tensorc.dtypes import accumulator
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Const,
    Dim,
    Expr,
    Load,
    Reduce,
    Unary,
    UnaryOp,
    Var,
    all_of,
    cast,
)
from tensorc.ir.printer import show
from tensorc.ir.sets import prove
from tensorc.ir.walk import free_vars, loads, rewrite, walk
from tensorc.te.axis import IterVar
from tensorc.te.bounds import axis_conditions, conjuncts, lazy_and
from tensorc.te.reduce import sum as reduce_sum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.te.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one access contributes: `term` is the cotangent of `load`, over `axes` of `reader`."""

    load: Load
    term: Term
    axes: tuple[IterVar, ...]
    reader: Tensor


@dataclass(frozen=True, slots=True)
class Adjoint:
    """The adjoint of one access.

    Attributes:
        access: what is read.
        reader: the definition that reads it.
        kind: how its cotangent is found, and `reason`, why so.
        solution: where an element is read, as text: `i = p - r`.
        body: the contribution at the points of the cotangent; None where nothing reads it.
    """

    access: Load
    reader: Tensor
    kind: Kind
    reason: str
    solution: str
    body: Expr | None


def adjoint(contribution: Contribution, points: tuple[IterVar, ...]) -> Adjoint:
    """The adjoint of an access at `points`, the axes of the cotangent."""
    load = contribution.load
    forms = Forms(Interner())
    inverse, body = _at(contribution, points, points, forms)
    if inverse is None:
        reason = "no iteration reads it"
        return Adjoint(load, contribution.reader, Kind.GATHER, reason, "", None)
    reason, solution = _reason(inverse, contribution), _solution(inverse, contribution, forms)
    steps = remainders(inverse.strides, points) if _holds_sum(body) else {}
    if steps:
        body = by_remainder(
            load.buffer.name,
            points,
            steps,
            lambda new, at: _at(contribution, new, at, Forms(Interner()))[1],
        )
    return Adjoint(load, contribution.reader, inverse.kind, reason, solution, body)


def _holds_sum(body: Expr | None) -> bool:
    return body is not None and any(isinstance(n, Reduce) for n in walk(body))


def _at(
    contribution: Contribution,
    points: tuple[IterVar, ...],
    element: Sequence[Expr],
    forms: Forms,
) -> tuple[Inverse | None, Expr | None]:
    """The inverse of an access, and what it contributes to `element`, over `points`."""
    load, term = contribution.load, contribution.term
    for point in points:
        size = forms.of(point.extent)
        forms.assume_positive(size)
        forms.bound(point, {}, size)
    taken = [p.name for p in points]
    inverse = invert(forms, load.indices, element, contribution.axes, taken)
    if inverse is None:
        return None, None
    solved = inverse
    at_element = Load(load.buffer, tuple(map(forms.tidy, element)), loc=load.loc)

    def settle(expr: Expr) -> Expr:
        same = rewrite(expr, lambda n: at_element if n is load else None)
        return forms.replace(same, solved.values)

    searched = list(inverse.searched)
    conds = [c for c in inverse.conds if all(c is not s for s in searched)]
    for cond, truth in term.guards:
        settled = settle(cond)
        conds.extend(conjuncts(settled if truth else negate(settled)))
    return inverse, _summed(forms, points, inverse.axes, conds, searched, settle(term.value))


def _summed(
    forms: Forms,
    points: Sequence[IterVar],
    axes: Sequence[IterVar],
    conds: Sequence[Expr],
    searched: Sequence[Expr],
    value: Expr,
) -> Expr | None:
    """The sum of `value` over `axes` where `conds` and `searched` hold; None where they never do.

    Conditions on indices alone limit the sum, and those that say which points to add up do too; any
    other that reads a tensor is evaluated only where those before it hold.
    """
    open_conds = [c for c in conds if not isinstance(c, Const)]
    if any(isinstance(c, Const) and not c.value for c in conds):
        return None
    unique = list(dict.fromkeys(open_conds))
    plain = _needed([c for c in unique if not reads(c)], (*points, *axes))
    value = guarded(_lazy([c for c in unique if reads(c)]), value)
    used = _variables(value, *plain, *searched)
    summed = [a for a in axes if a in used]
    for axis in axes:
        if axis not in used:
            wide = accumulator(value.dtype)
            value = cast(mul(cast(axis.extent, wide), cast(value, wide)), value.dtype)
    if not summed:
        return forms.intern(_under(plain, value))
    # A condition on a point that the sum does not depend on stands around it: one sum serves all.
    inner = [c for c in plain if not _variables(c).isdisjoint(summed)]
    apart = _variables(value, *inner, *searched)
    outer = [c for c in plain if _variables(c).isdisjoint(apart | set(summed))]
    test = all_of([c for c in plain if all(c is not o for o in outer)])
    for cond in searched:
        test = lazy_and(test, cond)
    # Where a condition limits the sum, it may be what keeps the factor's reads in bounds.
    factor, rest = _factored(value, set(summed)) if test is None else (None, value)
    total = reduce_sum(forms.intern(rest), summed, where=test)
    return _under(outer, total if factor is None else mul(factor, total))


def _factored(value: Expr, axes: set[IterVar]) -> tuple[Expr | None, Expr]:
    """A factor of `value` that is read from a tensor and is one number over `axes`, and the rest.

    What is left of a sum may then be the sum of another gradient. Shorter types keep all inside,
    where it counts in full length.
    """
    if accumulator(value.dtype) != value.dtype:
        return None, value
    outside: list[Expr] = []
    inside: list[Expr] = []
    for part in _factors(value):
        (inside if not _variables(part).isdisjoint(axes) else outside).append(part)
    if not inside or not any(reads(part) for part in outside):
        return None, value
    return reduce(mul, outside), reduce(mul, inside)


def _factors(value: Expr) -> list[Expr]:
    """What a float product is made of, a sign as -1."""
    match value:
        case Binary(BinaryOp.MUL, a, b):
            return [*_factors(a), *_factors(b)]
        case Unary(UnaryOp.NEG, a):
            return [Const(-1.0, value.dtype), *_factors(a)]
        case _:
            return [value]


def _needed(conds: list[Expr], ranges: Sequence[IterVar]) -> list[Expr]:
    """`conds` without those that follow from the ranges and the others."""
    if not conds:
        return conds
    given = [c for axis in ranges for c in axis_conditions(axis)]
    kept = list(conds)
    for cond in conds:
        others = [c for c in kept if c is not cond]
        if prove(cond, [*given, *others]).holds:
            kept = others
    return kept


def _lazy(conds: Sequence[Expr]) -> tuple[Guard, ...]:
    """Guards in order; what reads nothing that the one before it does not is joined to it."""
    joined: list[Expr] = []
    for cond in conds:
        if joined and set(loads(cond)) <= set(loads(joined[-1])):
            joined[-1] = Binary(BinaryOp.AND, joined[-1], cond)
        else:
            joined.append(cond)
    return tuple((c, True) for c in joined)


def _variables(*exprs: Expr) -> set[Var]:
    return {v for e in exprs for v in free_vars(e) if not isinstance(v, Dim)}


def _under(conds: Sequence[Expr], value: Expr) -> Expr:
    cond = all_of(conds)
    return value if cond is None else where(cond, value, zero(value.dtype))


# --- words ------------------------------------------------------------------------------------


def _reason(inverse: Inverse, contribution: Contribution) -> str:
    """Why an adjoint is of its kind."""
    match inverse.kind:
        case Kind.GATHER:
            return "every index is solved for an axis"
        case Kind.STRIDED if inverse.strides:
            steps = " and ".join(f"{p.name} % {c}" for p, c in inverse.strides.items())
            verb = "decide" if len(inverse.strides) > 1 else "decides"
            return f"{steps} {verb} which iterations read an element"
        case Kind.STRIDED:
            return "the index is solved with // and %"
        case Kind.SCATTER:
            given = [i for i in contribution.load.indices if any(_is_read(i, a) for a in _own(i))]
            if given:
                return f"{show(given[0])} is read from data, and any iteration may give any element"
            texts = ", ".join(show(c) for c in inverse.searched)
            return f"{texts} has no solution in sums, // and %"


def _own(index: Expr) -> list[Var]:
    return [v for v in free_vars(index) if isinstance(v, IterVar)]


def _is_read(index: Expr, var: Var) -> bool:
    """Whether `index` depends on `var` through a load."""
    return any(isinstance(n, Load) and var in set(free_vars(n)) for n in walk(index))


def _solution(inverse: Inverse, contribution: Contribution, forms: Forms) -> str:
    """The axes of the reader in terms of the element and of what is summed over."""
    shown = []
    for axis in contribution.axes:
        text = show(forms.expr(inverse.values[axis]))
        if text != axis.name:
            shown.append(f"{axis.name} = {text}")
    return ", ".join(shown)
