"""Convolutions: sums of products over sliding windows, in the sense of networks (no flip).

Two layouts, by the name of the one in two dimensions: "NCHW" with images (batch, channels, height,
width) and weights (out, in / groups, height, width), as in torch; "NHWC" with images (batch,
height, width, channels) and weights (height, width, in / groups, out), as in JAX and TensorFlow.
With `groups`, the channels are cut into as many equal parts, and each part of the output reads its
own part of the input. float16 and bfloat16 are summed in float32 and rounded once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.errors import ShapeError
from tensorc.ir.expr import CompareOp, Expr, all_of, as_expr, compare, const_int
from tensorc.ir.simplify import simplify
from tensorc.ops.axes import show_shape, spatial_axes
from tensorc.ops.conv_gradient import in_phases, phases, with_gradient
from tensorc.ops.join import pad
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
from tensorc.te.reduce import reduce_axis
from tensorc.te.tensor import Tensor, define, same_size, sum_of_products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.te.axis import IterVar


def conv1d(
    x: Tensor,
    weight: Tensor,
    stride: PerDim = 1,
    padding: Padding = 0,
    dilation: PerDim = 1,
    groups: int = 1,
    layout: Layout = "NCHW",
) -> Tensor:
    """`conv2d` with one dimension less: (batch, channels, length), or channels last."""
    return _conv("conv1d", 1, x, weight, stride, padding, dilation, groups, layout)


def conv2d(
    x: Tensor,
    weight: Tensor,
    stride: PerDim = 1,
    padding: Padding = 0,
    dilation: PerDim = 1,
    groups: int = 1,
    layout: Layout = "NCHW",
) -> Tensor:
    """`y[n, o, i, j] = sum(x[n, c, i * stride + u, j * stride + v] * weight[o, c, u, v])`.

    Args:
        x: (batch, in, height, width), or as `layout` says.
        weight: (out, in / groups, window height, window width), or as `layout` says.
        stride: by how much each window is moved on; one number or (height, width).
        padding: zeros around the images: one number, (height, width), pairs (before, after) of
            both, "valid" for none, or "same" for as many as keep the size, one more after than
            before where their number is odd.
        dilation: how far apart the elements of a window lie.
        groups: into how many parts the channels are cut.
        layout: "NCHW" or "NHWC".

    Returns:
        (batch, out, (height + padding - reach) // stride + 1, the same of the width), where a
        window reaches `dilation * (size - 1) + 1` elements.

    Raises:
        ShapeError: shapes or numbers that do not fit.
    """
    return _conv("conv2d", 2, x, weight, stride, padding, dilation, groups, layout)


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    stride: PerDim = 1,
    padding: PerDim = 0,
    output_padding: PerDim = 0,
    dilation: PerDim = 1,
    groups: int = 1,
    layout: Layout = "NCHW",
) -> Tensor:
    """`conv_transpose2d` with one dimension less."""
    return _transposed(
        "conv_transpose1d", 1, x, weight, stride, padding, output_padding, dilation, groups, layout
    )


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    stride: PerDim = 1,
    padding: PerDim = 0,
    output_padding: PerDim = 0,
    dilation: PerDim = 1,
    groups: int = 1,
    layout: Layout = "NCHW",
) -> Tensor:
    """The linear map that is the transpose of `conv2d`: its gradient by the images.

    Args:
        x: (batch, in, height, width), or as `layout` says.
        weight: (in, out / groups, window height, window width) as in torch, or, channels last,
            (window height, window width, out / groups, in): the weight of the `conv2d` that is
            transposed.
        stride: how far apart the inputs lie in the output.
        padding: how many elements of each side are left out.
        output_padding: how many are added after the last, less than the stride or the dilation.
        dilation: how far apart the elements of a window lie.
        groups: into how many parts the channels are cut.
        layout: "NCHW" or "NHWC".

    Returns:
        (batch, out, (height - 1) * stride - 2 * padding + reach + output_padding, ...).

    Raises:
        ShapeError: shapes or numbers that do not fit.
    """
    return _transposed(
        "conv_transpose2d", 2, x, weight, stride, padding, output_padding, dilation, groups, layout
    )


def _conv(
    asked: str,
    count: int,
    x: Tensor,
    weight: Tensor,
    stride: PerDim,
    padding: Padding,
    dilation: PerDim,
    groups: int,
    layout: Layout,
) -> Tensor:
    channel = channel_axis(asked, x, count, layout)
    dims = inner_axes(count, layout)
    whole, own, size = _weight_dims(asked, weight, count, layout)
    parts = windows(asked, size, stride, padding, dilation)
    number, each = _groups(asked, weight, whole, groups)
    _check_channels(asked, x, channel, weight, simplify(weight.shape[own] * number), number)
    sizes = list(x.shape)
    sizes[channel] = weight.shape[whole]
    for d, n in zip(dims, counts(asked, x, dims, parts), strict=True):
        sizes[d] = n
    widths = [(0, 0)] * x.ndim
    for d, part in zip(dims, parts, strict=True):
        widths[d] = part.before, part.after
    padded = pad(x, widths) if any(a or b for a, b in widths) else x
    last = parts[-1]
    phased = layout == "NCHW" and last.stride > 1 and last.dilation == 1
    if phased and const_int(padded.shape[-1]) is not None:
        padded = phases(padded, last.stride)
    axes = spatial_axes(sizes)
    r = reduce_axis(weight.shape[own], "c")
    inner = [reduce_axis(part.size, f"k{d}") for d, part in enumerate(parts)]
    out = axes[channel]
    index: list[Expr] = list(axes)
    index[channel] = _in_group(out, each, weight.shape[own], r) if number > 1 else r
    for d, part, k in zip(dims, parts, inner, strict=True):
        index[d] = part.place(axes[d], k)
    if padded.ndim > x.ndim:
        index[-1:] = in_phases(last, axes[-1], inner[-1])
    factors = padded[tuple(index)], weight[tuple(_weight_index(layout, out, r, inner))]
    order = (r, *inner) if layout == "NCHW" else (*inner, r)
    result = define(axes, (sum_of_products(factors, order),), default_name=asked)[0]
    return result if number > 1 else with_gradient(result, x, padded, weight, parts, layout)


def _transposed(
    asked: str,
    count: int,
    x: Tensor,
    weight: Tensor,
    stride: PerDim,
    padding: PerDim,
    output_padding: PerDim,
    dilation: PerDim,
    groups: int,
    layout: Layout,
) -> Tensor:
    channel = channel_axis(asked, x, count, layout)
    dims = inner_axes(count, layout)
    whole, own, size = _weight_dims(asked, weight, count, layout)
    parts = windows(asked, size, stride, per_dim(asked, "padding", padding, count, 0), dilation)
    more = per_dim(asked, "output_padding", output_padding, count, 0)
    number, each = _groups(asked, weight, whole, groups)
    _check_channels(asked, x, channel, weight, weight.shape[whole], number)
    sizes = list(x.shape)
    sizes[channel] = simplify(weight.shape[own] * number)
    for d, part, extra in zip(dims, parts, more, strict=True):
        sizes[d] = _spread(asked, x, d, part, extra)
    axes = spatial_axes(sizes)
    r = reduce_axis(each, "c")
    out = axes[channel]
    index: list[Expr] = list(axes)
    index[channel] = _in_group(out, weight.shape[own], each, r) if number > 1 else r
    sources = [
        _source(axes[d] + part.before if part.before else axes[d], x.shape[d], part, f"k{k}")
        for k, (d, part) in enumerate(zip(dims, parts, strict=True))
    ]
    for d, source in zip(dims, sources, strict=True):
        index[d] = source.place
    at = out if number == 1 else out % weight.shape[own]
    inner = [source.element for source in sources]
    factors = x[tuple(index)], weight[tuple(_weight_index(layout, index[channel], at, inner))]
    order = (r, *(source.axis for source in sources))
    inside = all_of([cond for source in sources for cond in source.conds])
    return define(axes, (sum_of_products(factors, order, inside),), default_name=asked)[0]


def _weight_dims(
    asked: str, weight: Tensor, count: int, layout: Layout
) -> tuple[int, int, list[int]]:
    """The dimension of a weight that counts all channels of its side, that of one group, sizes."""
    if weight.ndim != count + 2:
        raise ShapeError(
            f"{asked}: weight must have {count + 2} dimensions, got {weight.name} of shape "
            f"{show_shape(weight)}"
        )
    sizes = []
    for d in range(2, count + 2) if layout == "NCHW" else range(count):
        size = const_int(weight.shape[d])
        if size is None or size < 1:
            raise ShapeError(
                f"{asked}: the window must have fixed sizes of at least 1, got {weight.name} of "
                f"shape {show_shape(weight)}"
            )
        sizes.append(size)
    return (0, 1, sizes) if layout == "NCHW" else (count + 1, count, sizes)


def _groups(asked: str, weight: Tensor, whole: int, groups: int) -> tuple[int, Expr]:
    """The number of groups, and how many of the channels in dimension `whole` each has."""
    (number,) = per_dim(asked, "groups", groups, 1, least=1)
    size = weight.shape[whole]
    if number == 1:
        return number, size
    known = const_int(size)
    if known is None or known % number:
        raise ShapeError(
            f"{asked}: the {size} channels in dimension {whole} of {weight.name} cannot be cut "
            f"into {number} equal groups"
        )
    return number, as_expr(known // number)


def _check_channels(
    asked: str, x: Tensor, channel: int, weight: Tensor, taken: Expr, groups: int
) -> None:
    if not same_size(x.shape[channel], taken):
        parts = "" if groups == 1 else f" in {groups} groups"
        raise ShapeError(
            f"{asked}: {x.name} of shape {show_shape(x)} has {x.shape[channel]} channels, and "
            f"{weight.name} of shape {show_shape(weight)}{parts} takes {taken}"
        )


def _in_group(out: Expr, out_each: Expr, own_each: Expr, r: Expr) -> Expr:
    """Of the group in which `out` lies, the channel `r` on the other side."""
    group = out if const_int(out_each) == 1 else out // out_each
    return group if const_int(own_each) == 1 else group * own_each + r


def _weight_index(layout: Layout, whole: Expr, own: Expr, inner: Sequence[Expr]) -> list[Expr]:
    return [whole, own, *inner] if layout == "NCHW" else [*inner, own, whole]


def _spread(asked: str, x: Tensor, d: int, part: Window, extra: int) -> Expr:
    """The size of a dimension of a transposed convolution."""
    if extra and extra >= max(part.stride, part.dilation):
        raise ShapeError(
            f"{asked}: output_padding {extra} must be less than the stride {part.stride} or the "
            f"dilation {part.dilation}"
        )
    size = simplify((x.shape[d] - 1) * part.stride + (part.reach + extra - 2 * part.before))
    known = const_int(size)
    if known is not None and known < 1:
        raise ShapeError(
            f"{asked}: a padding of {part.before} leaves nothing of dimension {d}, {x.shape[d]} in "
            f"{x.name}"
        )
    return size


@dataclass(frozen=True, slots=True)
class _Source:
    """What reaches one element of a transposed convolution along one dimension.

    Attributes:
        axis: what to sum over.
        element: of the window.
        place: of the input.
        conds: where both are there.
    """

    axis: IterVar
    element: Expr
    place: Expr
    conds: tuple[Expr, ...]


def _source(out: Expr, extent: Expr, part: Window, name: str) -> _Source:
    """The pairs with `place * stride + element * dilation == out`.

    Without dilation the elements of one residue class modulo the stride are visited, no others.
    """
    s = part.stride
    if part.dilation > 1 and s > 1:
        k = reduce_axis(part.size, name)
        rest = out - k * part.dilation
        place = rest // s
        return _Source(k, k, place, (compare(CompareOp.EQ, rest % s, 0), *_within(place, extent)))
    if s == 1:
        k = reduce_axis(part.size, name)
        place = out - (k if part.dilation == 1 else k * part.dilation)
        return _Source(k, k, place, _within(place, extent))
    t = reduce_axis(-(-part.size // s), name)
    element, place = t * s + out % s, out // s - t
    last = () if part.size % s == 0 else (element < part.size,)
    return _Source(t, element, place, (*last, *_within(place, extent)))


def _within(place: Expr, extent: Expr) -> tuple[Expr, Expr]:
    return place >= 0, place < extent
