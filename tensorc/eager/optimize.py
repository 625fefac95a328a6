"""Steps of optimizers on tensors that hold data: forward, backward and update as one function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.eager.evaluate import Plan, Trace, forget, make_plan, planned, symbolic, trace
from tensorc.errors import TensorcError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from tensorc.eager.graph import Value

_COMING = np.empty(0)  # Stands for the data of values while the function runs that computes them.


def update(rule: Any, named: Mapping[str, Any], state: dict[str, NDArray[Any]], drop: bool) -> None:
    """Update the leaves of `named`, in place, by their gradients; `state` is the optimizer's own.

    What else is wanted of the graph behind the gradients is computed with them, before the update.
    With `drop` the gradients are gone afterwards, and were never stored.

    Raises:
        CheckFailed: a value in the data is not allowed; leaves and state are as they were.
    """
    leaves = list(named.values())
    gradients = [leaf.grad._value for leaf in leaves]
    if drop:
        for leaf in leaves:
            leaf.zero_grad()
    try:
        found, plan = _planned(rule, named, gradients, drop)
        given = [found.leaves[k].array for k in plan.leaves]
    except Exception:
        for leaf, value in zip(leaves, gradients, strict=True):
            leaf.grad = type(leaf)(value)
        raise
    del gradients
    for name, start in plan.state:
        if name not in state:
            state[name] = start.copy()
    given += [state[name] for name, _ in plan.state]
    outputs = tuple(found.outputs)
    for value in outputs:
        value.array = _COMING
    forget(found)
    del found  # Whoever reads the leaves now is someone else, and keeps the old data.
    for leaf in leaves:
        leaf.before_write()
    try:
        made = plan.run(given)  # type: ignore[arg-type]
    except TensorcError as error:
        for value in outputs:
            value.array, value.failure = None, error
        raise
    for value, array in zip(outputs, made, strict=True):
        value.arrive(array)


def _planned(
    rule: Any, named: Mapping[str, Any], gradients: Sequence[Value], drop: bool
) -> tuple[Trace, Plan]:
    leaves = [leaf._value for leaf in named.values()]
    found = trace(() if drop else gradients, inner=gradients)
    places = [found.place(v) for v in gradients]
    numbers = [found.leaf(v) for v in leaves]
    shapes = [v.signature for v in leaves]
    key = ("update", rule, *found.key, *places, *numbers, *shapes, *named)

    def make() -> Plan:
        built = symbolic(found, dict(zip(leaves, named, strict=True)))
        old = [built.of(v) for v in leaves]
        new, kept = rule.update([(p, built.of(g)) for p, g in zip(old, gradients, strict=True)])
        changed = [(tensor, after) for tensor, after, _ in kept if after is not tensor]
        return make_plan(
            built,
            [*zip(old, new, strict=True), *changed],
            [(tensor, start) for tensor, _, start in kept],
        )

    return found, planned(key, make)
