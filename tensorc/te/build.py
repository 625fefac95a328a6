"""Tensors to the plain program: one loop nest for each definition, in dependence order.

    C[i, j] = sum(A[i, k] * B[k, j], axis=k)    becomes    for i in range(m):
                                                             for j in range(n):
                                                               C[i, j] = 0.0
                                                               for k in range(l):
                                                                 C[i, j] += A[i, k] * B[k, j]

Definitions follow each other in the order of a depth-first walk from the outputs; where
placeholders are updated, in one that keeps little alive (`order`). Checks that depend on inputs
alone stand first, so that a call they end has written nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.errors import IRError, ShapeError
from tensorc.ir.expr import Buffer, Const, Dim, Expr, Let, Load, Var, shorten
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    For,
    If,
    Node,
    Param,
    Program,
    Role,
    Stmt,
    Store,
    block,
)
from tensorc.ir.walk import rewrite, walk
from tensorc.te.axis import IterVar, reduce_extents
from tensorc.te.checks import Guard, guards_of, size_guards
from tensorc.te.graph import Graph, Names, dims_in, graph_of, name_tensors
from tensorc.te.hoist import Nest, nests_of
from tensorc.te.tensor import Placeholder, Tensor, define, same_size
from tensorc.te.updates import Plan, plan_updates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tensorc.ir.loc import Loc
    from tensorc.te.scatter import Scatter


def build(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor] | None = None,
    name: str = "main",
    updates: Sequence[tuple[Tensor, Tensor]] = (),
) -> Program:
    """The plain program that computes `outputs`.

    Args:
        outputs: the results, in the order of the OUT parameters, which follow the inputs.
        inputs: the placeholders in the order of the parameters; by default that of first use.
        name: the program's name.
        updates: pairs (placeholder, new value). The placeholder becomes an INOUT parameter; every
            other statement sees its old values: the new ones are stored once those were read.

    Raises:
        IRError: names that clash, inputs that are missing, unused or no placeholders, a symbolic
            size that no input's shape states.
        ShapeError: a new value of another shape or dtype than its placeholder.
    """
    wanted = _check_outputs(outputs, updates)
    new = {old: _check_update(old, value) for old, value in updates}
    graph = graph_of((*wanted, *new.values()))
    params = _inputs(graph, inputs, new)
    dims = _dims(params, graph)
    labels, names = name_tensors((*params, *graph.tensors()), dims)
    _check_dims(params, dims)
    nests = {op: nests_of(op, got, labels, names) for op, got in graph.computes.items()}
    guards = {nest: guards_of(nest) for made in nests.values() for nest in made}
    checked = [
        op for op, made in nests.items() if any(not g.early for n in made for g in guards[n])
    ]
    plan = plan_updates(graph, nests, wanted, new, checked)
    return _Emitter(name, params, wanted, new, labels, plan, dims).program(graph, guards)


# --- what was asked -------------------------------------------------------------------------


def check_updates(updates: Sequence[tuple[Tensor, Tensor]]) -> None:
    """Refuse what is no list of pairs of tensors.

    Raises:
        IRError: it is refused.
    """
    if not isinstance(updates, tuple | list):
        raise IRError(
            "updates: expected a list of pairs (placeholder, new value), got a "
            f"{type(updates).__name__}"
        )
    for pair in updates:
        if not isinstance(pair, tuple) or [isinstance(t, Tensor) for t in pair] != [True, True]:
            raise IRError(
                f"updates: expected pairs (placeholder, new value) of tensors, got {shorten(pair)}"
            )


def _check_outputs(
    outputs: Sequence[Tensor], updates: Sequence[tuple[Tensor, Tensor]]
) -> tuple[Tensor, ...]:
    check_updates(updates)
    olds = {old for old, _ in updates}
    if len(olds) != len(updates):
        raise IRError("updates: a placeholder is listed twice")
    if not outputs and not updates:
        raise IRError("build: no outputs and no updates, so there is nothing to compute")
    seen: set[Tensor] = set()
    result: list[Tensor] = []
    for out in outputs:
        if not isinstance(out, Tensor):
            raise IRError(f"outputs must be tensors, got {shorten(out)}")
        if out in seen:
            raise IRError(f"output {out.name} is listed twice")
        seen.add(out)
        if out in olds:
            raise IRError(
                f"{out.name} is an output and is updated in place; its new values are in "
                f"{out.name} itself after the call"
            )
        result.append(_copy(out, "copy") if isinstance(out.op, Placeholder) else out)
    return tuple(result)


def _check_update(old: Tensor, value: Tensor) -> Tensor:
    if not isinstance(old.op, Placeholder):
        raise IRError(f"updates: {old.name} is no placeholder; only inputs can be updated in place")
    fits = len(old.shape) == len(value.shape) and all(map(same_size, old.shape, value.shape))
    if not fits or old.dtype != value.dtype:
        raise ShapeError(f"updates: the new value {value} does not fit {old}")
    return _copy(value, "new") if isinstance(value.op, Placeholder) else value


def _copy(tensor: Tensor, suffix: str) -> Tensor:
    axes = tuple(IterVar(f"i{d}", extent=size) for d, size in enumerate(tensor.shape))
    return define(axes, (Load(tensor, axes),), default_name=f"{tensor.name}.{suffix}")[0]


def _inputs(
    graph: Graph, inputs: Sequence[Tensor] | None, new: Mapping[Tensor, Tensor]
) -> tuple[Tensor, ...]:
    used = dict.fromkeys((*graph.placeholders, *new))
    if inputs is None:
        return tuple(used)
    if not isinstance(inputs, tuple | list) or not all(isinstance(t, Tensor) for t in inputs):
        raise IRError(f"inputs: expected a list of placeholders, got {shorten(inputs)}")
    for tensor in inputs:
        if not isinstance(tensor.op, Placeholder):
            raise IRError(f"inputs: {tensor.name} is computed; only placeholders are inputs")
        if tensor not in used:
            raise IRError(f"inputs: no output depends on {tensor.name}; leave it out")
    given = dict.fromkeys(inputs)
    if len(given) != len(inputs):
        raise IRError("inputs: a placeholder is listed twice")
    missing = [t.name for t in used if t not in given]
    if missing:
        raise IRError(f"inputs: the outputs depend on {', '.join(missing)} too; list every input")
    return tuple(inputs)


def _dims(params: Sequence[Tensor], graph: Graph) -> tuple[Dim, ...]:
    """Every symbolic size, in order of first appearance in the parameters, then in the bodies."""
    shapes = [size for t in (*params, *graph.tensors()) for size in t.shape]
    bodies = [op.bodies[c] for op, got in graph.computes.items() for c in sorted(got)]
    exprs = (*shapes, *bodies, *reduce_extents(bodies))
    return tuple(dims_in(e for e in exprs if not isinstance(e, Const)))


def _check_dims(params: Sequence[Tensor], dims: Sequence[Dim]) -> None:
    bound = {size for t in params for size in t.shape if isinstance(size, Dim)}
    for dim in dims:
        if dim not in bound:
            raise IRError(
                f"size {dim.name} is not known at a call: no input has a dimension of exactly "
                f"{dim.name}"
            )


# --- the program ----------------------------------------------------------------------------


class _Emitter:
    """Turns planned nests into statements over the buffers of one program."""

    def __init__(
        self,
        name: str,
        params: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        new: Mapping[Tensor, Tensor],
        labels: Mapping[Tensor, str],
        plan: Plan,
        dims: tuple[Dim, ...],
    ) -> None:
        self.name = name
        self.plan = plan
        self.dims = dims
        self.buffers: dict[Buffer, Buffer] = {
            t: Buffer(label, t.shape, t.dtype) for t, label in labels.items()
        }
        self.inputs = [Param(self.buffers[t], Role.INOUT if t in new else Role.IN) for t in params]
        self.outputs = [Param(self.buffers[t], Role.OUT) for t in outputs]
        for tensor, old in plan.in_place.items():
            self.buffers[tensor] = self.buffers[old]

    def program(self, graph: Graph, guards: Mapping[Nest, list[Guard]]) -> Program:
        """The program: checks on inputs, allocations, then the nests, with the checks they need."""
        params = (*self.inputs, *self.outputs)
        known = {p.buffer for p in params}
        temporaries: dict[Buffer, None] = {}
        early: list[Stmt] = []
        late: list[Stmt] = []
        for nest in self.plan.nests:
            for target in nest.targets:
                buffer = self.buffers.setdefault(target, target)
                if buffer not in known:
                    temporaries[buffer] = None
            for guard in guards.get(nest, ()):
                (early if guard.early else late).append(self._guard(guard))
            late.append(self._nest(nest))
        computed = [self.buffers[t] for t in graph.tensors()]
        sizes = [self._guard(g) for g in size_guards([(b.name, b.shape) for b in computed])]
        body = block(late)
        for buffer in reversed(temporaries):
            body = Allocate(buffer, body)
        return Program(self.name, params, self.dims, block([*sizes, *early, body]))

    def _guard(self, guard: Guard) -> Stmt:
        variables = self._variables(guard.axes, (*guard.conds, guard.cond))
        rename = self._renaming(variables)
        return guard.stmt(rename, variables)

    def _nest(self, nest: Nest) -> Stmt:
        variables = self._variables((*nest.axes, *nest.reduce_axes), nest.exprs)
        rename = self._renaming(variables)
        targets = tuple(self.buffers[t] for t in nest.targets)
        index = tuple(rename(i) for i in nest.index)
        loc = nest.op.loc
        if nest.reducer is None:
            values = zip(targets, nest.values, strict=True)
            body = block([Store(t, index, rename(v), loc=loc) for t, v in values])
        else:
            units = zip(targets, nest.reducer.identity, strict=True)
            start: list[Stmt] = [Store(t, index, unit, loc=loc) for t, unit in units]
            if nest.scatter is not None:
                first = _loops(nest.axes, block(start), variables, rename, loc)
                return block([first, self._scatter(nest, nest.scatter, variables, rename)])
            step = self._step(nest, nest.index, nest.values, rename)
            if nest.where is not None:
                step = If(rename(nest.where), step, loc=loc)
            body = block([*start, _loops(nest.reduce_axes, step, variables, rename, loc)])
        return _loops(nest.axes, body, variables, rename, loc)

    def _scatter(
        self,
        nest: Nest,
        to: Scatter,
        variables: Mapping[Var, Var],
        rename: Callable[[Expr], Expr],
    ) -> Stmt:
        """The loops of a scatter, its test around those that it does not depend on."""
        loc, outer, inner = nest.op.loc, to.axes[: to.tested], to.axes[to.tested :]
        step = self._step(nest, to.index, to.values, rename)
        test = If(rename(to.where), _loops(inner, step, variables, rename, loc), loc=loc)
        return _loops(outer, test, variables, rename, loc)

    def _step(
        self,
        nest: Nest,
        index: Iterable[Expr],
        values: Iterable[Expr],
        rename: Callable[[Expr], Expr],
    ) -> Stmt:
        """One step of a reduction."""
        assert nest.reducer is not None, "a nest of stores has no steps"
        targets = tuple(self.buffers[t] for t in nest.targets)
        indices, folded = tuple(map(rename, index)), tuple(map(rename, values))
        return Accumulate(nest.reducer, targets, indices, folded, loc=nest.op.loc)

    def _variables(self, axes: Iterable[IterVar], exprs: Iterable[Expr]) -> dict[Var, Var]:
        """A loop variable for each axis and each let, named apart from each other and the sizes."""
        names = Names(d.name for d in self.dims)
        lets = (n.var for e in exprs for n in walk(e) if isinstance(n, Let))
        bound: dict[Var, None] = dict.fromkeys((*axes, *lets))
        return {v: Var(names.fresh(v.name), v.dtype, loc=v.loc) for v in bound}

    def _renaming(self, variables: Mapping[Var, Var]) -> Callable[[Expr], Expr]:
        """Brings a tensor-level expression to the buffers and loop variables of the program."""

        def rule(node: Node) -> Node | None:
            match node:
                case Var():
                    return variables.get(node)
                case Load(buffer, indices):
                    return Load(self.buffers[buffer], indices, loc=node.loc)
                case Let(var, value, body):
                    return Let(variables[var], value, body, loc=node.loc)
                case _:
                    return None

        def rename(expr: Expr) -> Expr:
            if isinstance(expr, Const):
                return expr
            return variables.get(expr, expr) if isinstance(expr, Var) else rewrite(expr, rule)

        return rename


def _loops(
    axes: Sequence[IterVar],
    body: Stmt,
    variables: Mapping[Var, Var],
    rename: Callable[[Expr], Expr],
    loc: Loc | None,
) -> Stmt:
    for axis in reversed(axes):
        start, extent = rename(axis.start), rename(axis.extent)
        body = For(variables[axis], start, extent, body, loc=loc)
    return body
