"""Gradients kept from being too large, before an optimizer sees them."""

from __future__ import annotations

from dataclasses import dataclass

from tensorc.errors import ArgumentError
from tensorc.ir.expr import Expr, call, maximum, minimum
from tensorc.optim.rule import Rule
from tensorc.optim.state import (
    PREFIX,
    Pairs,
    Updates,
    casts,
    check_number,
)
from tensorc.optim.sums import dot
from tensorc.te.tensor import elementwise


@dataclass(frozen=True, slots=True)
class ClipNorm(Rule):
    """`rule` of gradients scaled so that their norm, over all parameters, is at most `limit`.

    R. Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013,
    algorithm 1. All gradients g are multiplied by min(1, limit / (norm + 1e-6)), as in torch.
    """

    rule: Rule
    limit: float

    def __post_init__(self) -> None:
        _check("ClipNorm", self.rule, self.limit)

    @property
    def lr(self) -> float:
        """The learning rate of the rule."""
        return float(self.rule.lr)  # type: ignore[attr-defined]

    def update(self, parameters: Pairs, prefix: str = PREFIX) -> Updates:
        """The new values of (parameter, gradient) pairs, and the state of the rule."""
        gradients = [gradient for _, gradient in parameters]

        def factor(square: Expr) -> Expr:
            return minimum(self.limit / (call("sqrt", square) + 1e-6), 1.0)

        scale = elementwise(factor, dot(gradients, gradients), name="scale64")
        scales = casts(scale, parameters, "scale")
        clipped = [
            (p, elementwise(lambda g, s: g * s, g, scales[p.dtype], name="clipped"))
            for p, g in parameters
        ]
        return self.rule.update(clipped, prefix)


@dataclass(frozen=True, slots=True)
class ClipValue(Rule):
    """`rule` of gradients whose elements are brought into -limit .. limit."""

    rule: Rule
    limit: float

    def __post_init__(self) -> None:
        _check("ClipValue", self.rule, self.limit)

    @property
    def lr(self) -> float:
        """The learning rate of the rule."""
        return float(self.rule.lr)  # type: ignore[attr-defined]

    def update(self, parameters: Pairs, prefix: str = PREFIX) -> Updates:
        """The new values of (parameter, gradient) pairs, and the state of the rule."""

        def body(g: Expr) -> Expr:
            return minimum(maximum(g, -self.limit), self.limit)

        clipped = [(p, elementwise(body, g, name="clipped")) for p, g in parameters]
        return self.rule.update(clipped, prefix)


def _check(name: str, rule: Rule, limit: float) -> None:
    if not isinstance(rule, Rule):
        raise ArgumentError(f"{name}: rule must be an optimizer, as optim.SGD(0.1), got {rule!r}")
    check_number(name, "limit", limit)
