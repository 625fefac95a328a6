"""Losses: how far predictions are from what they should be."""

from __future__ import annotations

from dataclasses import replace

from tensorc.errors import ArgumentError, DTypeError, ShapeError
from tensorc.ir.expr import Expr, Load, Select, call, cast
from tensorc.ir.loc import caller_loc
from tensorc.ops.activation import softplus_of
from tensorc.ops.axes import show_shape, spatial_axes
from tensorc.ops.elementwise import exp, square
from tensorc.ops.reduce import mean, sum
from tensorc.ops.softmax import shifted
from tensorc.te.tensor import Tensor, define, elementwise, same_size


def softmax_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """`-log(softmax(logits)[label])` for each row, stable for logits of any size.

    With `smoothing` s, the label is right with probability 1 - s, and each class with s / classes
    beside that: C. Szegedy et al., "Rethinking the Inception architecture for computer vision",
    CVPR 2016, section 7.

    Args:
        logits: (..., classes), floats.
        labels: (...), integers in 0 .. classes - 1, which each call checks.
        smoothing: from 0 to 1.

    Returns:
        (...), the dtype of the logits.

    Raises:
        ArgumentError: a smoothing out of range.
        DTypeError: labels that are not integers.
        ShapeError: shapes that do not fit.
    """
    if not labels.dtype.is_int:
        raise DTypeError(f"labels must be integers, got {labels}; see mse for real targets")
    if not 0 <= smoothing <= 1:
        raise ArgumentError(
            f"softmax_cross_entropy: smoothing must be from 0 to 1, got {smoothing!r}"
        )
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
    chosen: Expr = Load(near, (*axes, labels[axes]), loc=place)
    if smoothing:
        chosen = chosen * (1 - smoothing) + mean(near, -1)[axes] * smoothing
    body = call("log", total[axes]) - chosen
    return define(axes, (cast(body, near.dtype),), default_name="softmax_cross_entropy")[0]


def _fit(rows: tuple[Expr, ...], labels: Tensor) -> bool:
    return all(same_size(a, b) for a, b in zip(rows, labels.shape, strict=True))


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean of `softmax_cross_entropy` over all rows, without dimensions."""
    return replace(mean(softmax_cross_entropy(logits, labels, smoothing)), name="cross_entropy")


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean of the squared differences, without dimensions; the shapes must be equal.

    Raises:
        ShapeError: they are not.
    """
    _check_equal("mse", prediction, target)
    return replace(mean(square(prediction - target)), name="mse")


def huber(prediction: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """The mean of `d**2 / 2` for differences d within `delta`, `delta * (|d| - delta / 2)` beyond.

    P. J. Huber, "Robust estimation of a location parameter", 1964. Without dimensions.

    Raises:
        ArgumentError: a delta that is not above 0.
        ShapeError: the shapes differ.
    """
    if not delta > 0:
        raise ArgumentError(f"huber: delta must be above 0, got {delta!r}")
    _check_equal("huber", prediction, target)

    def body(p: Expr, t: Expr) -> Expr:
        d = p - t
        far = call("abs", d)
        return Select(far <= delta, 0.5 * d * d, delta * (far - 0.5 * delta))

    return replace(mean(elementwise(body, prediction, target, name="parts")), name="huber")


def bce_with_logits(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean of `-(t log(sigmoid(z)) + (1 - t) log(1 - sigmoid(z)))`, without overflow.

    Args:
        logits: z, floats of any shape.
        targets: t, of the same shape, from 0 to 1: floats, integers or bools.

    Returns:
        One number of the dtype of the logits.

    Raises:
        ShapeError: the shapes differ.
    """
    _check_equal("bce_with_logits", logits, targets)

    def body(z: Expr, t: Expr) -> Expr:
        return softplus_of(z) - z * cast(t, z.dtype)

    return replace(mean(elementwise(body, logits, targets, name="parts")), name="bce_with_logits")


def _check_equal(asked: str, prediction: Tensor, target: Tensor) -> None:
    if prediction.ndim != target.ndim or not _fit(prediction.shape, target):
        raise ShapeError(
            f"{asked}: shapes {show_shape(prediction)} and {show_shape(target)} differ"
        )
