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
from typing import TYPE_CHECKING, TypeAlias

from tensorc.errors import ScheduleError
from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate, Check, For, Store
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import SYMBOLIC, depends, extent_of, iterations
from tensorc.schedule.auto.cuda.consumers import consume
from tensorc.schedule.auto.cuda.partials import fold_in_parts
from tensorc.schedule.auto.cuda.tiles import Problem, Tile, best_tile, depth_of, parts_of
from tensorc.schedule.auto.products import Product, product_of, relax
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.schedule import Loop, Schedule
from tensorc.schedule.tree import find_allocation, find_buffer, find_loop, own_loops, sites

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.ir.expr import Buffer, Load, Var
    from tensorc.schedule.tree import Site
    from tensorc.target import Target

Dims: TypeAlias = tuple[int, int]  # Which dimensions of a buffer are a tile's rows and columns.

VECTOR_BYTES = 16
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
        problem = problem_of(product)
        sms = target.resolved().sms
        tile = best_tile(problem, sms)
        parts = parts_of(tile, problem, sms)
        if parts > 1 and len(product.reduced) == 1:
            every = product.spatial, product.reduced
            depth = depth_of(problem.k, tile)
            attempt(s, partial(fold_in_parts, s, stage, *every, parts, depth))


def problem_of(product: Product) -> Problem:
    """The sizes of a contraction."""
    others = [x for x in product.spatial if x not in (product.rows, product.lane)]
    return Problem(
        extent_of(product.rows),
        extent_of(product.lane),
        iterations(product.reduced),
        iterations(others),
        max(b.dtype.bytes for b in product.leaf.buffers),
    )


def tile_product(s: Schedule, stage: str, target: Target) -> None:
    """Put a contraction on a grid of tiles, with what is computed from its elements in them.

    Raises:
        ScheduleError: a step is refused; the operands take too much shared memory.
    """
    product = product_of(s, stage)
    if product is None or iterations(product.reduced) < LEAST_WORK:
        return
    tile = best_tile(problem_of(product), target.resolved().sms)
    made = _tiled(s, stage, product, tile)
    operands = _fetched(s, stage, made)
    consume(s, stage, product.spatial, made.block)
    block = find_loop(s.program, made.block.var)
    assert block is not None, "the loop over blocks stands in the program"
    kept = find_allocation(block.body, stage)
    if kept is None:
        s.cache_write(stage, made.block)
    relax(s, made.block)
    _threads(s, product, made, tile, operands)
    axes = ("block.x", "block.y", "block.z")
    blocks = [made.block, *made.around]
    for loop in blocks[2:-1]:
        blocks[-1] = s.fuse(blocks[-1], loop)
    for loop, axis in zip([*blocks[:2], *blocks[2:][-1:]], axes, strict=False):
        s.bind(loop, axis)


@dataclass(frozen=True, slots=True)
class Tiled:
    """The loops of a tiled product: blocks, steps, and those of a tile."""

    around: tuple[Loop, ...]
    block: Loop
    step: Loop
    row: Var
    column: Var


def _tiled(s: Schedule, stage: str, product: Product, tile: Tile) -> Tiled:
    """Cut rows, columns and the reduction, and put the steps outside of a tile's elements."""
    sides = (product.lane, product.rows)
    before = [Loop(s, stage, x.var) for x in product.spatial if x not in sides]
    row_outer, row = s.split(Loop(s, stage, product.rows.var), tile.rows)
    column_outer, column = s.split(Loop(s, stage, product.lane.var), tile.columns)
    s.reorder(*before, row_outer, column_outer, row, column)
    *others, last = _steps_first(product)
    depth = depth_of(const_int(last.extent) or SYMBOLIC, tile)
    step, inner = s.split(Loop(s, stage, last.var), depth)
    steps = [*(Loop(s, stage, x.var) for x in others), step]
    s.reorder(*steps, row, column, inner)
    return Tiled((row_outer, *reversed(before)), column_outer, step, row.var, column.var)


def _steps_first(product: Product) -> list[For]:
    """The reduced loops, the longest last: it is the one that is cut in steps."""
    longest = max(product.reduced, key=extent_of)
    return [*(x for x in product.reduced if x is not longest), longest]


