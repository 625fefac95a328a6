"""Attention: means of values, weighted by how well keys fit a query."""

from __future__ import annotations

import math

from tensorc.dtypes import bool_
from tensorc.errors import ShapeError
from tensorc.ir.expr import Expr, Select, as_expr, cast, const_int
from tensorc.ops.axes import show_shape, spatial_axes
from tensorc.ops.matmul import matmul
from tensorc.ops.shape import swapaxes
from tensorc.ops.softmax import softmax
from tensorc.te.tensor import Tensor, broadcast_load, broadcast_shapes, define, same_size


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """`softmax(query @ key.T * scale) @ value`, of the last two dimensions.

    A. Vaswani et al., "Attention is all you need", NeurIPS 2017, equation 1. Leading dimensions,
    such as batch and heads, broadcast.

    Args:
        query: (..., n, depth), floats.
        key: (..., m, depth).
        value: (..., m, width).
        mask: broadcasts to (..., n, m); of bool, True where a query sees a key; of floats, what is
            added to the scores. A query that sees no key gives NaN.
        causal: whether query i sees the keys 0 .. i alone.
        scale: by default 1 / sqrt(depth).

    Returns:
        (..., n, width).

    Raises:
        ShapeError: shapes that do not fit, or a symbolic depth without `scale`.
    """
    shapes = ", ".join(map(show_shape, (query, key, value)))
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ShapeError(f"attention: query, key and value need 2 dimensions, got {shapes}")
    fits = same_size(query.shape[-1], key.shape[-1]), same_size(key.shape[-2], value.shape[-2])
    if not all(fits):
        raise ShapeError(
            f"attention: shapes {shapes} of query, key and value do not fit (..., n, depth), "
            "(..., m, depth), (..., m, width)"
        )
    if scale is None:
        depth = const_int(query.shape[-1])
        if not depth:
            raise ShapeError(f"attention: give scale=, the depth {query.shape[-1]} is not known")
        scale = 1 / math.sqrt(depth)
    scores = _scores(matmul(query, swapaxes(key, -1, -2)), mask, causal, scale)
    return matmul(softmax(scores), value)


def _scores(products: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    shape = products.shape if mask is None else broadcast_shapes(products.shape, mask.shape)
    if not all(map(same_size, shape[-2:], products.shape[-2:])):
        assert mask is not None, "the shape is that of the products"
        raise ShapeError(
            f"attention: mask of shape {show_shape(mask)} does not broadcast to the scores, "
            f"{show_shape(products)}"
        )
    axes = spatial_axes(shape)
    body: Expr = broadcast_load(products, axes) * as_expr(scale, products.dtype)
    never = as_expr(-math.inf, products.dtype)
    if mask is not None:
        at = broadcast_load(mask, axes)
        body = Select(at, body, never) if mask.dtype == bool_ else body + cast(at, body.dtype)
    if causal:
        body = Select(axes[-1] <= axes[-2], body, never)
    return define(axes, (body,), default_name="scores")[0]
