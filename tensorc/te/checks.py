"""What a program checks at run time: guarded indices, empty domains, sizes below zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.dtypes import int64
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Compare,
    CompareOp,
    Const,
    Dim,
    Expr,
    Load,
    Var,
    cast,
    const_int,
)
from tensorc.ir.printer import show
from tensorc.ir.sets import prove
from tensorc.ir.stmt import Check, For, If, Stmt
from tensorc.ir.walk import free_vars, loads
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.bounds import Access, axis_conditions, guarded_accesses
from tensorc.te.keys import Keys
from tensorc.te.tensor import Placeholder, Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tensorc.te.hoist import Nest

ONE = Const(1, int64)


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """A check at each point of `axes` where all of `conds` hold, before an access may run.

    Attributes:
        early: it depends on inputs alone, so it can run before anything is written.
    """

    axes: tuple[IterVar, ...]
    conds: tuple[Expr, ...]
    cond: Expr
    access: Load | None
    message: str
    values: tuple[Expr, ...]
    early: bool

    def stmt(self, rename: Callable[[Expr], Expr], variables: dict[Var, Var]) -> Stmt:
        """The loops and conditions around the check, in the names of the program."""
        shown = "" if self.access is None else show(rename(self.access))
        loc = None if self.access is None else self.access.loc
        body: Stmt = Check(
            rename(self.cond),
            self.message.replace("{access}", shown),
            tuple(rename(v) for v in self.values),
            loc=loc,
        )
        for cond in reversed(self.conds):
            body = If(rename(cond), body)
        for axis in reversed(self.axes):
            body = For(variables[axis], rename(axis.start), rename(axis.extent), body)
        return body


def guards_of(nest: Nest) -> list[Guard]:
    """The checks that `nest` needs, each once."""
    guards: dict[tuple[int, ...], Guard] = {}
    keys = Keys()
    for access in guarded_accesses(nest.axes, nest.exprs):
        index = cast(access.context.resolve(access.index), int64)
        axes, conds = _relevant(access, index)
        key = (id(access.load.buffer), access.dim, keys.of(index), *map(keys.of, conds))
        if key not in guards:
            guards[key] = _index_guard(access, index, axes, conds)
    return [*guards.values(), *_empty_guards(nest)]


def _index_guard(
    access: Access, index: Expr, axes: tuple[IterVar, ...], conds: tuple[Expr, ...]
) -> Guard:
    size = access.size
    inside = Binary(
        BinaryOp.AND, Compare(CompareOp.GE, index, ZERO), Compare(CompareOp.LT, index, size)
    )
    place = f" ({access.load.loc})" if access.load.loc is not None else ""
    message = (
        f"{{access}} leaves {access.load.buffer.name}: index {{0}} of dimension {access.dim} "
        f"is outside 0 .. {{1}}{place}"
    )
    last = Const(size.value - 1, int64) if isinstance(size, Const) else size - ONE
    used = [index, *conds, *(e for a in axes for e in (a.start, a.extent))]
    early = all(_is_input(n) for e in used for n in loads(e))
    return Guard(axes, conds, inside, access.load, message, (index, last), early)


def _is_input(load: Load) -> bool:
    return isinstance(load.buffer, Tensor) and isinstance(load.buffer.op, Placeholder)


def _relevant(access: Access, index: Expr) -> tuple[tuple[IterVar, ...], tuple[Expr, ...]]:
    """The axes that matter to an index: its own, and those that a condition ties to them.

    A condition on other axes alone is left out: it says whether some point needs the access, and
    the check then covers what that point would read.
    """
    context = access.context
    own = set(context.axes)
    conds = [context.resolve(c) for c in context.conds]
    needs = [{v for v in free_vars(c) if v in own} for c in conds]
    used: set[Var] = set()
    _add(used, free_vars(index), own)
    grown = -1
    while grown != len(used):
        grown = len(used)
        for need in needs:
            if need & used:
                _add(used, need, own)
    kept = tuple(c for c, need in zip(conds, needs, strict=True) if not need or need & used)
    return tuple(a for a in context.axes if a in used), kept


def _add(used: set[Var], variables: Iterable[Var], own: set[IterVar]) -> None:
    """Add `variables`, and those that their ranges depend on."""
    for var in variables:
        if var in own and var not in used:
            used.add(var)
            assert isinstance(var, IterVar), "an axis has a range"
            _add(used, (*free_vars(var.start), *free_vars(var.extent)), own)


def _empty_guards(nest: Nest) -> Iterator[Guard]:
    """A check for each reduce axis that may be empty, where the reducer needs a value."""
    if nest.reducer is None or nest.reducer.empty:
        return
    for axis in nest.reduce_axes:
        known = [c for a in nest.axes for c in axis_conditions(a)]
        filled = Compare(CompareOp.GT, axis.extent, ZERO)
        if least(axis.extent) > 0 or prove(filled, [*known, *nest.conds]).holds:
            continue
        used: set[Var] = set()
        _add(used, free_vars(axis.extent), {*nest.axes, *nest.reduce_axes})
        axes = tuple(a for a in nest.axes if a in used)
        message = (
            f"{nest.reducer.name} over axis {axis.name} of {nest.targets[0].name}: "
            f"an empty domain has no {nest.reducer.name}"
        )
        yield Guard(axes, (), filled, None, message, (), early=True)


def size_guards(tensors: Sequence[tuple[str, tuple[Expr, ...]]]) -> Iterator[Guard]:
    """A check for each size that some value of its symbols makes negative."""
    for name, shape in tensors:
        for d, size in enumerate(shape):
            if least(size) < 0 and not prove(Compare(CompareOp.GE, size, ZERO)).holds:
                message = f"{name}: size {show(size)} of dimension {d} is {{0}}, below 0"
                cond = Compare(CompareOp.GE, size, ZERO)
                yield Guard((), (), cond, None, message, (size,), early=True)


def least(size: Expr) -> float:
    """A number that `size` is never below; minus infinity where none is seen."""
    value = const_int(size)
    if value is not None:
        return value
    match size:
        case Dim():
            return size.lower
        case Binary(BinaryOp.ADD, a, b):
            return least(a) + least(b)
        case Binary(BinaryOp.SUB, a, Const(c)):
            return least(a) - c
        case Binary(BinaryOp.MUL, a, b) if least(a) >= 0 and least(b) >= 0:
            return least(a) * least(b)
        case Binary(BinaryOp.FLOORDIV, a, Const(c)) if least(a) >= 0 and c > 0:
            return least(a) // c
        case Binary(BinaryOp.MAX, a, b):
            return max(least(a), least(b))
        case Binary(BinaryOp.MIN, a, b):
            return min(least(a), least(b))
        case _:
            return float("-inf")
