"""Steps that the rules share: attempts, whole registers, threads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Var, const_int
from tensorc.ir.facts import nests
from tensorc.ir.stmt import Accumulate, Check, For, ForKind, Store
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import (
    LONG_WORK,
    PARALLEL_WORK,
    cost_of,
    depends,
    extent_of,
    is_index,
    work_of,
)
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import Site, path_to, sites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tensorc.ir.stmt import If, Leaf
    from tensorc.schedule.schedule import Schedule

UNROLL = 16  # Iterations of a loop over registers that are written out.
UNROLL_LONG = 8  # The same where one takes many instructions: twice as many make no faster code.


def attempt(s: Schedule, steps: Callable[[], object]) -> bool:
    """Take steps together or, where one is refused, none of them."""
    saved = s.save()
    try:
        steps()
    except ScheduleError:
        s.restore(saved)
        return False
    return True


def is_scheduled(found: Iterable[Site]) -> bool:
    """Whether a loop around any of these leaves is more than a plain loop."""
    return any(x.kind is not ForKind.SERIAL for site in found for x in site.loops)


def extent_in(s: Schedule, loop: Loop) -> int:
    """The extent of a loop that is known to be a constant."""
    extent = const_int(s.extent(loop))
    assert extent is not None, "a rule splits loops into parts of constant size"
    return extent


def vectors(s: Schedule, loop: Loop, lanes: int, most: int | None = None) -> None:
    """Run a loop as whole registers: lanes, and a loop over registers around them.

    That is written out if it has `most` iterations, which by itself depends on what is done in one.
    """
    extent = const_int(s.extent(loop))
    if extent is not None and extent <= lanes:
        s.vectorize(loop)
        return
    outer, inner = s.split(loop, lanes)
    s.vectorize(inner)
    count = const_int(s.extent(outer))
    if most is None:
        most = UNROLL_LONG if _takes_long(s, inner) else UNROLL
    if count is not None and count <= most:
        s.unroll(outer)


def _takes_long(s: Schedule, loop: Loop) -> bool:
    path = path_to(s.program.body, loop.var)
    assert path is not None, "the loop was just made"
    stored = (x.leaf.value for x in sites(path[-1]) if isinstance(x.leaf, Store))
    return sum(map(cost_of, stored)) >= LONG_WORK


def in_squares(s: Schedule, across: Loop, along: Loop, lanes: int) -> bool:
    """Copy squares with rows and columns exchanged: the source is contiguous along `across`.

    The target is contiguous along `along`. Only of whole squares, which code generation shuffles in
    registers; returns whether it is so.
    """
    sizes = [const_int(s.extent(x)) for x in (across, along)]
    if any(n is None or n % lanes for n in sizes):
        return False
    far, near = s.split(across, lanes)
    outer, inner = s.split(along, lanes)
    s.reorder(far, outer, near, inner)
    s.vectorize(inner)
    s.unroll(near)
    return True


def finish_tile(s: Schedule, around: Var, lanes: int) -> None:
    """Make registers of what runs inside of loop `around`: lanes along rows, the rest written out.

    Loops that only reduce stay loops.
    """
    path = path_to(s.program.body, around)
    assert path is not None, "the tile's loop stands in the program"
    done: set[Var] = set()
    for site in sites(path[-1]):
        leaf = site.leaf
        if isinstance(leaf, Check):
            continue
        name = written_buffers(leaf)[0].name
        is_lane = True
        for loop in reversed(site.loops[1:]):
            if loop.var in done or loop.kind is not ForKind.SERIAL:
                continue
            extent = const_int(loop.extent)
            reduces = isinstance(leaf, Accumulate) and not depends(leaf.indices, loop.var)
            if extent is None or reduces:
                continue
            done.add(loop.var)
            handle = Loop(s, name, loop.var)
            along = bool(leaf.indices) and is_index(leaf.indices[-1], loop.var)
            if is_lane and along and extent > 1:
                is_lane = not attempt(s, partial(vectors, s, handle, lanes))
            elif extent <= UNROLL:
                s.unroll(handle)


def run_on_threads(s: Schedule) -> None:
    """Run the outermost loop of each large nest in parallel, or the next where that is illegal."""
    for nest in list(nests(s.program.body)):
        _nest_on_threads(s, nest)


def _nest_on_threads(s: Schedule, nest: For | If | Leaf) -> None:
    if isinstance(nest, For) and const_int(nest.extent) == 1 and nest.kind is ForKind.SERIAL:
        for part in list(nests(nest.body)):
            _nest_on_threads(s, part)
        return
    if not wants_threads(nest):
        return
    (*_, last) = sites(nest)
    for loop in _outer_loops(nest):
        if work_of(sites(loop)) < PARALLEL_WORK:
            return  # Inside of a loop that goes on: threads would meet in each iteration.
        stage = written_buffers(last.leaf)
        if stage and attempt(s, partial(s.parallel, Loop(s, stage[0].name, loop.var))):
            return


def wants_threads(nest: For | If | Leaf) -> bool:
    """Whether a nest does enough for several threads, and does not run on them yet."""
    inside = sites(nest)
    return not is_parallel(inside) and work_of(inside) >= PARALLEL_WORK


def is_parallel(found: Iterable[Site]) -> bool:
    """Whether a loop around any of these leaves runs on threads."""
    return any(x.kind is ForKind.PARALLEL for site in found for x in site.loops)


def _outer_loops(nest: object) -> list[For]:
    """The loops alone inside each other from the top, those of one iteration left out."""
    found: list[For] = []
    while isinstance(nest, For) and nest.kind is ForKind.SERIAL:
        if extent_of(nest) > 1:
            found.append(nest)
        nest = nest.body
    return found[:2]
