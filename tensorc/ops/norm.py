"""Normalizations: values brought to mean 0 and variance 1, or to mean square 1.

Variances are means of squared distances to the mean, over n and not n - 1, and `eps` is added to
them. float16 and bfloat16 are normalized in float32.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tensorc.dtypes import accumulator, float32
from tensorc.errors import ShapeError
from tensorc.ir.expr import Expr, as_expr, call, cast
from tensorc.ops.axes import normalize_axes, normalize_axis, show_shape, spatial_axes
from tensorc.ops.reduce import AxisLike, mean, moments
from tensorc.ops.shape import squeeze
from tensorc.te.axis import IterVar
from tensorc.te.tensor import Tensor, define, elementwise, same_size

if TYPE_CHECKING:
    from collections.abc import Sequence


def layer_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    axis: AxisLike = -1,
    eps: float = 1e-5,
) -> Tensor:
    """`(x - mean) / sqrt(var + eps) * weight + bias`, with mean and variance over `axis`.

    J. L. Ba et al., "Layer normalization", 2016. `weight` and `bias` have the sizes of `axis`.

    Raises:
        ShapeError: a weight or bias of another shape.
    """
    wide = _wide(x)
    dims = normalize_axes(axis, x.ndim)
    centre, spread = moments(wide, dims, keepdims=True)
    scale = elementwise(lambda s: call("rsqrt", as_expr(s) + eps), spread, name="scale")
    near = elementwise(lambda v, m, s: (as_expr(v) - m) * s, wide, centre, scale, name="normalized")
    return _scaled("layer_norm", near, x, weight, bias, dims)


def rms_norm(
    x: Tensor, weight: Tensor | None = None, axis: AxisLike = -1, eps: float = 1e-6
) -> Tensor:
    """`x / sqrt(mean(x**2) + eps) * weight`, with the mean over `axis`.

    B. Zhang, R. Sennrich, "Root mean square layer normalization", NeurIPS 2019. `weight` has the
    sizes of `axis`.

    Raises:
        ShapeError: a weight of another shape.
    """
    wide = _wide(x)
    dims = normalize_axes(axis, x.ndim)
    square = mean(elementwise(lambda v: as_expr(v) * v, wide, name="square"), dims, keepdims=True)
    scale = elementwise(lambda s: call("rsqrt", as_expr(s) + eps), square, name="scale")
    near = elementwise(lambda v, s: as_expr(v) * s, wide, scale, name="normalized")
    return _scaled("rms_norm", near, x, weight, None, dims)


def batch_norm(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    axis: int = 1,
    eps: float = 1e-5,
) -> Tensor:
    """`(x - mean) / sqrt(var + eps) * weight + bias`, with one of each for each channel.

    S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015. `mean` and `var` are those of the batch,
    as `batch_moments` gives them, or running ones.

    Args:
        x: any shape.
        mean: (channels,), the size of dimension `axis` of `x`; so are `var`, `weight`, `bias`.
        var: at least 0.
        weight: by default 1.
        bias: by default 0.
        axis: the dimension of `x` that counts channels.
        eps: added to the variance.

    Raises:
        ShapeError: a size that is not the number of channels.
    """
    d = normalize_axis(axis, x.ndim)
    for name, tensor in (("mean", mean), ("var", var)):
        _check_sizes("batch_norm", name, tensor, x, (d,))
    wide = _wide(x)
    to = wide.dtype
    (channel,) = spatial_axes(mean.shape)
    gain = call("rsqrt", cast(var[channel], to) + eps)
    if weight is not None:  # One factor for each channel.
        _check_sizes("batch_norm", "weight", weight, x, (d,))
        gain = gain * cast(weight[channel], to)
    scale = define((channel,), (gain,), default_name="scale")[0]
    axes = spatial_axes(wide.shape)
    body = (wide[axes] - cast(mean[axes[d]], to)) * scale[axes[d]]
    near = define(axes, (body,), default_name="normalized")[0]
    return _scaled("batch_norm", near, x, None, bias, (d,))


def batch_moments(x: Tensor, axis: int = 1) -> tuple[Tensor, Tensor]:
    """The mean and the variance, over n, of each channel of `x`: all but dimension `axis`.

    Raises:
        ShapeError: there is no such dimension.
    """
    d = normalize_axis(axis, x.ndim)
    others = tuple(k for k in range(x.ndim) if k != d)
    wide = _wide(x)
    centre, spread = moments(wide, others)
    return replace(squeeze(centre, others), name="mean"), spread


def _wide(x: Tensor) -> Tensor:
    to = accumulator(x.dtype) if x.dtype.is_float else float32
    return x if x.dtype == to else x.astype(to)


def _scaled(
    asked: str,
    near: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    dims: Sequence[int],
) -> Tensor:
    """`near * weight + bias` in the dtype of `x`, both over the dimensions `dims`."""
    to = x.dtype if x.dtype.is_float else near.dtype
    axes = tuple(IterVar(f"i{k}", extent=n) for k, n in enumerate(near.shape))
    at = tuple(axes[d] for d in dims)
    body: Expr = near[axes]
    if weight is not None:
        _check_sizes(asked, "weight", weight, x, dims)
        body = body * cast(weight[at], near.dtype)
    if bias is not None:
        _check_sizes(asked, "bias", bias, x, dims)
        body = body + cast(bias[at], near.dtype)
    return define(axes, (cast(body, to),), default_name=asked)[0]


def _check_sizes(asked: str, name: str, given: Tensor, x: Tensor, dims: Sequence[int]) -> None:
    sizes = [x.shape[d] for d in dims]
    if given.ndim != len(sizes) or not all(map(same_size, given.shape, sizes)):
        shown = ", ".join(map(str, sizes)) + ("," if len(sizes) == 1 else "")
        raise ShapeError(
            f"{asked}: {name} must be of shape ({shown}), the sizes of dimensions {tuple(dims)} of "
            f"{x.name}, got {show_shape(given)}"
        )
