"""Which new values of placeholders are stored in place, and which go through a temporary.

A new value T of a placeholder W is stored straight into W where that loses nothing: its definition
reads W only at the very element that it writes, and there is an order in which every other reader
of the old W runs before it, and whatever reads T after it. So the step of an optimizer, in which
the new weight reads the new momentum, runs in place. Any other new value goes to a temporary that
is copied at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tensorc.ir.expr import Load, const_int
from tensorc.ir.walk import loads
from tensorc.te.axis import IterVar
from tensorc.te.hoist import Nest
from tensorc.te.order import Ordering
from tensorc.te.tensor import Compute, Tensor

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tensorc.te.graph import Graph


@dataclass(slots=True)
class Plan:
    """The nests in the order in which they run, and the placeholder each new value overwrites."""

    nests: list[Nest] = field(default_factory=list)
    in_place: dict[Tensor, Tensor] = field(default_factory=dict)


def plan_updates(
    graph: Graph,
    nests: Mapping[Compute, list[Nest]],
    outputs: Sequence[Tensor],
    new: Mapping[Tensor, Tensor],
    checked: Collection[Compute] = (),
) -> Plan:
    """Order `nests`, the updates `new` (placeholder to new value) among them.

    `checked` are definitions that may end the call before they run: all of them come before the
    first value that is stored in place, or a failed call would leave some placeholders updated.
    """
    candidates = _candidates(nests, outputs, new)
    after = _followers(graph, candidates)
    for tensor in list(candidates):
        own = tensor.op in checked and len(candidates) > 1
        if own or any(op in after[tensor] for op in checked):
            del candidates[tensor]
    order = Ordering(graph, outputs, new, candidates, checked).order()
    plan = Plan([n for op in order for n in nests[op]], candidates)
    for old, value in new.items():
        if value not in candidates:
            plan.nests.append(_copy_nest(old, value))
    return plan


def _copy_nest(old: Tensor, value: Tensor) -> Nest:
    axes = tuple(IterVar(f"i{d}", extent=size) for d, size in enumerate(old.shape))
    loc = value.op.loc
    op = Compute(axes, (Load(value, axes),), loc)
    return Nest(op, axes, axes, (old,), op.bodies)


def _candidates(
    nests: Mapping[Compute, list[Nest]], outputs: Sequence[Tensor], new: Mapping[Tensor, Tensor]
) -> dict[Tensor, Tensor]:
    """New values that could overwrite their placeholder as they are computed."""
    targets: dict[Tensor, list[Tensor]] = {}
    for old, value in new.items():
        targets.setdefault(value, []).append(old)
    kept = set(outputs)
    return {
        value: olds[0]
        for value, olds in targets.items()
        if len(olds) == 1 and value not in kept and _overwrites_itself(value, olds[0], nests)
    }


def _overwrites_itself(value: Tensor, old: Tensor, nests: Mapping[Compute, list[Nest]]) -> bool:
    """Whether no element of `old` is read after the nest that stores `value` has written it."""
    assert isinstance(value.op, Compute), "a new value is computed"
    if len(value.op.bodies) > 1:
        return False
    last = nests[value.op][-1]
    for expr in last.exprs:
        for load in loads(expr):
            if load.buffer is old and (last.reducer is not None or not _is_own(load, last)):
                return False
    return True


def _is_own(load: Load, nest: Nest) -> bool:
    """Whether the load reads the very element that the nest stores."""
    return all(
        index is axis or (const_int(index) == 0 and const_int(axis.extent) == 1)
        for index, axis in zip(load.indices, nest.axes, strict=True)
    )


def _followers(graph: Graph, candidates: Mapping[Tensor, Tensor]) -> dict[Tensor, set[Compute]]:
    """The definitions that depend on each candidate, itself left out."""
    found: dict[Tensor, set[Compute]] = {}
    for tensor in candidates:
        todo, seen = [tensor], set[Compute]()
        while todo:
            for reader in graph.readers[todo.pop()]:
                if reader not in seen:
                    seen.add(reader)
                    todo.extend(graph.computes[reader].values())
        found[tensor] = seen
    return found
