"""The order and the number of dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from tensorc.dtypes import int64
from tensorc.errors import ShapeError
from tensorc.ir.expr import Const, Expr, Load, as_shape, const_int
from tensorc.ir.loc import caller_loc
from tensorc.ops.axes import normalize_axes, normalize_axis, show_shape, spatial_axes
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.tensor import Tensor, broadcast_load, broadcast_shapes, define, same_size

Shape: TypeAlias = "int | Expr | Sequence[int | Expr]"


def gather(
    x: Tensor, axes: Sequence[IterVar], index: Sequence[Expr], name: str, what: str = ""
) -> Tensor:
    """The tensor over `axes` whose element is that of `x` at `index`; `what` is that of `Loc`."""
    body = Load(x, tuple(index), loc=caller_loc(what))
    return define(tuple(axes), (body,), default_name=name)[0]


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
    return gather(x, out, [place[d] for d in range(x.ndim)], "transpose")


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
    given = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    new = normalize_axes(given, x.ndim + len(given))
    sizes = list(x.shape)
    for d in new:
        sizes.insert(d, Const(1, int64))
    axes = spatial_axes(sizes)
    return gather(x, axes, [a for d, a in enumerate(axes) if d not in new], "expand_dims")


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
    return gather(x, axes, [ZERO if d in gone else next(rest) for d in range(x.ndim)], "squeeze")


def broadcast_to(x: Tensor, shape: Shape) -> Tensor:
    """`x` repeated to `shape` along missing dimensions and those of size 1.

    Raises:
        ShapeError: the shapes do not fit.
    """
    sizes = as_shape(shape)
    fits = len(sizes) >= x.ndim
    if fits:
        joined = broadcast_shapes(sizes, x.shape)
        fits = all(same_size(a, b) for a, b in zip(joined, sizes, strict=True))
    if not fits:
        shown = ", ".join(map(str, sizes))
        raise ShapeError(f"broadcast_to: shape {show_shape(x)} does not fit ({shown})")
    axes = spatial_axes(sizes)
    return define(axes, (broadcast_load(x, axes),), default_name="broadcast_to")[0]