def _fetched(s: Schedule, stage: str, made: Tiled) -> list[tuple[str, bool]]:
    """Copy each operand's tile to shared memory; says of each copy whether it is transposed."""
    found = find_loop(s.program, made.step.var)
    assert found is not None, "the loop over steps stands in the program"
    (site,) = sites(found)
    copies: list[tuple[str, bool]] = []
    total = 0
    done: set[Buffer] = set()
    for use in leaf_loads(site.leaf):
        if use.buffer in done or not use.indices:
            continue
        done.add(use.buffer)
        order = _order(use, made)
        if order is None:
            continue
        given = None if order == sorted(order) else order
        stage_ = s.cache_read(use.buffer.name, made.step, scope="shared", order=given, pad=0)
        buffer = find_buffer(s.program, stage_.name)
        assert buffer is not None, "the copy was just made"
        total += _bytes(buffer)
        copies.append((stage_.name, given is not None))
    if total > SHARED_BYTES or not copies:
        raise ScheduleError(f"tile_product({stage}): {total} bytes are too much shared memory")
    return copies


def _bytes(buffer: Buffer) -> int:
    total = buffer.dtype.bytes
    for n in buffer.shape:
        total *= const_int(n) or SYMBOLIC
    return total


def _order(use: Load, made: Tiled) -> list[int] | None:
    """The order of a copy's dimensions: that which a tile's side goes along is the last.

    None where no side goes along the operand: all threads read the same element.
    """
    for var in (made.column, made.row):
        along = [d for d, i in enumerate(use.indices) if depends([i], var)]
        if len(along) == 1:
            return [*(d for d in range(len(use.indices)) if d != along[0]), along[0]]
        if along:
            return None
    return None


# --- threads --------------------------------------------------------------------------------------


def _threads(
    s: Schedule, product: Product, made: Tiled, tile: Tile, operands: Sequence[tuple[str, bool]]
) -> None:
    """Give every nest inside of a block its threads.

    Raises:
        ScheduleError: a step is refused; a nest has no rows and columns of the tile.
    """
    copies = {name for name, _ in operands}
    for name, transposed in operands:
        _fetch(s, name, tile, transposed=transposed)
    block = find_loop(s.program, made.block.var)
    assert block is not None, "the loop over blocks stands in the program"
    (row,) = (d for d, i in enumerate(product.leaf.indices) if i is product.rows.var)
    first = next(x.leaf for x in sites(block.body) if isinstance(x.leaf, Accumulate))
    dims: dict[Buffer, Dims] = {first.buffers[0]: (row, len(product.leaf.indices) - 1)}
    for site in sites(block.body):
        assert not isinstance(site.leaf, Check), "a stage is computed by stores"
        name = written_buffers(site.leaf)[0].name
        if name not in copies:
            _elements(s, name, site, dims, tile)


def _fetch(s: Schedule, name: str, tile: Tile, *, transposed: bool) -> None:
    """Fetch a tile with all threads of a block, as vectors where rows are multiples of them."""
    loop = s.loops(name)[-1]
    buffer = find_buffer(s.program, name)
    assert buffer is not None, "the copy stands in the program"
    width = VECTOR_BYTES // buffer.dtype.bytes
    source = find_buffer(s.program, name.split(".local")[0])
    rows = const_int(source.shape[-1]) if source is not None else None
    extent = const_int(s.extent(loop)) or 1
    whole = rows is not None and rows % width == 0 and extent % width == 0
    if transposed and buffer.ndim > 1 and (const_int(buffer.shape[-1]) or 0) % BANKS == 0:
        s.storage_align(name, buffer.ndim - 2, BANKS, PAD)
    s.cooperative_fetch(name, tile.threads, width if whole else 1)


def _elements(s: Schedule, name: str, site: Site, dims: dict[Buffer, Dims], tile: Tile) -> None:
    """Cut the loops over a tile's rows and columns into those of threads and of registers."""
    own = {x.var: x for x in own_loops(s.program, site.leaf)}
    row, column = _sides_of(site, own, dims)
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


def _sides_of(site: Site, loops: Mapping[Var, For], dims: dict[Buffer, Dims]) -> tuple[Var, Var]:
    """The loops over rows and columns of the tile around a statement; `dims` learns what it writes.

    Raises:
        ScheduleError: they cannot be told.
    """
    assert not isinstance(site.leaf, Check), "a stage is computed by stores"
    (target,) = written_buffers(site.leaf)
    places = [(target, site.leaf.indices), *((u.buffer, u.indices) for u in leaf_loads(site.leaf))]
    for buffer, indices in places:
        if buffer not in dims:
            continue
        sides = [[v for v in loops if depends([indices[d]], v)] for d in dims[buffer]]
        if all(len(side) == 1 for side in sides):
            row, column = sides[0][0], sides[1][0]
            found = [
                [d for d, i in enumerate(site.leaf.indices) if depends([i], v)]
                for v in (row, column)
            ]
            if all(len(d) == 1 for d in found):
                dims.setdefault(target, (found[0][0], found[1][0]))
            return row, column
    raise ScheduleError(f"the tile's sides around '{target.name}' cannot be told")
