"""More elements than there were: each repeated, or what lies between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tensorc.dtypes import accumulator, float32
from tensorc.errors import ShapeError
from tensorc.ir.expr import Expr, cast, where
from tensorc.ir.simplify import simplify
from tensorc.ops.axes import show_shape, spatial_axes
from tensorc.ops.shape import gather
from tensorc.ops.window import Layout, PerDim, inner_axes, per_dim
from tensorc.te.axis import ZERO
from tensorc.te.tensor import Tensor, define

if TYPE_CHECKING:
    from tensorc.te.axis import IterVar


def upsample(
    x: Tensor,
    scale: PerDim,
    mode: Literal["nearest", "linear"] = "nearest",
    layout: Layout = "NCHW",
) -> Tensor:
    """`scale` times as many elements along each dimension but batch and channels.

    "nearest" repeats each element, `y[i] = x[i // scale]`; "linear" interpolates between the two
    whose centres are next, in each dimension, and repeats the outermost (torch's bilinear without
    `align_corners`); its result is float32 for integers.

    Args:
        x: (batch, channels, length) or (batch, channels, height, width), or as `layout` says.
        scale: an integer, or one for each dimension that grows.
        mode: "nearest" or "linear".
        layout: "NCHW" or "NHWC".

    Raises:
        ShapeError: another mode, or dimensions or numbers that do not fit.
    """
    if mode not in ("nearest", "linear") or layout not in ("NCHW", "NHWC"):
        raise ShapeError(
            f"upsample: mode is 'nearest' or 'linear' and layout 'NCHW' or 'NHWC', got {mode!r} "
            f"and {layout!r}"
        )
    if x.ndim < 3:
        raise ShapeError(
            f"upsample: x has batch, channels and more, got {x.name} of shape {show_shape(x)}"
        )
    dims = inner_axes(x.ndim - 2, layout)
    factors = dict(zip(dims, per_dim("upsample", "scale", scale, len(dims), 1), strict=True))
    if mode == "nearest":
        axes = spatial_axes([_grown(x, d, factors) for d in range(x.ndim)])
        index = [a // factors[d] if factors.get(d, 1) > 1 else a for d, a in enumerate(axes)]
        return gather(x, axes, index, "upsample")
    for d, factor in factors.items():
        if factor > 1:
            x = _linear(x, d, factor)
    return x


def _grown(x: Tensor, d: int, factors: dict[int, int]) -> Expr:
    return simplify(x.shape[d] * factors[d]) if factors.get(d, 1) > 1 else x.shape[d]


def _linear(x: Tensor, d: int, factor: int) -> Tensor:
    """Element i lies at (i + 1/2) / factor - 1/2 of x, which is (2 i + 1 - factor) / (2 factor)."""
    axes = spatial_axes([_grown(x, k, {d: factor}) for k in range(x.ndim)])
    to = accumulator(x.dtype) if x.dtype.is_float else float32
    shifted = axes[d] * 2 + (1 - factor)
    left = shifted // (2 * factor)
    part = cast(shifted % (2 * factor), to) / float(2 * factor)
    last = x.shape[d] - 1
    low = cast(where(left >= 0, _at(x, axes, d, left), _at(x, axes, d, ZERO)), to)
    high = cast(where(left < last, _at(x, axes, d, left + 1), _at(x, axes, d, last)), to)
    body = cast(low * (1.0 - part) + high * part, x.dtype if x.dtype.is_float else to)
    return define(axes, (body,), default_name="upsample")[0]


def _at(x: Tensor, axes: tuple[IterVar, ...], d: int, place: Expr) -> Expr:
    return x[(*axes[:d], place, *axes[d + 1 :])]
