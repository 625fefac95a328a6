"""Evaluation: the recorded graph behind some values, as one compiled function, run.

A walk from the wanted values numbers calls and inputs in order of appearance; the list of these
numbers is the graph's structure, under which the compiled function is kept. Whatever else a user
still holds a handle of on the way is computed with it: it may be asked for next.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tensorc import ops
from tensorc.driver.compile import compile
from tensorc.te.graph import graph_of
from tensorc.te.tensor import Placeholder, Tensor, compute, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from tensorc.driver import CompiledFunction
    from tensorc.eager.graph import Call, Value

_MAX_PLANS = 512
_MAX_DEPTH = 256
_END = -(1 << 40)  # Between the parts of a key, where no number of an input gets.

T = TypeVar("T")


@dataclass(slots=True)
class Trace:
    """A graph as it was walked.

    Attributes:
        calls: each after those it reads.
        leaves: the inputs, in order of first use.
        outputs: the values to compute.
        key: the structure.
        numbers: the place of each leaf among `leaves`, of each call's first output among all.
    """

    calls: list[Call] = field(default_factory=list)
    leaves: list[Value] = field(default_factory=list)
    outputs: dict[Value, None] = field(default_factory=dict)
    key: list[int] = field(default_factory=list)
    numbers: dict[Any, int] = field(default_factory=dict)
    count: int = 0

    def leaf(self, value: Value) -> int:
        """The place of an input."""
        number = self.numbers.get(value)
        if number is None:
            number = self.numbers[value] = len(self.leaves)
            self.leaves.append(value)
        return number

    def place(self, value: Value) -> int:
        """The number of a value that was visited: of an input it is negative."""
        if value.is_cut():
            return -1 - self.leaf(value)
        assert value.call is not None, "what is not cut was made by a call"
        return self.numbers[value.call] + value.index

    def visit(self, value: Value) -> None:
        """Number what `value` depends on, which was not numbered before."""
        numbers = self.numbers
        stack = [] if value.is_cut() else [value.call]
        while stack:
            call = stack[-1]
            assert call is not None, "what is not cut was made by a call"
            if call in numbers:
                stack.pop()
                continue
            ready = True
            for v in call.inputs:
                made = v.call  # As `is_cut`, written out: this loop is most of a walk.
                if made is not None and made not in numbers and (v.array is None or _goes_on(made)):
                    stack.append(made)
                    ready = False
            if ready:
                stack.pop()
                self._number(call)

    def _number(self, call: Call) -> None:
        numbers, leaves, key = self.numbers, self.leaves, self.key
        key.append(2 * call.op.number + call.requires_grad)
        for value in call.inputs:
            made = value.call
            if made is not None and (value.array is None or _goes_on(made)):
                key.append(numbers[made] + value.index)
                if value.array is None and value.handle is not None and value.handle() is not None:
                    self.outputs[value] = None
                continue
            number = numbers.get(value)
            if number is None:
                number = numbers[value] = len(leaves)
                leaves.append(value)
            key.append(-1 - number)
        numbers[call] = self.count
        self.count += len(call.op.outputs)
        self.calls.append(call)
        for gradient in call.waiting() if call.gradients else ():
            self._want(gradient)
        if call.group:
            self._want(call)

    def _want(self, call: Call) -> None:
        for ref in call.group:
            handle = ref()
            if handle is not None and handle._value.is_wanted():
                self.outputs[handle._value] = None


def _goes_on(call: Call) -> bool:
    return bool(call.gradients and call.waiting())


def trace(wanted: Iterable[Value], inner: Iterable[Value] = ()) -> Trace:
    """The graph behind the `wanted` values, and behind `inner` ones that are not to be kept."""
    found = Trace()
    for value in inner:
        found.visit(value)
    for value in wanted:
        if value.array is None:
            found.outputs[value] = None
    done = 0
    while done < len(found.outputs):  # A visit may find more that is wanted.
        todo = list(found.outputs)[done:]
        done += len(todo)
        for value in todo:
            found.visit(value)
    found.key.append(_END)
    found.key.extend(map(found.place, found.outputs))
    return found


# --- from a trace to symbolic tensors ---------------------------------------------------------


@dataclass(slots=True)
class Built:
    """A trace as symbolic tensors: a placeholder for each leaf, and the outputs of each call."""

    trace: Trace
    placeholders: list[Tensor]
    made: list[Tensor]

    def of(self, value: Value) -> Tensor:
        """The tensor of a value of the trace."""
        place = self.trace.place(value)
        return self.placeholders[-1 - place] if place < 0 else self.made[place]


def symbolic(trace: Trace, names: Mapping[Value, str] | None = None) -> Built:
    """The definitions that a trace stands for.

    Raises:
        TensorcError: an operation without a derivative, where one is asked for.
    """
    named = names or {}
    built = Built(
        trace,
        [placeholder(v.signature.shape, v.signature.dtype, named.get(v)) for v in trace.leaves],
        [],
    )
    # What gradients are wanted for: through the inputs of the calls that are gradients.
    wanted = {v for call in trace.calls if call.values for v in call.inputs[1:]}
    depends: set[Value | Call] = set(wanted)
    for call in trace.calls:
        if any(v in depends or v.call in depends for v in call.inputs):
            depends.add(call)
        inputs = [
            ops.stop_gradient(built.of(v)) if _is_constant(call, v, depends) else built.of(v)
            for v in call.inputs
        ]
        built.made.extend(call.op.build(inputs))
    return built


def _is_constant(call: Call, value: Value, depends: set[Value | Call]) -> bool:
    """Whether `value` was recorded without gradients, though it could have one here."""
    return (
        call.requires_grad
        and not value.requires_grad
        and value.signature.dtype.is_float
        and value.call in depends
    )


# --- compiled -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """A compiled function, which leaves it takes, and which result each output is.

    `state` holds what it takes after the leaves: names, and the arrays to start from.
    """

    function: CompiledFunction | None
    leaves: tuple[int, ...]
    results: tuple[int, ...]
    state: tuple[tuple[str, NDArray[Any]], ...] = ()

    def run(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """The value of each output.

        Raises:
            CheckFailed: a value in the data is not allowed.
        """
        if self.function is None:
            return []
        made = self.function(*arrays)
        if not isinstance(made, tuple):
            return [np.asarray(made)] * len(self.results)
        return [np.asarray(made[k]) for k in self.results]


_plans: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
_lock = RLock()


def planned(key: tuple[Any, ...], make: Callable[[], T]) -> T:
    """What `make` returned for `key`, the last time or now; 512 results are kept."""
    found: T | None = _plans.get(key)
    if found is None:
        with _lock:  # Two threads with one structure compile it once.
            found = _plans.get(key)
            if found is None:
                found = _plans[key] = make()
                if len(_plans) > _MAX_PLANS:
                    _plans.popitem(last=False)
    else:
        with suppress(KeyError):  # Another thread has just dropped it.
            _plans.move_to_end(key)
    return found


def make_plan(
    built: Built,
    updates: Sequence[tuple[Tensor, Tensor]] = (),
    state: Sequence[tuple[Tensor, NDArray[Any]]] = (),
) -> Plan:
    """Compile the outputs of a trace, with `updates` in place."""
    outputs = [built.of(v) for v in built.trace.outputs]
    places = {t: k for k, t in enumerate(dict.fromkeys(outputs))}
    unique = [_copy(t) if isinstance(t.op, Placeholder) else t for t in places]
    used = set(graph_of([*unique, *(t for pair in updates for t in pair)]).placeholders)
    leaves = [k for k, t in enumerate(built.placeholders) if t in used]
    inputs = [*(built.placeholders[k] for k in leaves), *(t for t, _ in state)]
    function = None
    if unique or updates:
        function = compile(unique, inputs=inputs, updates=updates, name="recorded")
    return Plan(
        function,
        tuple(leaves),
        tuple(places[t] for t in outputs),
        tuple((t.name, start) for t, start in state),
    )


def _copy(tensor: Tensor) -> Tensor:
    return compute(tensor.shape, lambda *i: tensor[i])


def evaluate(wanted: Sequence[Value]) -> None:
    """Compute the values that have no data yet, and what else is wanted on the way.

    Raises:
        CheckFailed: a value in the data is not allowed; the graph stays as it was.
    """
    for value in wanted:
        if value.failure is not None:
            raise value.failure
    found = trace(wanted)
    if not found.outputs:
        return
    plan = planned(tuple(found.key), lambda: make_plan(symbolic(found)))
    leaves = found.leaves
    settle(found, plan.run([_array(leaves[k]) for k in plan.leaves]))


def settle(found: Trace, arrays: Sequence[NDArray[Any]]) -> None:
    """Give the outputs their data, and forget the graph behind them that nobody needs."""
    for value, array in zip(found.outputs, arrays, strict=True):
        value.array = array
    forget(found)
    for value, array in zip(found.outputs, arrays, strict=True):
        value.arrive(array)


def forget(found: Trace) -> None:
    """Release the calls behind the outputs, now that these have data, or will never have any."""
    for value in found.outputs:
        value.release()
    for call in found.calls:
        for value in call.inputs:
            if value.array is not None:
                value.release()


def _array(value: Value) -> NDArray[Any]:
    if value.array is None:
        assert value.failure is not None, "an input of a graph has data"
        raise value.failure
    return value.array


def bound_depth(call: Call) -> None:
    """Compute the inputs of a call where the graph has become so deep that compiling it is slow."""
    if call.depth > _MAX_DEPTH:
        evaluate([v for v in call.inputs if not v.is_cut()])
        call.depth = 1
