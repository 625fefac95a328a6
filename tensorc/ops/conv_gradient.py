"""The gradients of a convolution as dense sums: no condition stands inside of one.

By the images, with stride s and p zeros before the first element of a dimension,

    d.x[y] = sum(d.y[(y + p) // s - t] * w[t * s + (y + p) % s], axis=t)

The elements of one remainder `y % s` are a convolution of their own, of the cotangent between zeros
with a part of the window. Its sizes are constants, so that an interior and edges need not be told
apart. By the weights it is a sum over all windows.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.ir.expr import Expr, as_expr, cast, const_int, where
from tensorc.ops.axes import spatial_axes
from tensorc.ops.join import pad
from tensorc.ops.window import inner_axes
from tensorc.te.reduce import reduce_axis
from tensorc.te.rule import Rule, stated
from tensorc.te.tensor import Tensor, define, sum_of_products

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ops.window import Layout, Window
    from tensorc.te.axis import IterVar


def phases(padded: Tensor, stride: int) -> Tensor:
    """The elements of each remainder of the last dimension in a row of their own.

    Windows `stride` apart, side by side in lanes, read neighbours then.
    """
    *outer, last = padded.shape
    size = const_int(last)
    assert size is not None, "the phases of a dimension of fixed size"
    count = -(-size // stride)
    axes = spatial_axes([*outer, as_expr(stride), as_expr(count)])
    place = axes[-1] * stride + axes[-2]
    body = padded[(*axes[:-2], place)]
    if count * stride > size:
        body = where(place < size, body, cast(0.0, padded.dtype))
    return define(axes, (body,), default_name="phases")[0]


def in_phases(part: Window, window: Expr, element: Expr) -> tuple[Expr, Expr]:
    """Where an element of a window stands in `phases`: the row, and the place in it."""
    return element % part.stride, window + element // part.stride


@dataclass(frozen=True, slots=True)
class _Class:
    """The elements `rest`, `rest + s`... of a dimension: how many, and what they are sums of.

    Element m reads places `m + shift - t` of the cotangent with elements `t * s + first` of the
    window, for t below `taps`.
    """

    count: int
    shift: int
    first: int
    taps: int


def with_gradient(
    result: Tensor,
    x: Tensor,
    padded: Tensor,
    weight: Tensor,
    parts: Sequence[Window],
    layout: Layout,
) -> Tensor:
    """`result`, the convolution of `x` in one group, with its gradients as dense sums.

    As it is where a window has gaps, or the sizes of the images are not fixed. `padded` is what the
    windows read: `x` between zeros, or the phases of that.
    """
    dims = inner_axes(len(parts), layout)
    sizes = [const_int(x.shape[d]) for d in dims]
    if any(part.dilation > 1 for part in parts) or None in sizes:
        return result
    classes = [
        [_class_of(size or 0, part, rest) for rest in range(part.stride)]
        for size, part in zip(sizes, parts, strict=True)
    ]

    def pull(cotangents: tuple[Tensor, ...]) -> list[Tensor]:
        (g,) = cotangents
        return [
            _by_images(g, x, weight, parts, classes, layout),
            _by_weights(g, padded, weight, parts, layout),
        ]

    return stated(Rule("conv", (x, weight), pull, transparent=True), (result,))[0]


def _class_of(size: int, part: Window, rest: int) -> _Class:
    shift, first = divmod(rest + part.before, part.stride)
    count = max(0, -(-(size - rest) // part.stride))
    return _Class(count, shift, first, max(0, -(-(part.size - first) // part.stride)))


def _by_images(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    parts: Sequence[Window],
    classes: Sequence[Sequence[_Class]],
    layout: Layout,
) -> Tensor:
    """The cotangent of `x`, by classes of elements."""
    dims = inner_axes(len(parts), layout)
    widths = [(0, 0)] * x.ndim
    for d, each in zip(dims, classes, strict=True):
        out = const_int(g.shape[d])
        assert out is not None, "what windows slide over is fixed, and so is their number"
        last = max(c.count - 1 + c.shift for c in each)
        widths[d] = max(0, *(c.taps - 1 - c.shift for c in each)), max(0, last - (out - 1))
    between = pad(g, widths) if any(a or b for a, b in widths) else g
    fronts = [widths[d][0] for d in dims]
    made = {
        rests: _dense(
            between,
            x,
            weight,
            parts,
            [c[r] for c, r in zip(classes, rests, strict=True)],
            fronts,
            layout,
        )
        for rests in itertools.product(*(range(part.stride) for part in parts))
    }
    if len(made) == 1:
        (whole,) = made.values()
        if whole is not None:
            return whole
    axes = spatial_axes(x.shape)
    place = list[Expr](axes)
    for d, part in zip(dims, parts, strict=True):
        place[d] = axes[d] if part.stride == 1 else axes[d] // part.stride

    def pick(left: Sequence[tuple[int, Window]], rests: tuple[int, ...]) -> Expr:
        if not left:
            part = made[rests]
            return cast(0.0, x.dtype) if part is None else part[tuple(place)]
        ((d, window), *more) = left
        found = pick(more, (*rests, window.stride - 1))
        for rest in reversed(range(window.stride - 1)):
            found = where(axes[d] % window.stride == rest, pick(more, (*rests, rest)), found)
        return found

    body = pick(list(zip(dims, parts, strict=True)), ())
    return define(axes, (body,), default_name=f"d.{x.name}")[0]


def _dense(
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    parts: Sequence[Window],
    own: Sequence[_Class],
    fronts: Sequence[int],
    layout: Layout,
) -> Tensor | None:
    """The cotangent of one class of elements from `g`, with `fronts` zeros before; None for 0."""
    if any(c.taps == 0 or c.count == 0 for c in own):
        return None
    first = layout == "NCHW"
    dims = inner_axes(len(parts), layout)
    channel = 1 if first else x.ndim - 1
    sizes = list(x.shape)
    for d, c in zip(dims, own, strict=True):
        sizes[d] = cast(c.count, sizes[d].dtype)
    axes = spatial_axes(sizes)
    r = reduce_axis(weight.shape[0 if first else -1], "c")
    taps = [reduce_axis(c.taps, f"k{d}") for d, c in enumerate(own)]
    index = list[Expr](axes)
    index[channel] = r
    inner: list[Expr] = []
    for d, c, t, front, part in zip(dims, own, taps, fronts, parts, strict=True):
        index[d] = axes[d] - t + (c.shift + front)
        inner.append(t * part.stride + c.first if part.stride > 1 else t)
    at = [r, axes[channel], *inner] if first else [*inner, axes[channel], r]
    order = (r, *taps) if first else (*taps, r)
    body = cast(sum_of_products((g[tuple(index)], weight[tuple(at)]), order), x.dtype)
    return define(axes, (body,), default_name=f"d.{x.name}")[0]


def _by_weights(
    g: Tensor, padded: Tensor, weight: Tensor, parts: Sequence[Window], layout: Layout
) -> Tensor:
    """The cotangent of `weight`: the long dimensions last, as they are best stored."""
    first = layout == "NCHW"
    dims = inner_axes(len(parts), layout)
    channel = 1 if first else g.ndim - 1
    shape = weight.shape
    sizes = [*shape[2:], shape[1], shape[0]] if first else list(shape)
    axes = spatial_axes(sizes)
    *window, own, out = axes
    points: list[IterVar] = [reduce_axis(n, f"r{d}") for d, n in enumerate(g.shape) if d != channel]
    rest = iter(points)
    from_g = [out if d == channel else next(rest) for d in range(g.ndim)]
    from_x: list[Expr] = [own if d == channel else from_g[d] for d in range(g.ndim)]
    for d, part, k in zip(dims, parts, window, strict=True):
        from_x[d] = part.place(from_g[d], k)
    if padded.ndim > g.ndim:
        from_x[-1:] = in_phases(parts[-1], from_g[-1], window[-1])
    factors = padded[tuple(from_x)], g[tuple(from_g)]
    body = cast(sum_of_products(factors, points), weight.dtype)
    made = define(axes, (body,), default_name=f"d.{weight.name}")[0]
    if not first:
        return made
    turned = spatial_axes(shape)
    at = (*turned[2:], turned[1], turned[0])
    return define(turned, (made[at],), default_name=f"d.{weight.name}")[0]
