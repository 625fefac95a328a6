"""Steps that say how the iterations of a loop run: unroll, vectorize, parallel, bind, annotate."""

from __future__ import annotations

import re
from dataclasses import replace

from tensorc.errors import ScheduleError
from tensorc.ir.expr import const_int
from tensorc.ir.printer import KEYWORDS
from tensorc.ir.stmt import GRID_AXES, For, ForKind, Hint, Program
from tensorc.ir.walk import walk_stmts
from tensorc.schedule.legality import carried_pair, refuse
from tensorc.schedule.loops import need_serial
from tensorc.schedule.tree import around, loops_on, path_to, replace_stmt, with_body

MAX_UNROLL = 1024
MAX_LANES = 1024
MAX_THREADS = 1024  # In one block, on every CUDA device.


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


def bind(program: Program, loop: For, axis: str) -> Program:
    """Give each iteration of `loop` to one block or thread of a grid, by its number on `axis`.

        for i in range(32):      becomes, of thread.x,      for i in thread.x(32):

    Axes are block.x, block.y, block.z, thread.x, thread.y and thread.z. Legal as `parallel` is:
    where no iteration depends on another one.

    Raises:
        ScheduleError: two iterations depend on each other (shown); there is no such axis; a loop
            around or inside has it already; the number of threads is not a constant, or above 1024.
    """
    step = f"bind({loop.var.name}, {axis})"
    if axis not in GRID_AXES:
        raise ScheduleError(f"{step}: the axes of a grid are {', '.join(GRID_AXES)}")
    need_serial(step, loop)
    if axis.startswith("thread"):
        _constant_extent(step, loop, MAX_THREADS)
    path = path_to(program.body, loop)
    assert path is not None, "a loop handle points into the program"
    near = [*loops_on(path[:-1]), *(s for s in walk_stmts(loop.body) if isinstance(s, For))]
    for other in near:
        if other.axis == axis:
            raise ScheduleError(f"{step}: loop {other.var.name} is bound to {axis} already")
    _independent(program, step, loop)
    new = replace(loop, kind=ForKind.BOUND, axis=axis)
    return with_body(program, replace_stmt(program.body, loop, new))


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
