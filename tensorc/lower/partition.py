"""Loops cut in two, so that the tiles which lie inside all bounds run without guards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.dtypes import bool_, int64
from tensorc.ir.affine import Linear, linear, to_expr
from tensorc.ir.expr import Binary, BinaryOp, Compare, CompareOp, Const, Expr, Var, Where
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    ForKind,
    If,
    Node,
    Program,
    Stmt,
    Store,
    block,
)
from tensorc.ir.walk import children, rewrite, walk

if TYPE_CHECKING:
    from collections.abc import Iterator

# How often a guarded part may be cut again by the loops inside it; bounds the size of the code.
DEPTH = 2


def partition(program: Program) -> Program:
    """Cut each loop where the guards of whole tiles are decided.

        for io in range(n // 4 + 1):            for io in range(0, n // 4):
          for ii in vectorized(4):                for ii in vectorized(4):
            if io * 4 + ii < n:                     B[io * 4 + ii] = ...
              B[io * 4 + ii] = ...      becomes
                                                for io in range(n // 4, n // 4 + 1):
                                                  for ii in vectorized(4):
                                                    if io * 4 + ii < n:
                                                      B[io * 4 + ii] = ...

    A guard is a comparison of affine sides in an `If` or a `Where` below a loop of the tile. It
    holds for the whole tile where it holds at the worst point of the loops inside, which is an
    affine condition on the loop that is cut. A parallel loop stays whole, with an `If` on the
    condition inside, so that its iterations still divide evenly. Iterations keep their order.
    """
    return replace(program, body=_cut_root(program.body))


@dataclass(frozen=True, slots=True)
class _Guard:
    """A comparison, and forms that are all >= 0 where it holds in the whole tile."""

    node: Compare
    forms: tuple[Linear, ...]


def _cut_root(stmt: Stmt) -> Stmt:
    match stmt:
        case Block(stmts):
            return block([_cut_root(s) for s in stmts])
        case Allocate(_, body):
            return replace(stmt, body=_cut_root(body))
        case For():
            return _cut_loop(stmt, DEPTH)
        case If(_, body, orelse):
            other = None if orelse is None else _cut_root(orelse)
            return replace(stmt, body=_cut_root(body), orelse=other)
        case _:
            return stmt


def _cut(stmt: Stmt, depth: int) -> Stmt:
    """Cut the loops inside `stmt`, outer ones first."""
    match stmt:
        case For():
            return _cut_loop(stmt, depth)
        case Block(stmts):
            return block([_cut(s, depth) for s in stmts])
        case Allocate(_, body):
            return replace(stmt, body=_cut(body, depth))
        case If(_, body, orelse):
            other = None if orelse is None else _cut(orelse, depth)
            return replace(stmt, body=_cut(body, depth), orelse=other)
        case Store() | Accumulate() | Check():
            return stmt


def _cut_loop(loop: For, depth: int) -> Stmt:
    if loop.kind not in (ForKind.SERIAL, ForKind.PARALLEL) or depth == 0:
        return loop
    guards = _guards(loop)
    if not guards:
        return replace(loop, body=_cut(loop.body, depth))
    nodes = {id(g.node) for g in guards}
    free = rewrite(loop.body, lambda n: Const(True, bool_) if id(n) in nodes else None)
    fast = _cut(simplify(free), depth)
    slow = _cut(loop.body, depth - 1)
    forms = list({(tuple(f.coeffs.items()), f.const): f for g in guards for f in g.forms}.values())
    if loop.kind is ForKind.PARALLEL:
        test = simplify(_all([_at_least_zero(f) for f in forms]))
        return replace(loop, body=If(test, fast, slow, loc=loop.loc))
    return _ranges(loop, forms, fast, slow)


def _ranges(loop: For, forms: list[Linear], fast: Stmt, slow: Stmt) -> Stmt:
    """A guarded loop, a free one, a guarded one: [start, low), [low, high), [high, end)."""
    start, end = loop.start, Binary(BinaryOp.ADD, loop.start, loop.extent)
    low: Expr = start
    high: Expr = end
    below, above = False, False
    for form in forms:
        c = form.coeffs[loop.var]
        rest = to_expr(
            Linear({v: k for v, k in form.coeffs.items() if v is not loop.var}, form.const)
        )
        if c < 0:  # var <= rest / -c
            above = True
            last = Binary(BinaryOp.FLOORDIV, rest, Const(-c))
            high = Binary(BinaryOp.MIN, high, Binary(BinaryOp.ADD, last, Const(1)))
        else:  # var >= -rest / c, rounded up
            below = True
            first = Binary(BinaryOp.FLOORDIV, Binary(BinaryOp.SUB, Const(c - 1), rest), Const(c))
            low = Binary(BinaryOp.MAX, low, first)
    low = Binary(BinaryOp.MIN, low, end) if below else start
    high = Binary(BinaryOp.MAX, high, low) if above else end
    parts = [_part(loop, low, high, fast)]
    if below:
        parts.insert(0, _part(loop, start, low, slow))
    if above:
        parts.append(_part(loop, high, end, slow))
    return simplify(block(parts))


def _part(loop: For, start: Expr, end: Expr, body: Stmt) -> Stmt:
    return replace(loop, start=start, extent=Binary(BinaryOp.SUB, end, start), body=body)


def _at_least_zero(form: Linear) -> Expr:
    return Compare(CompareOp.GE, to_expr(form), Const(0))


def _all(conds: list[Expr]) -> Expr:
    result = conds[0]
    for cond in conds[1:]:
        result = Binary(BinaryOp.AND, result, cond)
    return result


# --- finding the guards ----------------------------------------------------------------------


def _guards(loop: For) -> list[_Guard]:
    """The guards in the loop's body that its variable decides for the whole tile."""
    candidates: dict[int, Compare] = {}
    nodes = list(_nodes(loop.body, ()))
    for node, inner in nodes:
        cond = node.cond if isinstance(node, If | Where) else None
        if cond is not None and inner:
            for atom in _atoms(cond):
                candidates[id(atom)] = atom
    if not candidates:
        return []
    seen: dict[int, list[tuple[For, ...]]] = {key: [] for key in candidates}
    for node, inner in nodes:
        if id(node) in seen:
            seen[id(node)].append(inner)
    bound = {s.var for s, _ in nodes if isinstance(s, For)}
    found = []
    for key, atom in candidates.items():
        forms = [_worst(atom, inner) for inner in seen[key]]
        if all(f is not None and _decided(f, loop.var, bound) for f in forms):
            found.append(_Guard(atom, tuple(f for f in forms if f is not None)))
    return found


def _decided(form: Linear, var: Var, bound: set[Var]) -> bool:
    return var in form.coeffs and not any(v in bound for v in form.coeffs)


def _nodes(stmt: Stmt, inner: tuple[For, ...]) -> Iterator[tuple[Node, tuple[For, ...]]]:
    """Every node of `stmt` with the loops of `stmt` that are around it."""
    yield stmt, inner
    around = (*inner, stmt) if isinstance(stmt, For) else inner
    for i, part in enumerate(children(stmt)):
        match part:
            case For() | If() | Store() | Accumulate() | Check() | Allocate() | Block():
                yield from _nodes(part, around)
            case _:
                outside = isinstance(stmt, For) and i < 2  # Its start and extent.
                for node in walk(part):
                    yield node, inner if outside else around


def _atoms(cond: Expr) -> Iterator[Compare]:
    match cond:
        case Binary(BinaryOp.AND, a, b):
            yield from _atoms(a)
            yield from _atoms(b)
        case Compare() if cond.lhs.dtype == int64:
            yield cond
        case _:
            return


def _worst(atom: Compare, inner: tuple[For, ...]) -> Linear | None:
    """A form that is >= 0 where `atom` holds for all values of the inner loops' variables."""
    form = _nonnegative(atom)
    for loop in reversed(inner):
        if form is None or loop.var not in form.coeffs:
            continue
        c = form.coeffs[loop.var]
        edge = loop.start
        if c < 0:
            edge = Binary(BinaryOp.ADD, loop.start, Binary(BinaryOp.SUB, loop.extent, Const(1)))
        at = linear(edge)
        form = None if at is None else _replaced(form, loop.var, at)
    return form


def _nonnegative(atom: Compare) -> Linear | None:
    lhs, rhs = linear(atom.lhs), linear(atom.rhs)
    if lhs is None or rhs is None:
        return None
    match atom.op:
        case CompareOp.LT:
            return _combined(rhs, lhs, -1, -1)
        case CompareOp.LE:
            return _combined(rhs, lhs, -1, 0)
        case CompareOp.GT:
            return _combined(lhs, rhs, -1, -1)
        case CompareOp.GE:
            return _combined(lhs, rhs, -1, 0)
        case CompareOp.EQ | CompareOp.NE:
            return None


def _combined(a: Linear, b: Linear, factor: int, const: int) -> Linear:
    """The form a + factor * b + const."""
    total = dict(a.coeffs)
    for var, c in b.coeffs.items():
        total[var] = total.get(var, 0) + factor * c
    return Linear({v: c for v, c in total.items() if c}, a.const + factor * b.const + const)


def _replaced(form: Linear, var: Var, value: Linear) -> Linear:
    rest = Linear({v: c for v, c in form.coeffs.items() if v is not var}, form.const)
    return _combined(rest, value, form.coeffs[var], 0)
