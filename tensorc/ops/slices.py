"""Parts of a tensor, by NumPy's basic indexing."""

from __future__ import annotations

import builtins
from types import EllipsisType
from typing import TYPE_CHECKING, TypeAlias

from tensorc.dtypes import int64
from tensorc.errors import ShapeError
from tensorc.ir.expr import Const, Expr, ExprBase, as_expr, const_int, maximum, minimum
from tensorc.ir.simplify import simplify
from tensorc.ops.axes import normalize_axes
from tensorc.ops.shape import gather
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.checks import least

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor

Index: TypeAlias = "int | Expr | builtins.slice | EllipsisType | None"


def slice(x: Tensor, index: Index | tuple[Index, ...]) -> Tensor:
    """The part of `x` that NumPy's `x[index]` is, with integers, ranges, `...` and None.

    Steps may be negative, bounds symbolic; `np.s_` writes an index: `slice(x, np.s_[1:, ::-1])`.
    An integer or an expression takes its dimension away, and must be in bounds.

    Raises:
        ShapeError: more indices than dimensions, or a step of 0.
        BoundsError: an integer index out of bounds.
    """
    axes: list[IterVar] = []
    places: list[Expr] = []
    for item in _full(x, index if isinstance(index, tuple) else (index,)):
        name = f"i{len(axes)}"
        size = x.shape[len(places)] if len(places) < x.ndim else ZERO
        if item is None:
            axes.append(IterVar(name, extent=Const(1, int64)))
        elif isinstance(item, builtins.slice):
            start, extent, step = _range(item, size)
            axes.append(IterVar(name, extent=extent))
            places.append(_stepped(start, step, axes[-1]))
        else:
            places.append(_from_end(as_expr(item), size))
    return gather(x, axes, places, "slice")


def flip(x: Tensor, axis: int | tuple[int, ...] | None = None) -> Tensor:
    """`x` with the order reversed along `axis`, by default along every dimension."""
    turned = normalize_axes(axis, x.ndim)
    step = builtins.slice(None, None, -1)
    return slice(x, tuple(step if d in turned else builtins.slice(None) for d in range(x.ndim)))


def _full(x: Tensor, index: tuple[Index, ...]) -> list[int | Expr | builtins.slice | None]:
    """`index` with `...`, or the end, filled up with whole dimensions."""
    count = sum(1 for i in index if i is not None and not isinstance(i, EllipsisType))
    dots = sum(1 for i in index if isinstance(i, EllipsisType))
    if count > x.ndim or dots > 1:
        raise ShapeError(
            f"slice: {count} indices and {dots} '...' for the {x.ndim} dimensions of {x}"
        )
    rest = [builtins.slice(None)] * (x.ndim - count)
    full: list[int | Expr | builtins.slice | None] = []
    for item in index:
        if isinstance(item, EllipsisType):
            full.extend(rest)
        else:
            full.append(item)
    return full if dots else [*full, *rest]


def _range(item: builtins.slice, size: Expr) -> tuple[Expr, Expr, int]:
    """Start, number of steps and step, with bounds clamped into the dimension as in NumPy."""
    step = 1 if item.step is None else item.step
    if isinstance(step, ExprBase) or step == 0:
        raise ShapeError(f"slice: step {step} must be an integer other than 0")
    low = ZERO if step > 0 else Const(-1, int64)
    high = size if step > 0 else simplify(size - 1)
    start = _clamped(item.start, size, low, high) if item.start is not None else None
    stop = _clamped(item.stop, size, low, high) if item.stop is not None else None
    first = start if start is not None else (low if step > 0 else high)
    last = stop if stop is not None else (high if step > 0 else low)
    span = simplify(last - first) if step > 0 else simplify(first - last)
    span = span if least(span) >= 0 else simplify(maximum(span, 0))
    by = abs(step)
    return first, span if by == 1 else simplify((span + (by - 1)) // by), step


def _clamped(bound: int | Expr, size: Expr, low: Expr, high: Expr) -> Expr:
    value = _from_end(as_expr(bound, int64), size)
    if least(simplify(high - value)) < 0:
        value = simplify(minimum(value, high))
    return value if least(simplify(value - low)) >= 0 else simplify(maximum(value, low))


def _from_end(index: Expr, size: Expr) -> Expr:
    value = const_int(index)
    return index if value is None or value >= 0 else simplify(size + value)


def _stepped(start: Expr, step: int, axis: IterVar) -> Expr:
    move: Expr = axis if step == 1 else axis * step
    if const_int(start) == 0:
        return move
    return start - axis if step == -1 else start + move
