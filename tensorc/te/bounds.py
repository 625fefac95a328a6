"""Accesses at the tensor level: each is proved in bounds, guarded at run time, or refused.

An index is *proved* where it lies in its dimension at every point of the axes around it that the
conditions on the path let through (`where=` of a reduction, the two sides of a `Where`). What is
affine and not provable is refused when the tensor is defined, with the point that leaves. An
index that integer sets cannot describe, since it is read from a tensor or multiplies two
variables, is *guarded*: the program checks it before it runs the access.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.dtypes import bool_, int64
from tensorc.errors import BoundsError
from tensorc.ir.affine import linear
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Cast,
    Compare,
    CompareOp,
    Const,
    Dim,
    Expr,
    Let,
    Load,
    Reduce,
    Select,
    Unary,
    UnaryOp,
    Var,
    Where,
    cast,
    const_int,
)
from tensorc.ir.sets import prove
from tensorc.ir.walk import children, free_vars, substitute
from tensorc.te.axis import ZERO, IterVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What holds where an access stands: the axes around it, the conditions, the lets."""

    axes: tuple[IterVar, ...]
    conds: tuple[Expr, ...] = ()
    lets: tuple[tuple[Var, Expr], ...] = ()

    def within(self, axes: Sequence[IterVar]) -> Context:
        """This context inside a reduction over `axes`."""
        return Context((*self.axes, *axes), self.conds, self.lets)

    def under(self, cond: Expr) -> Context:
        """This context where `cond` holds as well."""
        return Context(self.axes, (*self.conds, *conjuncts(cond)), self.lets)

    def unless(self, cond: Expr) -> Context:
        """This context where `cond` does not hold."""
        return Context(self.axes, (*self.conds, Unary(UnaryOp.NOT, cond)), self.lets)

    def let(self, var: Var, value: Expr) -> Context:
        """This context with `var` standing for `value`."""
        return Context(self.axes, self.conds, (*self.lets, (var, value)))

    def resolve(self, expr: Expr) -> Expr:
        """`expr` with the values of the lets in place of their variables."""
        for var, value in reversed(self.lets):
            expr = substitute(expr, {var: value})
        return expr


@dataclass(frozen=True, slots=True, eq=False)
class Access:
    """One index of one load, in its context."""

    load: Load
    dim: int
    context: Context

    @property
    def index(self) -> Expr:
        """The index expression."""
        return self.load.indices[self.dim]

    @property
    def size(self) -> Expr:
        """The size of the dimension that it indexes."""
        return self.load.buffer.shape[self.dim]

    def __str__(self) -> str:
        return str(self.load)


def check_accesses(axes: Sequence[IterVar], bodies: Sequence[Expr]) -> None:
    """Refuse bodies over `axes` that hold an access which leaves its tensor.

    Raises:
        BoundsError: the message holds the values at which an index leaves.
    """
    guarded_accesses(axes, bodies)


def guarded_accesses(axes: Sequence[IterVar], bodies: Sequence[Expr]) -> list[Access]:
    """The accesses of `bodies` that need a check at run time, inner ones before outer ones.

    Raises:
        BoundsError: an access that integer sets can describe leaves its tensor.
    """
    return [a for a in accesses(Context(tuple(axes)), bodies) if not is_proved(a)]


def leaves_unless_guarded(context: Context, bodies: Sequence[Expr]) -> bool:
    """Whether some access of `bodies` is not proved in bounds in `context` alone."""
    return any(not _fast(a) and not _decide(a)[0] for a in accesses(context, bodies))


def accesses(context: Context, bodies: Sequence[Expr]) -> Iterator[Access]:
    """Every index of every load, each load once in each context, inner loads first."""
    seen: set[tuple[int, int]] = set()
    keep: list[Context] = []  # An id is unique only among the living.

    def visit(node: Expr, at: Context) -> Iterator[Access]:
        if (id(node), id(at)) in seen:
            return
        seen.add((id(node), id(at)))
        match node:
            case Where(cond, on_true, on_false):
                yield from visit(cond, at)
                yes, no = at.under(cond), at.unless(cond)
                keep.extend((yes, no))
                yield from visit(on_true, yes)
                yield from visit(on_false, no)
            case Let(var, value, body):
                yield from visit(value, at)
                inner = at.let(var, value)
                keep.append(inner)
                yield from visit(body, inner)
            case Reduce(_, axes, values, where):
                inner = at.within(axes)  # type: ignore[arg-type]
                keep.append(inner)
                if where is not None:
                    yield from visit(where, inner)
                    inner = inner.under(where)
                    keep.append(inner)
                for value in values:
                    yield from visit(value, inner)
            case _:
                for part in children(node):
                    yield from visit(part, at)  # type: ignore[arg-type]
                if isinstance(node, Load):
                    yield from (Access(node, d, at) for d in range(len(node.indices)))

    for body in bodies:
        yield from visit(body, context)


