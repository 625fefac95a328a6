"""Reductions without a tile of reuse: along rows in lanes, down columns, of everything."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.ir.facts import facts, leaf_loads, nests
from tensorc.ir.stmt import Accumulate, Check
from tensorc.schedule.auto.cost import (
    LONG_WORK,
    cost_of,
    depends,
    extent_of,
    iterations,
    lanes_of,
    stride,
)
from tensorc.schedule.auto.dense import from_zero, in_order
from tensorc.schedule.auto.steps import attempt, finish_tile, vectors
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import Site, stage_sites

if TYPE_CHECKING:
    from tensorc.ir.stmt import For
    from tensorc.schedule.schedule import Schedule
    from tensorc.target import Target

VECTORS = 4  # Registers of partial results: their additions hide each other's latency.
REGISTERS = (4, 7, 6, 5, 3, 2)  # Other numbers of them, the better ones first.
COLUMN_VECTORS = 8  # The same where each register is a part of the result.
ROW_BYTES = 16 * 1024  # The most of a row of results that stays in the nearest cache.
ROW_VECTORS = 2  # Registers of partial results for each of several rows that are read at once.
MANY = 16  # Groups of rows that leave enough for threads.
ROWS = 4  # Rows that are added at once: their reads hide each other's latency.
COLUMN_ROWS = 8  # The same of one array, down its columns.
CACHE_BYTES = 256 * 1024  # Operands beyond this come from a far cache, or memory.
LONG_COLUMNS = 1024 * 1024  # Elements of columns that are worth cutting in parts, for threads.
FEW = 512  # Columns: of more, threads have enough.
PARTS = (16, 14, 15, 12, 10, 8, 9, 7, 6, 5, 4)  # The better ones first.
WINDOW = 8  # Elements in a row of a window that are written out.
CHUNK = 4096  # Elements of a partial result, where a reduction has no other loop to cut.


def along_rows(s: Schedule, stage: str, target: Target) -> None:
    """Fold neighbours of a row into lanes that have a partial result each.

    Raises:
        ScheduleError: a step is refused.
    """
    site = _accumulation(s, stage)
    if site is None:
        return
    loop = _contiguous(site)
    lanes = lanes_of(site, target)
    if loop is None or lanes < 2 or site.loops[-1] is not loop:
        return
    if (extent_of(loop) % lanes or extent_of(loop) < 2 * lanes) and _is_dense(site):
        s.fuse(*(Loop(s, stage, x.var) for x in site.loops[-2:]))
        site = _accumulation(s, stage)
        assert site is not None, "the same statement, in one loop less"
        loop = site.loops[-1]
    if extent_of(loop) < 2 * lanes:
        return
    row = _rows_beside(s, stage, site, loop, lanes)
    wide = lanes * (ROW_VECTORS if row is not None else _registers(site, loop, lanes))
    outer, inner = s.split(Loop(s, stage, loop.var), wide)
    if row is not None:
        _, member = s.split(row, ROWS)
        s.reorder(outer, member, inner)
    partials, fold = _factored(s, stage, inner, last=row is not None)
    if row is not None:
        for part in _loops_of(s, partials, ROWS):
            s.unroll(part)
    for part in _loops_of(s, partials, wide):
        vectors(s, part, lanes)
    if wide > lanes:
        _, inner = s.split(fold, lanes)
        last, fold = _factored(s, stage, inner)
        for part in _loops_of(s, last, lanes):
            s.vectorize(part)
        for part in _loops_of(s, last, wide // lanes, folds=True):
            s.unroll(part)
    s.unroll(fold)


def _is_dense(site: Site) -> bool:
    """Whether the two innermost loops fold whole rows, which lie one after the other.

    Lanes may then run on from the end of a row to the next: 28 x 28 numbers fill 98 registers, and
    28 rows of 28 three and a half each.
    """
    if len(site.loops) < 2 or site.conds:
        return False
    assert isinstance(site.leaf, Accumulate)
    row, column = site.loops[-2:]
    if depends(site.leaf.indices, row.var) or not (from_zero(row) and from_zero(column)):
        return False
    return all(in_order(use.buffer, use.indices, row, column) for use in leaf_loads(site.leaf))


def _rows_beside(s: Schedule, stage: str, site: Site, loop: For, lanes: int) -> Loop | None:
    """The loop over rows, if several can be read at once, and come from far.

    Memory answers several streams faster than one: the rows of 4096 x 4096, one by one, came at
    17.6 GB/s on Zen 3, four beside each other at 22 (eight at 19).
    """
    if len(site.loops) < 2 or not isinstance(site.leaf, Accumulate):
        return None
    row, leaf = site.loops[-2], site.leaf
    whole = extent_of(row) % ROWS == 0 and extent_of(loop) % (ROW_VECTORS * lanes) == 0
    many = extent_of(row) >= MANY * ROWS
    far = iterations(site.loops) * leaf.buffers[0].dtype.bytes > CACHE_BYTES
    alone = all(b in leaf.buffers for b in facts(row).written)
    if whole and many and far and alone and lanes != ROWS and depends(leaf.indices, row.var):
        return Loop(s, stage, row.var)
    return None


def _factored(s: Schedule, stage: str, loop: Loop, *, last: bool = False) -> tuple[str, Loop]:
    """Partial results for each iteration of `loop`: their stage, and the loop that folds them."""
    before, name = set(s.stages), loop.name
    s.rfactor(loop, last=last)
    made = next(x for x in s.stages if x not in before)
    return made, s.loops(stage)[-1] if s.loops(stage) else s.loop(stage, f"{name}.fold")


def _registers(site: Site, loop: For, lanes: int) -> int:
    """How many registers of partial results: as many as leave no rest of `loop`, if some do."""
    assert isinstance(site.leaf, Accumulate)
    extent = extent_of(loop)
    if max(map(cost_of, site.leaf.values)) >= LONG_WORK:
        return 1  # A step takes longer than an addition, and its constants need registers.
    steps = iterations(x for x in site.loops if not depends(site.leaf.indices, x.var))
    fits = (n for n in REGISTERS if extent % (n * lanes) == 0 and steps >= 2 * n * lanes)
    return next(fits, VECTORS if extent >= 2 * VECTORS * lanes else 1)


def _loops_of(s: Schedule, stage: str, extent: int, *, folds: bool = False) -> list[Loop]:
    """The loops of the given extent that choose a stage's element, or, of a fold, what it adds."""
    found: dict[object, Loop] = {}
    for site in stage_sites(s.program, stage):
        assert not isinstance(site.leaf, Check), "a stage is written by stores"
        uses = [use.indices for use in leaf_loads(site.leaf)] if folds else [site.leaf.indices]
        for loop in site.loops:
            own = const_int(loop.extent) == extent
            if own and any(depends(indices, loop.var) for indices in uses):
                found[loop.var] = Loop(s, stage, loop.var)
    return list(found.values())


