"""Softmax and its logarithms, without overflow.

All shift by the greatest value, which changes no result; so its derivative is left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tensorc.dtypes import float32
from tensorc.ir.expr import Select, as_expr, call
from tensorc.ops.elementwise import exp
from tensorc.ops.reduce import AxisLike, max, sum
from tensorc.ops.shape import squeeze
from tensorc.te.tensor import Tensor, elementwise

if TYPE_CHECKING:
    from tensorc.ir.expr import Expr


def softmax(x: Tensor, axis: AxisLike = -1) -> Tensor:
    """`exp(x) / sum(exp(x))` along `axis`; integers give float32.

    One division for each sum: its reciprocal, between 1 / n and 1, multiplies the exponentials.
    """
    parts = exp(shifted(x, axis))
    total = sum(parts, axis, keepdims=True)
    share = elementwise(lambda b: as_expr(1.0, b.dtype) / b, total, name="share")
    return elementwise(lambda a, b: a * b, parts, share, name="softmax")


def log_softmax(x: Tensor, axis: AxisLike = -1) -> Tensor:
    """`log(softmax(x))`, exact where softmax underflows."""
    near = shifted(x, axis)
    total = sum(exp(near), axis, keepdims=True)
    return elementwise(lambda a, b: a - call("log", b), near, total, name="log_softmax")


def logsumexp(x: Tensor, axis: AxisLike = None, keepdims: bool = False) -> Tensor:
    """`log(sum(exp(x)))` over `axis`; infinities as in SciPy: inf wins, -inf of only -inf.

    Raises:
        ShapeError: a reduced axis of size 0. A symbolic size is checked at each call.
    """
    x = _as_float(x)
    shift = shift_of(x, axis)
    total = sum(exp(x - shift), axis, keepdims=True)
    result = elementwise(lambda s, m: call("log", s) + m, total, shift, name="logsumexp")
    return (
        result if keepdims else replace(squeeze(result, _reduced_dims(x, axis)), name="logsumexp")
    )


def shifted(x: Tensor, axis: AxisLike) -> Tensor:
    """`x` less its greatest value along `axis`, where that is finite."""
    x = _as_float(x)
    return elementwise(lambda a, m: a - m, x, shift_of(x, axis), name="shifted")


def shift_of(x: Tensor, axis: AxisLike) -> Tensor:
    """The greatest value along `axis`, kept as a dimension; 0 where it is not finite."""

    def body(m: Expr) -> Expr:
        return call("stop_gradient", Select(call("isfinite", m), m, as_expr(0.0, m.dtype)))

    return elementwise(body, max(x, axis, keepdims=True), name="shift")


def _reduced_dims(x: Tensor, axis: AxisLike) -> AxisLike:
    return tuple(range(x.ndim)) if axis is None else axis


def _as_float(x: Tensor) -> Tensor:
    return x if x.dtype.is_float else x.astype(float32)
