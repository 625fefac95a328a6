"""Closed forms for the derivative of the built-in reducers.

With y = fold of v over the axes, and g the cotangent of y, the cotangent of v at a point is

    sum       g
    max, min  what the caller chose for ties: "split", the default, g / count where v == y, with
              count the number of points where that holds, as in JAX; "all", g at each of them;
              "first", g at the first of them in the order of the axes, as in torch's pooling.
              Nothing where y is NaN, but for "first", where the first NaN has it.
    argmax    (the value beside the index) g at the index: the first of equals has it all.

A product and the reducers of users are recurrences here (`folds`). `all`, `any` and indices have
no gradient. The tangent of y is the sum of those of v with the same factors.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Literal, TypeAlias

from tensorc.autodiff.arith import div, where, zero
from tensorc.autodiff.flatten import fresh_reduce_axes
from tensorc.autodiff.sweep import Guard, Term, guarded
from tensorc.dtypes import accumulator, int64
from tensorc.ir.expr import Compare, CompareOp, Const, Expr, Load, Reduce, const_int
from tensorc.ir.printer import builtin_name
from tensorc.ir.reducers import builtin
from tensorc.ir.walk import substitute
from tensorc.te.axis import IterVar
from tensorc.te.tensor import Compute, Tensor, define

Find: TypeAlias = Callable[[Compute, int], Tensor | None]
Ties: TypeAlias = Literal["first", "split", "all"]
TIES = ("first", "split", "all")
MOST = 2**24  # Float32 counts exactly up to here.


def reduced(tensor: Tensor, body: Reduce, g: Expr, find: Find, ties: Ties) -> tuple[Expr, Term]:
    """The folded expression of `body`, the definition of `tensor`, and its cotangent.

    Args:
        tensor: whose cotangent at its axes is `g`.
        body: flat.
        g: an expression over the axes of `tensor`.
        find: gives the tensor of another component of a definition, if the graph has it.
        ties: who gets the gradient of a maximum that several points reach.
    """
    guards: tuple[Guard, ...] = () if body.where is None else ((body.where, True),)
    v = body.values[body.index]
    chosen, count = _chosen(tensor, body, find, ties)
    if count is not None:
        g = _share(tensor, div(g, count.astype(g.dtype)))
    return v, Term(guards if chosen is None else (*guards, (chosen, True)), g)


def tangent(tensor: Tensor, body: Reduce, value: Expr, find: Find, ties: Ties) -> Expr:
    """The tangent of `tensor`, whose definition is `body`; `value` is that of what is folded."""
    chosen, count = _chosen(tensor, body, find, ties)
    if chosen is not None:
        value = guarded(((chosen, True),), value)
    if isinstance(value, Const) and not value.value:
        return zero(value.dtype)
    total = Reduce(builtin("sum", value.dtype), body.axes, (value,), body.where, loc=body.loc)
    return total if count is None else div(total, count.astype(value.dtype))


def _chosen(
    tensor: Tensor, body: Reduce, find: Find, ties: Ties
) -> tuple[Expr | None, Expr | None]:
    """The points of a fold that its result moves with, and how many share it; None for all."""
    y, v = Load(tensor, tensor.axes), body.values[body.index]
    name = builtin_name(body.reducer)
    match name:
        case "sum":
            return None, None
        case "max" | "min":
            if ties == "first":
                place = _place(body)
                first = _like(tensor, _first(body, place, f"arg{name}"), "first")
                return Compare(CompareOp.EQ, place, Load(first, tensor.axes)), None
            is_best = Compare(CompareOp.EQ, v, y)
            if ties == "all":
                return is_best, None
            return is_best, Load(_count(tensor, body, is_best, "ties"), tensor.axes)
        case "argmax" | "argmin":
            return Compare(CompareOp.EQ, body.values[1], _index(tensor, body, find)), None
        case _:
            raise AssertionError(f"{body.reducer.name} has no closed form")


def _place(body: Reduce) -> Expr:
    """The number of a point in the order of the axes."""
    place: Expr | None = None
    for axis in body.axes:
        assert isinstance(axis, IterVar), "a tensor-level reduction runs over axes"
        place = axis if place is None else place * axis.extent + axis
    assert place is not None, "a reduction has an axis"
    return place


def _first(body: Reduce, place: Expr, name: str) -> Reduce:
    values = (body.values[0], place)
    reducer = builtin(name, body.values[0].dtype)
    return Reduce(reducer, body.axes, values, body.where, 1, loc=body.loc)


def _share(tensor: Tensor, value: Expr) -> Expr:
    """`value`, computed once for each element of `tensor`, not at each point that it came from."""
    axes = _axes_like(tensor)
    body = substitute(value, dict(zip(tensor.axes, axes, strict=True)))
    made = define(axes, (body,), default_name=f"{tensor.name}.share")[0]
    return Load(made, tensor.axes)


def _count(tensor: Tensor, body: Reduce, cond: Expr, label: str) -> Tensor:
    """How many points of the reduction satisfy `cond`: a float where that is exact, for lanes."""
    points = prod(const_int(a.extent) or MOST for a in body.axes if isinstance(a, IterVar))
    to = tensor.dtype if tensor.dtype.is_float else int64
    if accumulator(to) != to or points >= MOST:
        to = int64
    return _fold(tensor, body, "sum", where(cond, Const(1, to), Const(0, to)), label)


def _fold(tensor: Tensor, body: Reduce, name: str, value: Expr, label: str) -> Tensor:
    """A new tensor: `value` folded over the domain of `body`."""
    fold = Reduce(builtin(name, value.dtype), body.axes, (value,), body.where, loc=body.loc)
    return _like(tensor, fold, label)


def _axes_like(tensor: Tensor) -> tuple[IterVar, ...]:
    return tuple(IterVar(a.name, int64, a.start, a.extent) for a in tensor.axes)


def _like(tensor: Tensor, body: Reduce, label: str) -> Tensor:
    axes = _axes_like(tensor)
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
