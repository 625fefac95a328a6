"""Derivatives against central differences in float64 along random directions, in every mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.autodiff.forward import jvp
from tensorc.autodiff.grad import grad
from tensorc.te.reference import evaluate
from tensorc.te.tensor import Tensor, placeholder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.autodiff.reductions import Ties

Array = np.ndarray[Any, Any]
EPS = 1e-6


def assert_derivatives(
    y: Tensor,
    wrt: Sequence[Tensor],
    feeds: Mapping[Tensor, Array],
    *,
    second: bool = True,
    ties: Ties = "split",
) -> None:
    """Compare reverse, forward and, if `second`, forward over reverse mode with differences.

    Central differences have an error of order EPS**2 from curvature, which is 1e-12 of third
    derivatives of order 1, and of order 2**-53 / EPS = 1e-10 of the magnitudes from rounding.
    """
    rng = np.random.default_rng(7)
    values = {t: np.asarray(v) for t, v in feeds.items()}
    moves: dict[Tensor, Array] = {t: _normal(rng, values[t].shape) for t in wrt}
    (base,) = evaluate([y], values)
    weights = _normal(rng, base.shape)
    seed = placeholder(y.shape, y.dtype, name="seed")
    directions = [placeholder(t.shape, t.dtype, name=f"v{k}") for k, t in enumerate(wrt)]
    gradients = grad(y, list(wrt), seed, ties=ties)
    tangent = jvp(y, list(wrt), directions, ties=ties)
    products = jvp(gradients, list(wrt), directions, ties=ties) if second else []

    def at(step: float, outputs: Sequence[Tensor]) -> list[Array]:
        moved = {t: values[t] + step * moves[t] if t in moves else values[t] for t in values}
        given = {seed: weights, **dict(zip(directions, (moves[t] for t in wrt), strict=True))}
        return evaluate(outputs, {**moved, **given})

    def difference(outputs: Sequence[Tensor]) -> list[Array]:
        return [
            (a - b) / (2 * EPS) for a, b in zip(at(EPS, outputs), at(-EPS, outputs), strict=True)
        ]

    found = at(0.0, [*gradients, tangent, *products])
    (slope,) = difference([y])
    assert_close(found[len(wrt)], slope, base)
    total = sum(float(np.sum(g * moves[t])) for g, t in zip(found, wrt, strict=False))
    size = sum(float(np.sum(np.abs(g * moves[t]))) for g, t in zip(found, wrt, strict=False))
    scale = 1.0 + size + float(np.sum(np.abs(weights * base)))
    assert abs(total - float(np.sum(weights * slope))) <= 1e-8 * scale
    if second:
        for product, change, g in zip(
            found[len(wrt) + 1 :], difference(gradients), found, strict=False
        ):
            assert_close(product, change, g)


def assert_close(found: Array, numeric: Array, base: Array) -> None:
    """Equal but for the error of central differences, see `assert_derivatives`."""
    assert found.shape == numeric.shape
    scale = 1.0 + max(float(np.max(np.abs(x), initial=0.0)) for x in (found, base))
    np.testing.assert_allclose(found, numeric, rtol=0, atol=1e-8 * scale)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(rng.standard_normal(shape))
