"""Folds without a closed form of their derivative, as recurrences.

    Y[i] = r(v[i, k], axis=k)        S[i, k] = combine(S[i, k - 1], v[i, k]),  Y[i] = S[i, n - 1]

The derivative follows from the reducer's own combination of partial results, in as many steps as
the fold takes. That of a product is right to any order where factors are 0: what multiplies a
factor is the product of those before it and of those after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.dtypes import int64
from tensorc.ir.expr import Const, Expr, Load, Reduce, Var, Where, const_int
from tensorc.ir.walk import substitute
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.scan import define_scan, last_of

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor


def as_recurrence(tensor: Tensor, body: Reduce) -> Expr:
    """A fold as the last element of a recurrence over all points of its domain, in their order."""
    outer = tuple(IterVar(a.name, int64, a.start, a.extent) for a in tensor.axes)
    own: list[IterVar] = list(body.axes)  # type: ignore[arg-type]
    count: Expr = own[0].extent
    for axis in own[1:]:
        count = _product(count, axis.extent)
    line = IterVar(own[0].name if len(own) == 1 else "k", int64, ZERO, count)
    place: dict[Var, Expr] = dict(zip(tensor.axes, outer, strict=True))
    inner: Expr | None = None  # How many points one step of the axis spans.
    for axis in reversed(own):
        at: Expr = line if inner is None else line // inner
        at = at if axis is own[0] else at % axis.extent
        place[axis] = at if const_int(axis.start) == 0 else at + axis.start
        inner = axis.extent if inner is None else _product(inner, axis.extent)
    reducer = body.reducer
    states = tuple(Var(v.name, v.dtype) for v in reducer.lhs)
    values = [substitute(v, place) for v in body.values]
    table: dict[Var, Expr] = dict(
        zip((*reducer.lhs, *reducer.rhs), (*states, *values), strict=True)
    )
    steps = [substitute(r, table) for r in reducer.result]
    if body.where is not None:
        cond = substitute(body.where, place)
        steps = [Where(cond, s, v) for s, v in zip(steps, states, strict=True)]
    made = define_scan(
        (*outer, line),
        tuple(steps),
        states,
        reducer.identity,
        len(outer),
        reverse=False,
        default_name=f"{tensor.name}.{reducer.name}",
    )
    last = Load(made[body.index], (*tensor.axes, last_of(count)))
    size = const_int(count)
    if size is None:
        return Where(count > 0, last, reducer.identity[body.index])
    return last if size else reducer.identity[body.index]


def _product(a: Expr, b: Expr) -> Expr:
    x, y = const_int(a), const_int(b)
    return a * b if x is None or y is None else Const(x * y, int64)
