"""A derivative that its author states, in place of the one that follows from the definitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tensorc.te.tensor import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """How the cotangents of `outputs` become those of `inputs`.

    Attributes:
        name: of what it belongs to, for messages.
        inputs: the tensors that the outputs count as functions of.
        pull: takes the cotangent of each output, gives that of each input, None for zero.
        transparent: whether the definitions behind the outputs have the same derivative, so that
            forward mode and whoever asks for something inside may use them.
        outputs: the tensors whose definitions carry this rule.
    """

    name: str
    inputs: tuple[Tensor, ...]
    pull: Callable[[tuple[Tensor, ...]], Sequence[Tensor | None]]
    transparent: bool = False
    outputs: tuple[Tensor, ...] = field(default=(), init=False)
