"""Terms that a loss can have beside the data: what large parameters cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import reduce
from typing import TYPE_CHECKING

from tensorc import ops
from tensorc.errors import ArgumentError
from tensorc.nn.arguments import within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc.te.tensor import Tensor


@dataclass(frozen=True, slots=True)
class L1:
    """`strength * sum(|p|)` over the parameters p: it drives small ones to 0.

    `only` is a pattern for their full names as of `fnmatch`, such as "*.weight".
    """

    strength: float
    only: str = "*"

    def __post_init__(self) -> None:
        within("L1", "strength", self.strength, 0.0, math.inf)

    def __call__(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Build the term from the parameters by their full names.

        Raises:
            ArgumentError: no name matches.
        """
        return _sum([ops.sum(ops.abs(p)) for p in _chosen(self, parameters)]) * self.strength


@dataclass(frozen=True, slots=True)
class L2:
    """`strength / 2 * sum(p**2)`, whose gradient `strength * p` is that of SGD's `weight_decay`.

    `only` is a pattern for the full names as of `fnmatch`, such as "*.weight".
    """

    strength: float
    only: str = "*"

    def __post_init__(self) -> None:
        within("L2", "strength", self.strength, 0.0, math.inf)

    def __call__(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Build the term from the parameters by their full names.

        Raises:
            ArgumentError: no name matches.
        """
        squares = [ops.sum(ops.square(p)) for p in _chosen(self, parameters)]
        return _sum(squares) * (self.strength / 2)


def _chosen(penalty: L1 | L2, parameters: Mapping[str, Tensor]) -> list[Tensor]:
    chosen = [p for name, p in parameters.items() if fnmatchcase(name, penalty.only)]
    if not chosen:
        raise ArgumentError(
            f"{type(penalty).__name__}: no parameter matches {penalty.only!r}; there are "
            f"{', '.join(parameters)}"
        )
    return chosen


def _sum(terms: list[Tensor]) -> Tensor:
    return reduce(lambda a, b: a + b, terms)
