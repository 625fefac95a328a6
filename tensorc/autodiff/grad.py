"""Reverse accumulation over tensors.

The graph is visited from the result to what it is differentiated for. Each tensor's cotangent is
the sum of what its readers contribute, one definition for all of them, and is finished before it
is handed on; so nothing is computed twice. Results are ordinary tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from tensorc.autodiff.access import invert
from tensorc.autodiff.arith import add, mul, negate, reads, where, zero
from tensorc.autodiff.flatten import Flattener, reduce_axes
from tensorc.autodiff.forms import Forms
from tensorc.autodiff.intern import Interner
from tensorc.autodiff.reductions import reduced
from tensorc.autodiff.sweep import Guard, Term, guarded, is_differentiable, pull
from tensorc.dtypes import accumulator, int64
from tensorc.errors import GradientError
from tensorc.ir.expr import Binary, BinaryOp, Const, Dim, Expr, Load, Reduce, Var, all_of, cast
from tensorc.ir.sets import prove
from tensorc.ir.walk import free_vars, loads, rewrite, substitute, walk
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.bounds import axis_conditions, conjuncts
from tensorc.te.reduce import sum as reduce_sum
from tensorc.te.tensor import Compute, Tensor, define, same_size

if TYPE_CHECKING:
    from collections.abc import Sequence


@overload
def grad(y: Tensor, wrt: Tensor, seed: Tensor | None = None) -> Tensor: ...
@overload
def grad(y: Tensor, wrt: Sequence[Tensor], seed: Tensor | None = None) -> list[Tensor]: ...
def grad(
    y: Tensor, wrt: Tensor | Sequence[Tensor], seed: Tensor | None = None
) -> Tensor | list[Tensor]:
    """The gradient of `y` with respect to each tensor of `wrt`, of that tensor's shape and dtype.

    `wrt` may name placeholders and intermediate tensors, for which everything above is held fixed.
    Where `y` does not depend on one, its gradient is zero. Conventions at points without a
    derivative are those of `rules` and `reductions`: ties of `maximum` split in halves, ties of a
    `max` reduction equally, relu and abs have 0 at 0.

    Args:
        y: one element; or any shape, with `seed`.
        wrt: a float tensor, or several.
        seed: the cotangent of `y`, of its shape and dtype: the result is then the
            vector-Jacobian product, the gradient of the sum of `seed * y`.

    Raises:
        GradientError: an integer `y` or `wrt`, a missing or unfit seed, or an operation that has
            no derivative (it is named).
    """
    one = isinstance(wrt, Tensor)
    wanted = [wrt] if isinstance(wrt, Tensor) else list(wrt)
    _check(y, wanted, seed)
    sweep = _Sweep(y, wanted)
    sweep.run(seed)
    results = {w: sweep.result(w) for w in wanted}
    return results[wanted[0]] if one else [results[w] for w in wanted]


def _check(y: Tensor, wanted: Sequence[Tensor], seed: Tensor | None) -> None:
    if not isinstance(y, Tensor):
        raise GradientError(f"grad of {y!r}: a tensor is needed, got {type(y).__name__}")
    if not y.dtype.is_float:
        raise GradientError(f"grad of {y.name}: it is {y.dtype}, and only floats have a gradient")
    for w in wanted:
        if not isinstance(w, Tensor):
            raise GradientError(f"grad with respect to {w!r}: a tensor is needed")
        if not w.dtype.is_float:
            raise GradientError(
                f"grad with respect to {w.name}: it is {w.dtype}, and only floats have a gradient"
            )
    if seed is None:
        if not all(isinstance(s, Const) and s.value == 1 for s in y.shape):
            raise GradientError(
                f"grad of {y.name}, of shape {_shape(y)}: reduce it to one number first, as in "
                "tc.ops.sum, or give a seed of that shape, the cotangent of each element"
            )
        return
    if not isinstance(seed, Tensor):
        raise GradientError(
            f"grad of {y.name}: the seed must be a tensor, got {type(seed).__name__}"
        )
    fits = seed.ndim == y.ndim and all(
        same_size(a, b) for a, b in zip(seed.shape, y.shape, strict=True)
    )
    if not fits or seed.dtype != y.dtype:
        raise GradientError(
            f"grad of {y.name}: the seed {seed.name} is {seed.dtype} of shape {_shape(seed)}, and "
            f"must be {y.dtype} of shape {_shape(y)}"
        )


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


@dataclass(frozen=True, slots=True)
class _Contribution:
    """What one access contributes: `term` is the cotangent of `load`, over `axes`."""

    load: Load
    term: Term
    axes: tuple[IterVar, ...]


@dataclass(frozen=True, slots=True)
class _Cotangent:
    """A finished cotangent: a tensor, or an expression over `axes` that costs nothing to repeat."""

    axes: tuple[IterVar, ...]
    body: Expr
    tensor: Tensor | None

    def at(self, indices: Sequence[Expr]) -> Expr:
        if self.tensor is not None:
            return Load(self.tensor, tuple(indices))
        return substitute(self.body, dict(zip(self.axes, indices, strict=True)))


class _Sweep:
    """One call of `grad`."""

    def __init__(self, y: Tensor, wanted: Sequence[Tensor]) -> None:
        self.y = y
        self.wanted = frozenset(wanted)
        self.flat = Flattener()
        self.order = self.dependencies()
        self.active = self.find_active()
        self.components = {(t.op, t.component): t for t in self.order if isinstance(t.op, Compute)}
        self.pending: dict[Tensor, list[_Contribution]] = {}
        self.done: dict[Tensor, _Cotangent] = {}

    def dependencies(self) -> list[Tensor]:
        """The tensors that `y` reads, flattening included, each after what it reads."""
        order: list[Tensor] = []
        seen: set[Tensor] = set()
        stack = [(self.y, False)]
        while stack:
            tensor, finished = stack.pop()
            if finished:
                order.append(tensor)
            elif tensor not in seen:
                seen.add(tensor)
                stack.append((tensor, True))
                body = self.flat.body(tensor)
                inputs = () if body is None else loads(body)
                stack.extend((_tensor(load), False) for load in reversed(inputs))
        return order

    def find_active(self) -> set[Tensor]:
        """The tensors that depend on what is wanted, through operations with a derivative."""
        active: set[Tensor] = set()
        for tensor in self.order:
            body = self.flat.body(tensor)
            if tensor in self.wanted:
                active.add(tensor)
            elif body is not None and body.dtype.is_float:
                values = body.values if isinstance(body, Reduce) else (body,)
                if any(is_differentiable(v, lambda x: _tensor(x) in active) for v in values):
                    active.add(tensor)
        return active

    def run(self, seed: Tensor | None) -> None:
        for tensor in reversed(self.order):
            if tensor not in self.active:
                continue
            if tensor is self.y:
                self.done[tensor] = self.start(seed)
            else:
                cotangent = self.total(tensor)
                if cotangent is None:
                    continue
                self.done[tensor] = cotangent
            self.push(tensor, self.done[tensor])

    def start(self, seed: Tensor | None) -> _Cotangent:
        axes = _spatial([f"i{d}" for d in range(self.y.ndim)], self.y)
        body: Expr = Const(1.0, self.y.dtype) if seed is None else Load(seed, axes)
        return _Cotangent(axes, body, seed)

    def push(self, tensor: Tensor, cotangent: _Cotangent) -> None:
        """Hand the cotangent of `tensor` on to what its definition reads."""
        body = self.flat.body(tensor)
        if body is None:
            return
        g = cotangent.at(tensor.axes)
        axes = tensor.axes
        term = Term((), g)
        result: Expr = Load(tensor, tensor.axes)
        root = body
        if isinstance(body, Reduce):
            values = body.values
            if not any(is_differentiable(v, self.is_active) for v in values):
                return
            root, term = reduced(tensor, body, g, lambda op, c: self.components.get((op, c)))
            root = self.flat.intern(root)
            axes = (*axes, *reduce_axes(body))
            result = root
        result = self.flat.intern(result)
        for load, found in pull(root, term, result, self.is_active, tensor.name):
            self.pending.setdefault(_tensor(load), []).append(_Contribution(load, found, axes))

    def is_active(self, load: Load) -> bool:
        return _tensor(load) in self.active

    def total(self, tensor: Tensor) -> _Cotangent | None:
        """The sum of all contributions to the cotangent of `tensor`; None for zero."""
        contributions = self.pending.get(tensor, [])
        if not contributions:
            return None
        points = _spatial(_names(tensor, contributions[0].load), tensor)
        body: Expr | None = None
        for contribution in contributions:
            part = _gather(contribution, points)
            if part is not None:
                body = part if body is None else add(body, part)
        if body is None:
            return None
        if _is_free(body):
            return _Cotangent(points, body, None)
        return _Cotangent(points, body, define(points, (body,), default_name=f"d.{tensor.name}")[0])

    def result(self, tensor: Tensor) -> Tensor:
        """The gradient with respect to `tensor` as a tensor."""
        found = self.done.get(tensor)
        if found is not None and found.tensor is not None and tensor is not self.y:
            return found.tensor
        names = [a.name for a in found.axes] if found is not None else []
        axes = _spatial(names or [f"i{d}" for d in range(tensor.ndim)], tensor)
        body = zero(tensor.dtype) if found is None else found.at(axes)
        return define(axes, (body,), default_name=f"d.{tensor.name}")[0]


def _tensor(load: Load) -> Tensor:
    assert isinstance(load.buffer, Tensor), "a definition reads tensors only"
    return load.buffer


def _spatial(names: Sequence[str], tensor: Tensor) -> tuple[IterVar, ...]:
    return tuple(IterVar(n, int64, ZERO, size) for n, size in zip(names, tensor.shape, strict=True))


def _names(tensor: Tensor, load: Load) -> list[str]:
    """Names for the dimensions of a cotangent: its tensor's own, or those of who reads it."""
    given = [a.name for a in tensor.axes] or [
        i.name if isinstance(i, IterVar) else f"i{d}" for d, i in enumerate(load.indices)
    ]
    taken: dict[str, None] = {}
    for d, name in enumerate(given):
        taken[f"{name}_{d}" if name in taken else name] = None
    return list(taken)


