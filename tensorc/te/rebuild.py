"""Definitions built again: with an argument replaced, for a batch, or to compute them once more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.dtypes import int64
from tensorc.ir.expr import Expr, Load, Var
from tensorc.ir.walk import rewrite, substitute
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.graph import graph_of
from tensorc.te.rule import Rule
from tensorc.te.scan import Scan
from tensorc.te.tensor import Compute, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.ir.stmt import Node


def rebuilt(
    outputs: Sequence[Tensor],
    new: Mapping[Tensor, Tensor],
    *,
    batch: Sequence[Expr] = (),
    prefix: str = "",
    after: tuple[Tensor, ...] | None = None,
) -> dict[Tensor, Tensor]:
    """The definitions between the tensors in `new` and `outputs`, with those in `new` replaced.

    Args:
        outputs: what is wanted.
        new: what stands for each replaced tensor. One that stands for itself is where the
            definitions to build again begin.
        batch: sizes in front of the shape of each replaced tensor, and so of each result.
        prefix: of the names of the results.
        after: given, the results compute their originals again, once these tensors are there.

    Returns:
        What stands for each tensor that depends on one in `new`; others are left as they are.
    """
    builder = _Builder(dict(new), tuple(batch), prefix, after)
    for op, wanted in graph_of(outputs).computes.items():
        if any(t in new for t in wanted.values()):
            continue
        if any(t in builder.new for t in (*op.inputs, *op.after)):
            builder.build(op, [wanted[c] for c in sorted(wanted)])
    return builder.new


@dataclass(slots=True)
class _Builder:
    new: dict[Tensor, Tensor]
    batch: tuple[Expr, ...]
    prefix: str
    after: tuple[Tensor, ...] | None

    def build(self, op: Compute, tensors: Sequence[Tensor]) -> None:
        """Build one definition again, and note what stands for its tensors."""
        front = tuple(IterVar(f"b{d}", int64, ZERO, n) for d, n in enumerate(self.batch))
        own = tuple(IterVar(a.name, int64, a.start, a.extent) for a in op.axes)
        axes = (*front, *own)
        place: dict[Var, Expr] = dict(zip(op.axes, own, strict=True))

        def moved(expr: Expr) -> Expr:
            return substitute(rewrite(expr, lambda n: self.load(n, front)), place)

        bodies = tuple(map(moved, op.bodies))
        again = op if self.after is not None else op.again
        after = tuple(self.new.get(t, t) for t in op.after) + (self.after or ())
        if isinstance(op, Scan):
            made: Compute = Scan(
                axes,
                bodies,
                op.loc,
                states=op.states,
                inits=tuple(map(moved, op.inits)),
                axis=len(front) + op.axis,
                reverse=op.reverse,
                again=again,
                after=after,
            )
            tensors = op.tensors
        else:
            made = Compute(axes, bodies, op.loc, again=again, after=after)
        shape = tuple(a.extent for a in axes)
        results = [
            Tensor(self.prefix + t.name, shape, t.dtype, op=made, component=t.component)
            for t in tensors
        ]
        if isinstance(made, Scan):
            object.__setattr__(made, "tensors", tuple(results))
        self.new.update(zip(tensors, results, strict=True))
        if op.rule is not None and not self.batch:
            self.state(op.rule, made)

    def load(self, node: Node, front: tuple[IterVar, ...]) -> Node | None:
        """A load of what stands for the tensor."""
        if not isinstance(node, Load) or not isinstance(node.buffer, Tensor):
            return None
        tensor = self.new.get(node.buffer)
        return None if tensor is None else Load(tensor, (*front, *node.indices), loc=node.loc)

    def state(self, rule: Rule, op: Compute) -> None:
        """Give a definition the derivative that its original has, about the tensors it reads."""
        swap = self.new

        def pull(cotangents: tuple[Tensor, ...]) -> list[Tensor | None]:
            found = list(rule.pull(cotangents))
            given = [t for t in found if t is not None]
            here = {a: b for a, b in swap.items() if all(a is not c for c in cotangents)}
            moved = rebuilt(given, here)
            return [None if t is None else moved.get(t, t) for t in found]

        inputs = tuple(swap.get(t, t) for t in rule.inputs)
        new = Rule(rule.name, inputs, pull, rule.transparent)
        object.__setattr__(new, "outputs", tuple(swap.get(t, t) for t in rule.outputs))
        object.__setattr__(op, "rule", new)
