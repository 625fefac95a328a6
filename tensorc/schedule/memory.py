"""Steps that give a part of a buffer storage of its own: cache_write."""

from __future__ import annotations

from dataclasses import replace

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Buffer, Expr, Load, Var, all_of, const_int
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Allocate, For, If, Program, Stmt, Store, block
from tensorc.ir.walk import written_buffers
from tensorc.schedule.legality import accesses
from tensorc.schedule.region import Box, is_covered, limits, loop_nest, rebase, touched_box
from tensorc.schedule.tree import (
    Site,
    around,
    find_buffer,
    fresh_name,
    in_range,
    replace_stmt,
    sites,
    used_names,
    with_body,
)


def cache_write(program: Program, name: str, loop: For, scope: str = "local") -> Program:
    """Collect what one iteration of `loop` writes to `name` in a buffer of its own.

        for i in range(n):               for i in range(n):
          C[i] = 0.0           becomes     alloc C.local: float32[1] local
          for k in range(m):               C.local[0] = 0.0
            C[i] += A[i, k]                for k in range(m):
                                             C.local[0] += A[i, k]
                                           C[i] = C.local[0]

    The part is the box of all accesses inside the loop; its copy back has loops named `C.out0`,
    `C.out1`... Where the iteration reads elements that it has not written, or may leave some
    unwritten, they are copied in first (loops `C.in0`...). Guards appear where the box may reach
    over the end of `name`.

    Legal always: within an iteration the copy stands for the part, in the same order.

    Raises:
        ScheduleError: nothing in the loop writes `name`; the box has no constant size (scope
            "local").
    """
    step = f"cache_write({name}, {loop.var.name})"
    if scope not in ("local", "global"):
        raise ScheduleError(f"{step}: scope must be 'local' or 'global', got {scope!r}")
    buffer = find_buffer(program, name)
    if buffer is None:
        raise ScheduleError(f"{step}: there is no buffer '{name}'")
    inside = sites(loop.body)
    if not any(buffer in set(written_buffers(s.leaf)) for s in inside):
        raise ScheduleError(f"{step}: nothing in loop {loop.var.name} writes '{name}'")
    box = touched_box(loop.body, buffer)
    assert box is not None, "a write is an access"
    if scope == "local" and any(const_int(e) is None for e in box.extents):
        raise ScheduleError(
            f"{step}: one iteration touches {' x '.join(map(str, box.extents))} elements, which is "
            "no constant size; choose an inner loop or scope='global'"
        )
    used = used_names(program)
    local = Buffer(fresh_name(f"{name}.local", used), box.extents, buffer.dtype, scope)
    given = [*around(program, loop), *in_range(loop)]
    body: list[Stmt] = [rebase(loop.body, buffer, local, box.lows)]
    if not is_covered(_first_writers(inside, buffer), buffer, box, given):
        body.insert(0, _copy(buffer, local, box, given, used, to_local=True))
    body.append(_copy(buffer, local, box, given, used, to_local=False))
    new = replace(loop, body=Allocate(local, block(body), loc=loop.loc))
    return with_body(program, replace_stmt(program.body, loop, new))


def _first_writers(inside: list[Site], buffer: Buffer) -> list[Site]:
    """The plain stores to `buffer` that stand before every read of it."""
    found: list[Site] = []
    for site in inside:
        reads = any(a.buffer is buffer and (not a.writes or a.updates) for a in accesses(site.leaf))
        if reads:
            break
        if buffer in set(written_buffers(site.leaf)):
            found.append(site)
    return found


def _copy(
    buffer: Buffer, local: Buffer, box: Box, given: list[Expr], used: set[str], *, to_local: bool
) -> Stmt:
    kind = "in" if to_local else "out"
    vars_ = [Var(fresh_name(f"{buffer.name}.{kind}{d}", used)) for d in range(buffer.ndim)]
    outside = tuple(simplify(low + v) for low, v in zip(box.lows, vars_, strict=True))
    here = tuple(vars_)
    stmt: Stmt = (
        Store(local, here, Load(buffer, outside))
        if to_local
        else Store(buffer, outside, Load(local, here))
    )
    guard = all_of(limits(box.lows, vars_, box.extents, buffer.shape, given))
    if guard is not None:
        stmt = If(guard, stmt)
    return loop_nest(vars_, box.extents, stmt)
