"""Gradients of recorded graphs: a call like any other, which `autodiff` builds when it is needed.

`backward` records the gradient of a value with respect to the leaves behind it. Nothing is computed
yet: forward, backward and what is done with the gradients become one compiled function.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from tensorc.autodiff.grad import grad
from tensorc.eager.evaluate import Trace, planned, symbolic
from tensorc.eager.graph import Call, Op, Signature, Value
from tensorc.errors import GradientError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.te.tensor import Tensor


def reach(y: Value) -> tuple[list[Call], list[Value]]:
    """The calls that a gradient of `y` goes through, and the leaves that it arrives at.

    Raises:
        GradientError: a part of the graph was freed by an earlier `backward`.
    """
    calls: dict[Call, None] = {}
    leaves: dict[Value, None] = {}
    stack = [y]
    while stack:
        value = stack.pop()
        if value.leaf:
            leaves[value] = None
            continue
        call = value.call
        if call is None or call.freed:
            raise GradientError(
                "backward goes through a graph that an earlier backward has freed; give that one "
                "retain_graph=True, or compute the values anew"
            )
        if call not in calls:
            calls[call] = None
            stack.extend(v for v in reversed(call.inputs) if v.requires_grad)
    return list(calls), list(leaves)


def differentiate(
    y: Value,
    seed: Value | None,
    wanted: Sequence[Value],
    calls: Sequence[Call],
    create_graph: bool,
    **options: Any,
) -> list[Value]:
    """The gradient of `y` with respect to each of `wanted`, as recorded values.

    `calls` are those that `reach` found, `options` those of `tc.grad`.

    Raises:
        GradientError: an operation without a derivative; an option that is not met.
    """
    inputs = (y, *wanted) if seed is None else (y, *wanted, seed)
    shapes = [v.signature for v in inputs]
    op = _gradient_op(len(wanted), seed is not None, shapes, options)
    made = Call(op, inputs, create_graph)
    ref = weakref.ref(made)
    for call in calls:
        call.gradients = [*(r for r in call.gradients if r() is not None), ref]
    values = [Value(v.signature, None, made, k, create_graph) for k, v in enumerate(wanted)]
    made.values = tuple(map(weakref.ref, values))
    flows = [(call.op.proved, tuple([v.requires_grad for v in call.inputs])) for call in calls]
    if options or not all(flow in proved for proved, flow in flows):
        found = Trace()
        found.visit(values[0])
        symbolic(found)  # Not kept: an error shall show the line of this backward.
        for proved, flow in flows:
            proved.add(flow)
    return values


def _gradient_op(
    count: int, seeded: bool, shapes: Sequence[Signature], options: Mapping[str, Any]
) -> Op:
    def build(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        seed = tensors[-1] if seeded else None
        return grad(tensors[0], list(tensors[1 : count + 1]), seed, **options)

    def make() -> Op:
        return Op(build, tuple(shapes[1 : count + 1]), list)

    return planned(("gradient of", count, seeded, *options.items(), *shapes), make)


def join_group(values: Sequence[Value], handles: Sequence[Any]) -> None:
    """Let `handles` be computed together: they come from the gradient that `values` are of."""
    call = values[0].call
    assert call is not None, "a gradient that was just recorded has its call"
    call.group = [weakref.ref(handle) for handle in handles]
