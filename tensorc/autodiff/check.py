"""Gradients against central differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tensorc.autodiff.grad import grad
from tensorc.dtypes import float64
from tensorc.errors import GradientError
from tensorc.te.graph import graph_of
from tensorc.te.reference import evaluate
from tensorc.te.tensor import Placeholder, Tensor, placeholder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tensorc.ir.expr import Dim

Array: TypeAlias = "npt.NDArray[Any]"


def check_grad(
    y: Tensor,
    wrt: Tensor | Sequence[Tensor],
    feeds: Mapping[Tensor, npt.ArrayLike],
    *,
    seed: int = 0,
    eps: float = 1e-6,
    rtol: float = 1e-6,
    dims: Mapping[Dim, int] | None = None,
) -> None:
    """Compare the gradient of `y` with central differences along a random direction of each `wrt`.

    The derivative of `sum(s * y)`, for random s, is compared with `(f(x + eps d) - f(x - eps d)) /
    (2 eps)`. The difference formula has an error of order eps**2 from curvature and of order
    `2**-53 / eps` from rounding, so the graph must be float64. Points at which `y` has no
    derivative (a tie, a kink) give a false alarm.

    Args:
        y: a float64 tensor.
        wrt: placeholders of `feeds`, float64.
        feeds: a value for every placeholder that `y` reads.
        seed: of the random directions.
        eps: the step, in units of the inputs.
        rtol: the error allowed, relative to the magnitudes that were added up.
        dims: sizes that no placeholder shows.

    Raises:
        GradientError: the two disagree (the message has both numbers), or the graph holds floats
            other than float64.
    """
    wanted = [wrt] if isinstance(wrt, Tensor) else list(wrt)
    values = {t: np.asarray(v) for t, v in feeds.items()}
    _check(y, wanted, values)
    rng = np.random.default_rng(seed)
    (base,) = evaluate([y], values, dims)
    weights: Array = np.asarray(rng.standard_normal(base.shape))
    cotangent = placeholder(y.shape, float64, name="seed")
    gradients = evaluate(grad(y, wanted, cotangent), {**values, cotangent: weights}, dims)
    for tensor, gradient in zip(wanted, gradients, strict=True):
        direction: Array = np.asarray(rng.standard_normal(values[tensor].shape))
        ends = []
        for step in (eps, -eps):
            (at,) = evaluate([y], {**values, tensor: values[tensor] + step * direction}, dims)
            ends.append(at)
        numeric = float(np.sum(weights * (ends[0] - ends[1]))) / (2 * eps)
        analytic = float(np.sum(gradient * direction))
        # Rounding of y is amplified by 1 / eps.
        scale = float(np.sum(np.abs(gradient * direction)))
        noise = float(np.sum(np.abs(weights * base))) * 2.0**-50 / eps
        if not abs(analytic - numeric) <= rtol * (scale + 1.0) + noise:
            raise GradientError(
                f"the gradient of {y.name} with respect to {tensor.name} is {analytic!r} along a "
                f"random direction, and central differences with eps={eps} say {numeric!r}"
            )


def _check(y: Tensor, wanted: Sequence[Tensor], values: Mapping[Tensor, Array]) -> None:
    graph = graph_of([y, *wanted])
    for tensor in (*graph.placeholders, *graph.tensors()):
        if tensor.dtype.is_float and tensor.dtype != float64:
            raise GradientError(
                f"check_grad needs float64, and {tensor.name} is {tensor.dtype}: build the "
                'graph from placeholders of dtype="float64"'
            )
    for tensor in wanted:
        if not isinstance(tensor.op, Placeholder) or tensor not in values:
            raise GradientError(
                f"check_grad: {tensor.name} must be a placeholder that feeds gives a value for"
            )
