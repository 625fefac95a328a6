"""Closed forms for the derivative of each built-in reducer.

With y = fold of v over the axes, and g the cotangent of y, the cotangent of v at a point is

    sum       g
    prod      g times the product of all the other factors, folded anew for each point: n times
              the work of the product, and right to any order where factors are 0.
    max, min  g / count where v == y, with count the number of points where that holds: ties share
              equally, as in JAX. Nothing where y is NaN.
    argmax    (the value beside the index) g at the index: the first of equals has it all.

`all`, `any` and indices have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable

from tensorc.autodiff.arith import div, mul, where
from tensorc.autodiff.flatten import fresh_reduce_axes, reduce_axes
from tensorc.autodiff.sweep import Guard, Term
from tensorc.dtypes import int64
from tensorc.errors import GradientError
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Compare,
    CompareOp,
    Const,
    Expr,
    Load,
    Reduce,
    is_const,
)
from tensorc.ir.printer import builtin_name, show
from tensorc.ir.reducers import builtin
from tensorc.ir.walk import substitute
from tensorc.te.axis import IterVar
from tensorc.te.tensor import Compute, Tensor, define

Find = Callable[[Compute, int], Tensor | None]


def reduced(tensor: Tensor, body: Reduce, g: Expr, find: Find) -> tuple[Expr, Term]:
    """The folded expression of `body`, the definition of `tensor`, and its cotangent.

    Args:
        tensor: whose cotangent at its axes is `g`.
        body: flat.
        g: an expression over the axes of `tensor`.
        find: gives the tensor of another component of a definition, if the graph has it.

    Raises:
        GradientError: a reducer of the user's own.
    """
    guards: tuple[Guard, ...] = () if body.where is None else ((body.where, True),)
    y, v = Load(tensor, tensor.axes), body.values[body.index]
    match builtin_name(body.reducer):
        case "sum":
            return v, Term(guards, g)
        case "prod":
            return v, Term(guards, mul(g, _others(tensor, body)))
        case "max" | "min":
            is_best = Compare(CompareOp.EQ, v, y)
            ties = _count(tensor, body, is_best, "ties")
            share = div(g, Load(ties, tensor.axes).astype(g.dtype))
            return v, Term((*guards, (is_best, True)), share)
        case "argmax" | "argmin":
            position = Compare(CompareOp.EQ, body.values[1], _index(tensor, body, find))
            return v, Term((*guards, (position, True)), g)
        case _:
            raise GradientError(
                f"{tensor.name}: the reducer {body.reducer.name} in {show(body)} has no derivative "
                "rule; write it with sum, prod, max or min, or wrap it in stop_gradient"
            )


def _others(tensor: Tensor, body: Reduce) -> Expr:
    """The product of all factors but the one at the axes of `body`."""
    own = tuple(IterVar(a.name, int64, a.start, a.extent) for a in tensor.axes)
    reduced_axes = reduce_axes(body)
    here = tuple(IterVar(a.name, int64, Const(0, int64), a.extent) for a in reduced_axes)
    rest = fresh_reduce_axes(body)
    elsewhere: Expr | None = None
    for other, mine, axis in zip(rest.axes, here, reduced_axes, strict=True):
        differs = Compare(CompareOp.NE, other, _shifted(mine, axis))
        elsewhere = differs if elsewhere is None else Binary(BinaryOp.OR, elsewhere, differs)
    assert elsewhere is not None, "a reduction has an axis"
    cond = elsewhere if rest.where is None else Binary(BinaryOp.AND, elsewhere, rest.where)
    fold = Reduce(rest.reducer, rest.axes, rest.values, cond, loc=body.loc)
    renamed = substitute(fold, dict(zip(tensor.axes, own, strict=True)))
    others = define((*own, *here), (renamed,), default_name=f"{tensor.name}.others")[0]
    starts = tuple(a if is_const(a.start, 0) else a - a.start for a in reduced_axes)
    return Load(others, (*tensor.axes, *starts))


def _shifted(mine: Expr, axis: IterVar) -> Expr:
    return mine if is_const(axis.start, 0) else mine + axis.start


def _count(tensor: Tensor, body: Reduce, cond: Expr, label: str) -> Tensor:
    """How many points of the reduction satisfy `cond`."""
    return _fold(tensor, body, "sum", where(cond, Const(1, int64), Const(0, int64)), label)


def _fold(tensor: Tensor, body: Reduce, name: str, value: Expr, label: str) -> Tensor:
    """A new tensor: `value` folded over the domain of `body`."""
    fold = Reduce(builtin(name, value.dtype), body.axes, (value,), body.where, loc=body.loc)
    return _like(tensor, fold, label)


def _like(tensor: Tensor, body: Reduce, label: str) -> Tensor:
    axes = tuple(IterVar(a.name, int64, a.start, a.extent) for a in tensor.axes)
    renamed = substitute(body, dict(zip(tensor.axes, axes, strict=True)))
    name = f"{tensor.name}.{label}"
    return define(axes, (fresh_reduce_axes(renamed),), default_name=name)[0]


def _index(tensor: Tensor, body: Reduce, find: Find) -> Expr:
    """The index that belongs to the best value: of the same definition where it has it."""
    op = tensor.op
    assert isinstance(op, Compute), "a placeholder has no reduction"
    own = op.bodies[tensor.component]
    for c, other in enumerate(op.bodies):
        if (
            isinstance(other, Reduce)
            and isinstance(own, Reduce)
            and other.index == 1
            and other.reducer is own.reducer
            and other.axes is own.axes
            and all(a is b for a, b in zip(other.values, own.values, strict=True))
            and (found := find(op, c)) is not None
        ):
            return Load(found, tensor.axes)
    node = Reduce(body.reducer, body.axes, body.values, body.where, 1, loc=body.loc)
    return Load(_like(tensor, node, "index"), tensor.axes)
