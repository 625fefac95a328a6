"""A derivative that its author states, in place of the one that follows from the definitions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tensorc.ir.expr import Load
from tensorc.te.axis import IterVar
from tensorc.te.scan import Scan
from tensorc.te.tensor import Compute, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


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


def stated(rule: Rule, results: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The results as definitions that carry `rule`."""
    outputs = []
    for tensor in results:
        op = tensor.op
        plain = isinstance(op, Compute) and not isinstance(op, Scan) and len(op.bodies) == 1
        if plain and isinstance(op, Compute) and op.rule is None:
            made = Compute(op.axes, op.bodies, op.loc, rule=rule)
        else:
            axes = tuple(IterVar(f"i{d}", extent=n) for d, n in enumerate(tensor.shape))
            made = Compute(axes, (Load(tensor, axes),), op.loc, rule=rule)
            plain = False
        given = plain and tensor.given_name
        outputs.append(Tensor(tensor.name, tensor.shape, tensor.dtype, op=made, given_name=given))
    object.__setattr__(rule, "outputs", tuple(outputs))  # They name the rule that holds them.
    return rule.outputs
