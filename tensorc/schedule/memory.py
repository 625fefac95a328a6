"""Steps that give a part of a buffer storage of its own: cache_read, cache_write."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Buffer, Expr, Load, Var, all_of, const_int
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Allocate, For, If, Program, Stmt, Store, block
from tensorc.ir.walk import written_buffers
from tensorc.schedule.region import (
    Box,
    is_covered,
    limits,
    loop_nest,
    reads_own_writes,
    rebase,
    touched_box,
)
from tensorc.schedule.tree import (
    around,
    find_buffer,
    fresh_name,
    in_range,
    path_to,
    replace_stmt,
    sites,
    used_names,
    with_body,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    buffer = _known(program, step, name, loop, scope)
    inside = sites(loop.body)
    for site in inside:
        written = written_buffers(site.leaf)
        if buffer in set(written) and len(written) > 1:
            others = ", ".join(b.name for b in written if b is not buffer)
            raise ScheduleError(
                f"{step}: '{name}' is accumulated together with {others}, at one index; the parts "
                "of a pair cannot be cached apart"
            )
    if not any(buffer in set(written_buffers(s.leaf)) for s in inside):
        raise ScheduleError(f"{step}: nothing in loop {loop.var.name} writes '{name}'")
    box = touched_box(loop.body, buffer, full_tiles=scope == "local")
    assert box is not None, "a write is an access"
    _constant_size(step, scope, box)
    used = used_names(program)
    local = Buffer(fresh_name(f"{name}.local", used), box.extents, buffer.dtype, scope)
    given = [*around(program, loop), *in_range(loop)]
    body: list[Stmt] = [rebase(loop.body, buffer, local, box.lows)]
    whole = is_covered(loop.body, buffer, box, given)
    if not whole or not reads_own_writes(loop.body, buffer, given):
        body.insert(0, _copy(buffer, local, box, given, used, to_local=True))
    body.append(_copy(buffer, local, box, given, used, to_local=False))
    new = replace(loop, body=Allocate(local, block(body), loc=loop.loc))
    return with_body(program, replace_stmt(program.body, loop, new))


def cache_read(
    program: Program,
    name: str,
    loop: For,
    scope: str = "global",
    order: Sequence[int] | None = None,
) -> Program:
    """Copy what one iteration of `loop` reads from `name` to a buffer of its own, first.

        for j in range(n):               for j in range(n):
          for i in range(m):   becomes     alloc B.local: float32[p]
            for k in range(p):               for B.in0 in range(p):
              ... B[k, j]                      B.local[B.in0] = B[B.in0, j]
                                             for i in range(m):
                                               for k in range(p):
                                                 ... B.local[k]

    The part is the box of all reads inside the loop, contiguous in the copy, its dimensions in
    `order` (the last one contiguous; as in `name` where it is left out): packing a matrix into
    panels is one `cache_read`. The copy has loops named `B.in0`, `B.in1`... A guard keeps it
    inside `name`.

    Legal where nothing in the loop writes `name`.

    Raises:
        ScheduleError: the loop writes `name`, or does not read it; the box has no constant size
            (scope "local"); `order` is no permutation.
    """
    step = f"cache_read({name}, {loop.var.name})"
    buffer = _known(program, step, name, loop, scope)
    if any(buffer in set(written_buffers(s.leaf)) for s in sites(loop.body)):
        raise ScheduleError(f"{step}: loop {loop.var.name} writes '{name}'; use cache_write")
    box = touched_box(loop.body, buffer)
    if box is None:
        raise ScheduleError(f"{step}: nothing in loop {loop.var.name} reads '{name}'")
    _constant_size(step, scope, box)
    order = tuple(range(buffer.ndim)) if order is None else tuple(order)
    if sorted(order) != list(range(buffer.ndim)):
        raise ScheduleError(
            f"{step}: order {order} is no permutation of the {buffer.ndim} dimensions of '{name}'"
        )
    used = used_names(program)
    shape = tuple(box.extents[d] for d in order)
    local = Buffer(fresh_name(f"{name}.local", used), shape, buffer.dtype, scope)
    given = [*around(program, loop), *in_range(loop)]
    copy = _copy(buffer, local, box, given, used, to_local=True, order=order)
    uses = rebase(loop.body, buffer, local, box.lows, order)
    new = replace(loop, body=Allocate(local, block([copy, uses]), loc=loop.loc))
    return with_body(program, replace_stmt(program.body, loop, new))


def _known(program: Program, step: str, name: str, loop: For, scope: str) -> Buffer:
    if scope not in ("local", "global"):
        raise ScheduleError(f"{step}: scope must be 'local' or 'global', got {scope!r}")
    buffer = find_buffer(program, name)
    if buffer is None:
        raise ScheduleError(f"{step}: there is no buffer '{name}'")
    own = path_to(loop.body, lambda s: isinstance(s, Allocate) and s.buffer is buffer)
    if own is not None:
        raise ScheduleError(
            f"{step}: '{name}' is allocated inside loop {loop.var.name}, an iteration's own already"
        )
    return buffer


def _constant_size(step: str, scope: str, box: Box) -> None:
    if scope == "local" and any(const_int(e) is None for e in box.extents):
        raise ScheduleError(
            f"{step}: one iteration touches {' x '.join(map(str, box.extents))} elements, which is "
            "no constant size; choose an inner loop or scope='global'"
        )


def _copy(
    buffer: Buffer,
    local: Buffer,
    box: Box,
    given: list[Expr],
    used: set[str],
    *,
    to_local: bool,
    order: Sequence[int] | None = None,
) -> Stmt:
    kind = "in" if to_local else "out"
    vars_ = [Var(fresh_name(f"{buffer.name}.{kind}{d}", used)) for d in range(buffer.ndim)]
    outside = tuple(simplify(low + v) for low, v in zip(box.lows, vars_, strict=True))
    here = tuple(vars_) if order is None else tuple(vars_[d] for d in order)
    stmt: Stmt = (
        Store(local, here, Load(buffer, outside))
        if to_local
        else Store(buffer, outside, Load(local, here))
    )
    guard = all_of(limits(box.lows, vars_, box.extents, buffer.shape, given))
    if guard is not None:
        stmt = If(guard, stmt)
    return loop_nest(vars_, box.extents, stmt)
