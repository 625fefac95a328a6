"""Conditions that a loop does not change, asked before it."""

from __future__ import annotations

from dataclasses import replace

from tensorc.ir.expr import Expr, Load, Var, all_of, terms_of
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    ForKind,
    If,
    Program,
    Stmt,
    Store,
    block,
)
from tensorc.ir.walk import walk

_KINDS = (ForKind.SERIAL, ForKind.UNROLLED, ForKind.VECTORIZED)


def hoist_guards(program: Program) -> Program:
    """Ask what no iteration of a loop changes once, before it.

        for k in range(n):                 if io * 4 + ii < m:
          if io * 4 + ii < m:      becomes   for k in range(n):
            C[ii] += A[k]                      C[ii] += A[k]

    Where the condition is all that a loop's body does, and reads no memory. Of several that hold
    together, each moves as far as it may. A parallel loop stays as it is.
    """
    return replace(program, body=_hoist(program.body))


def _hoist(stmt: Stmt) -> Stmt:
    match stmt:
        case For():
            return _before(replace(stmt, body=_hoist(stmt.body)))
        case If(_, body, orelse):
            other = None if orelse is None else _hoist(orelse)
            return replace(stmt, body=_hoist(body), orelse=other)
        case Allocate(_, body):
            return replace(stmt, body=_hoist(body))
        case Block(stmts):
            return block([_hoist(s) for s in stmts])
        case Store() | Accumulate() | Check():
            return stmt


def _before(loop: For) -> Stmt:
    guard = loop.body
    if loop.kind not in _KINDS or not isinstance(guard, If) or guard.orelse is not None:
        return loop
    terms = terms_of(guard.cond)
    fixed = all_of([t for t in terms if _is_fixed(t, loop.var)])
    rest = all_of([t for t in terms if not _is_fixed(t, loop.var)])
    if fixed is None:
        return loop
    body = guard.body if rest is None else replace(guard, cond=rest)
    return replace(guard, cond=fixed, body=replace(loop, body=body))


def _is_fixed(cond: Expr, var: Var) -> bool:
    return not any(n is var or isinstance(n, Load) for n in walk(cond))
