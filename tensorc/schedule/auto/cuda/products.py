"""Contractions on a GPU: tiles of the operands in shared memory, of the result in registers.

    for io, jo in blocks:
      alloc C.local local                          # Each thread keeps its own part of it.
      for ko: A.local, B.local = a tile of A, of B, fetched by all threads into shared memory
              for ty, tx in threads: for ki: C.local += A.local * B.local
      C = what is computed from C.local, element by element

The operand of the rows is stored transposed, so that a thread reads its rows' elements as vectors;
its stride is padded, so that threads that store them meet in few banks. Ragged edges are padded
with zeros in shared memory; only what leaves the tile is guarded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import const_int
from tensorc.ir.stmt import Check, Store
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import SYMBOLIC, iterations
from tensorc.schedule.auto.cuda.boxes import Side, box_of, one, sides, take
from tensorc.schedule.auto.cuda.partials import fold_in_parts
from tensorc.schedule.auto.cuda.tensor_cores import tensor_product, warp_tile
from tensorc.schedule.auto.cuda.tiles import Tile, best_tile, depth_of, parts_of
from tensorc.schedule.auto.cuda.tiling import (
    all_steps,
    collect,
    copied_ahead,
    cut,
    fetched,
    on_blocks,
    padded_rows,
    phases_of,
    problem_of,
    sides_of,
    steps_first,
    whole_vectors,
)
from tensorc.schedule.auto.cuda.warp_groups import group_columns, group_product
from tensorc.schedule.auto.cuda.warps import RESIDENT, stages_of, warp_parts
from tensorc.schedule.auto.operands import Product, product_of
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import find_buffer, find_loop, own_loops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Buffer
    from tensorc.schedule.auto.cuda.tiling import Copy, Dims, Tiled
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site
    from tensorc.target import Target

PAD = 4  # Elements by which rows of a transposed tile are longer: 16 bytes keep vectors aligned.
BANKS = 32
SECTOR = 8  # Neighbours of a row in one sector of global memory, of 4 bytes each.
WORD = 4
ASYNC = 80  # The capability with asynchronous copies, of so many bytes.
ASYNC_BYTES = (4, 8, 16)
UNROLL = 16  # Steps that are written out.
STAGES = 3  # Steps in shared memory at most, where they are fetched ahead.
SHARED_BYTES = 48 * 1024
LEAST_WORK = 8  # Steps of a reduction below which a tile is not worth its copies.


@dataclass(frozen=True, slots=True)
class Cut:
    """A side of a tile: warps, groups of a warp's part, threads, and neighbours of a thread.

    With `pairs` neighbouring threads of a side count before those of the other one: see `cut_of`.
    """

    warps: int
    groups: int
    threads: int
    vector: int
    pairs: bool


def cut_of(side: int, regs: int, warp: int) -> Cut:
    """How a side is cut: a thread has vectors of 4, one in each of `groups` parts of a warp's part.

    So the threads of a warp read neighbouring vectors from shared memory, in different banks. Where
    `warp` threads of each side are a warp's, lane 2 b + a has the neighbours a of one side and b of
    the other: each 16 bytes are then read by two lanes that differ in one of the lowest two bits.
    """
    vector = 4 if regs % 4 == 0 else regs if regs == 2 else 1
    threads = side // regs
    if not warp:
        return Cut(1, regs // vector, threads, vector, pairs=False)
    return Cut(threads // warp, regs // vector, warp, vector, pairs=True)


def split_products(s: Schedule, target: Target) -> None:
    """Split long reductions of products with few results among more blocks, by partial results."""
    for stage in list(s.stages):
        product = product_of(s, stage)
        if product is None or any(const_int(x.extent) is None for x in product.reduced):
            continue
        problem, sms = problem_of(product, *_sides(product, target)), target.resolved().sms
        wide = warp_tile(product, target)
        if wide is not None:
            parts, depth = warp_parts(wide, problem, sms), wide.depth
        else:
            tile = best_tile(problem, target)
            parts, depth = parts_of(tile, problem, target), depth_of(problem.k)
        if parts > 1:
            every = product.spatial, product.reduced
            multiple = depth if len(product.reduced) == 1 else 1
            attempt(s, partial(fold_in_parts, s, stage, *every, parts, multiple))


def tile_product(s: Schedule, stage: str, target: Target) -> None:
    """Put a contraction on a grid of tiles, with what is computed from its elements in them.

    Raises:
        ScheduleError: a step is refused; the operands take too much shared memory.
    """
    product = product_of(s, stage)
    if product is None or iterations(product.reduced) < LEAST_WORK:
        return
    wide = warp_tile(product, target)
    width = group_columns(product, target) if wide is not None else None
    if width is not None and attempt(s, partial(group_product, s, stage, product, width, target)):
        return
    if wide is not None and attempt(s, partial(tensor_product, s, stage, product, wide, target)):
        return
    rows, columns = _sides(product, target)
    tile = best_tile(problem_of(product, rows, columns), target)
    depth = depth_of(const_int(steps_first(product)[-1].extent) or SYMBOLIC)
    boxes = box_of(rows.axes, tile.rows), box_of(columns.axes, tile.columns)
    made = cut(s, stage, product, (rows, boxes[0]), (columns, boxes[1]), depth)
    copies = fetched(s, made, sides_last=True)
    total = sum(x.bytes for x in copies)
    if total > SHARED_BYTES or not copies:
        raise ScheduleError(f"tile_product({stage}): {total} bytes are too much shared memory")
    collect(s, stage, product, made)
    _threads(s, made, tile, copies, target)
    if _is_ahead(s, copies):
        step = all_steps(s, made)
        stages = stages_of(total, const_int(s.extent(step)) or 0, RESIDENT, target.cuda)
        if stages > 1:
            attempt(s, partial(s.pipeline, step, min(stages, STAGES)))
    on_blocks(s, made)


def _sides(product: Product, target: Target) -> tuple[Side, Side]:
    """The sides of a tile: of one loop each where copies go through registers, which are few."""
    if target.cuda.capability >= ASYNC:
        return sides(product)
    return Side((product.rows,)), Side((product.lane,))


def _is_ahead(s: Schedule, copies: Sequence[Copy]) -> bool:
    """Whether all copies of a step are asynchronous."""
    loops = [[find_loop(s.program, x.var) for x in s.loops(c.name)] for c in copies]
    return all(any(x and ("async", True) in x.annotations for x in each) for each in loops)


# --- threads --------------------------------------------------------------------------------------


def _threads(
    s: Schedule,
    made: Tiled,
    tile: Tile,
    operands: Sequence[Copy],
    target: Target,
) -> None:
    """Give every nest inside of a block its threads.

    Raises:
        ScheduleError: a step is refused; a nest has no rows and columns of the tile.
    """
    copies = {x.name for x in operands}
    for copy in operands:
        _fetch(s, copy, tile, target)
    every, dims = phases_of(s, made)
    for site in every:
        assert not isinstance(site.leaf, Check), "a stage is computed by stores"
        name = written_buffers(site.leaf)[0].name
        if name not in copies:
            _elements(s, name, site, dims, tile)


def _fetch(s: Schedule, copy: Copy, tile: Tile, target: Target) -> None:
    """Fetch a tile with all threads of a block, as vectors where rows are multiples of them.

    A transposed tile is copied asynchronously element by element: 8 neighbours of each of 4 rows by
    a warp, which are whole sectors of global memory, and in its padded rows lie in 32 banks.
    """
    buffer = find_buffer(s.program, copy.name)
    assert buffer is not None, "the copy stands in the program"
    padded = copy.transposed and padded_rows(s, copy, PAD)
    lanes = whole_vectors(s, copy)
    ahead = target.cuda.capability >= ASYNC and copy.source.dtype.bytes * lanes in ASYNC_BYTES
    if ahead and copy.transposed and copy.source.dtype.bytes == WORD:
        if padded and attempt(s, partial(_by_sectors, s, copy, tile)):
            return
        lanes = 1
    s.cooperative_fetch(copy.name, tile.threads, lanes)
    if ahead:
        copied_ahead(s, copy)


def _by_sectors(s: Schedule, copy: Copy, tile: Tile) -> None:
    """Copy elements asynchronously, SECTOR neighbours of each row side by side.

    Raises:
        ScheduleError: a step is refused; rows are no multiple of a sector.
    """
    *before, down, across = s.loops(copy.name)[-copy.source.ndim :]
    rows, length = (const_int(s.extent(x)) or 1 for x in (down, across))
    if length % SECTOR or rows % (tile.threads // SECTOR):
        raise ScheduleError(f"a copy of {rows} x {length} elements does not fit the threads")
    outer, x = s.split(across, SECTOR)
    groups, y = s.split(down, tile.threads // SECTOR)
    s.reorder(y, x, *before, groups, outer)
    for loop in (*before, groups, outer):
        s.unroll(loop)
    s.bind(y, "thread.y")
    s.bind(x, "thread.x")
    s.annotate(x, "async", True)


def _elements(s: Schedule, name: str, site: Site, dims: dict[Buffer, Dims], tile: Tile) -> None:
    """Cut the loops over a tile's rows and columns into those of threads and of registers."""
    own = {x.var: x for x in own_loops(s.program, site.leaf)}
    rows, columns = sides_of(site, own, dims)
    inner = [Loop(s, name, v) for v in own if v not in {*rows, *columns}]
    cuts = cut_of(tile.rows, tile.row_regs, tile.warp_rows)
    down = _cut(s, [Loop(s, name, v) for v in rows], cuts)
    cuts = cut_of(tile.columns, tile.column_regs, tile.warp_columns)
    across = _cut(s, [Loop(s, name, v) for v in columns], cuts)
    registers = [*down.registers, *across.registers]
    far = [*down.warps, *across.warps, *down.pairs, *across.pairs]
    s.reorder(*far, *down.threads, *across.threads, *inner, *registers)
    for loop in inner:
        if (const_int(s.extent(loop)) or UNROLL + 1) <= UNROLL:
            s.unroll(loop)
    for loop in registers:
        last = loop is registers[-1] and isinstance(site.leaf, Store)
        if last and across.registers and attempt(s, partial(s.vectorize, loop)):
            continue
        s.unroll(loop)
    if far:
        s.bind(one(s, far), "thread.z")
    for loops, axis in ((down.threads, "thread.y"), (across.threads, "thread.x")):
        if loops:
            s.bind(one(s, loops), axis)


@dataclass(frozen=True, slots=True)
class Parts:
    """The loops of a side of a tile: of warps, of their threads, and of a thread's registers."""

    warps: list[Loop]
    pairs: list[Loop]
    threads: list[Loop]
    registers: list[Loop]


def _cut(s: Schedule, loops: Sequence[Loop], cut: Cut) -> Parts:
    """Cut a side among warps, groups of neighbours, threads of a warp, and neighbours."""
    paired = cut.pairs and cut.threads > 2
    rest, vector = take(s, loops, cut.vector)
    rest, threads = take(s, rest, 2 if paired else cut.threads)
    rest, pairs = take(s, rest, cut.threads // 2 if paired else 1)
    rest, groups = take(s, rest, cut.groups)
    return Parts(rest, pairs, threads, [*groups, *vector])
