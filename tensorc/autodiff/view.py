"""The graph that is differentiated: flat definitions in order, and which of them matter.

A *group* is what is differentiated together: one tensor, all tensors of a recurrence, or all
outputs of a stated derivative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.autodiff.flatten import Flattener
from tensorc.autodiff.sweep import is_differentiable
from tensorc.errors import GradientError
from tensorc.ir.expr import Expr, Load, Reduce
from tensorc.ir.walk import loads
from tensorc.te.scan import Scan
from tensorc.te.tensor import Compute, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tensorc.te.rule import Rule


class View:
    """What lies between some tensors and those that they are differentiated for."""

    def __init__(self, ys: Sequence[Tensor], wanted: Iterable[Tensor], *, reverse: bool) -> None:
        """Find the groups; `reverse` says whether stated derivatives can be used."""
        self.wanted = frozenset(wanted)
        self.reverse = reverse
        self.flat = Flattener()
        self._rules: dict[Tensor, Rule | None] = {}
        self.groups = self._ordered(ys)
        self.order = [t for group in self.groups for t in group]
        self.active = self._find_active()
        self.components = {(t.op, t.component): t for t in self.order if isinstance(t.op, Compute)}

    def rule(self, tensor: Tensor) -> Rule | None:
        """The stated derivative that counts for `tensor`."""
        if tensor not in self._rules:
            stated = tensor.op.rule if isinstance(tensor.op, Compute) else None
            self._rules[tensor] = self._usable(stated) if stated is not None else None
        return self._rules[tensor]

    def _usable(self, rule: Rule) -> Rule | None:
        """`rule` unless its definitions serve as well, or must; refused where it hides a tensor."""
        if rule.transparent and not self.reverse:
            return None
        seen: set[Tensor] = set()
        stack = [t for o in rule.outputs if isinstance(o.op, Compute) for t in o.op.inputs]
        while stack:
            tensor = stack.pop()
            if tensor in seen or any(tensor is i for i in rule.inputs):
                continue
            seen.add(tensor)
            if tensor in self.wanted:
                if rule.transparent:
                    return None
                raise GradientError(
                    f"{rule.name}: its function reads {tensor.name}, which is no argument of it, "
                    f"so that its rule gives {tensor.name} no derivative; pass {tensor.name} as "
                    "an argument"
                )
            if isinstance(tensor.op, Compute):
                stack.extend(tensor.op.inputs)
        return rule

    def group(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """What `tensor` is differentiated with."""
        rule = self.rule(tensor)
        if rule is not None:
            return rule.outputs
        return tensor.op.tensors if isinstance(tensor.op, Scan) else (tensor,)

    def body(self, tensor: Tensor) -> Expr | None:
        """The flat definition of `tensor`; None of a placeholder, or under a stated derivative."""
        return None if self.rule(tensor) is not None else self.flat.body(tensor)

    def reads(self, group: Sequence[Tensor]) -> list[Tensor]:
        """What the definitions of a group read, in order, themselves left out."""
        rule = self.rule(group[0])
        if rule is not None:
            return list(rule.inputs)
        found: dict[Tensor, None] = {}
        for tensor in group:
            body = self.flat.body(tensor)
            for load in loads(body) if body is not None else ():
                read = tensor_of(load)
                if all(read is not t for t in group):
                    found[read] = None
        return list(found)

    def _ordered(self, ys: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
        """The groups that `ys` depend on, each after what it reads."""
        order: list[tuple[Tensor, ...]] = []
        seen: set[Tensor] = set()
        stack: list[tuple[tuple[Tensor, ...], bool]] = [(self.group(y), False) for y in ys[::-1]]
        while stack:
            group, finished = stack.pop()
            if finished:
                order.append(group)
            elif group[0] not in seen:
                seen.update(group)
                stack.append((group, True))
                stack.extend((self.group(t), False) for t in reversed(self.reads(group)))
        return order

    def _find_active(self) -> set[Tensor]:
        """The tensors that depend on what is wanted, through operations with a derivative."""
        active: set[Tensor] = set()
        for group in self.groups:
            if self.rule(group[0]) is not None:
                some = any(t in active for t in self.reads(group))
            else:
                some = any(self._is_reached(t, active) for t in group)
            active.update(t for t in group if t in self.wanted or (some and t.dtype.is_float))
        return active

    def _is_reached(self, tensor: Tensor, active: set[Tensor]) -> bool:
        body = self.flat.body(tensor)
        if body is None or not body.dtype.is_float:
            return False
        values = body.values if isinstance(body, Reduce) else (body,)
        return any(is_differentiable(v, lambda x: tensor_of(x) in active) for v in values)

    def is_active(self, load: Load) -> bool:
        """Whether a load depends on what is wanted."""
        return tensor_of(load) in self.active

    def find(self, op: Compute, component: int) -> Tensor | None:
        """The tensor of another component of a definition, if the graph has it."""
        return self.components.get((op, component))


def tensor_of(load: Load) -> Tensor:
    """The tensor that a load of a definition reads."""
    assert isinstance(load.buffer, Tensor), "a definition reads tensors only"
    return load.buffer
