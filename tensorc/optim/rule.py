"""What an optimizer is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from tensorc.optim.bound import Bound
from tensorc.optim.state import PREFIX, Pairs, Updates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Rule(ABC):
    """An optimizer: it turns parameters and their gradients into new parameters and a state."""

    __slots__ = ()

    @abstractmethod
    def update(self, parameters: Pairs, prefix: str = PREFIX) -> Updates:
        """The new values of (parameter, gradient) pairs, and the state, named from `prefix` on."""

    def bind(self, parameters: Sequence[Any] | Mapping[str, Any]) -> Bound:
        """This rule on the parameters of a model, for imperative use: see `Bound`."""
        return Bound(self, parameters)
