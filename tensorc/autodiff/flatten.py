"""Definitions in the form that the sweeps take: lets expanded, at most one reduction, at the top.

    C[i, j] = exp(A[i, j] - sum(B[i, k], axis=k))

becomes `C[i, j] = exp(A[i, j] - C.sum[i])` over a new tensor `C.sum`. The tensors themselves stay:
this is a second view of their definitions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.autodiff.arith import both
from tensorc.autodiff.folds import as_recurrence
from tensorc.autodiff.intern import Interner, expand_lets
from tensorc.autodiff.sweep import Guard, holds
from tensorc.dtypes import int64
from tensorc.errors import GradientError
from tensorc.ir.expr import Dim, Expr, Load, Reduce, Select, Var, Where
from tensorc.ir.printer import builtin_name, show
from tensorc.ir.walk import children, free_vars, substitute, with_children
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.bounds import Context, leaves_unless_guarded
from tensorc.te.scan import Scan
from tensorc.te.tensor import Compute, Tensor, define

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tensorc.ir.stmt import Node


# Reducers whose derivative has a closed form; a fold by any other is a recurrence.
CLOSED = ("sum", "max", "min", "argmax", "argmin")


class Flattener:
    """The flat bodies of tensors, each worked out once."""

    def __init__(self) -> None:
        """Start with nothing known."""
        self.intern = Interner()
        self._bodies: dict[Tensor, Expr] = {}
        self._hoisted: dict[tuple[Reduce, tuple[Expr, ...]], Tensor] = {}

    def body(self, tensor: Tensor) -> Expr | None:
        """The flat body over `tensor.axes`; None of a placeholder.

        Raises:
            GradientError: a reduction whose range depends on another axis.
        """
        if not isinstance(tensor.op, Compute):
            return None
        if tensor not in self._bodies:
            body = expand_lets(_definition(tensor.op, tensor.component))
            if isinstance(body, Reduce):
                flat: Expr = self._reduce(body, tensor, ())
                assert isinstance(flat, Reduce), "a flat reduction stays one"
                if flat.dtype.is_float and builtin_name(flat.reducer) not in CLOSED:
                    flat = as_recurrence(tensor, flat)
            else:
                flat = self._scalar(body, tensor, ())
            self._bodies[tensor] = self.intern(flat)
        return self._bodies[tensor]

    def _reduce(self, node: Reduce, tensor: Tensor, guards: tuple[Guard, ...]) -> Reduce:
        """`node` with flat values, under `guards`."""
        _check_ranges(node, tensor)
        where = None if node.where is None else self._scalar(node.where, tensor, guards)
        inner = guards if where is None else (*guards, (where, True))
        values = tuple(self._scalar(v, tensor, inner) for v in node.values)
        where = None if where is None else self.intern(where)
        values = tuple(map(self.intern, values))
        return Reduce(node.reducer, node.axes, values, where, node.index, loc=node.loc)

    def _scalar(self, expr: Expr, tensor: Tensor, guards: tuple[Guard, ...]) -> Expr:
        """`expr` with loads of new tensors in place of its reductions."""
        has_reduce: dict[Node, bool] = {}

        def holds_reduce(node: Node) -> bool:
            if node not in has_reduce:
                has_reduce[node] = isinstance(node, Reduce) or any(
                    holds_reduce(part) for part in children(node)
                )
            return has_reduce[node]

        memo: dict[tuple[Expr, tuple[Expr, ...]], Expr] = {}

        def visit(node: Expr, under: tuple[Guard, ...]) -> Expr:
            if not holds_reduce(node):
                return node
            key = (node, tuple(c for c, _ in under))
            if key not in memo:
                memo[key] = rebuild(node, under)
            return memo[key]

        def rebuild(node: Expr, under: tuple[Guard, ...]) -> Expr:
            match node:
                case Reduce():
                    return self._hoist(node, tensor, under)
                case Where(cond, a, b) | Select(cond, a, b):
                    test = visit(cond, under)
                    lazy = isinstance(node, Where)
                    yes = visit(a, (*under, (test, True)) if lazy else under)
                    no = visit(b, (*under, (test, False)) if lazy else under)
                    return type(node)(test, yes, no, loc=node.loc)
                case _:
                    parts = tuple(visit(c, under) for c in children(node))  # type: ignore[arg-type]
                    return with_children(node, parts)  # type: ignore[return-value]

        return visit(expr, guards)

    def _hoist(self, node: Reduce, tensor: Tensor, guards: tuple[Guard, ...]) -> Expr:
        """A load of a new tensor that holds `node` for each value of the variables in it."""
        key = (node, tuple(c for c, _ in guards))
        flat = self._reduce(node, tensor, guards)
        outer = _axes_of([flat])
        if guards and leaves_unless_guarded(Context(outer), (flat,)):
            cond = holds(guards)
            outer = _axes_of([flat, cond])
            where = cond if flat.where is None else both(cond, flat.where)
            flat = Reduce(flat.reducer, flat.axes, flat.values, where, flat.index, loc=flat.loc)
        if key not in self._hoisted:
            axes = tuple(IterVar(v.name, int64, ZERO, v.extent) for v in outer)
            shifted: dict[Var, Expr] = {
                v: a if v.start is ZERO else a + v.start for v, a in zip(outer, axes, strict=True)
            }
            body = fresh_reduce_axes(substitute(flat, shifted))
            name = f"{tensor.name}.{node.reducer.name}"
            self._hoisted[key] = define(axes, (body,), default_name=name)[0]
        index = tuple(v if v.start is ZERO else v - v.start for v in outer)
        return Load(self._hoisted[key], index, loc=node.loc)


def _definition(op: Compute, component: int) -> Expr:
    """The body of a component; of a recurrence, one that reads the element before."""
    if isinstance(op, Scan):
        return op.unrolled((op.bodies[component],), op.inits, op.tensors)[0]
    return op.bodies[component]


def fresh_reduce_axes(node: Reduce) -> Reduce:
    """`node` over axes of its own, so that no two definitions share one."""
    new = {
        a: IterVar(a.name, int64, a.start, a.extent, reduce=True, loc=a.loc)
        for a in reduce_axes(node)
    }
    values = tuple(substitute(v, new) for v in node.values)  # type: ignore[arg-type]
    where = None if node.where is None else substitute(node.where, new)  # type: ignore[arg-type]
    return Reduce(node.reducer, tuple(new.values()), values, where, node.index, loc=node.loc)


def reduce_axes(node: Reduce) -> tuple[IterVar, ...]:
    """The axes of a tensor-level reduction."""
    axes = []
    for axis in node.axes:
        assert isinstance(axis, IterVar), "a tensor-level reduction runs over axes"
        axes.append(axis)
    return tuple(axes)


def _axes_of(exprs: Iterable[Expr]) -> tuple[IterVar, ...]:
    """The free axes of `exprs`, in order of first use."""
    found: dict[Var, None] = {}
    for expr in exprs:
        for var in free_vars(expr):
            if not isinstance(var, Dim):
                found[var] = None
    axes = []
    for var in found:
        assert isinstance(var, IterVar), f"{var.name} is neither an axis nor a size"
        axes.append(var)
    return tuple(axes)


def _check_ranges(node: Reduce, tensor: Tensor) -> None:
    for axis in reduce_axes(node):
        for part in (axis.start, axis.extent):
            for var in free_vars(part):
                if not isinstance(var, Dim):
                    raise GradientError(
                        f"{tensor.name}: the range of axis {axis.name}, {show(axis.start)} to "
                        f"{show(axis.start + axis.extent)}, depends on {var.name}, and such a "
                        f"sum has no gradient here; give {axis.name} a fixed extent and limit it "
                        "by where="
                    )
