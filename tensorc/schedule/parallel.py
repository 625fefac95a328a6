"""Steps that say how the iterations of a loop run: unroll, vectorize, parallel, bind, annotate."""

from __future__ import annotations

import re
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import const_int
from tensorc.ir.printer import KEYWORDS
from tensorc.ir.stmt import GRID_AXES, Allocate, For, ForKind, Hint, Program, Stmt
from tensorc.ir.walk import free_vars, walk_stmts
from tensorc.schedule.legality import Violation, carried_pair, refuse
from tensorc.schedule.loops import need_serial
from tensorc.schedule.tree import around, loops_on, parts, path_to, replace_stmt, with_body

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_UNROLL = 1024
MAX_LANES = 1024
MAX_THREADS = 1024  # In one block, on every CUDA device.
MAX_BLOCKS_X = 2**31 - 1  # On block.x, on every CUDA device.
MAX_BLOCKS = 65535  # On block.y, and on block.z.


def unroll(program: Program, loop: For) -> Program:
    """Write out the iterations of `loop` one after the other. Always legal.

    Raises:
        ScheduleError: the extent is not a constant, or above 1024.
    """
    step = f"unroll({loop.var.name})"
    need_serial(step, loop)
    _constant_extent(step, loop, MAX_UNROLL)
    return _with_kind(program, loop, ForKind.UNROLLED)


def vectorize(program: Program, loop: For) -> Program:
    """Run the iterations of `loop` together, as lanes of vector registers.

    Legal where no iteration depends on another one. A guard inside becomes a mask.

    Raises:
        ScheduleError: two iterations depend on each other (shown); the extent is not a constant,
            or above 1024.
    """
    step = f"vectorize({loop.var.name})"
    need_serial(step, loop)
    _constant_extent(step, loop, MAX_LANES)
    _independent(program, step, loop)
    return _with_kind(program, loop, ForKind.VECTORIZED)


def parallel(program: Program, loop: For) -> Program:
    """Run the iterations of `loop` in any order, on several threads.

    Legal where no iteration depends on another one; an accumulation into one element is such a
    dependence. Storage allocated inside the loop is each iteration's own.

    Raises:
        ScheduleError: two iterations depend on each other (shown).
    """
    step = f"parallel({loop.var.name})"
    need_serial(step, loop)
    _independent(program, step, loop)
    return _with_kind(program, loop, ForKind.PARALLEL)


def bind(program: Program, loop: For, axis: str, strict: bool = False) -> Program:
    """Give each iteration of `loop` to one block or thread of a grid, by its number on `axis`.

        for i in range(32):      becomes, of thread.x,      for i in thread.x(32):

    Axes are block.x, block.y, block.z, thread.x, thread.y and thread.z. Nests that follow each
    other inside of one block may each have an axis: the block finishes one before the next begins.

    Legal as `parallel` is: where no iteration depends on another one. Over thread.x one dependence
    more is allowed, that of an accumulation on itself: the threads then fold what each of them has
    (not what rounds, when `strict`).

    Raises:
        ScheduleError: two iterations depend on each other (shown); there is no such axis; a loop
            around or inside has it already; a block would stand inside of its threads; the number
            of threads is not a constant, or above 1024 with the loops around or inside; there are
            more than 65535 blocks on y or z, or a number that depends on another axis; blocks would
            share a buffer that is one block's or one thread's own.
    """
    step = f"bind({loop.var.name}, {axis})"
    if axis not in GRID_AXES:
        raise ScheduleError(f"{step}: the axes of a grid are {', '.join(GRID_AXES)}")
    need_serial(step, loop)
    path = path_to(program.body, loop)
    assert path is not None, "a loop handle points into the program"
    over = loops_on(path[:-1])
    inside = [s for s in walk_stmts(loop.body) if isinstance(s, For)]
    for other in (*over, *inside):
        if other.axis == axis:
            raise ScheduleError(f"{step}: loop {other.var.name} is bound to {axis} already")
    if axis.startswith("thread"):
        _constant_extent(step, loop, MAX_THREADS)
        _threads_fit(step, loop, over)
        _outside_of_blocks(step, loop, [x for x in inside if _is_on(x, "block")])
    else:
        _blocks_fit(step, loop, axis)
        _inside_of_threads(step, [x for x in over if _is_on(x, "thread")])
        _is_a_box(step, loop, [x for x in (*over, *inside) if _is_on(x, "block")])
        _own_storage(step, path)
    folds = axis == "thread.x"
    violation = carried_pair(loop, around(program, loop), folding=folds, strict=strict)
    if violation is not None:
        legal = f"{loop.var.name} must run one after the other"
        if axis != "thread.x" and _folds(violation):
            legal = "rfactor gives each iteration a partial result, and thread.x folds by itself"
        raise refuse(step, violation, loop, legal)
    new = replace(loop, kind=ForKind.BOUND, axis=axis)
    return with_body(program, replace_stmt(program.body, loop, new))


