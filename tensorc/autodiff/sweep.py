"""Derivatives inside one scalar body: from its cotangent to those of its loads, and forward.

A cotangent is carried as a term, a value beside the conditions on the path to it. The conditions
are put around the whole contribution at the end, so what stands in a side that was not taken is
never evaluated: neither its NaNs nor its loads count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tensorc.autodiff.arith import TRUE, add, both, either, mul, negate, number, where, zero
from tensorc.autodiff.rules import BINARY, INTRINSIC, REFUSED, UNARY, Row
from tensorc.errors import GradientError
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    Let,
    Load,
    Reduce,
    Select,
    Unary,
    Var,
    Where,
    cast,
)
from tensorc.ir.printer import show
from tensorc.ir.walk import children

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Guard: TypeAlias = tuple[Expr, bool]


@dataclass(frozen=True, slots=True)
class Term:
    """`value` where each guard's condition has the truth value beside it, else zero.

    A later guard is evaluated only where the earlier ones hold.
    """

    guards: tuple[Guard, ...]
    value: Expr


def pull(
    root: Expr, seed: Term, result: Expr, is_active: Callable[[Load], bool], name: str
) -> list[tuple[Load, Term]]:
    """The cotangent of each active load in `root`, whose own cotangent is `seed`.

    Args:
        root: a scalar expression without lets or reductions, interned, so that equal loads are one.
        seed: its cotangent.
        result: the value of `root`, for rules that use it: a load of the finished tensor.
        is_active: whether a load depends on what is differentiated for.
        name: of the tensor that `root` defines, for messages.

    Raises:
        GradientError: an active load passes through an operation without a derivative.
    """
    order = _active_nodes(root, is_active)
    active = set(order)
    terms: dict[Expr, Term] = {root: seed}
    found: list[tuple[Load, Term]] = []
    for node in reversed(order):
        term = terms.get(node)
        if term is None:
            continue
        if isinstance(node, Load):
            found.append((node, term))
            continue
        _refuse(node, name)
        for child, value in _pullback(node, term.value, result if node is root else node):
            if child in active and value is not None:
                new = _split(term.guards, value)
                old = terms.get(child)
                terms[child] = new if old is None else merge(old, new)
    found.reverse()
    return found


def push(
    root: Expr,
    tangent_of: Callable[[Load], Expr | None],
    result: Expr,
    is_active: Callable[[Load], bool],
    name: str,
) -> Expr | None:
    """The tangent of `root`, given those of its loads; None for zero.

    The rules' cotangents are linear in the cotangent of the result, and an operand's is that of the
    result times a number. So a tangent in place of the cotangent is multiplied by that number too.

    Args:
        root: as in `pull`.
        tangent_of: the tangent of an active load, None for zero.
        result: the value of `root`, for rules that use it.
        is_active: whether a load depends on what is differentiated for.
        name: of the tensor that `root` defines, for messages.

    Raises:
        GradientError: an active load passes through an operation without a derivative.
    """
    tangents: dict[Expr, Expr] = {}
    for node in _active_nodes(root, is_active):
        if isinstance(node, Load):
            new = tangent_of(node)
        else:
            _refuse(node, name)
            new = _tangent(node, tangents, result if node is root else node)
        if new is not None:
            tangents[node] = new
    return tangents.get(root)


def _tangent(node: Expr, tangents: Mapping[Expr, Expr], value: Expr) -> Expr | None:
    """The tangent of `node`, whose value is `value`, from those of its operands."""
    match node:
        case Cast(x, dtype):
            return cast(tangents[x], dtype) if x in tangents else None
        case Select(cond, a, b) | Where(cond, a, b):
            nothing = zero(node.dtype)
            yes, no = tangents.get(a, nothing), tangents.get(b, nothing)
            return None if yes is nothing and no is nothing else where(cond, yes, no)
        case _:
            total: Expr | None = None
            operands: tuple[Expr, ...] = children(node)  # type: ignore[assignment]
            for operand in dict.fromkeys(x for x in operands if x in tangents):
                for x, part in _pullback(node, tangents[operand], value):
                    if x is operand and part is not None:
                        total = part if total is None else add(total, part)
            return total


def _refuse(node: Expr, name: str) -> None:
    if isinstance(node, Call) and node.name in REFUSED:
        raise GradientError(
            f"{name}: {show(node)} has no derivative: {node.name} reads bits; where zero "
            "is meant, wrap it in stop_gradient"
        )


def is_differentiable(root: Expr, is_active: Callable[[Load], bool]) -> bool:
    """Whether a derivative passes from an active load in `root` to its value."""
    return bool(_active_nodes(root, is_active))


def _active_nodes(root: Expr, is_active: Callable[[Load], bool]) -> list[Expr]:
    """The nodes on a differentiable path from an active load to `root`, parts before wholes."""
    order: list[Expr] = []
    known: dict[Expr, bool] = {}
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            parts = _differentiable_parts(node)
            known[node] = (isinstance(node, Load) and is_active(node)) or any(
                known[p] for p in parts
            )
            if known[node]:
                order.append(node)
        elif node not in known:
            known[node] = False
            stack.append((node, True))
            stack.extend((p, False) for p in reversed(_differentiable_parts(node)))
    return order


def _differentiable_parts(node: Expr) -> tuple[Expr, ...]:
    """The operands through which a derivative can pass."""
    match node:
        case Const() | Var() | Compare() | Load():
            return ()
        case Cast(x, dtype):
            return (x,) if dtype.is_float and x.dtype.is_float else ()
        case Call(name, args):
            return args if name in REFUSED or INTRINSIC[name] is not None else ()
        case Select(_, a, b) | Where(_, a, b):
            return (a, b) if node.dtype.is_float else ()
        case Unary() | Binary():
            return children(node) if node.dtype.is_float else ()  # type: ignore[return-value]
        case Let() | Reduce():
            raise AssertionError(f"not a flat scalar body: {show(node)}")


def _pullback(node: Expr, g: Expr, y: Expr) -> list[tuple[Expr, Expr | None]]:
    """The operands of `node` and their cotangents."""
    match node:
        case Unary(op, x):
            return _row(UNARY[op], g, y, x)
        case Binary(BinaryOp.MUL, a, b) if a is b:
            return [(a, mul(number(2.0, g), mul(g, a)))]
        case Binary(bop, a, b):
            return _row(BINARY[bop], g, y, a, b)
        case Call(name, args):
            return _row(INTRINSIC[name], g, y, *args)
        case Cast(x, _):
            return [(x, cast(g, x.dtype))]
        case Select(cond, a, b) | Where(cond, a, b):
            nothing = zero(g.dtype)
            return [(a, where(cond, g, nothing)), (b, where(cond, nothing, g))]
        case _:
            raise AssertionError(f"no derivative passes through {show(node)}")


def _row(row: Row, g: Expr, y: Expr, *operands: Expr) -> list[tuple[Expr, Expr | None]]:
    assert row is not None, "the parts of a row without derivative are not active"
    return [(x, partial(g, y, *operands)) for x, partial in zip(operands, row, strict=True)]


def _split(guards: tuple[Guard, ...], value: Expr) -> Term:
    """The term of `value`, whose own outer conditions become guards."""
    while isinstance(value, Where):
        if _is_zero(value.on_false):
            guards, value = (*guards, (value.cond, True)), value.on_true
        elif _is_zero(value.on_true):
            guards, value = (*guards, (value.cond, False)), value.on_false
        else:
            break
    return Term(guards, value)


def _is_zero(expr: Expr) -> bool:
    return isinstance(expr, Const) and expr.dtype.is_float and expr.value == 0.0


def merge(a: Term, b: Term) -> Term:
    """The sum of two terms, under what their guards have in common and either of the rests."""
    common = 0
    for (x, p), (y, q) in zip(a.guards, b.guards, strict=False):
        if x is not y or p is not q:
            break
        common += 1
    guards, mine, others = a.guards[:common], a.guards[common:], b.guards[common:]
    if len(mine) == len(others) == 1 and mine[0][0] is others[0][0]:
        yes, no = (a, b) if mine[0][1] else (b, a)
        return Term(guards, where(mine[0][0], yes.value, no.value))
    total = add(guarded(mine, a.value), guarded(others, b.value))
    if not mine or not others:
        return Term(guards, total)
    return Term((*guards, (either(holds(mine), holds(others)), True)), total)


def guarded(guards: tuple[Guard, ...], value: Expr) -> Expr:
    """`value` where all guards hold, else zero, evaluated lazily in their order."""
    nothing = zero(value.dtype)
    for cond, truth in reversed(guards):
        value = where(cond, value, nothing) if truth else where(cond, nothing, value)
    return value


def holds(guards: tuple[Guard, ...]) -> Expr:
    """Whether all guards hold, each evaluated only where those before it do."""
    result: Expr = TRUE
    for cond, truth in reversed(guards):
        result = both(cond if truth else negate(cond), result)
    return result
