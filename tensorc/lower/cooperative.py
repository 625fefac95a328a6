"""Reductions that the threads of a block do together, in two steps.

A loop bound to `thread.*` may carry the accumulation into one element. Each thread then folds its
own share into a part of its own, and one phase combines the parts:

                                       alloc C.part: float32[256] local
    for k in range(8):                   for t in thread.x(256):
      for t in thread.x(256):              C.part[t] = 0.0
        C[i] += A[i, k*256 + t]          for k in range(8):
                             becomes       for t in thread.x(256):
                                             C.part[t] += A[i, k*256 + t]
                                         for t in thread.x(256):
                                           C[i] += C.part[t]

The last phase is left as it is where it stands alone: code generation folds its values over the
threads. This reassociates the reduction, as `bind` allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.ir.expr import Binary, BinaryOp, Buffer, Expr, Load, Var, all_of, const_int
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
from tensorc.ir.walk import free_vars
from tensorc.lower.threads import is_thread_loop

if TYPE_CHECKING:
    from collections.abc import Sequence


def split_cooperative(program: Program) -> Program:
    """Give each thread a part of its own (see the module's first lines)."""
    return replace(program, body=_split(program.body, ()))


def folded_loops(threads: Sequence[For], leaf: Accumulate) -> tuple[For, ...]:
    """The thread loops over which `leaf` accumulates into one element."""
    used = {v for i in leaf.indices for v in free_vars(i)}
    return tuple(t for t in threads if t.var not in used and const_int(t.extent) != 1)


def only_leaf(stmt: Stmt) -> tuple[list[For | If], Accumulate] | None:
    """The loops and conditions down to a single accumulation; None where there is more."""
    path: list[For | If] = []
    while True:
        match stmt:
            case For(_, _, _, body) | If(_, body, None):
                path.append(stmt)
                stmt = body
            case Accumulate():
                return path, stmt
            case _:
                return None


@dataclass(frozen=True, slots=True)
class _Path:
    """A nest that folds over threads: its loops by what they do, and its conditions.

    Attributes:
        threads: the thread loops, the folded ones among them.
        places: serial loops that the accumulated element depends on.
        moving: the variables of all others, which only the values depend on.
    """

    stmts: list[For | If]
    leaf: Accumulate
    threads: tuple[For, ...]
    places: tuple[For, ...]
    moving: frozenset[Var]


def _split(stmt: Stmt, given: tuple[Expr, ...]) -> Stmt:
    match stmt:
        case Block(stmts):
            return block([_split(s, given) for s in stmts])
        case Allocate(_, body):
            return replace(stmt, body=_split(body, given))
        case If(cond, body, orelse):
            other = None if orelse is None else _split(orelse, given)
            return replace(stmt, body=_split(body, (*given, cond)), orelse=other)
        case For():
            found = _parts(stmt)
            if found is not None:
                return found
            if is_thread_loop(stmt) and _is_mixed(stmt):
                return block([_split(s, given) for s in _apart(stmt, ())])
            return replace(stmt, body=_split(stmt.body, given))
        case Store() | Accumulate() | Check():
            return stmt


def _is_mixed(loop: For) -> bool:
    """Whether a phase of several statements folds over its threads in one of them."""
    threads: list[For] = []
    stmt: Stmt = loop
    while isinstance(stmt, For | If):
        if is_thread_loop(stmt) and isinstance(stmt, For):
            threads.append(stmt)
        stmt = stmt.body
    if not isinstance(stmt, Block):
        return False
    paths = [only_leaf(s) for s in stmt.stmts]
    return any(p is not None and folded_loops(threads, p[1]) for p in paths)


def _apart(stmt: Stmt, around: tuple[For | If, ...]) -> list[Stmt]:
    """The statements of a phase, each in thread loops of its own."""
    if isinstance(stmt, For | If) and not (isinstance(stmt, If) and stmt.orelse is not None):
        return _apart(stmt.body, (*around, stmt))
    found: list[Stmt] = []
    for part in stmt.stmts if isinstance(stmt, Block) else (stmt,):
        for outer in reversed(around):
            part = replace(outer, body=part)
        found.append(part)
    return found


def _parts(stmt: For) -> Stmt | None:
    """The nest at `stmt` in its two steps; None where it is none, or is one step already."""
    path = _path(stmt)
    if path is None:
        return None
    sizes = tuple(loop.extent for loop in (*path.threads, *path.places))
    if any(const_int(s) is None for s in sizes):
        return None
    own = tuple(_from_zero(loop) for loop in (*path.threads, *path.places))
    buffers = tuple(Buffer(f"{b.name}.part", sizes, b.dtype, "local") for b in path.leaf.buffers)
    first = block(
        [Store(b, own, unit) for b, unit in zip(buffers, path.leaf.reducer.identity, strict=True)]
    )
    start = _nest(first, (*path.places, *path.threads))
    inner: Stmt = replace(path.leaf, buffers=buffers, indices=own)
    for outer in reversed(path.stmts):
        inner = replace(outer, body=inner)
    last: Stmt = replace(path.leaf, values=tuple(Load(b, own) for b in buffers))
    guard = _guard(path)
    if guard is not None:
        last = If(guard, last)
    result = block([start, inner, _nest(last, (*path.places, *path.threads))])
    for buffer in reversed(buffers):
        result = Allocate(buffer, result, loc=stmt.loc)
    return result


def _path(stmt: For) -> _Path | None:
    found = only_leaf(stmt)
    if found is None or (stmt.kind is ForKind.BOUND and not is_thread_loop(stmt)):
        return None
    stmts, leaf = found
    loops = [s for s in stmts if isinstance(s, For)]
    threads = tuple(s for s in loops if is_thread_loop(s))
    used = {v for i in leaf.indices for v in free_vars(i)}
    if not folded_loops(threads, leaf) or any(s.axis and s not in threads for s in loops):
        return None
    if stmt.var in used and not is_thread_loop(stmt):
        return None  # The nest below it does.
    serial = [s for s in loops if s not in threads]
    if not serial:
        return None
    places = tuple(s for s in serial if s.var in used)
    bound = {s.var for s in loops}
    if any(v in bound for s in places for v in (*free_vars(s.start), *free_vars(s.extent))):
        return None
    fixed = {s.var for s in places} | (used & {t.var for t in threads})
    moving = frozenset(s.var for s in loops if s.var not in fixed)
    return _Path(stmts, leaf, threads, places, moving)


def _guard(path: _Path) -> Expr | None:
    """What of the conditions says whether the element is there at all."""
    atoms = [a for s in path.stmts if isinstance(s, If) for a in _atoms(s.cond)]
    return all_of([a for a in atoms if not path.moving & set(free_vars(a))])


def _atoms(cond: Expr) -> list[Expr]:
    match cond:
        case Binary(BinaryOp.AND, a, b):
            return [*_atoms(a), *_atoms(b)]
        case _:
            return [cond]


def _nest(stmt: Stmt, loops: Sequence[For]) -> Stmt:
    for outer in reversed(loops):
        stmt = replace(outer, body=stmt, annotations=())
    return stmt


def _from_zero(loop: For) -> Expr:
    if const_int(loop.start) == 0:
        return loop.var
    return Binary(BinaryOp.SUB, loop.var, loop.start)