def _is_on(loop: For, level: str) -> bool:
    return loop.axis is not None and loop.axis.startswith(level)


def _folds(violation: Violation) -> bool:
    """Whether two iterations fold into one element by the same statement."""
    one, other = violation.first_access, violation.second_access
    return violation.first.leaf is violation.second.leaf and one.updates and other.updates


def _threads_fit(step: str, loop: For, over: Sequence[For]) -> None:
    """Refuse where nested loops over threads ask for more threads than a block has."""
    sizes = [(x.var.name, const_int(x.extent) or 1) for x in (*over, loop) if _counts(x, loop)]
    sizes += _largest_inside(loop.body)
    total = prod(n for _, n in sizes)
    if total > MAX_THREADS:
        product = " x ".join(f"{n} ({name})" for name, n in sizes)
        raise ScheduleError(
            f"{step}: {product} = {total} threads are above the limit of {MAX_THREADS} in a block"
        )


def _counts(loop: For, new: For) -> bool:
    return loop is new or _is_on(loop, "thread")


def _largest_inside(stmt: Stmt) -> list[tuple[str, int]]:
    """The nested loops over threads under `stmt` that ask for the most of them."""
    below = [_largest_inside(part) for part in parts(stmt)]
    best = max(below, key=lambda sizes: prod(n for _, n in sizes), default=[])
    if isinstance(stmt, For) and _is_on(stmt, "thread"):
        return [(stmt.var.name, const_int(stmt.extent) or 1), *best]
    return best


def _blocks_fit(step: str, loop: For, axis: str) -> None:
    count = const_int(loop.extent)
    limit = MAX_BLOCKS_X if axis == "block.x" else MAX_BLOCKS
    if count is not None and count > limit:
        raise ScheduleError(
            f"{step}: {count} blocks are above the limit of {limit} on {axis}; split"
            + ("" if axis == "block.x" else f", or take block.x, which has {MAX_BLOCKS_X}")
        )


def _outside_of_blocks(step: str, loop: For, blocks: Sequence[For]) -> None:
    if blocks:
        raise ScheduleError(
            f"{step}: loop {blocks[0].var.name} inside is bound to {blocks[0].axis}, and threads "
            f"are inside of their block; reorder {blocks[0].var.name} outside of {loop.var.name}"
        )


def _inside_of_threads(step: str, threads: Sequence[For]) -> None:
    if threads:
        raise ScheduleError(
            f"{step}: loop {threads[0].var.name} around is bound to {threads[0].axis}, and a block "
            "is outside of its threads; bind an outer loop to the blocks"
        )


def _is_a_box(step: str, loop: For, blocks: Sequence[For]) -> None:
    """Refuse block loops of which one's range depends on another one."""
    for other in blocks:
        for a, b in ((loop, other), (other, loop)):
            if any(v is b.var for e in (a.start, a.extent) for v in free_vars(e)):
                raise ScheduleError(
                    f"{step}: the range of {a.var.name}, {a.extent} from {a.start}, depends on "
                    f"{b.var.name}, and a grid has as many blocks on an axis everywhere; bind one "
                    "of them, or run the other over all and guard what is inside"
                )


