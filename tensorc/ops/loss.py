"""Losses: how far predictions are from what they should be."""

from __future__ import annotations

from dataclasses import replace

from tensorc.errors import DTypeError, ShapeError
from tensorc.ir.expr import Expr, Load, call, caller_loc, cast
from tensorc.ops.axes import show_shape, spatial_axes
from tensorc.ops.elementwise import exp, square
from tensorc.ops.reduce import mean, sum
from tensorc.ops.softmax import shifted
from tensorc.te.tensor import Tensor, define, same_size


def softmax_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """`-log(softmax(logits)[label])` for each row, stable for logits of any size.

    Args:
        logits: (..., classes), floats.
        labels: (...), integers in 0 .. classes - 1, which each call checks.

    Returns:
        (...), the dtype of the logits.

    Raises:
        DTypeError: labels that are not integers.
        ShapeError: shapes that do not fit.
    """
    if not labels.dtype.is_int:
        raise DTypeError(f"labels must be integers, got {labels}; see mse for real targets")
    rows = logits.shape[:-1]
    if logits.ndim == 0 or len(rows) != labels.ndim or not _fit(rows, labels):
        raise ShapeError(
            f"softmax_cross_entropy: labels {show_shape(labels)} must have the shape of logits "
            f"{show_shape(logits)} without the last dimension"
        )
    near = shifted(logits, -1)
    total = sum(exp(near), -1)
    axes = spatial_axes(rows)
    place = caller_loc("softmax_cross_entropy: label")
    chosen = Load(near, (*axes, labels[axes]), loc=place)
    body = call("log", total[axes]) - chosen
    return define(axes, (cast(body, near.dtype),), default_name="softmax_cross_entropy")[0]


def _fit(rows: tuple[Expr, ...], labels: Tensor) -> bool:
    return all(same_size(a, b) for a, b in zip(rows, labels.shape, strict=True))


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean of `softmax_cross_entropy` over all rows, without dimensions."""
    return replace(mean(softmax_cross_entropy(logits, labels)), name="cross_entropy")


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of the squared differences, without dimensions; the shapes must be equal.

    Raises:
        ShapeError: they are not.
    """
    if prediction.ndim != target.ndim or not _fit(prediction.shape, target):
        raise ShapeError(f"mse: shapes {show_shape(prediction)} and {show_shape(target)} differ")
    return replace(mean(square(prediction - target)), name="mse")