def _accumulation(s: Schedule, stage: str) -> Site | None:
    """The one statement that folds values into `stage`, and maybe into others beside."""
    found = [x for x in stage_sites(s.program, stage) if isinstance(x.leaf, Accumulate)]
    return found[0] if len(found) == 1 else None


def _contiguous(site: Site) -> For | None:
    """A reduced loop along which every operand is contiguous, or does not move at all."""
    assert isinstance(site.leaf, Accumulate)
    for loop in reversed(site.loops):
        if depends(site.leaf.indices, loop.var):
            continue
        steps = [stride(use, loop.var) for use in leaf_loads(site.leaf)]
        if 1 in steps and None not in steps:
            return loop
    return None


def reads_rows(site: Site) -> bool:
    """Whether the innermost loop reduces contiguous neighbours, which no other result shares."""
    folds = bool(site.loops) and isinstance(site.leaf, Accumulate)
    return folds and _contiguous(site) is site.loops[-1] and not reads_windows(site)


def reads_windows(site: Site) -> bool:
    """Whether neighbours among the results read neighbours, each a few, so that lanes are these."""
    if len(site.loops) < 2 or not isinstance(site.leaf, Accumulate):
        return False
    (*around, along), last = site.loops, site.leaf.indices[-1:]
    lane = next((x for x in reversed(around) if depends(last, x.var)), None)
    if lane is None or extent_of(along) > extent_of(lane):
        return False
    uses = leaf_loads(site.leaf)
    near = [stride(use, lane.var) == 1 and depends(use.indices[-1:], along.var) for use in uses]
    return any(near) and all(stride(use, lane.var) is not None for use in uses)


def of_everything(s: Schedule, stage: str) -> None:
    """Cut a reduction to one element in parts, each with a partial result, for threads.

    Raises:
        ScheduleError: a step is refused.
    """
    site = _accumulation(s, stage)
    if site is None or any(depends(site.leaf.indices, x.var) for x in site.loops):  # type: ignore[union-attr]
        return
    if len(site.loops) > 1:
        loop = Loop(s, stage, site.loops[0].var)
    elif site.loops and extent_of(site.loops[0]) >= 4 * CHUNK:
        loop, _ = s.split(Loop(s, stage, site.loops[0].var), CHUNK)
    else:
        return
    partials, _ = _factored(s, stage, loop)
    # One nest for each part: an initialisation, then its sum.
    first = stage_sites(s.program, partials)[0]
    if len(first.loops) == 1:
        s.fuse_with(Loop(s, partials, first.loops[0].var), Loop(s, partials, loop.var))


