"""A definition as loop nests: each reduction in a body becomes a nest of its own.

    C = compute((m, n), lambda i, j: exp(A[i, j] - sum(B[i, k], axis=k)))

becomes a nest that fills `C.sum`, over i alone since nothing in it depends on j, and one that
fills C. A body that is exactly a reduction accumulates in its own tensor. Where the reduction has a
condition that says which element a point belongs to, the nest goes there at once (`scatter`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.errors import IRError
from tensorc.ir.expr import (
    Buffer,
    Dim,
    Expr,
    Let,
    Load,
    Reduce,
    Reducer,
    Var,
    Where,
    const_int,
)
from tensorc.ir.walk import children, free_vars, substitute, walk, with_children
from tensorc.te.axis import IterVar, reduce_extents
from tensorc.te.bounds import Context, lazy_and, leaves_unless_guarded
from tensorc.te.keys import Keys
from tensorc.te.scan import Scan, last_of
from tensorc.te.scatter import Scatter, scatter_of
from tensorc.te.tensor import Compute, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.te.graph import Names


@dataclass(frozen=True, slots=True, eq=False)
class Nest:
    """Loops over `axes` around stores to `targets` at `index`, or around a reduction into them.

    Attributes:
        reducer: None for plain stores of `values`.
        reduce_axes: with a reducer, the loops around the accumulation of `values`.
        where: with a reducer, the condition on the points that count.
        conds: what holds at the points where the results are read.
        scatter: where each point goes, if that is known without a search.
    """

    op: Compute
    axes: tuple[IterVar, ...]
    index: tuple[Expr, ...]
    targets: tuple[Buffer, ...]
    values: tuple[Expr, ...]
    reducer: Reducer | None = None
    reduce_axes: tuple[IterVar, ...] = ()
    where: Expr | None = None
    conds: tuple[Expr, ...] = ()
    scatter: Scatter | None = None

    @property
    def exprs(self) -> tuple[Expr, ...]:
        """What the nest evaluates, as tensor-level expressions over `axes`."""
        if self.reducer is None:
            return self.values
        if self.scatter is not None:
            axes, values, where = self.scatter.axes, self.scatter.values, self.scatter.where
            return (Reduce(self.reducer, axes, values, where, loc=self.op.loc),)
        return (Reduce(self.reducer, self.reduce_axes, self.values, self.where, loc=self.op.loc),)

    @property
    def temporaries(self) -> tuple[Buffer, ...]:
        """The targets that are no tensors: what hoisting made."""
        return tuple(t for t in self.targets if not isinstance(t, Tensor))


def nests_of(
    op: Compute, wanted: Mapping[int, Tensor], labels: Mapping[Tensor, str], names: Names
) -> list[Nest]:
    """The nests that compute the components `wanted` of `op`, in order.

    A recurrence computes all of its components, those that nobody wants in temporaries.

    `labels` holds the final names of tensors; names of temporaries are drawn from `names`.
    """
    if isinstance(op, Scan):
        return _recurrence(op, wanted, labels, names)
    if not any(isinstance(n, Reduce) for c in wanted for n in walk(op.bodies[c])):
        return [_stores(op, wanted, {c: op.bodies[c] for c in wanted})]
    return _Hoister(op, wanted, labels[wanted[min(wanted)]], names).run()


def _stores(op: Compute, wanted: Mapping[int, Tensor], values: Mapping[int, Expr]) -> Nest:
    order = sorted(values)
    targets = tuple(wanted[c] for c in order)
    return Nest(op, op.axes, op.axes, targets, tuple(values[c] for c in order))


def _recurrence(
    op: Scan, wanted: Mapping[int, Tensor], labels: Mapping[Tensor, str], names: Names
) -> list[Nest]:
    """The nests of a recurrence: what its steps reduce first, then the steps in their order."""
    label = labels[wanted[min(wanted)]]
    made: list[Buffer] = [
        wanted[c] if c in wanted else Buffer(names.fresh(f"{label}.{c}"), t.shape, t.dtype)
        for c, t in enumerate(op.tensors)
    ]
    count = len(op.bodies)
    plain = Compute(op.axes, (*op.bodies, *op.inits), op.loc)
    hoister = _Hoister(plain, {}, label, names)
    context = Context(op.axes)
    parts = tuple(hoister.visit(e, context, {}) for e in plain.bodies)
    steps = op.unrolled(parts[:count], parts[count:], made)
    index: tuple[Expr, ...] = op.axes
    axes = op.axes
    if op.reverse:
        line = op.line
        turned = IterVar(line.name, line.dtype, line.start, line.extent)
        back: Expr = last_of(line.extent) - turned
        axes = tuple(turned if a is line else a for a in op.axes)
        index = tuple(back if a is line else a for a in op.axes)
        steps = tuple(substitute(e, {line: back}) for e in steps)
    return [*hoister.nests, Nest(op, axes, index, tuple(made), steps)]


class _Hoister:
    """Replaces the reductions of one definition by loads of what their nests fill."""

    def __init__(self, op: Compute, wanted: Mapping[int, Tensor], label: str, names: Names) -> None:
        self.op = op
        self.wanted = wanted
        self.label = label
        self.names = names
        self.nests: list[Nest] = []
        self.keys = Keys()
        self.filled: dict[tuple[int, ...], tuple[tuple[Buffer, ...], tuple[IterVar, ...]]] = {}
        self.memo: dict[tuple[int, int], Expr] = {}
        self.kept: list[Context] = []  # Keeps ids alive while they are keys.
        self.holds: dict[int, bool] = {}

    def run(self) -> list[Nest]:
        """The nests of the definition: reductions first, then the stores that are left."""
        context = Context(self.op.axes)
        roots = {c: self.op.bodies[c] for c in sorted(self.wanted)}
        direct: dict[tuple[int, ...], dict[int, Tensor]] = {}
        for c, body in roots.items():
            if isinstance(body, Reduce) and self._uses_every_axis(body):
                slots = direct.setdefault((self.keys.of_fold(body),), {})
                slots.setdefault(body.index, self.wanted[c])
        rest: dict[int, Expr] = {}
        for c, body in roots.items():
            value = self.visit(body, context, direct)
            if not (isinstance(value, Load) and value.buffer is self.wanted[c]):
                rest[c] = value
        if rest:
            self.nests.append(_stores(self.op, self.wanted, rest))
        return self.nests

    def _uses_every_axis(self, body: Reduce) -> bool:
        used = _outer_vars((*body.values, body.where), body.axes)  # type: ignore[arg-type]
        return all(a in used or const_int(a.extent) == 1 for a in self.op.axes)

    def has_reduce(self, node: Expr) -> bool:
        known = self.holds.get(id(node))
        if known is None:
            parts = children(node)
            known = isinstance(node, Reduce) or any(self.has_reduce(p) for p in parts)  # type: ignore[arg-type]
            self.holds[id(node)] = known
        return known

    def visit(
        self, node: Expr, at: Context, direct: Mapping[tuple[int, ...], Mapping[int, Tensor]]
    ) -> Expr:
        """`node` with loads in place of its reductions."""
        if not self.has_reduce(node):
            return node
        done = self.memo.get((id(node), id(at)))
        if done is None:
            self.kept.append(at)
            done = self.memo[id(node), id(at)] = self._visit(node, at, direct)
        return done

    def _visit(
        self, node: Expr, at: Context, direct: Mapping[tuple[int, ...], Mapping[int, Tensor]]
    ) -> Expr:
        match node:
            case Reduce():
                return self._hoist(node, at, direct)
            case Where(cond, a, b):
                cond = self.visit(cond, at, direct)
                parts: tuple[Expr, ...] = (
                    cond,
                    self.visit(a, at.under(cond), direct),
                    self.visit(b, at.unless(cond), direct),
                )
            case Let(var, value, body):
                value = self.visit(value, at, direct)
                parts = (value, self.visit(body, at.let(var, value), direct))
            case _:
                parts = tuple(self.visit(c, at, direct) for c in children(node))  # type: ignore[arg-type]
        return with_children(node, parts)  # type: ignore[return-value]

    def _hoist(
        self, node: Reduce, at: Context, direct: Mapping[tuple[int, ...], Mapping[int, Tensor]]
    ) -> Expr:
        """A load of the result of `node`, and the nest that makes it where there is none yet."""
        key: tuple[int, ...] = (self.keys.of_fold(node),)
        axes: tuple[IterVar, ...] = node.axes  # type: ignore[assignment]
        if key not in self.filled:
            inner = at.within(axes)
            where = None if node.where is None else self.visit(node.where, inner, direct)
            if where is not None:
                inner = inner.under(where)
            values = tuple(self.visit(v, inner, direct) for v in node.values)
            fold = Reduce(node.reducer, node.axes, values, where, loc=node.loc)
            if at.conds and leaves_unless_guarded(Context(at.axes, (), at.lets), (fold,)):
                key = (*key, *(self.keys.of(c) for c in at.conds))
                for cond in reversed(at.conds):
                    where = lazy_and(cond, where)
            if key not in self.filled:
                values, where = _with_lets(values, where, at)
                self.filled[key] = self._fill(node, values, where, at, direct.get(key, {}))
        buffers, dims = self.filled[key]
        index = tuple(_from_zero(a) for a in dims)
        return Load(buffers[node.index], index, loc=node.loc)

    def _fill(
        self,
        node: Reduce,
        values: tuple[Expr, ...],
        where: Expr | None,
        at: Context,
        slots: Mapping[int, Tensor],
    ) -> tuple[tuple[Buffer, ...], tuple[IterVar, ...]]:
        axes: tuple[IterVar, ...] = node.axes  # type: ignore[assignment]
        used = _outer_vars((*values, where), axes)
        dims = self.op.axes if slots else tuple(a for a in at.axes if a in used)
        for axis in dims:
            for var in free_vars(axis.extent):
                if not isinstance(var, Dim):
                    raise IRError(
                        f"{self.label}: {node.reducer.name} inside a reduction over {axis.name}, "
                        f"whose extent {axis.extent} depends on {var.name}, cannot be stored; "
                        "compute it as a tensor of its own"
                    )
        shape = tuple(a.extent for a in dims)
        label = f"{self.label}.{node.reducer.name}"
        count = node.reducer.arity
        buffers = tuple(
            slots[c]
            if c in slots
            else Buffer(
                self.names.fresh(label if count == 1 else f"{label}.{c}"), shape, value.dtype
            )
            for c, value in enumerate(values)
        )
        index = tuple(_from_zero(a) for a in dims)
        scatter = scatter_of(dims, index, axes, values, where)
        self.nests.append(
            Nest(
                self.op, dims, index, buffers, values, node.reducer, axes, where, at.conds, scatter
            )
        )
        return buffers, dims


def _from_zero(axis: IterVar) -> Expr:
    return axis if const_int(axis.start) == 0 else axis - axis.start


def _outer_vars(parts: Sequence[Expr | None], axes: Sequence[IterVar]) -> set[Var]:
    """The variables that a fold of `parts` over `axes` depends on."""
    exprs = [p for p in parts if p is not None] + [e for a in axes for e in (a.start, a.extent)]
    exprs += reduce_extents(exprs)
    return {v for e in exprs for v in free_vars(e)}.difference(axes)


def _with_lets(
    values: tuple[Expr, ...], where: Expr | None, at: Context
) -> tuple[tuple[Expr, ...], Expr | None]:
    """`values` and `where` inside those lets of the context that they use."""

    def wrap(expr: Expr) -> Expr:
        for var, value in reversed(at.lets):
            if any(v is var for v in free_vars(expr)):
                expr = Let(var, value, expr, loc=expr.loc)
        return expr

    return tuple(wrap(v) for v in values), None if where is None else wrap(where)