def is_proved(access: Access) -> bool:
    """Whether the index is always in bounds; False where a check at run time must decide.

    Raises:
        BoundsError: it is known to leave.
    """
    if _fast(access):
        return True
    holds, witness = _decide(access)
    if holds or witness is None:
        return holds
    raise BoundsError(_message(access, witness))


# --- proofs ---------------------------------------------------------------------------------


def _fast(access: Access) -> bool:
    """Proofs without integer sets: an axis over its own dimension, sums of constant ranges."""
    index, size = access.index, access.size
    if isinstance(index, Const) and isinstance(size, Const):
        return 0 <= index.value < size.value
    ranges = access.context.axes
    for axis in ranges:
        if axis is index:
            if isinstance(axis.start, Const) and axis.start.value >= 0:
                stop = _stop(axis)
                if stop is size or _at_most(stop, size):
                    return True
            break
    return _box(index, size, ranges) or _in_product(index, size, ranges)


def _stop(axis: IterVar) -> Expr:
    if isinstance(axis.start, Const) and axis.start.value == 0:
        return axis.extent
    if isinstance(axis.start, Const) and isinstance(axis.extent, Const):
        return Const(axis.start.value + axis.extent.value, int64)
    return axis.start + axis.extent


def _at_most(a: Expr, b: Expr) -> bool:
    if isinstance(a, Const) and isinstance(b, Const):
        return a.value <= b.value
    gap = linear(b - a)
    return gap is not None and not gap.coeffs and gap.const >= 0


def _box(index: Expr, size: Expr, axes: Sequence[IterVar]) -> bool:
    """Whether the affine `index` stays below the constant `size` over a box of constant ranges."""
    form = linear(index)
    if form is None or not isinstance(size, Const):
        return False
    ranges: dict[Var, tuple[int, int]] = {
        a: (int(a.start.value), int(a.start.value + a.extent.value) - 1)
        for a in axes
        if isinstance(a.start, Const) and isinstance(a.extent, Const)
    }
    low = high = form.const
    for var, c in form.coeffs.items():
        if var not in ranges:
            return False
        ends = ranges[var]
        low += c * ends[0 if c > 0 else 1]
        high += c * ends[1 if c > 0 else 0]
    return low >= 0 and high < size.value


def _in_product(index: Expr, size: Expr, axes: Sequence[IterVar]) -> bool:
    """Whether `index` splits or joins axes so that it covers `size`, a product of symbols.

    For an axis f of extent `s * t` that is `f % s` below s, and `f // s` below t; for i below t
    and j below s it is `i * s + j` below `t * s`.
    """
    covered = _covered(index, axes)
    return covered is not None and covered == _factors(size)


def _covered(index: Expr, axes: Sequence[IterVar]) -> Counter[Expr | int] | None:
    """Factors of a number that `index` stays below, and above -1; None where none is seen."""
    match index:
        case Var():
            for axis in axes:
                if axis is index and const_int(axis.start) == 0:
                    return _factors(axis.extent)
            return None
        case Binary(BinaryOp.MOD, _, s):
            wanted = _factors(s)
            some = any(wanted <= _factors(a.extent) for a in axes)
            return wanted if some and const_int(s) != 0 else None
        case Binary(BinaryOp.FLOORDIV, f, s):
            whole, part = _covered(f, axes), _factors(s)
            return whole - part if whole is not None and part <= whole else None
        case Binary(BinaryOp.ADD, Binary(BinaryOp.MUL, i, s), j):
            outer, inner = _covered(i, axes), _covered(j, axes)
            fits = outer is not None and inner is not None and inner == _factors(s)
            return outer + inner if fits and outer is not None and inner is not None else None
        case _:
            return None


def _factors(expr: Expr) -> Counter[Expr | int]:
    """The factors of a product: symbols as they are, numbers as primes."""
    match expr:
        case Binary(BinaryOp.MUL, a, b):
            return _factors(a) + _factors(b)
        case Const(value):
            return Counter(_primes(int(value)))
        case _:
            return Counter((expr,))


def _primes(number: int) -> Iterator[int]:
    """The prime factors of a number; 0 is its own."""
    factor = 2
    while factor * factor <= number:
        while number % factor == 0:
            yield factor
            number //= factor
        factor += 1
    if number != 1:
        yield number


