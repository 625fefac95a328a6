"""Stochastic gradient descent, with momentum in its several forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tensorc.errors import ArgumentError
from tensorc.optim.rule import Rule
from tensorc.optim.state import (
    PREFIX,
    Pairs,
    Updates,
    casts,
    check_number,
    number,
    power,
    zeros,
)
from tensorc.te.tensor import elementwise

if TYPE_CHECKING:
    from tensorc.ir.expr import Expr
    from tensorc.te.tensor import Tensor


@dataclass(frozen=True, slots=True)
class SGD(Rule):
    """Stochastic gradient descent: p = p - lr u, where u is g + weight_decay p, or its momentum.

    `form` says what momentum m makes of the gradients:

    * "sum", as in torch: u = m u + g. The learning rate scales the sum, so that a change of it
      takes effect at once; I. Sutskever et al., "On the importance of initialization and momentum
      in deep learning", ICML 2013, equation 1, has it inside.
    * "mean", as in CMU 10-414: u = m u + (1 - m) g, a running mean of the gradients. It starts from
      0, and with `bias_correction` it is divided by 1 - m**t at step t, as in Adam.

    With `nesterov` the step looks ahead: it goes by m u + g of the new u (in the form "mean" by
    m u + (1 - m) g). State: `optimizer.lr`; where momentum is not 0
    `optimizer.momentum.<parameter>`; with bias correction `optimizer.momentum_power`.
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    form: Literal["sum", "mean"] = "sum"
    bias_correction: bool = False

    def __post_init__(self) -> None:
        check_number("SGD", "lr", self.lr)
        check_number("SGD", "momentum", self.momentum, below=1.0)
        check_number("SGD", "weight_decay", self.weight_decay)
        if self.form not in ("sum", "mean"):
            raise ArgumentError(
                f"SGD: form must be 'sum' (u = m u + g, torch's) or 'mean' (u = m u + (1 - m) g, "
                f"the course's), got {self.form!r}"
            )
        if self.nesterov and not self.momentum:
            raise ArgumentError("SGD: nesterov needs a momentum above 0")
        if self.bias_correction and (self.form != "mean" or self.nesterov):
            raise ArgumentError(
                "SGD: bias_correction is for form='mean' without nesterov, whose velocity is a mean"
            )

    def update(self, parameters: Pairs, prefix: str = PREFIX) -> Updates:
        """The new values of (parameter, gradient) pairs, and the state."""
        lr = number(prefix, "lr", self.lr)
        kept, rate = [lr], lr[0]
        if self.bias_correction and self.momentum:
            taken = power(prefix, "momentum_power", self.momentum)
            kept.append(taken)
            rate = elementwise(lambda a, b: a / (1.0 - b), rate, taken[1], name="rate64")
        rates = casts(rate, parameters, "lr")
        new = []
        for parameter, gradient in parameters:
            step = gradient
            if self.weight_decay:
                step = elementwise(
                    lambda g, p: g + self.weight_decay * p, step, parameter, name="decayed"
                )
            if self.momentum:
                velocity, start = zeros(prefix, "momentum", parameter)
                after = self._moved("velocity", velocity, step)
                kept.append((velocity, after, start))
                step = self._moved("ahead", after, step) if self.nesterov else after
            rate = rates[parameter.dtype]
            new.append(elementwise(lambda p, a, u: p - a * u, parameter, rate, step, name="new"))
        return new, kept

    def _moved(self, name: str, velocity: Tensor, gradient: Tensor) -> Tensor:
        """The velocity after one more gradient."""

        def body(u: Expr, g: Expr) -> Expr:
            part = g if self.form == "sum" else (1 - self.momentum) * g
            return self.momentum * u + part

        return elementwise(body, velocity, gradient, name=name)
