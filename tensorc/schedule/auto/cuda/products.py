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
from tensorc.schedule.auto.cuda.partials import fold_in_parts
from tensorc.schedule.auto.cuda.tensor_cores import tensor_product, warp_tile
from tensorc.schedule.auto.cuda.tiles import Tile, best_tile, depth_of, parts_of
from tensorc.schedule.auto.cuda.tiling import (
    collect,
    cut,
    fetched,
    on_blocks,
    phases_of,
    problem_of,
    sides_of,
    steps_first,
    whole_vectors,
)
from tensorc.schedule.auto.cuda.warps import warp_parts
from tensorc.schedule.auto.products import Product, product_of
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.schedule import Loop, Schedule
from tensorc.schedule.tree import find_buffer, own_loops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Buffer
    from tensorc.schedule.auto.cuda.tiling import Copy, Dims, Tiled
    from tensorc.schedule.tree import Site
    from tensorc.target import Target

PAD = 4  # Elements by which rows of a transposed tile are longer: 16 bytes keep vectors aligned.
BANKS = 32
SHARED_BYTES = 48 * 1024
LEAST_WORK = 8  # Steps of a reduction below which a tile is not worth its copies.


@dataclass(frozen=True, slots=True)
class Cut:
    """A loop over a side of a tile: groups, threads, and neighbours of a thread."""

    groups: int
    threads: int
    vector: int


def cut_of(side: int, regs: int) -> Cut:
    """How a side is cut: a thread has vectors of 4, one in each of `groups` parts of the side.

    So the threads of a warp read neighbouring vectors from shared memory, in different banks.
    """
    vector = 4 if regs % 4 == 0 else regs if regs == 2 else 1
    return Cut(regs // vector, side // regs, vector)


def split_products(s: Schedule, target: Target) -> None:
    """Split long reductions of products with few results among more blocks, by partial results."""
    for stage in list(s.stages):
        product = product_of(s, stage)
        if product is None or any(const_int(x.extent) is None for x in product.reduced):
            continue
        problem, sms = problem_of(product), target.resolved().sms
        wide = warp_tile(product, target)
        if wide is not None:
            parts, depth = warp_parts(wide, problem, sms), wide.depth
        else:
            tile = best_tile(problem, sms)
            parts, depth = parts_of(tile, problem, sms), depth_of(problem.k, tile)
        if parts > 1 and len(product.reduced) == 1:
            every = product.spatial, product.reduced
            attempt(s, partial(fold_in_parts, s, stage, *every, parts, depth))


def tile_product(s: Schedule, stage: str, target: Target) -> None:
    """Put a contraction on a grid of tiles, with what is computed from its elements in them.

    Raises:
        ScheduleError: a step is refused; the operands take too much shared memory.
    """
    product = product_of(s, stage)
    if product is None or iterations(product.reduced) < LEAST_WORK:
        return
    wide = warp_tile(product, target)
    if wide is not None and attempt(s, partial(tensor_product, s, stage, product, wide, target)):
        return
    tile = best_tile(problem_of(product), target.resolved().sms)
    depth = depth_of(const_int(steps_first(product)[-1].extent) or SYMBOLIC, tile)
    made = cut(s, stage, product, tile.rows, tile.columns, depth)
    copies = fetched(s, made, sides_last=True)
    total = sum(x.bytes for x in copies)
    if total > SHARED_BYTES or not copies:
        raise ScheduleError(f"tile_product({stage}): {total} bytes are too much shared memory")
    collect(s, stage, product, made)
    _threads(s, product, made, tile, copies)
    on_blocks(s, made)


# --- threads --------------------------------------------------------------------------------------


def _threads(
    s: Schedule, product: Product, made: Tiled, tile: Tile, operands: Sequence[Copy]
) -> None:
    """Give every nest inside of a block its threads.

    Raises:
        ScheduleError: a step is refused; a nest has no rows and columns of the tile.
    """
    copies = {x.name for x in operands}
    for copy in operands:
        _fetch(s, copy, tile)
    every, dims = phases_of(s, product, made)
    for site in every:
        assert not isinstance(site.leaf, Check), "a stage is computed by stores"
        name = written_buffers(site.leaf)[0].name
        if name not in copies:
            _elements(s, name, site, dims, tile)


def _fetch(s: Schedule, copy: Copy, tile: Tile) -> None:
    """Fetch a tile with all threads of a block, as vectors where rows are multiples of them."""
    buffer = find_buffer(s.program, copy.name)
    assert buffer is not None, "the copy stands in the program"
    if copy.transposed and buffer.ndim > 1 and (const_int(buffer.shape[-1]) or 0) % BANKS == 0:
        s.storage_align(copy.name, buffer.ndim - 2, BANKS, PAD)
    s.cooperative_fetch(copy.name, tile.threads, whole_vectors(s, copy))


def _elements(s: Schedule, name: str, site: Site, dims: dict[Buffer, Dims], tile: Tile) -> None:
    """Cut the loops over a tile's rows and columns into those of threads and of registers."""
    own = {x.var: x for x in own_loops(s.program, site.leaf)}
    row, column = sides_of(site, own, dims)
    inner = [Loop(s, name, v) for v in own if v is not row and v is not column]
    down = _cut(s, Loop(s, name, row), cut_of(tile.rows, tile.row_regs))
    across = _cut(s, Loop(s, name, column), cut_of(tile.columns, tile.column_regs))
    registers = [*down[1:], *across[1:]]
    s.reorder(down[0], across[0], *inner, *registers)
    for loop in registers:
        last = loop is registers[-1] and isinstance(site.leaf, Store)
        if last and len(across) > 1 and attempt(s, partial(s.vectorize, loop)):
            continue
        s.unroll(loop)
    s.bind(down[0], "thread.y")
    s.bind(across[0], "thread.x")


def _cut(s: Schedule, loop: Loop, cut: Cut) -> list[Loop]:
    """The threads' loop, then those of their registers: groups and neighbours."""
    groups = vector = None
    if cut.groups > 1:
        groups, loop = s.split(loop, cut.threads * cut.vector)
    if cut.vector > 1:
        loop, vector = s.split(loop, cut.vector)
    return [loop, *(x for x in (groups, vector) if x is not None)]
