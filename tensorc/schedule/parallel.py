"""Steps that say how the iterations of a loop run: unroll, vectorize, parallel."""

from __future__ import annotations

from dataclasses import replace

from tensorc.errors import ScheduleError
from tensorc.ir.expr import const_int
from tensorc.ir.stmt import For, ForKind, Program
from tensorc.schedule.legality import carried_pair, refuse
from tensorc.schedule.loops import need_serial
from tensorc.schedule.tree import around, replace_stmt, with_body

MAX_UNROLL = 1024
MAX_LANES = 1024


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
