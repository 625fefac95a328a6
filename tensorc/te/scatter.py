"""Reductions whose condition says where each point goes: scatters instead of searches.

    H[p, j] = sum(V[i, j], axis=i, where=idx[i] == p)

asks for each p which i belong to it. The condition also answers the question the other way round:
point i belongs to `p = idx[i]` and to no other. So the nest runs over i and adds where it must,

    for p, j: H[p, j] = 0
    for i, j: if 0 <= idx[i] < n: H[idx[i], j] += V[i, j]

in as many steps as there are points, not points times elements. Each element adds up its points in
the same order as before, so the result has the same bits. This is how the gradient of a gather by
data (an embedding, `take`) and a histogram are computed.

An index that is a sum of axes stays a condition: such a search can be tiled and run in parallel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.dtypes import int64
from tensorc.ir.affine import linear
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Compare,
    CompareOp,
    Expr,
    Load,
    all_of,
    cast,
    const_int,
)
from tensorc.ir.walk import free_vars, substitute, walk
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.bounds import Context, conjuncts, lazy_and, leaves_unless_guarded

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Scatter:
    """The accumulation of `values` at `index` over `axes`, at points where `where` holds."""

    axes: tuple[IterVar, ...]
    index: tuple[Expr, ...]
    values: tuple[Expr, ...]
    where: Expr

    @property
    def tested(self) -> int:
        """How many of the loops stand around the test; it depends on none of the others."""
        used = set(free_vars(self.where))
        return max((n + 1 for n, a in enumerate(self.axes) if a in used), default=0)


def scatter_of(
    dims: Sequence[IterVar],
    index: Sequence[Expr],
    axes: Sequence[IterVar],
    values: Sequence[Expr],
    where: Expr | None,
) -> Scatter | None:
    """How a reduction of `values` over `axes` into elements `dims` scatters; None if it does not.

    `index` is where the element at `dims` is stored.
    """
    if where is None:
        return None
    conds = conjuncts(where)
    chosen: dict[IterVar, tuple[int, Expr]] = {}
    for number, cond in enumerate(conds):
        for axis, target in _choices(cond):
            own = any(d is axis for d in dims) and const_int(axis.extent) != 1
            if own and axis not in chosen and not _mentions([target], chosen):
                used = {v for _, t in chosen.values() for v in free_vars(t)}
                if axis not in used:
                    chosen[axis] = (number, target)
                    break
    rest = tuple(d for d in dims if d not in chosen)
    if not chosen or any(_mentions((a.start, a.extent), chosen) for a in (*axes, *rest)):
        return None
    taken = {number for number, _ in chosen.values()}
    kept = [c for k, c in enumerate(conds) if k not in taken]
    free = [c for c in kept if not _mentions([c], chosen)]
    targets = [cast(t, int64) for _, t in chosen.values()]
    space = (*axes, *rest)
    if leaves_unless_guarded(Context(space, tuple(free)), targets):
        return None  # What guards the read of an index depends on where it leads.
    new = dict(zip(chosen, targets, strict=True))
    inside = [_inside(a, t) for a, t in new.items()]
    tied = [substitute(c, new) for c in kept if _mentions([c], chosen)]  # type: ignore[arg-type]
    test: Expr | None = None
    for cond in reversed([*_joined(free), *inside, *_joined(tied)]):
        test = lazy_and(cond, test)
    assert test is not None, "a scatter has at least the test of its index"
    return Scatter(
        space,
        tuple(substitute(i, new) for i in index),  # type: ignore[arg-type]
        tuple(substitute(v, new) for v in values),  # type: ignore[arg-type]
        test,
    )


def _choices(cond: Expr) -> list[tuple[IterVar, Expr]]:
    """The axes that `cond` sets equal to something which is no sum of other axes."""
    if not isinstance(cond, Compare) or cond.op is not CompareOp.EQ:
        return []
    found = []
    for axis, target in ((cond.lhs, cond.rhs), (cond.rhs, cond.lhs)):
        if isinstance(axis, IterVar) and axis.dtype == int64 and linear(target) is None:
            found.append((axis, target))
    return found


def _mentions(exprs: Sequence[Expr], axes: object) -> bool:
    return any(v in axes for e in exprs for v in free_vars(e))  # type: ignore[operator]


def _inside(axis: IterVar, target: Expr) -> Expr:
    low: Expr = Compare(CompareOp.GE, target, axis.start)
    stop = axis.extent if axis.start is ZERO else axis.start + axis.extent
    return Binary(BinaryOp.AND, low, Compare(CompareOp.LT, target, stop))


def _joined(conds: Sequence[Expr]) -> list[Expr]:
    """Conditions as they are, those that read nothing joined to one in front."""
    plain = [c for c in conds if not any(isinstance(n, Load) for n in walk(c))]
    joined = all_of(plain)
    rest = [c for c in conds if all(c is not p for p in plain)]
    return rest if joined is None else [joined, *rest]
