"""Different rules for different parameters."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tensorc.errors import ArgumentError
from tensorc.optim.rule import Rule
from tensorc.optim.state import (
    PREFIX,
    Pairs,
    Updates,
)

if TYPE_CHECKING:
    from tensorc.optim.state import State
    from tensorc.te.tensor import Tensor


class Groups(Rule):
    """Each parameter by the first rule whose pattern, as of `fnmatch`, its full name matches.

        >>> from tensorc.optim.sgd import SGD
        >>> rules = Groups({"*.bias": SGD(0.1), "*": SGD(0.1, weight_decay=1e-4)})

    The state of rule k is named from `optimizer.group<k>.` on: `optimizer.group0.lr`.
    """

    __slots__ = ("rules",)

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        """Keep the rules, in order.

        Raises:
            ArgumentError: none, or something that is no optimizer.
        """
        if not isinstance(rules, Mapping):
            raise ArgumentError(
                f"Groups: rules must be a dict of patterns and their rules, got {rules!r}"
            )
        self.rules = dict(rules)
        if not self.rules:
            raise ArgumentError("Groups: give at least one pattern and its rule")
        for pattern, rule in self.rules.items():
            if not isinstance(rule, Rule):
                raise ArgumentError(
                    f"Groups: the rule of {pattern!r} must be an optimizer, as optim.SGD(0.1), got "
                    f"{rule!r}"
                )

    @property
    def lr(self) -> float:
        """The learning rate of the first rule."""
        return float(next(iter(self.rules.values())).lr)  # type: ignore[attr-defined]

    def update(self, parameters: Pairs, prefix: str = PREFIX) -> Updates:
        """The new values of (parameter, gradient) pairs, and the state of all rules.

        Raises:
            ArgumentError: a parameter that no pattern matches, or a pattern without parameters.
        """
        chosen: dict[str, list[tuple[Tensor, Tensor]]] = {pattern: [] for pattern in self.rules}
        for parameter, gradient in parameters:
            matching = (p for p in self.rules if fnmatchcase(parameter.name, p))
            pattern = next(matching, None)
            if pattern is None:
                raise ArgumentError(
                    f"Groups: no pattern matches {parameter.name}; there are "
                    f"{', '.join(self.rules)}, and '*' matches all"
                )
            chosen[pattern].append((parameter, gradient))
        new: dict[Tensor, Tensor] = {}
        kept: list[State] = []
        for k, (pattern, rule) in enumerate(self.rules.items()):
            pairs = chosen[pattern]
            if not pairs:
                raise ArgumentError(f"Groups: {pattern!r} is left without a parameter")
            values, state = rule.update(pairs, f"{prefix}.group{k}")
            new |= dict(zip((p for p, _ in pairs), values, strict=True))
            kept += state
        return [new[parameter] for parameter, _ in parameters], kept

    def __repr__(self) -> str:
        return f"Groups({self.rules!r})"
