"""What a program checks at run time: guarded indices, empty domains, sizes below zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.dtypes import int64
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Cast,
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

    from tensorc.ir.loc import Loc
    from tensorc.te.hoist import Nest

# A call reports three numbers about a check that fails: those of tensorc.h's error_info.
_MAX_VALUES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Guard:
    """A check at each point of `axes` where all of `conds` hold, before an access may run.

    Attributes:
        early: it depends on inputs alone, so it can run before anything is written.
        shown: expressions whose text stands in the message for `{name}`.
    """

    axes: tuple[IterVar, ...]
    conds: tuple[Expr, ...]
    cond: Expr
    message: str
    values: tuple[Expr, ...]
    early: bool
    loc: Loc | None = None
    shown: tuple[tuple[str, Expr], ...] = ()

    def stmt(self, rename: Callable[[Expr], Expr], variables: dict[Var, Var]) -> Stmt:
        """The loops and conditions around the check, in the names of the program."""
        message, loc = self.message, self.loc
        for name, expr in self.shown:
            message = message.replace(f"{{{name}}}", _text(rename(expr), name))
        body: Stmt = Check(
            rename(self.cond),
            message,
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
    size, loc = access.size, access.load.loc
    inside = Binary(
        BinaryOp.AND, Compare(CompareOp.GE, index, ZERO), Compare(CompareOp.LT, index, size)
    )
    used = [index, *conds, *(e for a in axes for e in (a.start, a.extent))]
    early = all(_is_input(n) for e in used for n in loads(e))
    place = f" ({loc})" if loc is not None else ""
    if loc is not None and loc.what:
        source = _source(index)
        values: list[Expr] = [index, *(() if source is None else source.indices)]
        text = "{source}" if source is not None and len(values) <= _MAX_VALUES else "{index}"
        if text == "{index}":
            del values[1:]
        limit = _shown_size(size, values)
        message = f"{loc.what} {text} is {{0}}, and must be at least 0 and below {limit}{place}"
        shown = (("index", index), ("source", index if source is None else source))
        return Guard(axes, conds, inside, message, tuple(values), early, loc, shown)
    located = axes if len(axes) < _MAX_VALUES else ()
    values = [index, *located]
    point = ", ".join(f"{a.name}={{{k}}}" for k, a in enumerate(located, 1))
    at = f"at {point} " if point else ""
    named = "its size" if isinstance(size, Const) else f"its size {show(size)}"
    message = (
        f"{{access}} leaves {access.load.buffer.name}: {at}the index of dimension {access.dim} "
        f"is {{0}}, and {named} is {_shown_size(size, values)}{place}"
    )
    shown_access: tuple[tuple[str, Expr], ...] = (("access", access.load),)
    return Guard(axes, conds, inside, message, tuple(values), early, loc, shown_access)


def _shown_size(size: Expr, values: list[Expr]) -> str:
    """The size as a message shows it: its value, in `values` if need be; else its formula."""
    if isinstance(size, Const):
        return str(size.value)
    if len(values) == _MAX_VALUES:
        return show(size)
    values.append(size)
    return f"{{{len(values) - 1}}}"


def _source(index: Expr) -> Load | None:
    """The element that is the index, where it is one and stands at plain variables."""
    while isinstance(index, Cast):
        index = index.operand
    plain = isinstance(index, Load) and all(isinstance(i, Var | Const) for i in index.indices)
    return index if plain and isinstance(index, Load) else None


def _text(expr: Expr, name: str) -> str:
    """An expression in a message; of a source the point at which it is read is a value."""
    if name != "source" or not isinstance(expr, Load):
        return show(expr)
    if not expr.indices:
        return expr.buffer.name
    return f"{expr.buffer.name}[{', '.join(f'{{{k}}}' for k in range(1, len(expr.indices) + 1))}]"


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
        loc = nest.op.loc
        message = (
            f"{nest.reducer.name} over axis {axis.name} of {nest.targets[0].name}: "
            f"an empty domain has no {nest.reducer.name}{'' if loc is None else f' ({loc})'}"
        )
        yield Guard(axes, (), filled, message, (), True, loc)


def size_guards(tensors: Sequence[tuple[str, tuple[Expr, ...]]]) -> Iterator[Guard]:
    """A check for each size that some value of its symbols makes negative."""
    for name, shape in tensors:
        for d, size in enumerate(shape):
            if least(size) < 0 and not prove(Compare(CompareOp.GE, size, ZERO)).holds:
                message = f"{name}: size {show(size)} of dimension {d} is {{0}}, below 0"
                cond = Compare(CompareOp.GE, size, ZERO)
                yield Guard((), (), cond, message, (size,), True)


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
