"""Learning rates by the number of the step, from 0.

A schedule is a function of an integer. What it gives is written into the state of a compiled step,
`step.state["optimizer.lr"][...] = schedule(number)`, which `nn.fit` does before each call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tensorc.errors import ArgumentError
from tensorc.optim.state import (
    check_number,
)

Schedule: TypeAlias = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class StepDecay:
    """`lr * factor**(step // every)`."""

    lr: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_number("StepDecay", "lr", self.lr)
        check_number("StepDecay", "factor", self.factor)
        _check_steps("StepDecay", "every", self.every)

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        return float(self.lr * self.factor ** (step // self.every))


@dataclass(frozen=True, slots=True)
class Exponential:
    """`lr * factor**step`."""

    lr: float
    factor: float

    def __post_init__(self) -> None:
        check_number("Exponential", "lr", self.lr)
        check_number("Exponential", "factor", self.factor)

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        return float(self.lr * self.factor**step)


@dataclass(frozen=True, slots=True)
class Cosine:
    """From `lr` at step 0 along half a cosine to `lowest` at step `steps`, and so from there on.

    I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017,
    equation 5, without restarts.
    """

    lr: float
    steps: int
    lowest: float = 0.0

    def __post_init__(self) -> None:
        check_number("Cosine", "lr", self.lr)
        check_number("Cosine", "lowest", self.lowest)
        _check_steps("Cosine", "steps", self.steps)

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        part = min(step, self.steps) / self.steps
        return self.lowest + (self.lr - self.lowest) * (1 + math.cos(math.pi * part)) / 2


@dataclass(frozen=True, slots=True)
class WarmUp:
    """For `steps` steps k the part (k + 1) / (steps + 1) of what `after` begins with, then `after`.

    `after` counts from 0 when the warming is over.
    """

    steps: int
    after: Schedule

    def __post_init__(self) -> None:
        _check_steps("WarmUp", "steps", self.steps)
        if not callable(self.after):
            raise ArgumentError(
                f"WarmUp: after must be a schedule, as optim.Cosine(0.1, 1000), got {self.after!r}"
            )

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        if step < self.steps:
            return float(self.after(0)) * (step + 1) / (self.steps + 1)
        return float(self.after(step - self.steps))


def _check_steps(schedule: str, name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{schedule}: {name} must be an integer of at least 1, got {value!r}")