def _decide(access: Access) -> tuple[bool, Mapping[Var, int] | None]:
    """Whether integer sets prove the access; else the point that leaves, if sets can tell."""
    context = access.context
    index = cast(context.resolve(access.index), int64)
    if _is_read(index) and not context.conds and all(map(_runs, context.axes)):
        return False, None  # Labels, say: the solver takes longer to load than a step to build.
    given = [c for a in context.axes for c in axis_conditions(a)]
    given += [context.resolve(c) for c in context.conds]
    claim = Binary(
        BinaryOp.AND,
        Compare(CompareOp.GE, index, ZERO),
        Compare(CompareOp.LT, index, access.size),
    )
    verdict = prove(claim, given)
    return verdict.holds, verdict.witness


def _is_read(index: Expr) -> bool:
    """Whether an index is an element of some buffer, which may be any number."""
    is_wide = index.dtype.kind == "i" and index.dtype.bits >= 32
    if isinstance(index, Cast):
        return is_wide and _is_read(index.operand)
    return is_wide and isinstance(index, Load)


def _runs(axis: IterVar) -> bool:
    return (const_int(axis.extent) or 0) > 0


def axis_conditions(axis: IterVar) -> list[Expr]:
    """`start <= axis` and `axis < start + extent`."""
    return [
        Compare(CompareOp.GE, axis, axis.start),
        Compare(CompareOp.LT, axis, _stop(axis)),
    ]


def conjuncts(cond: Expr) -> list[Expr]:
    """The conditions that all hold where `cond` does; a lazy `where(a, b, False)` is two."""
    match cond:
        case Binary(BinaryOp.AND, a, b):
            return [*conjuncts(a), *conjuncts(b)]
        case Where(a, b, Const(False)):
            return [*conjuncts(a), *conjuncts(b)]
        case _:
            return [cond]


def lazy_and(a: Expr | None, b: Expr | None) -> Expr | None:
    """Both conditions, `b` evaluated only where `a` holds; None stands for True."""
    if a is None or b is None:
        return b if a is None else a
    return Where(a, b, Const(False, bool_), loc=b.loc)


def _message(access: Access, witness: Mapping[Var, int]) -> str:
    order = [a for a in access.context.axes if a in witness]
    dims = [v for v in witness if isinstance(v, Dim)]
    point = ", ".join(f"{v.name}={witness[v]}" for v in (*dims, *order))
    index = _value(access.context.resolve(access.index), witness)
    size = _value(access.size, witness)
    named = "its size" if isinstance(access.size, Const) else f"its size {access.size}"
    at = f"at {point} " if point else ""
    hint = ""
    if isinstance(access.size, Dim) and not free_vars(access.index) and index >= size >= 0:
        hint = f"; tc.dim({access.size.name!r}, lower={index + 1}) rules that out"
    where = f" ({access.load.loc})" if access.load.loc is not None else ""
    return (
        f"{access} leaves {access.load.buffer.name}: {at}the index of dimension {access.dim} "
        f"is {index}, and {named} is {size}{hint}{where}"
    )


def _value(expr: Expr, point: Mapping[Var, int]) -> int:
    """The value of an affine integer expression or condition at a point."""
    match expr:
        case Const(value):
            return int(value)
        case Var():
            return point.get(expr, 0)
        case Unary(op, x):
            return -_value(x, point) if op is UnaryOp.NEG else 1 - _value(x, point)
        case Cast(x, _):
            return _value(x, point)
        case Compare(cop, a, b):
            return int(_COMPARE[cop](_value(a, point), _value(b, point)))
        case Select(c, a, b) | Where(c, a, b):
            return _value(a if _value(c, point) else b, point)
        case Binary(bop, a, b):
            return _BINARY[bop](_value(a, point), _value(b, point))
        case _:
            raise AssertionError(f"not affine: {expr}")


_COMPARE: Mapping[CompareOp, Callable[[int, int], bool]] = {
    CompareOp.EQ: int.__eq__,
    CompareOp.NE: int.__ne__,
    CompareOp.LT: int.__lt__,
    CompareOp.LE: int.__le__,
    CompareOp.GT: int.__gt__,
    CompareOp.GE: int.__ge__,
}
_BINARY: Mapping[BinaryOp, Callable[[int, int], int]] = {
    BinaryOp.ADD: int.__add__,
    BinaryOp.SUB: int.__sub__,
    BinaryOp.MUL: int.__mul__,
    BinaryOp.FLOORDIV: int.__floordiv__,
    BinaryOp.MOD: int.__mod__,
    BinaryOp.MIN: min,
    BinaryOp.MAX: max,
    BinaryOp.AND: int.__and__,
    BinaryOp.OR: int.__or__,
}
