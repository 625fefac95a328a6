"""The derivatives of a recurrence are recurrences.

    S[t] = f(S[t - 1], x[t])        reverse    L[t] = g[t] + L[t + 1] * df/dS at t + 1
                                               dx[t] = L[t] * df/dx at t
                                    forward    T[t] = T[t - 1] * df/dS at t + df/dx * dx[t]

where g is what everything but the next step contributes. S is stored, so nothing is computed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.autodiff.arith import add, where, zero
from tensorc.autodiff.forms import Form, Forms
from tensorc.autodiff.intern import Interner
from tensorc.autodiff.sweep import Guard, Term, guarded, pull, push
from tensorc.autodiff.view import tensor_of
from tensorc.dtypes import int64
from tensorc.ir.expr import Compare, CompareOp, Expr, Load, Var
from tensorc.ir.walk import substitute
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.scan import define_scan, last_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tensorc.autodiff.view import View
    from tensorc.te.scan import Scan
    from tensorc.te.tensor import Tensor


def adjoint_scan(
    op: Scan,
    bodies: Sequence[Expr | None],
    outside: Sequence[Callable[[Sequence[Expr]], Expr] | None],
    view: View,
) -> tuple[dict[Tensor, Tensor], list[tuple[Tensor, Load, Term]]]:
    """The cotangents of a recurrence's tensors, and what its steps hand on to others.

    Args:
        op: the recurrence.
        bodies: its flat bodies, which read the tensors themselves at the point before.
        outside: for each tensor, the cotangent that everything but the next step contributes.
        view: says which loads matter.
    """
    active = [c for c, t in enumerate(op.tensors) if t.dtype.is_float]
    states = {
        c: Var(f"after{c}" if len(active) > 1 else "after", op.tensors[c].dtype) for c in active
    }
    along: dict[int, list[Expr]] = {c: [] for c in active}
    others: list[tuple[int, Load, Term]] = []
    for c in active:
        body = bodies[c]
        assert body is not None, "a recurrence has a body"
        result = view.flat.intern(Load(op.tensors[c], op.axes))
        for load, term in pull(
            body, Term((), states[c]), result, view.is_active, op.tensors[c].name
        ):
            to = next((k for k, t in enumerate(op.tensors) if t is load.buffer), None)
            if to is None:
                others.append((c, load, term))
            else:
                along[to].append(guarded(term.guards, term.value))
    axes = tuple(IterVar(a.name, int64, ZERO, a.extent) for a in op.axes)
    news = [_step(op, axes, outside[c], along[c], op.tensors[c]) for c in active]
    inits = tuple(zero(op.tensors[c].dtype) for c in active)
    names = [f"d.{op.tensors[c].name}" for c in active]
    made = define_scan(
        axes,
        tuple(news),
        tuple(states.values()),
        inits,
        op.axis,
        reverse=not op.reverse,
        default_name=names[0],
    )
    cotangents = {op.tensors[c]: t for c, t in zip(active, made, strict=True)}
    terms = []
    for c, load, term in others:
        seed: dict[Var, Expr] = {states[c]: Load(cotangents[op.tensors[c]], op.axes)}
        guards: tuple[Guard, ...] = tuple((substitute(g, seed), v) for g, v in term.guards)
        terms.append((op.tensors[c], load, Term(guards, substitute(term.value, seed))))
    return cotangents, terms


def _step(
    op: Scan,
    axes: tuple[IterVar, ...],
    outside: Callable[[Sequence[Expr]], Expr] | None,
    along: Sequence[Expr],
    tensor: Tensor,
) -> Expr:
    """What a cotangent is at a point, given those of the point after it."""
    total: Expr = zero(tensor.dtype) if outside is None else outside(axes)
    if not along:
        return total
    forms = Forms(Interner())
    for axis in axes:
        size = forms.of(axis.extent)
        forms.assume_positive(size)
        forms.bound(axis, {}, size)
    here: dict[Var, Expr] = dict(zip(op.axes, axes, strict=True))
    after = [substitute(p, here) for p in op.before(-1)]
    values: dict[Var, Form] = {a: forms.of(p) for a, p in zip(op.axes, after, strict=True)}
    summed = along[0]
    for part in along[1:]:
        summed = add(summed, part)
    line = axes[op.axis]
    edge = ZERO if op.reverse else last_of(line.extent)
    is_last = Compare(CompareOp.EQ, line, edge)
    return add(total, where(is_last, zero(tensor.dtype), forms.replace(summed, values)))


def tangent_scan(
    op: Scan,
    bodies: Sequence[Expr | None],
    tangent_of: Callable[[Load], Expr | None],
    view: View,
) -> dict[Tensor, Tensor]:
    """The tangents of a recurrence's tensors, from those of what its steps read."""
    active = [c for c, t in enumerate(op.tensors) if t.dtype.is_float]
    axes = tuple(IterVar(a.name, int64, ZERO, a.extent) for a in op.axes)
    here: dict[Var, Expr] = dict(zip(op.axes, axes, strict=True))
    states = {
        op.tensors[c]: Var(f"before{c}" if len(active) > 1 else "before", op.tensors[c].dtype)
        for c in active
    }

    def tangent(load: Load) -> Expr | None:
        state = states.get(tensor_of(load))
        return tangent_of(load) if state is None else state

    news = []
    for c in active:
        tensor, body = op.tensors[c], bodies[c]
        assert body is not None, "a recurrence has a body"
        result = view.flat.intern(Load(tensor, op.axes))
        found = push(body, tangent, result, view.is_active, tensor.name)
        news.append(zero(tensor.dtype) if found is None else substitute(found, here))
    inits = tuple(zero(op.tensors[c].dtype) for c in active)
    made = define_scan(
        axes,
        tuple(news),
        tuple(states.values()),
        inits,
        op.axis,
        reverse=op.reverse,
        default_name=f"t.{op.tensors[active[0]].name}",
    )
    return {op.tensors[c]: t for c, t in zip(active, made, strict=True)}
