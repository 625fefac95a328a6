"""Reverse accumulation over tensors.

The graph is visited from the results to what they are differentiated for. Each tensor's cotangent
is the sum of what its readers contribute, one definition for all of them, and is finished before it
is handed on; so nothing is computed twice. Results are ordinary tensors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorc.autodiff.arith import add, reads, zero
from tensorc.autodiff.flatten import reduce_axes
from tensorc.autodiff.gather import Adjoint, Contribution, adjoint
from tensorc.autodiff.layout import transposed
from tensorc.autodiff.recurrence import adjoint_scan
from tensorc.autodiff.reductions import Ties, reduced
from tensorc.autodiff.sweep import Term, is_differentiable, pull
from tensorc.autodiff.view import View, tensor_of
from tensorc.dtypes import int64
from tensorc.errors import GradientError
from tensorc.ir.expr import Binary, BinaryOp, Const, Expr, Load, Reduce, shorten
from tensorc.ir.walk import substitute, walk
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.scan import Scan
from tensorc.te.tensor import Compute, Tensor, define, same_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.te.rule import Rule


@dataclass(frozen=True, slots=True)
class Cotangent:
    """A finished cotangent: a tensor, or an expression over `axes` that costs nothing to repeat."""

    axes: tuple[IterVar, ...]
    body: Expr
    tensor: Tensor | None

    def at(self, indices: Sequence[Expr]) -> Expr:
        """The cotangent of the element at `indices`."""
        if self.tensor is not None:
            return Load(self.tensor, tuple(indices))
        return substitute(self.body, dict(zip(self.axes, indices, strict=True)))


def listed(what: str, role: str, given: Any) -> list[Any]:
    """What was given as one tensor or several, as a list.

    Raises:
        GradientError: it is neither.
    """
    if isinstance(given, Tensor):
        return [given]
    try:
        return list(given)
    except TypeError:
        raise GradientError(
            f"{what}: {role} must be a tensor or a list of them, got {shorten(given)}"
        ) from None


class Reverse:
    """One reverse sweep.

    Attributes:
        seeds: the cotangent that each result starts with; None stands for 1.
        adjoints: for each tensor that is reached, what each read of it contributes.
        done: the finished cotangents.
    """

    def __init__(
        self, seeds: Mapping[Tensor, Tensor | None], wanted: Sequence[Tensor], ties: Ties
    ) -> None:
        """Sweep from the tensors in `seeds` to those in `wanted`."""
        self.seeds = seeds
        self.ties: Ties = ties
        self.view = View(list(seeds), wanted, reverse=True)
        self.adjoints: dict[Tensor, list[Adjoint]] = {}
        self.pending: dict[Tensor, list[Contribution]] = {}
        self.done: dict[Tensor, Cotangent] = {}
        self.stated: set[Tensor] = set()  # Cotangents from stated derivatives, given to nobody yet.
        for group in reversed(self.view.groups):
            if any(t in self.view.active for t in group):
                self._visit(group)

    def _visit(self, group: tuple[Tensor, ...]) -> None:
        found = {t: c for t in group if (c := self._total(t)) is not None}
        if not found:
            return
        rule, op = self.view.rule(group[0]), group[0].op
        if rule is not None:
            self.done.update(found)
            self._state(rule)
        elif isinstance(op, Scan):
            self._recur(op, found)
        else:
            self.done.update(found)
            self._push(group[0], found[group[0]])

    def _push(self, tensor: Tensor, cotangent: Cotangent) -> None:
        """Hand the cotangent of `tensor` on to what its definition reads."""
        body = self.view.body(tensor)
        if body is None:
            return
        axes = tensor.axes
        g = cotangent.at(axes)
        term, root = Term((), g), body
        result: Expr = Load(tensor, axes)
        if isinstance(body, Reduce):
            if not any(is_differentiable(v, self.view.is_active) for v in body.values):
                return
            root, term = reduced(tensor, body, g, self.view.find, self.ties)
            root = self.view.flat.intern(root)
            axes = (*axes, *reduce_axes(body))
            result = root
        result = self.view.flat.intern(result)
        for load, found in pull(root, term, result, self.view.is_active, tensor.name):
            self._add(load, found, axes, tensor)

    def _add(self, load: Load, term: Term, axes: tuple[IterVar, ...], reader: Tensor) -> None:
        new = Contribution(load, term, axes, reader)
        self.pending.setdefault(tensor_of(load), []).append(new)

    def _recur(self, op: Scan, found: Mapping[Tensor, Cotangent]) -> None:
        """Hand the cotangents of a recurrence on along its lines, then to what its steps read."""
        outside = [found.get(t) for t in op.tensors]
        made, terms = adjoint_scan(
            op,
            [self.view.flat.body(t) for t in op.tensors],
            [None if c is None else c.at for c in outside],
            self.view,
        )
        for tensor, cotangent in made.items():
            axes = _spatial([a.name for a in op.axes], tensor)
            self.done[tensor] = Cotangent(axes, Load(cotangent, axes), cotangent)
        for reader, load, term in terms:
            self._add(load, term, op.axes, reader)

    def _state(self, rule: Rule) -> None:
        """Hand cotangents on as a stated derivative says."""
        given = tuple(self.tensor(t) for t in rule.outputs)
        answers = tuple(rule.pull(given))
        if len(answers) != len(rule.inputs):
            raise GradientError(
                f"{rule.name}: its rule gives {len(answers)} cotangents for the "
                f"{len(rule.inputs)} arguments"
            )
        for source, answer in zip(rule.inputs, answers, strict=True):
            if answer is None or source not in self.view.active:
                continue
            if not isinstance(answer, Tensor) or not is_like(answer, source):
                raise GradientError(
                    f"{rule.name}: its rule gives {answer} as the cotangent of {source.name}, and "
                    f"that must be {source.dtype} of shape {shape_text(source)}"
                )
            self.stated.add(answer)
            axes = _spatial([f"i{d}" for d in range(source.ndim)], source)
            self._add(Load(source, axes), Term((), Load(answer, axes)), axes, rule.outputs[0])

    def _total(self, tensor: Tensor) -> Cotangent | None:
        """The sum of all contributions to the cotangent of `tensor`; None for zero."""
        contributions = self.pending.get(tensor, [])
        if tensor in self.seeds and not contributions:
            axes = _spatial([f"i{d}" for d in range(tensor.ndim)], tensor)
            return Cotangent(axes, self._seed(tensor, axes), self.seeds[tensor])
        if not contributions:
            return None
        points = _spatial(_names(tensor, contributions[0].load), tensor)
        found = self.adjoints[tensor] = [adjoint(c, points) for c in contributions]
        parts = [a.body for a in found if a.body is not None]
        if tensor in self.seeds:
            parts.insert(0, self._seed(tensor, points))
        if not parts:
            return None
        body = parts[0]
        for part in parts[1:]:
            body = add(body, part)
        if _is_free(body):
            return Cotangent(points, body, None)
        made, order = transposed(points, body, f"d.{tensor.name}")
        if any(a is not b for a, b in zip(order, points, strict=True)):
            return Cotangent(points, Load(made, tuple(order)), None)
        return Cotangent(points, body, made)

    def _seed(self, tensor: Tensor, axes: tuple[IterVar, ...]) -> Expr:
        seed = self.seeds[tensor]
        return Const(1.0, tensor.dtype) if seed is None else Load(seed, axes)

    def tensor(self, tensor: Tensor) -> Tensor:
        """The cotangent of `tensor` as a tensor."""
        found = self.done.get(tensor)
        if found is not None and found.tensor is not None and tensor not in self.seeds:
            return found.tensor
        whole = None if found is None else _whole(found)
        if whole is not None and whole in self.stated:
            self.stated.discard(whole)
            return whole
        names = [a.name for a in found.axes] if found is not None else []
        axes = _spatial(names or [f"i{d}" for d in range(tensor.ndim)], tensor)
        body = zero(tensor.dtype) if found is None else found.at(axes)
        return define(axes, (body,), default_name=f"d.{tensor.name}")[0]


def _whole(cotangent: Cotangent) -> Tensor | None:
    """The computed tensor that a cotangent is equal to, element by element."""
    body = cotangent.body
    if not isinstance(body, Load) or not isinstance(body.buffer, Tensor):
        return None
    same = len(body.indices) == len(cotangent.axes) and all(
        i is a for i, a in zip(body.indices, cotangent.axes, strict=True)
    )
    return body.buffer if same and isinstance(body.buffer.op, Compute) else None


def is_like(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have one dtype and one shape."""
    same = a.ndim == b.ndim and all(map(same_size, a.shape, b.shape))
    return same and a.dtype == b.dtype


def shape_text(tensor: Tensor) -> str:
    """The shape as a message shows it."""
    return f"({', '.join(map(str, tensor.shape))})"


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
    """Whether a cotangent is as cheap to repeat as to load: a number, or a load of another.

    Not where it changes shape, as at [i // 8, i % 8]: sums step through rows of its own faster.
    """
    if isinstance(body, Load):
        return not any(reads(i) or _parts(i) for i in body.indices)
    return not any(isinstance(n, Load | Reduce) for n in walk(body))


def _parts(index: Expr) -> bool:
    """Whether an index is a part of another, in a mixed radix."""
    return any(
        isinstance(n, Binary) and n.op in (BinaryOp.FLOORDIV, BinaryOp.MOD) for n in walk(index)
    )