def _is_free(body: Expr) -> bool:
    """Whether a cotangent is as cheap to repeat as to load: a number, or a load of another."""
    if isinstance(body, Load):
        return not any(reads(i) for i in body.indices)
    return not any(isinstance(n, Load | Reduce) for n in walk(body))


def _gather(contribution: _Contribution, points: tuple[IterVar, ...]) -> Expr | None:
    """What an access contributes to the cotangent at `points`; None where that is nothing."""
    load, term = contribution.load, contribution.term
    forms = Forms(Interner())
    for point in points:
        size = forms.of(point.extent)
        forms.assume_positive(size)
        forms.bound(point, {}, size)
    inverse = invert(forms, load.indices, points, contribution.axes)
    if inverse is None:
        return None
    at_point = Load(load.buffer, points, loc=load.loc)

    def settle(expr: Expr) -> Expr:
        same = rewrite(expr, lambda n: at_point if n is load else None)
        return forms.replace(same, inverse.values)

    conds = list(inverse.conds)
    for cond, truth in term.guards:
        settled = settle(cond)
        conds.extend(conjuncts(settled if truth else negate(settled)))
    return _summed(forms, points, inverse.axes, conds, settle(term.value))


def _summed(
    forms: Forms,
    points: Sequence[IterVar],
    axes: Sequence[IterVar],
    conds: Sequence[Expr],
    value: Expr,
) -> Expr | None:
    """The sum of `value` over `axes` where `conds` hold; None where they never do.

    Conditions on indices alone limit the sum; one that reads a tensor is evaluated only where those
    before it hold.
    """
    open_conds = [c for c in conds if not isinstance(c, Const)]
    if any(isinstance(c, Const) and not c.value for c in conds):
        return None
    unique = list(dict.fromkeys(open_conds))
    plain = _needed([c for c in unique if not reads(c)], (*points, *axes))
    value = guarded(_lazy([c for c in unique if reads(c)]), value)
    used = _variables(value, *plain)
    summed = [a for a in axes if a in used]
    for axis in axes:
        if axis not in used:
            wide = accumulator(value.dtype)
            value = cast(mul(cast(axis.extent, wide), cast(value, wide)), value.dtype)
    if not summed:
        return forms.intern(_under(plain, value))
    # A condition on a point that the sum does not depend on stands around it: one sum serves all.
    inner = [c for c in plain if not _variables(c).isdisjoint(summed)]
    apart = _variables(value, *inner)
    outer = [c for c in plain if _variables(c).isdisjoint(apart | set(summed))]
    inside = [c for c in plain if all(c is not o for o in outer)]
    total = reduce_sum(forms.intern(value), summed, where=all_of(inside))
    return _under(outer, total)


def _needed(conds: list[Expr], ranges: Sequence[IterVar]) -> list[Expr]:
    """`conds` without those that follow from the ranges and the others."""
    if not conds:
        return conds
    given = [c for axis in ranges for c in axis_conditions(axis)]
    kept = list(conds)
    for cond in conds:
        others = [c for c in kept if c is not cond]
        if prove(cond, [*given, *others]).holds:
            kept = others
    return kept


def _lazy(conds: Sequence[Expr]) -> tuple[Guard, ...]:
    """Guards in order; what reads nothing that the one before it does not is joined to it."""
    joined: list[Expr] = []
    for cond in conds:
        if joined and set(loads(cond)) <= set(loads(joined[-1])):
            joined[-1] = Binary(BinaryOp.AND, joined[-1], cond)
        else:
            joined.append(cond)
    return tuple((c, True) for c in joined)


def _variables(*exprs: Expr) -> set[Var]:
    return {v for e in exprs for v in free_vars(e) if not isinstance(v, Dim)}


def _under(conds: Sequence[Expr], value: Expr) -> Expr:
    cond = all_of(conds)
    return value if cond is None else where(cond, value, zero(value.dtype))
