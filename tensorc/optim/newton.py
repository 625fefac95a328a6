"""Newton's method with conjugate gradients: second order, without a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.autodiff.grad import grad
from tensorc.dtypes import float64
from tensorc.errors import ArgumentError
from tensorc.ir.expr import Expr, Select, as_expr, call, cast
from tensorc.optim.rule import Rule
from tensorc.optim.state import (
    PREFIX,
    Pairs,
    Updates,
    casts,
    check_number,
    number,
)
from tensorc.optim.sums import dot
from tensorc.te.tensor import Tensor, elementwise

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class NewtonCG(Rule):
    """p = p + lr d, where d solves (H + damping) d = -g by `iterations` of conjugate gradients.

    J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd ed., algorithm 7.1, with a fixed number
    of iterations, all of them in one compiled step. H is the Hessian of the loss by all parameters
    together; only its products with vectors are computed, as gradients of `sum(g * v)`, which cost
    about two gradients each. Where v'(H + damping)v is not above 0 the direction stays as it is.
    For convex losses, and few parameters or large batches. State: `optimizer.lr`,
    `optimizer.damping`.
    """

    lr: float = 1.0
    iterations: int = 10
    damping: float = 1e-4

    def __post_init__(self) -> None:
        check_number("NewtonCG", "lr", self.lr)
        check_number("NewtonCG", "damping", self.damping)
        if isinstance(self.iterations, bool) or not isinstance(self.iterations, int):
            raise ArgumentError(f"NewtonCG: iterations must be an integer, got {self.iterations!r}")
        if self.iterations < 1:
            raise ArgumentError(f"NewtonCG: iterations must be at least 1, got {self.iterations}")

    def update(self, parameters: Pairs, prefix: str = PREFIX) -> Updates:
        """The new values of (parameter, gradient) pairs, and the state."""
        lr, damping = number(prefix, "lr", self.lr), number(prefix, "damping", self.damping)
        rates, dampings = casts(lr[0], parameters, "lr"), casts(damping[0], parameters, "damping")
        points = [p for p, _ in parameters]
        slopes = [g for _, g in parameters]
        extra = [dampings[p.dtype] for p in points]
        residual = [elementwise(lambda g: -g, g, name="residual") for g in slopes]
        direction = residual
        square = dot(residual, residual)
        solution: list[Tensor] | None = None
        for k in range(self.iterations):
            product = _hessian_product(points, slopes, extra, direction)
            step = _ratio(square, dot(direction, product))
            moved = _axpy("solution", step, direction, solution)
            solution = moved
            if k == self.iterations - 1:
                break
            residual = _axpy("residual", _negative(step), product, residual)
            after = dot(residual, residual)
            direction = _axpy("direction", _ratio(after, square), direction, residual)
            square = after
        assert solution is not None, "there is at least one iteration"
        new = [
            elementwise(lambda p, a, d: p + a * d, p, rates[p.dtype], d, name="new")
            for p, d in zip(points, solution, strict=True)
        ]
        return new, [lr, damping]


def _hessian_product(
    points: Sequence[Tensor],
    slopes: Sequence[Tensor],
    damping: Sequence[Tensor],
    vectors: Sequence[Tensor],
) -> list[Tensor]:
    """(H + damping) v: the gradient of the sum of slope * v, with v held fixed."""
    fixed = [elementwise(lambda v: call("stop_gradient", v), v, name="v") for v in vectors]
    curved = grad(dot(slopes, fixed), list(points))
    return [
        elementwise(lambda h, m, v: h + m * v, h, m, v, name="product")
        for h, m, v in zip(curved, damping, vectors, strict=True)
    ]


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """`a / b`, 0 where b is not above 0."""

    def body(x: Expr, y: Expr) -> Expr:
        one, zero = as_expr(1.0, float64), as_expr(0.0, float64)
        return Select(y > 0, x / Select(y > 0, y, one), zero)

    return elementwise(body, a, b, name="ratio")


def _negative(a: Tensor) -> Tensor:
    return elementwise(lambda x: -x, a, name="negative")


def _axpy(
    name: str, factor: Tensor, x: Sequence[Tensor], y: Sequence[Tensor] | None
) -> list[Tensor]:
    """`factor * x + y` of each pair; without y, `factor * x`."""
    if y is None:
        return [elementwise(lambda f, a: cast(f, a.dtype) * a, factor, a, name=name) for a in x]
    return [
        elementwise(lambda f, a, b: cast(f, a.dtype) * a + b, factor, a, b, name=name)
        for a, b in zip(x, y, strict=True)
    ]
