"""Accumulators kept in registers while a reduction loop runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tensorc.ir.expr import Buffer, Expr, Load, const_int
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    For,
    ForKind,
    If,
    Program,
    Stmt,
    Store,
    block,
)
from tensorc.ir.walk import loads, walk

if TYPE_CHECKING:
    from collections.abc import Sequence

# Elements of accumulators that one reduction loop may keep at hand.
LIMIT = 1024


def promote_accumulators(program: Program) -> Program:
    """Let a reduction loop accumulate into a local buffer instead of the global one.

                                            alloc C.acc: float32[8] local
                                              for j in vectorized(8):
        for k in range(n):                      C.acc[j] = C[i, j]
          for j in vectorized(8):             for k in range(n):
            C[i, j] += A[k] * B[k, j]           for j in vectorized(8):
                                                  C.acc[j] += A[k] * B[k, j]
                             becomes          for j in vectorized(8):
                                                C[i, j] = C.acc[j]

    Where the loops between are written out, no element depends on the reduction loop, and
    nothing else in it touches the buffer. The same values are combined in the same order.
    """
    return replace(program, body=_promote(program.body))


def _promote(stmt: Stmt) -> Stmt:
    match stmt:
        case For():
            if stmt.kind is ForKind.SERIAL:
                found = _promoted(stmt)
                if found is not None:
                    return found
            return replace(stmt, body=_promote(stmt.body))
        case If(_, body, orelse):
            other = None if orelse is None else _promote(orelse)
            return replace(stmt, body=_promote(body), orelse=other)
        case Allocate(_, body):
            return replace(stmt, body=_promote(body))
        case Block(stmts):
            return block([_promote(s) for s in stmts])
        case _:
            return stmt


def _promoted(loop: For) -> Stmt | None:
    """The loop with its one accumulation promoted, or None where that is not possible."""
    path = _path(loop.body)
    if path is None:
        return None
    *around, leaf = path
    assert isinstance(leaf, Accumulate), "a path ends in an accumulation"
    if any(b.scope == "local" for b in leaf.buffers):
        return None
    if any(x.buffer in leaf.buffers for x in loads(loop)):
        return None
    used = {n for i in leaf.indices for n in walk(i)}
    if any(isinstance(n, Load) for n in used) or loop.var in used:
        return None
    kept = [s for s in around if isinstance(s, For) and s.var in used]
    guards = [s for s in around if isinstance(s, If)]
    if not _can_keep(kept) or not _fixed(loop, around, kept, guards):
        return None
    return _rebuilt(loop, path, leaf, kept, guards)


def _path(stmt: Stmt) -> list[Stmt] | None:
    """The statements down to a single accumulation, None where there is anything else."""
    match stmt:
        case For(_, _, _, body) | If(_, body, None):
            below = _path(body)
            return None if below is None else [stmt, *below]
        case Accumulate():
            return [stmt]
        case _:
            return None


def _can_keep(kept: Sequence[For]) -> bool:
    """Whether the loops over the accumulators are written out, and few enough."""
    count = 1
    for loop in kept:
        extent = const_int(loop.extent)
        if extent is None or loop.kind not in (ForKind.UNROLLED, ForKind.VECTORIZED):
            return False
        count *= extent
    return count <= LIMIT


def _fixed(loop: For, around: Sequence[Stmt], kept: Sequence[For], guards: Sequence[If]) -> bool:
    """Whether the accumulators are the same in every iteration of the reduction."""
    moving = {loop.var} | {s.var for s in around if isinstance(s, For) and s not in kept}
    concurrent = (ForKind.PARALLEL, ForKind.BOUND)
    if any(s.kind in concurrent for s in around if isinstance(s, For)):
        return False
    fixed: list[Expr] = [g.cond for g in guards]
    fixed += [e for s in kept for e in (s.start, s.extent)]
    return not any(n in moving or isinstance(n, Load) for e in fixed for n in walk(e))


def _rebuilt(
    loop: For, path: Sequence[Stmt], leaf: Accumulate, kept: Sequence[For], guards: Sequence[If]
) -> Stmt:
    shape = tuple(s.extent for s in kept)
    places = tuple(s.var - s.start if const_int(s.start) != 0 else s.var for s in kept)
    locals_ = tuple(Buffer(f"{b.name}.acc", shape, b.dtype, "local") for b in leaf.buffers)
    inner: Stmt = replace(leaf, buffers=locals_, indices=places)
    for outer in reversed(path[:-1]):
        inner = _around(outer, inner)
    fetch: list[Stmt] = []
    put: list[Stmt] = []
    for buffer, local in zip(leaf.buffers, locals_, strict=True):
        fetch.append(Store(local, places, Load(buffer, leaf.indices), loc=leaf.loc))
        put.append(Store(buffer, leaf.indices, Load(local, places), loc=leaf.loc))
    around = [s for s in path[:-1] if s in kept or s in guards]
    body = block([_nest(fetch, around), replace(loop, body=inner), _nest(put, around)])
    for local in reversed(locals_):
        body = Allocate(local, body, loc=loop.loc)
    return body


def _nest(stmts: Sequence[Stmt], around: Sequence[Stmt]) -> Stmt:
    """The statements inside copies of the kept loops, and guards."""
    result = block(stmts)
    for outer in reversed(around):
        result = _around(outer, result)
    return result


def _around(outer: Stmt, body: Stmt) -> Stmt:
    assert isinstance(outer, For | If), "a path holds loops and conditions"
    return replace(outer, body=body)
