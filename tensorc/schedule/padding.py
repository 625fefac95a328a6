"""relax_guard: full tiles where a tail is padded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Binary, BinaryOp, Expr, Unary, UnaryOp, Var, all_of, terms_of
from tensorc.ir.printer import show
from tensorc.ir.sets import EMPTY, sample
from tensorc.ir.stmt import Check, For, If, Leaf, Program
from tensorc.ir.walk import free_vars, leaves, walk_stmts, written_buffers
from tensorc.schedule.digits import tied_vars
from tensorc.schedule.legality import TwoInstances, accesses, control
from tensorc.schedule.padded_sums import adds_nothing
from tensorc.schedule.region import is_inside, is_written_before
from tensorc.schedule.tree import (
    Site,
    loops_on,
    parts,
    path_to,
    replace_stmt,
    sites,
    with_body,
    with_parts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.ir.expr import Buffer
    from tensorc.ir.stmt import Stmt


@dataclass(frozen=True, slots=True)
class _Relaxed:
    """A leaf that runs in more iterations than before: those where `guard` does not hold."""

    site: Site
    guard: Expr

    def extra(self) -> list[Expr]:
        return [*self.site.domain(), Unary(UnaryOp.NOT, self.guard)]


def relax_guard(program: Program, name: str, loop: For) -> Program:
    """Run the statement that computes `name` in iterations of `loop` that its guard leaves out.

        alloc T: float32[16]                    alloc T: float32[16]
          for i in range(16):                     for i in range(16):
            if i < 10:             becomes          T[i] = P[i] * 2.0
              T[i] = P[i] * 2.0                   for i in range(10):
          for i in range(10):                       C[i] = T[i]
            C[i] = T[i]

    A vector loop then needs no mask, and a tile is a full one. It is for padding: `cache_read` with
    `pad`, and `cache_write`, make buffers with room for every iteration. The guards inside `loop`
    that depend on it are dropped, their parts that do not are kept.

    Legal where the iterations that the guard leaves out stay inside of the buffers that they read
    and write, find written what they read, and what they write to `name` is read by none but them;
    or where they add products of padding, which are 0, to a sum that began with 0.

    Raises:
        ScheduleError: one of these is not so (shown); no guard inside the loop depends on it, or it
            guards something else too; `name` is a parameter.
    """
    step = f"relax_guard({name}, {loop.var.name})"
    guards = _guards(step, name, loop)
    kept: dict[If, Expr | None] = {}
    dropped: dict[int, Expr] = {}
    for guard in guards:
        gone, kept[guard] = _parts(guard.cond, loop.var)
        for leaf in leaves(guard.body):
            known = dropped.get(id(leaf))
            dropped[id(leaf)] = gone if known is None else Binary(BinaryOp.AND, known, gone)
    result = with_body(program, replace_stmt(program.body, loop, _without(loop, kept)))
    every = sites(result.body)
    more = {s.leaf: _Relaxed(s, dropped[id(s.leaf)]) for s in every if id(s.leaf) in dropped}
    for one in more.values():
        _stays_inside(step, result, one)
        if adds_nothing(result, one.site, one.extra()):
            continue
        for buffer in written_buffers(one.site.leaf):
            _feeds_nothing(step, result, one, buffer, every, more)
    return result


def _guards(step: str, name: str, loop: For) -> list[If]:
    """The guards to drop."""
    found = [
        s
        for s in walk_stmts(loop.body)
        if isinstance(s, If)
        and any(v is loop.var for v in free_vars(s.cond))
        and any(b.name == name for x in leaves(s) for b in written_buffers(x))
    ]
    if not found:
        raise ScheduleError(
            f"{step}: no guard of '{name}' inside loop {loop.var.name} depends on {loop.var.name}"
        )
    for guard in found:
        for leaf in leaves(guard):
            if isinstance(leaf, Check) or all(b.name != name for b in written_buffers(leaf)):
                raise ScheduleError(
                    f"{step}: the guard {guard.cond} is around something else too\n"
                    f"  {show(leaf).strip()}"
                )
        if guard.orelse is not None:
            raise ScheduleError(f"{step}: the guard {guard.cond} has an else")
    return found


def _without(stmt: Stmt, guards: Mapping[If, Expr | None]) -> Stmt:
    """`stmt` with other conditions of `guards`, or none."""
    if isinstance(stmt, If) and stmt in guards:
        cond, body = guards[stmt], _without(stmt.body, guards)
        return body if cond is None else replace(stmt, cond=cond, body=body)
    return with_parts(stmt, tuple(_without(p, guards) for p in parts(stmt)))


def _parts(cond: Expr, var: Var) -> tuple[Expr, Expr | None]:
    """The part of a conjunction that depends on `var`, and the rest."""
    terms = terms_of(cond)
    own = [any(v is var for v in free_vars(t)) for t in terms]
    gone = all_of([t for t, mine in zip(terms, own, strict=True) if mine])
    assert gone is not None, "the guard depends on the loop"
    return gone, all_of([t for t, mine in zip(terms, own, strict=True) if not mine])


def _stays_inside(step: str, program: Program, one: _Relaxed) -> None:
    """Refuse where an extra iteration leaves a buffer, or reads what was never written."""
    leaf = one.site.leaf
    outside = Unary(UnaryOp.NOT, one.guard)
    for access in (*control(one.site), *accesses(leaf)):
        name = access.buffer.name
        if not is_inside(access.indices, access.buffer, one.extra()):
            room = "cache_write" if access.writes else "cache_read with pad"
            raise ScheduleError(
                f"{step}: iterations outside of {one.guard} might leave '{name}'\n"
                f"  {show(leaf).strip()}\n"
                f"  {room} makes a copy with room for them"
            )
        reads = not access.writes or access.updates
        if reads and not is_written_before(
            program, leaf, access.buffer, access.indices, where=[outside]
        ):
            raise ScheduleError(
                f"{step}: iterations outside of {one.guard} might read elements of '{name}' that "
                f"hold no value\n  {show(leaf).strip()}\n"
                f"  relax the guard of what initialises '{name}' first"
            )


def _feeds_nothing(
    step: str,
    program: Program,
    one: _Relaxed,
    buffer: Buffer,
    every: Sequence[Site],
    more: Mapping[Leaf, _Relaxed],
) -> None:
    """Refuse where an extra iteration writes what any other iteration reads."""
    path = path_to(program.body, buffer)
    if path is None:
        raise ScheduleError(
            f"{step}: '{buffer.name}' is a parameter, all of whose elements count; cache_write "
            "collects what a loop writes to it in a buffer of its own"
        )
    shared = {x.var for x in loops_on(path)}
    write = next(a for a in accesses(one.site.leaf) if a.writes and a.buffer is buffer)
    for reader in every:
        for read in (*accesses(reader.leaf), *control(reader)):
            if read.buffer is not buffer or (read.writes and not read.updates):
                continue
            own = frozenset(v for s in (one.site, reader) for v in s.vars if v not in shared)
            tied = tied_vars(one.site, reader, write.indices, read.indices)
            encoder = TwoInstances(own, {w: v for w, v in tied.items() if w in own})
            texts = [encoder.condition(c, True, 0) for c in one.extra()]
            never = {encoder.condition(c, False, 0) for c in one.extra()} - {"true"}
            inside = [encoder.condition(t, True, 1) for c in reader.domain() for t in terms_of(c)]
            if not never.isdisjoint(inside):
                continue  # The guard that the one lacks holds for the other, of equal variables.
            texts += inside
            if reader.leaf in more:
                texts.append(encoder.condition(more[reader.leaf].guard, True, 1))
            for i, j in zip(write.indices, read.indices, strict=True):
                texts.append(f"{encoder.number(i, 0)} = {encoder.number(j, 1)}")
            if "false" in texts or sample(encoder.set_of(*texts)) == EMPTY:
                continue
            raise ScheduleError(
                f"{step}: iterations outside of {one.guard} might write elements of "
                f"'{buffer.name}' that are read\n"
                f"  {show(one.site.leaf).strip()}\n"
                f"  {show(reader.leaf).strip()}: reads them"
            )
