"""Steps that are made of others: what is written in a trace are those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.schedule import cooperative
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import own_loops, stage_sites

if TYPE_CHECKING:
    from tensorc.schedule.schedule import Schedule


def tile(
    s: Schedule, i: Loop, j: Loop, i_factor: int, j_factor: int
) -> tuple[Loop, Loop, Loop, Loop]:
    """Split two loops and order the four, or do nothing where a step is refused."""
    saved = s.save()
    try:
        io, ii = s.split(i, i_factor)
        jo, ji = s.split(j, j_factor)
        s.reorder(io, jo, ii, ji)
    except BaseException:
        s.restore(saved)
        raise
    return io, jo, ii, ji


def cooperative_fetch(s: Schedule, stage: str, threads: int, lanes: int) -> None:
    """The steps of `Schedule.cooperative_fetch`."""
    (*_, site) = stage_sites(s.program, stage)
    nest = own_loops(s.program, site.leaf)
    every = [Loop(s, stage, x.var) for x in nest]
    sizes = cooperative.check_fetch([x.extent for x in nest], threads, lanes)
    cut = cooperative.shares(sizes, threads, lanes)
    vector: list[Loop] = []
    if lanes > 1:
        every[-1], inner = s.split(every[-1], lanes)
        vector.append(inner)
    if cut is None or len(every) == 1:
        joined = every[0]
        for loop in every[1:]:
            joined = s.fuse(joined, loop)
        rest, across = s.split(joined, threads)
        bound, others = [(across, "thread.x")], [rest]
    else:
        around, across = s.split(every[-1], cut.across)
        before, down = s.split(every[-2], cut.down)
        bound, others = [(down, "thread.y"), (across, "thread.x")], [*every[:-2], before, around]
    s.reorder(*(x for x, _ in bound), *others, *vector)
    for loop, axis in bound:
        s.bind(loop, axis)
    for loop in others:
        count = const_int(s.extent(loop))
        if count is not None and count <= cooperative.UNROLL:
            s.unroll(loop)
    for loop in vector:
        s.vectorize(loop)


def bulk_fetch(s: Schedule, stage: str) -> None:
    """The steps of `Schedule.bulk_fetch`."""
    (*_, site) = stage_sites(s.program, stage)
    for loop in own_loops(s.program, site.leaf)[:1]:  # None of a copy of one element.
        s.annotate(Loop(s, stage, loop.var), "async", "tma")


def bulk_store(s: Schedule, stage: str) -> None:
    """The steps of `Schedule.bulk_store`."""
    bulk_fetch(s, stage)


def rasterize(s: Schedule, i: Loop, j: Loop, group: int) -> Loop:
    """The steps of `Schedule.rasterize`."""
    groups, member = s.split(i, group)
    s.reorder(groups, j, member)
    return s.fuse(s.fuse(groups, j), member, name=f"{i.name}.{j.name}")
