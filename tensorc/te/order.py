"""In which order the definitions of a program with updates run.

Two things bound the order: what a definition reads is computed before it, and a value stored in
place waits for every reader of the old value and for every check that could still end the call.
Within that, memory decides. An update runs as soon as it may, so the storage of one gradient
serves the next. Updates are visited first to last or last to first, or those of small gradients
last to first before the others, whichever needs the least memory: where the weights are larger than
the activations, one gradient at a time after all cotangents; in a deep network of small weights,
each gradient as soon as its cotangent is there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import chain
from math import prod
from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.te.tensor import Compute, Placeholder, Tensor

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from tensorc.te.graph import Graph
    from tensorc.te.tensor import Operation

_SYMBOLIC = 256  # What a symbolic size counts as where two orders are compared.


@dataclass(slots=True)
class Ordering:
    """What is to be ordered.

    Attributes:
        graph: of all wanted tensors.
        outputs: tensors that live in memory of the caller.
        new: each placeholder that is updated, with its new value.
        in_place: the new values that overwrite their placeholder as they are computed.
        checked: definitions that may end the call before they run.
    """

    graph: Graph
    outputs: Sequence[Tensor]
    new: Mapping[Tensor, Tensor]
    in_place: dict[Tensor, Tensor]
    checked: Collection[Compute]
    _changed: set[Operation] = field(init=False)

    def __post_init__(self) -> None:
        self._changed = {t.op for t in self.new.values()}

    def order(self) -> list[Compute]:
        """The order; new values for which there is none in place are taken from `in_place`."""
        if not self.new:
            return list(self.graph.computes)
        storing = {t.op: t for t in self.in_place if isinstance(t.op, Compute)}
        forward = self.graph.computes
        while True:
            before = self._before(storing)
            order = _first_ready(forward, before)
            if len(order) == len(forward):
                break
            placed = set(order)
            blocked = next(op for op in forward if op in storing and op not in placed)
            del self.in_place[storing.pop(blocked)]
        if not storing:
            return order
        orders = [order, *(_first_ready(self._visited(roots), before) for roots in self._roots())]
        return min((self._sunk(o, before) for o in orders), key=self.peak)

    def _roots(self) -> Iterator[list[Tensor]]:
        """Other orders of the updates than the one given: last first, some of them or all."""
        weights = [
            t for t in self.new.values() if self._changed.isdisjoint(self.graph.readers.get(t, ()))
        ]
        small = {t: self._frees_more_than_it_takes(t) for t in weights}
        last_first = weights[::-1]
        yield [*(t for t in last_first if small[t]), *(t for t in weights if not small[t])]
        yield last_first

    def _visited(self, roots: Iterable[Tensor]) -> list[Compute]:
        """All definitions, those behind the outputs first, then those behind the first root."""
        reads: dict[Compute, list[Compute]] = {op: [] for op in self.graph.computes}
        for op in self.graph.computes:
            for tensor in self.graph.computes[op].values():
                for reader in self.graph.readers[tensor]:
                    reads[reader].append(op)
        order: dict[Compute, None] = {}
        first = (*self.outputs, *roots, *self.new.values())
        stack = [(t.op, False) for t in reversed(first) if isinstance(t.op, Compute)]
        while stack:
            visited, ready = stack.pop()
            if ready:
                order[visited] = None
            elif visited not in order:
                stack.append((visited, True))
                stack.extend((x, False) for x in reversed(reads[visited]))
        return list(order)

    def _frees_more_than_it_takes(self, weight: Tensor) -> bool:
        """Whether the gradients behind a new weight are smaller than what they are made from."""
        moments = [t for t in _inputs(weight) if t in self.in_place]
        behind = dict.fromkeys(chain.from_iterable(map(_inputs, (weight, *moments))))
        made = [t for t in behind if self._is_gradient(t)]
        read = dict.fromkeys(chain.from_iterable(map(_inputs, made)))
        return sum(map(self._bytes, made)) < sum(map(self._bytes, read))

    def _is_gradient(self, tensor: Tensor) -> bool:
        """Whether updates alone read a tensor that is computed."""
        readers = self.graph.readers.get(tensor, ())
        is_new = tensor.op in self._changed or isinstance(tensor.op, Placeholder)
        return bool(readers) and not is_new and self._changed.issuperset(readers)

    def peak(self, order: Sequence[Compute]) -> int:
        """The greatest number of bytes that live at once, in memory that the program allocates."""
        last = self._last_uses(order)
        ends: dict[int, int] = {}
        live = most = 0
        for at, op in enumerate(order):
            for tensor in self.graph.computes[op].values():
                size = self._bytes(tensor)
                live += size
                ends[last[tensor]] = ends.get(last[tensor], 0) + size
            most = max(most, live)
            live -= ends.get(at, 0)
        return most

    def _before(self, storing: Mapping[Compute, Tensor]) -> dict[Compute, set[Compute]]:
        """What must run before each definition."""
        before: dict[Compute, set[Compute]] = {op: set() for op in self.graph.computes}
        readers: dict[Compute, set[Compute]] = {op: set() for op in self.graph.computes}
        for tensor, found in self.graph.readers.items():
            if isinstance(tensor.op, Compute):
                readers[tensor.op].update(found)
                for reader in found:
                    before[reader].add(tensor.op)
        for op, tensor in storing.items():
            before[op].update(self.graph.readers.get(self.in_place[tensor], ()), self.checked)
            before[op].discard(op)
        # A moment that nothing reads but the new weight waits with it: the two are one pass then.
        for op in storing:
            moments = [x for x in before[op] if x in storing and x.axes and readers[x] == {op}]
            for x in moments:
                before[x].update(before[op].difference(moments))
        return before

    def _sunk(
        self, order: Sequence[Compute], before: Mapping[Compute, Collection[Compute]]
    ) -> list[Compute]:
        """`order`, a gradient right before its updates where that is the shorter life.

        A gradient that is computed while its updates wait for a reader of the old weight would be
        held all the while; what it reads often lives as long anyway.
        """
        last = self._last_uses(order)
        place = {op: at for at, op in enumerate(order)}
        after = _inverse(before)
        moved: dict[Compute, list[Compute]] = {}
        for op in order:
            made = self.graph.computes[op].values()
            if not all(map(self._is_gradient, made)):
                continue
            first = min(after[op], key=lambda x: place[x])
            ends = [t for t in dict.fromkeys(op.inputs) if last.get(t) == place[op]]
            if sum(map(self._bytes, ends)) < sum(map(self._bytes, made)):
                moved.setdefault(first, []).append(op)
        gone = set(chain.from_iterable(moved.values()))
        return [x for op in order if op not in gone for x in (*moved.get(op, ()), op)]

    def _last_uses(self, order: Sequence[Compute]) -> dict[Tensor, int]:
        """The place of the last definition that uses each computed tensor."""
        place = {op: at for at, op in enumerate(order)}
        copied = {t for t in self.new.values() if t not in self.in_place}
        return {
            tensor: len(order)
            if tensor in copied
            else max((place[r] for r in self.graph.readers[tensor]), default=place[op])
            for op in order
            for tensor in self.graph.computes[op].values()
        }

    def _bytes(self, tensor: Tensor) -> int:
        """The memory that a tensor takes of its own."""
        if isinstance(tensor.op, Placeholder) or tensor in self.in_place:
            return 0
        if any(tensor is output for output in self.outputs):
            return 0
        sizes = (const_int(size) for size in tensor.shape)
        return tensor.dtype.bytes * prod(_SYMBOLIC if n is None else n for n in sizes)


def _first_ready(
    wish: Collection[Compute], before: Mapping[Compute, Collection[Compute]]
) -> list[Compute]:
    """Of the definitions that may run always the first in `wish`, until none may.

    Single numbers made from single numbers alone, such as the powers of a bias correction, come
    first of all: then they are between no two nests that could become one.
    """
    ops = list(wish)
    numbers = _numbers(ops)
    rank = {op: (op not in numbers, at) for at, op in enumerate(ops)}
    waiting = {op: len(before[op]) for op in ops}
    after = _inverse(before)
    ready = [rank[op] for op in ops if not waiting[op]]
    heapify(ready)
    order: list[Compute] = []
    while ready:
        _, at = heappop(ready)
        order.append(ops[at])
        for op in after[ops[at]]:
            waiting[op] -= 1
            if not waiting[op]:
                heappush(ready, rank[op])
    return order


def _inputs(tensor: Tensor) -> tuple[Tensor, ...]:
    return tensor.op.inputs if isinstance(tensor.op, Compute) else ()


def _inverse(before: Mapping[Compute, Collection[Compute]]) -> dict[Compute, list[Compute]]:
    after: dict[Compute, list[Compute]] = {op: [] for op in before}
    for op, earlier in before.items():
        for x in earlier:
            after[x].append(op)
    return after


def _numbers(wish: Iterable[Compute]) -> set[Compute]:
    """Definitions without axes that depend on placeholders without axes alone."""
    found: set[Compute] = set()
    for op in wish:
        if not op.axes and all(
            not t.shape and (isinstance(t.op, Placeholder) or t.op in found) for t in op.inputs
        ):
            found.add(op)
    return found
