"""Pools: the greatest element or the mean of each sliding window, channel by channel.

Layouts, strides and padding are those of `conv2d`; the stride is by default the size of the window,
so that windows lie side by side. Padding is never the greatest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.dtypes import accumulator, float32
from tensorc.errors import ShapeError
from tensorc.ir.expr import Expr, all_of, cast, maximum, minimum
from tensorc.ops.axes import spatial_axes
from tensorc.ops.window import (
    Layout,
    Padding,
    PerDim,
    Window,
    channel_axis,
    counts,
    inner_axes,
    per_dim,
    windows,
)
from tensorc.te import reduce as te
from tensorc.te.tensor import Tensor, define

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.te.axis import IterVar


def max_pool1d(
    x: Tensor,
    window: PerDim,
    stride: PerDim | None = None,
    padding: Padding = 0,
    dilation: PerDim = 1,
    layout: Layout = "NCHW",
) -> Tensor:
    """`max_pool2d` with one dimension less."""
    return _max("max_pool1d", 1, x, window, stride, padding, dilation, layout)


def max_pool2d(
    x: Tensor,
    window: PerDim,
    stride: PerDim | None = None,
    padding: Padding = 0,
    dilation: PerDim = 1,
    layout: Layout = "NCHW",
) -> Tensor:
    """The greatest element of each window, NaN if any is.

    The gradient of a window goes to its greatest element; equal ones share it equally, where
    torch gives it to the first, as `grad` does with `ties="first"`. Windows may overlap: an element
    gathers from all that it won.

    Args:
        x: (batch, channels, height, width), or as `layout` says.
        window: its size, one number or (height, width).
        stride: by how much each window is moved on; by default `window`.
        padding: as for `conv2d`, at most half of what a window reaches.
        dilation: how far apart the elements of a window lie.
        layout: "NCHW" or "NHWC".

    Raises:
        ShapeError: shapes or numbers that do not fit.
    """
    return _max("max_pool2d", 2, x, window, stride, padding, dilation, layout)


def avg_pool1d(
    x: Tensor,
    window: PerDim,
    stride: PerDim | None = None,
    padding: Padding = 0,
    count_padding: bool = True,
    layout: Layout = "NCHW",
) -> Tensor:
    """`avg_pool2d` with one dimension less."""
    return _mean("avg_pool1d", 1, x, window, stride, padding, count_padding, layout)


def avg_pool2d(
    x: Tensor,
    window: PerDim,
    stride: PerDim | None = None,
    padding: Padding = 0,
    count_padding: bool = True,
    layout: Layout = "NCHW",
) -> Tensor:
    """The mean of each window; integers give float32.

    Args:
        x: (batch, channels, height, width), or as `layout` says.
        window: its size, one number or (height, width).
        stride: by how much each window is moved on; by default `window`.
        padding: as for `conv2d`, at most half of the window.
        count_padding: whether the zeros of the padding count, as in torch by default; otherwise
            the mean is that of the elements of `x` in the window.
        layout: "NCHW" or "NHWC".

    Raises:
        ShapeError: shapes or numbers that do not fit.
    """
    return _mean("avg_pool2d", 2, x, window, stride, padding, count_padding, layout)


def _max(
    asked: str,
    count: int,
    x: Tensor,
    window: PerDim,
    stride: PerDim | None,
    padding: Padding,
    dilation: PerDim,
    layout: Layout,
) -> Tensor:
    axes, dims, parts = _prepare(asked, count, x, window, stride, padding, dilation, layout)
    inner, element, inside = _element(x, axes, dims, parts)
    return define(axes, (te.max(element, inner, inside),), default_name=asked)[0]


def _mean(
    asked: str,
    count: int,
    x: Tensor,
    window: PerDim,
    stride: PerDim | None,
    padding: Padding,
    count_padding: bool,
    layout: Layout,
) -> Tensor:
    axes, dims, parts = _prepare(asked, count, x, window, stride, padding, 1, layout)
    inner, element, inside = _element(x, axes, dims, parts)
    to = x.dtype if x.dtype.is_float else float32
    wide = accumulator(to)
    size: Expr | int = 1
    for d, part in zip(dims, parts, strict=True):
        size = size * (part.size if count_padding else _covered(axes[d], x.shape[d], part))
    total = te.sum(cast(element, wide), inner, inside)
    body = cast(total / (float(size) if isinstance(size, int) else cast(size, wide)), to)
    return define(axes, (body,), default_name=asked)[0]


def _prepare(
    asked: str,
    count: int,
    x: Tensor,
    window: PerDim,
    stride: PerDim | None,
    padding: Padding,
    dilation: PerDim,
    layout: Layout,
) -> tuple[tuple[IterVar, ...], Sequence[int], tuple[Window, ...]]:
    """The axes of the result, the dimensions that windows slide over, and the windows."""
    channel_axis(asked, x, count, layout)
    dims = inner_axes(count, layout)
    size = per_dim(asked, "window", window, count, least=1)
    parts = windows(asked, size, size if stride is None else stride, padding, dilation)
    for part in parts:
        if 2 * max(part.before, part.after) > part.reach:
            raise ShapeError(
                f"{asked}: a padding of {part.before} + {part.after} is more than half of the "
                f"{part.reach} elements that a window reaches"
            )
    sizes = list(x.shape)
    for d, n in zip(dims, counts(asked, x, dims, parts), strict=True):
        sizes[d] = n
    return spatial_axes(sizes), dims, parts


def _element(
    x: Tensor, axes: Sequence[IterVar], dims: Sequence[int], parts: Sequence[Window]
) -> tuple[list[IterVar], Expr, Expr | None]:
    """The axes of a window, the element of `x` at a point of it, and where it is no padding."""
    inner: list[IterVar] = []
    index: list[Expr] = list(axes)
    conds: list[Expr] = []
    for k, (d, part) in enumerate(zip(dims, parts, strict=True)):
        inner.append(te.reduce_axis(part.size, f"k{k}"))
        place = part.place(axes[d], inner[-1])
        if part.before:
            place = place - part.before
            conds.append(place >= 0)
        if part.before or part.after:
            conds.append(place < x.shape[d])
        index[d] = place
    return inner, x[tuple(index)], all_of(conds)


def _covered(window: Expr, extent: Expr, part: Window) -> Expr:
    """How many elements of a window are none of the padding."""
    start = (window if part.stride == 1 else window * part.stride) - part.before
    return minimum(start + part.size, extent) - maximum(start, 0)
