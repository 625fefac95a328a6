"""Activations as layers: `tensorc.ops` has the functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tensorc import ops
from tensorc.nn.module import Module

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor


class ReLU(Module):
    """`max(x, 0)`; its gradient at 0 is 0."""

    keeps_shape = True

    def forward(self, x: Tensor) -> Tensor:
        """Build the maximum."""
        return ops.relu(x)


class LeakyReLU(Module):
    """`x` above 0, `slope * x` elsewhere."""

    keeps_shape = True

    def __init__(self, slope: float = 0.01) -> None:
        """Keep the slope."""
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """Build the choice."""
        return ops.leaky_relu(x, self.slope)

    def __repr__(self) -> str:
        return f"LeakyReLU({self.slope})"


class Tanh(Module):
    """The hyperbolic tangent."""

    keeps_shape = True

    def forward(self, x: Tensor) -> Tensor:
        """Build the tangent."""
        return ops.tanh(x)


class Sigmoid(Module):
    """`1 / (1 + exp(-x))`."""

    keeps_shape = True

    def forward(self, x: Tensor) -> Tensor:
        """Build the sigmoid."""
        return ops.sigmoid(x)


class GELU(Module):
    """`x * P(X <= x)` for a standard normal X, exact or by its "tanh" approximation."""

    keeps_shape = True

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        """Keep which form it is."""
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """Build the product."""
        return ops.gelu(x, self.approximate)

    def __repr__(self) -> str:
        return "GELU()" if self.approximate == "none" else f"GELU({self.approximate!r})"


class SiLU(Module):
    """`x * sigmoid(x)`."""

    keeps_shape = True

    def forward(self, x: Tensor) -> Tensor:
        """Build the product."""
        return ops.silu(x)


class Softmax(Module):
    """`exp(x) / sum(exp(x))` along `axis`. A `SoftmaxLoss` has its own: it takes logits."""

    keeps_shape = True

    def __init__(self, axis: int = -1) -> None:
        """Keep the axis."""
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Build the quotient."""
        return ops.softmax(x, self.axis)

    def __repr__(self) -> str:
        return f"Softmax(axis={self.axis})"
