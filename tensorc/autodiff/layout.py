"""The form in which a cotangent is computed, chosen so that it tiles like any forward kernel.

By remainder. The cotangent of what is read in steps of 2 sums other terms at even elements than at
odd ones. One definition for both would test each term, and step through its operands by `p // 2`.
So each remainder gets a definition of its own, over elements that lie 2 apart:

    dA.0[p] = sum(dY[p - t] * w[2 * t], axis=t)            dA[p] = where(p % 2 == 0, dA.0[p // 2],
    dA.1[p] = sum(dY[p - t] * w[2 * t + 1], axis=t)                                 dA.1[p // 2])

A long axis last. The gradient of a kernel is small, and its last axes are the window: 3 neighbours
do not fill a register. It is summed with its longest axis last, and read transposed.
"""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

from tensorc.autodiff.arith import where, zero
from tensorc.dtypes import int64
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Compare,
    CompareOp,
    Const,
    Expr,
    Load,
    Reduce,
    Var,
    const_int,
)
from tensorc.ir.walk import free_vars, loads
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.tensor import define

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tensorc.te.tensor import Tensor

MOST = 16  # Definitions that one cotangent is taken apart into, at most.
FEW = 4  # Elements of one remainder below which nothing is gained.
LANES = 8  # An axis shorter than this fills no register.


def remainders(strides: Mapping[Var, int], points: Sequence[IterVar]) -> dict[IterVar, int]:
    """The axes of a cotangent to take apart by remainder, each with its divisor."""
    chosen = {
        p: strides[p]
        for p in points
        if strides.get(p, 1) > 1 and (const_int(p.extent) or 0) >= FEW * strides[p]
    }
    return chosen if prod(chosen.values()) <= MOST else {}


def by_remainder(
    name: str,
    points: tuple[IterVar, ...],
    steps: Mapping[IterVar, int],
    at: Callable[[tuple[IterVar, ...], list[Expr]], Expr | None],
) -> Expr | None:
    """A cotangent at `points` that picks from one definition for each remainder.

    Args:
        name: of the tensor.
        points: the axes of the cotangent.
        steps: the axes to take apart, each with its divisor.
        at: the contribution to an element, given by expressions over new axes.
    """
    parts: dict[tuple[int, ...], Expr] = {}
    for rests in product(*(range(c) for c in steps.values())):
        rest = dict(zip(steps, rests, strict=True))
        new: list[IterVar] = []
        element: list[Expr] = []
        for p in points:
            extent = p.extent
            if p in rest:
                size = const_int(p.extent)
                assert size is not None, "an axis of unknown size is not taken apart"
                extent = Const(-(-(size - rest[p]) // steps[p]), int64)
            axis = IterVar(p.name, int64, ZERO, extent)
            new.append(axis)
            element.append(axis * steps[p] + rest[p] if p in rest else axis)
        body = at(tuple(new), element)
        if body is not None:
            label = "_".join(map(str, rests))
            tensor = define(tuple(new), (body,), default_name=f"d.{name}.{label}")[0]
            index = tuple(_div(p, steps[p]) if p in rest else p for p in points)
            parts[rests] = Load(tensor, index)
    return _picked(list(steps.items()), (), parts) if parts else None


def _div(axis: IterVar, by: int) -> Expr:
    return Binary(BinaryOp.FLOORDIV, axis, Const(by, int64))


def _picked(
    steps: list[tuple[IterVar, int]], rests: tuple[int, ...], parts: Mapping[tuple[int, ...], Expr]
) -> Expr:
    """The part that belongs to the remainders of the axes in `steps`, after `rests`."""
    dtype = next(iter(parts.values())).dtype
    if not steps:
        return parts.get(rests, zero(dtype))
    (axis, by), *others = steps
    result: Expr | None = None
    for rest in reversed(range(by)):
        part = _picked(others, (*rests, rest), parts)
        remainder = Binary(BinaryOp.MOD, axis, Const(by, int64))
        cond = Compare(CompareOp.EQ, remainder, Const(rest, int64))
        result = part if result is None else where(cond, part, result)
    assert result is not None, "a divisor is at least 2"
    return result


def long_axis_last(points: Sequence[IterVar], body: Expr) -> list[IterVar]:
    """The axes of a sum of products in the order in which it is best stored.

    The last of `points`, where it is long enough; else the longest axis that some operand moves
    along, if possible one that moves along no short axis. The longest that is left stands before
    it: an operand that stays the same along that one is used again.
    """
    order = list(points)
    sizes = {p: const_int(p.extent) or LANES for p in points}
    if not isinstance(body, Reduce) or len(body.values) != 1 or not points:
        return order
    if sizes[points[-1]] >= LANES or max(sizes.values()) < LANES or _size(body) < LANES:
        return order
    reads = [set(free_vars(x)) for x in loads(body.values[0])]
    short = {p for p in points if 1 < sizes[p] < LANES}

    def rank(axis: IterVar) -> tuple[int, int]:
        along = [len(used & short) for used in reads if axis in used]
        return (min(along, default=len(points)), -sizes[axis])

    long = [p for p in points if sizes[p] >= LANES]
    lane = min(long, key=rank)
    order = [p for p in order if p is not lane]
    reused = [p for p in long if p is not lane and any(p not in u for u in reads if lane in u)]
    if not reused:
        return [*order, lane]
    row = max(reused, key=lambda p: sizes[p])
    return [*(p for p in order if p is not row), row, lane]


def _size(body: Reduce) -> int:
    return prod(const_int(a.extent) or LANES for a in body.axes if isinstance(a, IterVar))


def transposed(points: tuple[IterVar, ...], body: Expr, name: str) -> tuple[Tensor, list[IterVar]]:
    """The definition of `body`, its axes in the order that `long_axis_last` chooses."""
    order = long_axis_last(points, body)
    return define(tuple(order), (body,), default_name=name)[0], order