def by_parts(s: Schedule, stage: str) -> None:
    """Sum a few long columns in parts, each with a row of partial results, for threads.

        for c:                               for p:
          S[c] = 0.0                           for c:
          for i: S[c] += x[i, c]     becomes     P[p, c] = 0.0
                                                 for i: P[p, c] += x[p * n + i, c]
                                             for p: for c: S[c] += P[p, c]

    How many there are depends on the extents alone, so that the bits do not on the threads.

    Raises:
        ScheduleError: a step is refused.
    """
    site = _accumulation(s, stage)
    if site is None or site.private or iterations(site.loops) < LONG_COLUMNS:
        return
    assert isinstance(site.leaf, Accumulate)
    spatial = [x for x in site.loops if depends(site.leaf.indices, x.var)]
    reduced = [x for x in site.loops if x not in spatial]
    if len(spatial) != 1 or site.loops[0] is not spatial[0] or extent_of(spatial[0]) > FEW:
        return
    long = extent_of(reduced[0])
    parts = next((n for n in PARTS if long % n == 0), 1)
    if parts == 1:
        return
    part, column = Loop(s, stage, reduced[0].var), Loop(s, stage, spatial[0].var)
    if long > parts:
        part, _ = s.split(part, long // parts)
    s.reorder(part, column)
    partials, _ = _factored(s, stage, part)
    first, last = stage_sites(s.program, partials)
    for a, b in zip(first.loops, last.loops, strict=False):
        s.fuse_with(Loop(s, partials, a.var), Loop(s, partials, b.var))


def down_columns(s: Schedule, stage: str, target: Target) -> None:
    """Keep a part of the result in registers or the nearest cache, and add row after row to it.

    Raises:
        ScheduleError: a step is refused.
    """
    found = stage_sites(s.program, stage)
    site = _accumulation(s, stage)
    if site is None or len(found) != 2:
        return
    assert isinstance(site.leaf, Accumulate)
    loops = _own_loops(site)
    spatial = [x for x in loops if depends(site.leaf.indices, x.var)]
    reduced = [x for x in loops if x not in spatial]
    if not spatial or not reduced or loops[: len(spatial)] != spatial:
        return
    lane = spatial[-1]
    if any(stride(use, lane.var) is None for use in leaf_loads(site.leaf)):
        return
    lanes = lanes_of(site, target)
    far = iterations(site.loops) * site.leaf.buffers[0].dtype.bytes > CACHE_BYTES
    wide = COLUMN_VECTORS * lanes
    if far:  # As long a part of each row as can be: rows lie on different pages.
        share = -(-extent_of(lane) // target.resolved().threads)
        most = ROW_BYTES // site.leaf.buffers[0].dtype.bytes
        wide = max(wide, min(-(-share // wide) * wide, most))
    column = Loop(s, stage, lane.var)
    outer = [Loop(s, stage, x.var) for x in spatial[:-1]]
    alone = len(site.leaf.buffers) == 1  # The parts of a pair cannot be cached apart.
    if extent_of(lane) > wide or (far and alone):
        tile, column = s.split(column, wide)
        outer.append(tile)
    rows = [Loop(s, stage, x.var) for x in reduced]
    s.reorder(*rows, column)
    if site.conds and extent_of(reduced[-1]) <= WINDOW:
        s.unroll(rows[-1])  # Lanes at the edges are known then, and all others need no mask.
    if not outer or not alone:
        for x in stage_sites(s.program, stage):
            attempt(s, partial(vectors, s, Loop(s, stage, x.loops[-1].var), lanes))
        return
    s.cache_write(stage, outer[-1])
    together = COLUMN_ROWS if _one_stream(s, site) else ROWS
    if far and extent_of(reduced[-1]) % together == 0:
        attempt(s, partial(_rows_together, s, rows[-1], column, lanes, together))
    finish_tile(s, outer[-1].var, lanes)


def _own_loops(site: Site) -> list[For]:
    """The loops around a fold, without those outside of what it folds into."""
    assert isinstance(site.leaf, Accumulate)
    loops = list(site.loops)
    if site.leaf.buffers[0] in site.private:
        while loops and not depends(site.leaf.indices, loops[0].var):
            del loops[0]
    return loops


def _one_stream(s: Schedule, site: Site) -> bool:
    """Whether a fold reads one array, which nothing else reads, in a pass that could be joined.

    4096 x 4096 down its columns came at 28 GB/s on two cores of Zen 3 with four rows at once, at
    34 with eight; beside a second array, or in a pass of two folds, eight were up to 30 % slower.
    """
    read = {use.buffer for use in leaf_loads(site.leaf)}
    passes = [nest for nest in nests(s.program.body) if not facts(nest).read.isdisjoint(read)]
    return len(read) == 1 and len(passes) == 1


def _rows_together(s: Schedule, row: Loop, column: Loop, lanes: int, rows: int) -> None:
    """Add several rows to each register of the result before the next is loaded."""
    _, inner = s.split(row, rows)
    register, lane = s.split(column, lanes)
    s.reorder(register, inner, lane)
    s.unroll(inner)
    s.vectorize(lane)
