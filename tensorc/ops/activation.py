"""The functions between the layers of a network, element by element."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

from tensorc.errors import ArgumentError
from tensorc.ir.expr import Expr, Select, as_expr, call, maximum
from tensorc.te.tensor import Tensor, elementwise

if TYPE_CHECKING:
    from typing import Literal


def relu(x: Tensor) -> Tensor:
    """`maximum(x, 0)`; NaN stays NaN."""
    return elementwise(lambda v: maximum(v, 0), x, name="relu")


def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    """`x` above 0, `slope * x` elsewhere; the derivative at 0 is `slope`."""
    return elementwise(lambda v: Select(v > 0, v, v * slope), x, name="leaky_relu")


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """`x` above 0, `alpha * (exp(x) - 1)` elsewhere."""
    return elementwise(lambda v: Select(v > 0, v, alpha * call("expm1", v)), x, name="elu")


def gelu(x: Tensor, approximate: Literal["none", "tanh"] = "none") -> Tensor:
    """`x * P(X <= x)` for a standard normal X: `x (1 + erf(x / sqrt 2)) / 2`.

    With "tanh", the approximation `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2`; both are of
    D. Hendrycks, K. Gimpel, "Gaussian error linear units", 2016, section 2.
    """
    if approximate not in ("none", "tanh"):
        raise ArgumentError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")

    def share(v: Expr) -> Expr:
        if approximate == "none":
            return 0.5 * (1.0 + call("erf", v * math.sqrt(0.5)))
        return 0.5 * (1.0 + call("tanh", math.sqrt(2 / math.pi) * (v + 0.044715 * v * v * v)))

    # Of its own, so that the gradient, which reads it too, can keep it.
    return elementwise(operator.mul, x, elementwise(share, x, name="gelu.share"), name="gelu")


def silu(x: Tensor) -> Tensor:
    """`x * sigmoid(x)`."""
    share = elementwise(lambda v: call("sigmoid", v), x, name="silu.share")
    return elementwise(operator.mul, x, share, name="silu")


def softplus(x: Tensor) -> Tensor:
    """`log(1 + exp(x))`, without overflow; its derivative is `sigmoid(x)` everywhere."""
    return elementwise(lambda v: softplus_of(as_expr(v)), x, name="softplus")


def softplus_of(v: Expr) -> Expr:
    """`log(1 + exp(v))` of a scalar: max(v, 0) + log1p(exp(-|v|)), smooth to the rules at 0 too."""
    zero = as_expr(0.0, v.dtype)
    return Select(v > 0, v, zero) + call("log1p", call("exp", Select(v > 0, -v, v)))
