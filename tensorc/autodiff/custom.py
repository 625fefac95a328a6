"""Derivatives that their author states, and boundaries behind which values are computed again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tensorc.autodiff.grad import vjp
from tensorc.autodiff.reverse import listed
from tensorc.errors import GradientError
from tensorc.ir.expr import const_int, shorten
from tensorc.te.graph import graph_of
from tensorc.te.rebuild import rebuilt
from tensorc.te.rule import Rule, stated
from tensorc.te.tensor import Compute, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Function: TypeAlias = "Callable[..., Any]"  # Of tensors, to a tensor or several.


def custom_vjp(function: Function, rule: Callable[..., Any]) -> Function:
    """`function` of tensors, with a derivative that its author states.

    `rule(g, y, *arguments)` gives the cotangent of each argument, None for zero: a tensor, or a
    tuple for several arguments. g is the cotangent of the result y; of several results both are
    tuples. It must be linear in g. Forward mode uses the rule transposed.

    >>> clipped = custom_vjp(lambda x: x * 1.0, lambda g, y, x: tc.ops.clip(g, -1.0, 1.0))

    Raises:
        GradientError: where the function is called: arguments or results that are no tensors;
            where it is differentiated: a rule that gives other cotangents than there are
            arguments, or of another shape or dtype, or a function that reads what is
            differentiated for without taking it as an argument.
    """
    name = f"custom_vjp({getattr(function, '__name__', 'function')})"

    def call(*arguments: Tensor) -> Any:
        results, several = _called(name, function, arguments)
        made: list[Rule] = []

        def pull(cotangents: tuple[Tensor, ...]) -> list[Tensor | None]:
            outputs = made[0].outputs
            g, y = (cotangents, outputs) if several else (cotangents[0], outputs[0])
            answer = rule(g, y, *arguments)
            return list(answer) if isinstance(answer, tuple | list) else [answer]

        made.append(Rule(name, arguments, pull))
        outputs = stated(made[0], results)
        return outputs if several else outputs[0]

    return call


def checkpoint(function: Function) -> Function:
    """`function` of tensors, whose inner values the gradient does not store but computes again.

    What depends on the arguments is *inside*: it lives only as long as the forward pass needs it.
    The arguments, and whatever else the function reads, are the boundary and are kept. When the
    gradient comes back to the boundary it computes what it needs of the inside once more, after
    the cotangent of the result is there. `recomputation` shows what that is.

    Raises:
        GradientError: arguments or results that are no tensors.
    """
    name = f"checkpoint({getattr(function, '__name__', 'function')})"

    def call(*arguments: Tensor) -> Any:
        results, several = _called(name, function, arguments)
        boundary = _boundary(results, arguments)

        def pull(cotangents: tuple[Tensor, ...]) -> Sequence[Tensor | None]:
            again = rebuilt(
                results, {t: t for t in arguments}, prefix="again.", after=tuple(cotangents)
            )
            ys = [again.get(t, t) for t in results]
            floats = [t for t in boundary if t.dtype.is_float]
            pairs = [(y, g) for y, g in zip(ys, cotangents, strict=True) if y.dtype.is_float]
            found = iter(vjp([y for y, _ in pairs], floats, [g for _, g in pairs]))
            return [next(found) if t.dtype.is_float else None for t in boundary]

        outputs = stated(Rule(name, boundary, pull, transparent=True), results)
        return outputs if several else outputs[0]

    return call


def _called(
    name: str, function: Function, arguments: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], bool]:
    for argument in arguments:
        if not isinstance(argument, Tensor):
            raise GradientError(f"{name}: its arguments are tensors, got {shorten(argument)}")
    if not arguments:
        raise GradientError(f"{name}: it takes at least one tensor")
    value = function(*arguments)
    results = value if isinstance(value, tuple) else (value,)
    for result in results:
        if not isinstance(result, Tensor):
            raise GradientError(f"{name}: it must return tensors, got {shorten(result)}")
    return results, isinstance(value, tuple)


def _boundary(results: Sequence[Tensor], arguments: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The arguments, and what is read beside them by definitions that depend on them."""
    inside = set(arguments)
    boundary: dict[Tensor, None] = dict.fromkeys(arguments)
    computes = graph_of(results).computes
    for op, wanted in computes.items():
        if any(t in inside for t in op.inputs):
            inside.update(wanted.values())
    for op, wanted in computes.items():
        made = list(wanted.values())
        if any(t in inside and t not in boundary for t in made):
            boundary.update((t, None) for t in op.inputs if t not in inside)
    return tuple(boundary)


@dataclass(frozen=True, slots=True)
class Recomputation:
    """What a graph computes again in place of storing it.

    Attributes:
        again: each tensor that is computed once more, by name, with its bytes; None where its size
            is symbolic.
        stored: what they are computed from, which is kept, likewise.
    """

    again: tuple[tuple[str, int | None], ...]
    stored: tuple[tuple[str, int | None], ...]

    def __str__(self) -> str:
        if not self.again:
            return "nothing is computed again"
        return "\n".join(
            [
                f"{len(self.again)} tensors are computed again, {_sum(self.again)} not stored",
                *(f"    {name}: {_bytes(size)}" for name, size in self.again),
                f"from {len(self.stored)} tensors that are stored, {_sum(self.stored)}",
                *(f"    {name}: {_bytes(size)}" for name, size in self.stored),
            ]
        )

    __repr__ = __str__


def recomputation(outputs: Tensor | Sequence[Tensor]) -> Recomputation:
    """What the graph of `outputs` computes again because of `checkpoint`, and what it keeps."""
    wanted = listed("recomputation", "outputs", outputs)
    for tensor in wanted:
        if not isinstance(tensor, Tensor):
            raise GradientError(f"recomputation: {shorten(tensor)} is no tensor")
    again: dict[Tensor, None] = {}
    stored: dict[Tensor, None] = {}
    for op, made in graph_of(wanted).computes.items():
        if op.again is not None:
            again.update((made[c], None) for c in sorted(made))
            stored.update((t, None) for t in op.inputs if not _is_again(t))
    return Recomputation(
        tuple((t.name, _size(t)) for t in again), tuple((t.name, _size(t)) for t in stored)
    )


def _is_again(tensor: Tensor) -> bool:
    return isinstance(tensor.op, Compute) and tensor.op.again is not None


def _size(tensor: Tensor) -> int | None:
    total = tensor.dtype.bytes
    for n in tensor.shape:
        size = const_int(n)
        if size is None:
            return None
        total *= size
    return total


def _sum(sizes: Sequence[tuple[str, int | None]]) -> str:
    known = [s for _, s in sizes if s is not None]
    more = " and more of symbolic size" if len(known) < len(sizes) else ""
    return f"{sum(known)} bytes{more}"


def _bytes(size: int | None) -> str:
    return "of symbolic size" if size is None else f"{size} bytes"
