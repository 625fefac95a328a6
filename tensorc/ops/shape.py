"""The same elements in another arrangement."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from types import EllipsisType
from typing import TypeAlias

from tensorc.dtypes import int64
from tensorc.errors import ShapeError
from tensorc.ir.expr import (
    Const,
    Expr,
    ExprLike,
    Load,
    Where,
    as_expr,
    as_shape,
    caller_loc,
    cast,
    const_int,
    match_dtypes,
    maximum,
    minimum,
)
from tensorc.ops.axes import normalize_axes, normalize_axis, show_shape, spatial_axes
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.tensor import Tensor, broadcast_load, broadcast_shapes, define, same_size

Shape: TypeAlias = "int | Expr | Sequence[int | Expr]"
Index: TypeAlias = "int | Expr | builtins.slice | EllipsisType | None"


def _gather(x: Tensor, axes: Sequence[IterVar], index: Sequence[Expr], name: str) -> Tensor:
    body = Load(x, tuple(index), loc=caller_loc())
    return define(tuple(axes), (body,), default_name=name)[0]


# --- order and rank -------------------------------------------------------------------------


def transpose(x: Tensor, axes: Sequence[int] | None = None) -> Tensor:
    """Dimension `axes[d]` of `x` as dimension d; by default the order of dimensions is reversed.

    Raises:
        ShapeError: `axes` is no permutation of the dimensions.
    """
    order = list(range(x.ndim))[::-1] if axes is None else [normalize_axis(a, x.ndim) for a in axes]
    if sorted(order) != list(range(x.ndim)):
        raise ShapeError(f"transpose: axes {tuple(axes or ())} do not permute {x.ndim} dimensions")
    out = spatial_axes([x.shape[d] for d in order])
    place = {d: out[k] for k, d in enumerate(order)}
    return _gather(x, out, [place[d] for d in range(x.ndim)], "transpose")


def swapaxes(x: Tensor, axis1: int, axis2: int) -> Tensor:
    """`x` with two dimensions exchanged."""
    order = list(range(x.ndim))
    a, b = normalize_axis(axis1, x.ndim), normalize_axis(axis2, x.ndim)
    order[a], order[b] = order[b], order[a]
    return transpose(x, order)


def moveaxis(x: Tensor, source: int, destination: int) -> Tensor:
    """`x` with dimension `source` at place `destination`, the others in their order."""
    a, b = normalize_axis(source, x.ndim), normalize_axis(destination, x.ndim)
    order = [d for d in range(x.ndim) if d != a]
    order.insert(b, a)
    return transpose(x, order)


def expand_dims(x: Tensor, axis: int | Sequence[int]) -> Tensor:
    """`x` with dimensions of size 1 at the places `axis` of the result."""
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    new = normalize_axes(given, x.ndim + len(given))
    sizes = list(x.shape)
    for d in new:
        sizes.insert(d, Const(1, int64))
    axes = spatial_axes(sizes)
    return _gather(x, axes, [a for d, a in enumerate(axes) if d not in new], "expand_dims")


def squeeze(x: Tensor, axis: int | Sequence[int] | None = None) -> Tensor:
    """`x` without the dimensions `axis`, of size 1; by default without all that are 1.

    Raises:
        ShapeError: the size of a dimension in `axis` is not 1.
    """
    if axis is None:
        gone = tuple(d for d, size in enumerate(x.shape) if const_int(size) == 1)
    else:
        gone = normalize_axes(axis, x.ndim)
    for d in gone:
        if const_int(x.shape[d]) != 1:
            raise ShapeError(f"squeeze: dimension {d} of {x} has size {x.shape[d]}, not 1")
    axes = spatial_axes([size for d, size in enumerate(x.shape) if d not in gone])
    rest = iter(axes)
    return _gather(x, axes, [ZERO if d in gone else next(rest) for d in range(x.ndim)], "squeeze")


def broadcast_to(x: Tensor, shape: Shape) -> Tensor:
    """`x` repeated to `shape` along missing dimensions and those of size 1.

    Raises:
        ShapeError: the shapes do not fit.
    """
    sizes = as_shape(shape)
    fits = len(sizes) >= x.ndim
    if fits:
        joined = broadcast_shapes(sizes, x.shape)
        fits = builtins.all(same_size(a, b) for a, b in zip(joined, sizes, strict=True))
    if not fits:
        shown = ", ".join(map(str, sizes))
        raise ShapeError(f"broadcast_to: shape {show_shape(x)} does not fit ({shown})")
    axes = spatial_axes(sizes)
    return define(axes, (broadcast_load(x, axes),), default_name="broadcast_to")[0]


# --- reshape --------------------------------------------------------------------------------


def reshape(x: Tensor, shape: Shape) -> Tensor:
    """The same elements in row-major order; one size may be -1, and is then what is left.

    Sizes may be symbolic: old and new dimensions are matched from the left, group by group, by
    their factors, so (n, 8, 8) reshapes to (n, 64), (n * 64,) or (-1, 64).

    Raises:
        ShapeError: the numbers of elements differ, or are not seen to be equal.
    """
    given = shape if isinstance(shape, Sequence) else (shape,)
    sizes = as_shape(_filled(x, given))
    axes = spatial_axes(sizes)
    index: list[Expr] = []
    old, new = list(x.shape), list(axes)
    if builtins.any(const_int(s) == 0 for s in old):
        _refuse_unless(builtins.any(const_int(s) == 0 for s in sizes), x, sizes)
        return _gather(x, axes, [ZERO] * x.ndim, "reshape")
    while old or new:
        olds, news = _take_group(old, new)
        _refuse_unless(olds is not None, x, sizes)
        index += _split(_joined(news), olds or [])
    return _gather(x, axes, index, "reshape")


def _refuse_unless(fits: bool, x: Tensor, sizes: Sequence[Expr]) -> None:
    if not fits:
        shown = ", ".join(map(str, sizes))
        raise ShapeError(f"cannot reshape {x} of shape {show_shape(x)} into shape ({shown})")


class _Product:
    """A product of sizes: a number and symbols, by identity."""

    def __init__(self, sizes: Sequence[Expr]) -> None:
        self.number = 1
        self.symbols: list[Expr] = []
        for size in sizes:
            for factor in _factors_of(size):
                value = const_int(factor)
                if value is None:
                    self.symbols.append(factor)
                else:
                    self.number *= value

    def over(self, other: _Product) -> Expr | None:
        """This product divided by the other; None where it does not divide."""
        left = list(self.symbols)
        for symbol in other.symbols:
            match_ = next((k for k, s in enumerate(left) if same_size(s, symbol)), None)
            if match_ is None:
                return None
            del left[match_]
        if other.number == 0 or self.number % other.number:
            return None
        number = self.number // other.number
        result: Expr | None = None
        for symbol in left:
            result = symbol if result is None else result * symbol
        if result is None:
            return Const(number, int64)
        return result if number == 1 else result * number

    def equals(self, other: _Product) -> bool:
        ratio = self.over(other)
        return ratio is not None and const_int(ratio) == 1


def _factors_of(size: Expr) -> list[Expr]:
    match size:
        case _ if hasattr(size, "op") and getattr(size.op, "value", "") == "*":
            return [*_factors_of(size.lhs), *_factors_of(size.rhs)]  # type: ignore[union-attr]
        case _:
            return [size]


def _filled(x: Tensor, shape: Sequence[int | Expr]) -> list[int | Expr]:
    """`shape` with its -1 replaced by the size that is left."""
    holes = [d for d, s in enumerate(shape) if isinstance(s, int) and s == -1]
    if not holes:
        return list(shape)
    shown = ", ".join(map(str, shape))
    if len(holes) > 1:
        raise ShapeError(f"reshape: only one size can be -1, got ({shown})")
    rest = as_shape([s for d, s in enumerate(shape) if d != holes[0]])
    left = _Product(x.shape).over(_Product(rest))
    if left is None:
        raise ShapeError(f"cannot reshape {x} of shape {show_shape(x)} into shape ({shown})")
    return [left if d == holes[0] else s for d, s in enumerate(shape)]


def _take_group(old: list[Expr], new: list[IterVar]) -> tuple[list[Expr] | None, list[IterVar]]:
    """Remove the least leading groups of equal products from both; None where there are none."""
    for total in range(1, len(old) + len(new) + 1):
        for a in range(builtins.max(0, total - len(new)), builtins.min(total, len(old)) + 1):
            b = total - a
            if _Product(old[:a]).equals(_Product([v.extent for v in new[:b]])):
                olds, news = old[:a], new[:b]
                del old[:a], new[:b]
                return olds, news
    return None, []


def _joined(axes: Sequence[IterVar]) -> Expr:
    """The row-major position of a point in the box of `axes`."""
    flat: Expr = ZERO
    for axis in axes:
        if const_int(axis.extent) != 1:
            flat = axis if flat is ZERO else flat * axis.extent + axis
    return flat


def _split(flat: Expr, sizes: Sequence[Expr]) -> list[Expr]:
    """The point of the box of `sizes` at the row-major position `flat`."""
    index: list[Expr] = []
    large = [d for d, s in enumerate(sizes) if const_int(s) != 1]
    for d, size in enumerate(sizes):
        inner = [s for s in sizes[d + 1 :] if const_int(s) != 1]
        stride = _Product(inner).over(_Product([]))
        assert stride is not None, "one divides everything"
        if const_int(size) == 1:
            index.append(ZERO)
            continue
        part = flat if const_int(stride) == 1 else flat // stride
        index.append(part if d == large[0] else part % size)
    return index


# --- parts ----------------------------------------------------------------------------------


def slice(x: Tensor, index: Index | tuple[Index, ...]) -> Tensor:
    """The part of `x` that NumPy's `x[index]` is, with integers, ranges, `...` and None.

    Steps may be negative, bounds symbolic; `np.s_` writes an index: `slice(x, np.s_[1:, ::-1])`.
    An integer or expression removes its dimension, and must be in bounds.

    Raises:
        ShapeError: more indices than dimensions, or a step of 0.
        BoundsError: an integer index out of bounds.
    """
    given = _full_index(x, index if isinstance(index, tuple) else (index,))
    sizes: list[Expr] = []
    makers: list[tuple[Expr, int] | Expr] = []
    dims = iter(x.shape)
    for item in given:
        if item is None:
            sizes.append(Const(1, int64))
            continue
        size = next(dims)
        if isinstance(item, builtins.slice):
            start, extent, step = _range_of(item, size)
            sizes.append(extent)
            makers.append((start, step))
        else:
            makers.append(_from_end(item, size))
    axes = spatial_axes(sizes)
    used = iter(a for a, item in zip(axes, (i for i in given if _keeps(i)), strict=True) if item)
    places = [
        m if isinstance(m, Expr.__args__) else _stepped(m[0], m[1], next(used))  # type: ignore[attr-defined]
        for m in makers
    ]
    return _gather(x, axes, places, "slice")


def _keeps(item: Index) -> bool:
    return item is None or isinstance(item, builtins.slice)