def _own_storage(step: str, path: Sequence[Stmt]) -> None:
    """Refuse blocks inside of what is one block's, or one thread's, own."""
    for stmt in path:
        if isinstance(stmt, Allocate) and stmt.buffer.scope != "global":
            name, scope = stmt.buffer.name, stmt.buffer.scope
            owner = "one block" if scope == "shared" else "one thread"
            raise ScheduleError(
                f"{step}: '{name}' is {scope}, {owner}'s own, and allocated around the blocks; "
                f"place it inside of them, or set_scope({name}, global)"
            )


def annotate(program: Program, loop: For, key: str, value: Hint | None) -> Program:
    """Leave a hint for a backend on `loop`; None takes it away.

        for k in range(64):      becomes      for k in range(64) {prefetch: 4}:

    A backend ignores hints that it does not know, and none changes a result, so it is legal always.
    The hint stays with the loop until a step makes other loops of it.

    Raises:
        ScheduleError: the key is no name, or the value neither an integer, a bool nor a text.
    """
    step = f"annotate({loop.var.name}, {key}, {value!r})"
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", key) or key in KEYWORDS:
        raise ScheduleError(f"{step}: a key is a name, such as prefetch")
    if value is not None and not isinstance(value, int | str):
        raise ScheduleError(f"{step}: a hint is an integer, a bool or a text")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ScheduleError(f"{step}: an integer hint has 64 bits")
    hints = dict(loop.annotations)
    hints.pop(key, None)
    if value is not None:
        hints[key] = value
    new = replace(loop, annotations=tuple(hints.items()))
    return with_body(program, replace_stmt(program.body, loop, new))


def specialize(program: Program, loop: For, producer: int, consumer: int) -> Program:
    """Divide the threads of a kernel into those that copy and those that compute, from sm_90 on.

        for k in range(64):   becomes   for k in range(64) {producer_registers: 40,
                                                            consumer_registers: 232}:

    The copies of boxes in the kernel (hint `async: "tma"`), as `pipeline(loop, stages)` starts them
    ahead, are then issued by a warp group of its own, which keeps `producer` registers in each
    thread, so that those of the others may have `consumer`. It is a hint: nothing of the program's
    meaning changes, and code generation refuses it where more than the pipelined buffers would go
    from one to the other.

    Raises:
        ScheduleError: a number of registers is no multiple of 8 from 24 to 240.
    """
    step = f"specialize({loop.var.name}, {producer}, {consumer})"
    for count in (producer, consumer):
        if isinstance(count, bool) or not isinstance(count, int) or count not in range(24, 241, 8):
            raise ScheduleError(
                f"{step}: a thread's registers are a multiple of 8 from 24 to 240, got {count!r}"
            )
    hints = {**dict(loop.annotations), "producer_registers": producer}
    new = replace(loop, annotations=tuple({**hints, "consumer_registers": consumer}.items()))
    return with_body(program, replace_stmt(program.body, loop, new))


def _constant_extent(step: str, loop: For, limit: int) -> None:
    extent = const_int(loop.extent)
    if extent is None:
        raise ScheduleError(
            f"{step}: the extent {loop.extent} is not a constant; split the loop first and "
            "take the inner one"
        )
    if extent > limit:
        raise ScheduleError(f"{step}: {extent} iterations are above the limit of {limit}; split")


def _independent(program: Program, step: str, loop: For) -> None:
    violation = carried_pair(loop, around(program, loop))
    if violation is not None:
        raise refuse(step, violation, loop, f"{loop.var.name} must run one after the other")


def _with_kind(program: Program, loop: For, kind: ForKind) -> Program:
    return with_body(program, replace_stmt(program.body, loop, replace(loop, kind=kind)))
