"""Adam, and its form with a weight decay of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.errors import ArgumentError
from tensorc.ir.expr import call
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


@dataclass(frozen=True, slots=True)
class Adam(Rule):
    """Adam: D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Algorithm 1, with the bias corrections where it has them: m = b1 m + (1 - b1) g,
    v = b2 v + (1 - b2) g g, p = p - lr (m / (1 - b1**t)) / (sqrt(v / (1 - b2**t)) + eps), where g
    has weight_decay p in it. State: `optimizer.lr`, the powers `optimizer.beta1_power` and
    `optimizer.beta2_power` of the steps taken, and `optimizer.m.<parameter>`,
    `optimizer.v.<parameter>`. A running product stands for the step number, since it is all that
    the number is needed for; its relative error after t steps is under 1.2e-16 t.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check(self)

    def update(self, parameters: Pairs, prefix: str = PREFIX) -> Updates:
        """The new values of (parameter, gradient) pairs, and the state."""
        decay = self.weight_decay
        if decay:
            parameters = [
                (p, elementwise(lambda a, b: a + decay * b, g, p, name="decayed"))
                for p, g in parameters
            ]
        return _update(self, parameters, prefix, 0.0)


@dataclass(frozen=True, slots=True)
class AdamW(Rule):
    """Adam whose weight decay stands beside the moments: p = p - lr weight_decay p - Adam's step.

    I. Loshchilov, F. Hutter, "Decoupled weight decay regularization", ICLR 2019, algorithm 2, with
    the decay scaled by the learning rate as in torch. State: that of `Adam`.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        _check(self)

    def update(self, parameters: Pairs, prefix: str = PREFIX) -> Updates:
        """The new values of (parameter, gradient) pairs, and the state."""
        return _update(self, parameters, prefix, self.weight_decay)


def _check(rule: Adam | AdamW) -> None:
    name = type(rule).__name__
    check_number(name, "lr", rule.lr)
    if not isinstance(rule.betas, tuple | list) or len(rule.betas) != 2:
        raise ArgumentError(f"{name}: betas must be two numbers, got {rule.betas!r}")
    check_number(name, "betas[0]", rule.betas[0], below=1.0)
    check_number(name, "betas[1]", rule.betas[1], below=1.0)
    check_number(name, "eps", rule.eps)
    check_number(name, "weight_decay", rule.weight_decay)


def _update(rule: Adam | AdamW, parameters: Pairs, prefix: str, decay: float) -> Updates:
    beta1, beta2 = rule.betas
    lr = number(prefix, "lr", rule.lr)
    power1, power2 = (power(prefix, f"beta{k}_power", b) for k, b in ((1, beta1), (2, beta2)))
    kept = [lr, power1, power2]
    rate = elementwise(lambda a, b: a / (1.0 - b), lr[0], power1[1], name="rate64")
    scale = elementwise(lambda b: 1.0 / (1.0 - b), power2[1], name="scale64")
    rates, scales = casts(rate, parameters, "rate"), casts(scale, parameters, "scale")
    shrinks = {}
    if decay:
        shrink = elementwise(lambda a: 1.0 - a * decay, lr[0], name="shrink64")
        shrinks = casts(shrink, parameters, "shrink")

    def stepped(p: Expr, a: Expr, c: Expr, u: Expr, w: Expr, *shrink: Expr) -> Expr:
        start = p * shrink[0] if shrink else p
        return start - a * u / (call("sqrt", w * c) + rule.eps)

    new = []
    for parameter, gradient in parameters:
        m, m_start = zeros(prefix, "m", parameter)
        v, v_start = zeros(prefix, "v", parameter)
        mean = elementwise(lambda a, g: beta1 * a + (1 - beta1) * g, m, gradient, name="mean")
        square = elementwise(
            lambda a, g: beta2 * a + (1 - beta2) * (g * g), v, gradient, name="square"
        )
        kept += [(m, mean, m_start), (v, square, v_start)]
        dtype = parameter.dtype
        more = [shrinks[dtype]] if decay else []
        operands = (parameter, rates[dtype], scales[dtype], mean, square, *more)
        new.append(elementwise(stepped, *operands, name="new"))
    return new, kept
