"""Forward accumulation over tensors: tangents of results from tangents of what they depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from tensorc.autodiff.arith import zero
from tensorc.autodiff.grad import check_direction, check_ties, check_value, check_wanted
from tensorc.autodiff.recurrence import tangent_scan
from tensorc.autodiff.reductions import Ties, tangent
from tensorc.autodiff.reverse import Reverse, listed
from tensorc.autodiff.sweep import push
from tensorc.autodiff.view import View, tensor_of
from tensorc.dtypes import int64
from tensorc.errors import GradientError
from tensorc.ir.expr import Expr, Load, Reduce, Var
from tensorc.ir.walk import substitute
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.graph import graph_of
from tensorc.te.reduce import reduce_axis
from tensorc.te.reduce import sum as reduce_sum
from tensorc.te.scan import Scan
from tensorc.te.tensor import Tensor, define, placeholder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.te.rule import Rule


@overload
def jvp(
    y: Tensor,
    wrt: Tensor | Sequence[Tensor],
    tangents: Tensor | Sequence[Tensor],
    *,
    ties: Ties = "split",
) -> Tensor: ...
@overload
def jvp(
    y: Sequence[Tensor],
    wrt: Tensor | Sequence[Tensor],
    tangents: Tensor | Sequence[Tensor],
    *,
    ties: Ties = "split",
) -> list[Tensor]: ...
def jvp(
    y: Tensor | Sequence[Tensor],
    wrt: Tensor | Sequence[Tensor],
    tangents: Tensor | Sequence[Tensor],
    *,
    ties: Ties = "split",
) -> Tensor | list[Tensor]:
    """The Jacobian-vector product: the derivative of `y` along `tangents`, of the shape of `y`.

    Args:
        y: a float tensor, or several.
        wrt: a float tensor, or several; an intermediate one is moved by itself.
        tangents: the direction of each `wrt`, of its shape and dtype.
        ties: which of the points that reach the value of a `max` or `min` reduction it moves
            with, as in `grad`.

    Raises:
        GradientError: an integer `y` or `wrt`, a tangent that does not fit, or an operation that
            has no derivative.
    """
    ys, wanted = listed("jvp", "y", y), listed("jvp", "wrt", wrt)
    given = listed("jvp", "tangents", tangents)
    for value in ys:
        check_value("jvp", value)
    for w in wanted:
        check_wanted("jvp", w)
    check_ties("jvp", ties)
    if len(wanted) != len(given):
        raise GradientError(f"jvp: {len(wanted)} tensors to move, but {len(given)} tangents")
    for w, t in zip(wanted, given, strict=True):
        check_direction("jvp", "tangent", w, t)
    sweep = _Forward(ys, wanted, given, ties)
    results = [sweep.tensor(value) for value in ys]
    return results[0] if isinstance(y, Tensor) else results


class _Forward:
    """One forward sweep; `tangents` holds those that are not zero."""

    def __init__(
        self, ys: list[Tensor], wanted: list[Tensor], given: list[Tensor], ties: Ties
    ) -> None:
        self.view = View(ys, wanted, reverse=False)
        self.ties: Ties = ties
        self.tangents: dict[Tensor, Tensor] = dict(zip(wanted, given, strict=True))
        for group in self.view.groups:
            if any(t in self.view.active and t not in self.tangents for t in group):
                self.visit(group)

    def tangent_of(self, load: Load) -> Expr | None:
        """The tangent of a load; None for zero."""
        found = self.tangents.get(tensor_of(load))
        return None if found is None else Load(found, load.indices)

    def visit(self, group: tuple[Tensor, ...]) -> None:
        """Find the tangents of a group from those of what it reads."""
        rule, op = self.view.rule(group[0]), group[0].op
        if rule is not None:
            made = self.stated(rule)
        elif isinstance(op, Scan):
            bodies = [self.view.flat.body(t) for t in op.tensors]
            made = tangent_scan(op, bodies, self.tangent_of, self.view)
        else:
            made = self.pushed(group[0])
        for tensor, new in made.items():
            self.tangents.setdefault(tensor, new)

    def pushed(self, tensor: Tensor) -> dict[Tensor, Tensor]:
        """The tangent of a definition."""
        body = self.view.body(tensor)
        if body is None:
            return {}
        axes = tuple(IterVar(a.name, int64, a.start, a.extent) for a in tensor.axes)
        here: dict[Var, Expr] = dict(zip(tensor.axes, axes, strict=True))
        is_active, intern = self.view.is_active, self.view.flat.intern
        if isinstance(body, Reduce):
            root = body.values[body.index]
            found = push(root, self.tangent_of, root, is_active, tensor.name)
            if found is not None:
                found = tangent(tensor, body, found, self.view.find, self.ties)
        else:
            result = intern(Load(tensor, tensor.axes))
            found = push(body, self.tangent_of, result, is_active, tensor.name)
        if found is None:
            return {}
        new = substitute(found, here)
        return {tensor: define(axes, (new,), default_name=f"t.{tensor.name}")[0]}

    def stated(self, rule: Rule) -> dict[Tensor, Tensor]:
        """The tangents of what has a stated cotangent: its rule, transposed.

        The rule is linear in the cotangents u of the outputs, so the derivative for u of the sum
        of rule(u) * tangent is the tangent of the outputs.
        """
        us = tuple(placeholder(t.shape, t.dtype) for t in rule.outputs)
        answers = rule.pull(us)
        seeds: dict[Tensor, Tensor | None] = {}
        total: Expr | None = None
        for source, answer in zip(rule.inputs, answers, strict=True):
            direction = self.tangents.get(source)
            if answer is None or direction is None:
                continue
            axes = tuple(reduce_axis(n, f"i{d}") for d, n in enumerate(source.shape))
            value: Expr = Load(answer, axes) * Load(direction, axes)
            part = reduce_sum(value, axes) if axes else value
            total = part if total is None else total + part
        if total is None:
            return {}
        pairing = define((), (total,), default_name="pairing")[0]
        seeds[pairing] = None
        sweep = Reverse(seeds, us, self.ties)
        made = {t: sweep.tensor(u) for t, u in zip(rule.outputs, us, strict=True)}
        if any(p is u for p in graph_of(made.values()).placeholders for u in us):
            raise GradientError(
                f"{rule.name}: its rule is not linear in the cotangents, so it says nothing about "
                "tangents; only reverse mode can use it"
            )
        return made

    def tensor(self, tensor: Tensor) -> Tensor:
        """The tangent of `tensor` as a tensor."""
        found = self.tangents.get(tensor)
        if found is not None:
            return found
        axes = tuple(IterVar(f"i{d}", int64, ZERO, n) for d, n in enumerate(tensor.shape))
        return define(axes, (zero(tensor.dtype),), default_name=f"t.{tensor.name}")[0]
