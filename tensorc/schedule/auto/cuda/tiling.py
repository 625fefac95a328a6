"""What tiles of a contraction have in common, whatever computes them: loops, copies, blocks.

    for io, jo in blocks:
      alloc C.local local                          # The tile of the result.
      for ko: A.local, B.local = a tile of A, of B, in shared memory
              for i, j, ki: C.local += A.local * B.local
      C = what is computed from C.local, element by element

Which threads do what, inside of a block, is said in `products` and in `tensor_cores`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, TypeAlias

from tensorc.errors import ScheduleError
from tensorc.ir.affine import linear
from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate, Check
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import SYMBOLIC, depends, extent_of, iterations
from tensorc.schedule.auto.cuda.consumers import consume
from tensorc.schedule.auto.cuda.tiles import Problem
from tensorc.schedule.auto.products import Product, relax
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import find_allocation, find_buffer, find_loop, sites, stage_sites

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc.ir.expr import Buffer, Load, Var
    from tensorc.ir.stmt import For
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site

VECTOR_BYTES = 16  # The most that a thread copies at once.
GROUP = 8  # Rows of blocks that run at the same time, with all columns...
MANY = 16  # ... where these are so many that their operand does not stay in a cache.

Dims: TypeAlias = tuple[int, int]  # Which dimensions of a buffer are a tile's rows and columns.


@dataclass(frozen=True, slots=True)
class Tiled:
    """The loops of a tiled product: blocks, steps, and those of a tile."""

    around: tuple[Loop, ...]
    block: Loop
    step: Loop
    row: Var
    column: Var


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


def cut(s: Schedule, stage: str, product: Product, rows: int, columns: int, depth: int) -> Tiled:
    """Cut rows, columns and the reduction, and put the steps outside of a tile's elements."""
    sides = (product.lane, product.rows)
    before = [Loop(s, stage, x.var) for x in product.spatial if x not in sides]
    row_outer, row = s.split(Loop(s, stage, product.rows.var), rows)
    column_outer, column = s.split(Loop(s, stage, product.lane.var), columns)
    s.reorder(*before, row_outer, column_outer, row, column)
    *others, last = steps_first(product)
    step, inner = s.split(Loop(s, stage, last.var), depth)
    steps = [*(Loop(s, stage, x.var) for x in others), step]
    s.reorder(*steps, row, column, inner)
    return Tiled((row_outer, *reversed(before)), column_outer, step, row.var, column.var)


def steps_first(product: Product) -> list[For]:
    """The reduced loops, the longest last: it is the one that is cut in steps."""
    longest = max(product.reduced, key=extent_of)
    return [*(x for x in product.reduced if x is not longest), longest]


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy of an operand's tile in shared memory.

    Attributes:
        name: its stage.
        source: the operand.
        transposed: its dimensions are in another order than the operand's.
        by_steps: its last dimension is that of the steps of the reduction.
        bytes: what it takes.
    """

    name: str
    source: Buffer
    transposed: bool
    by_steps: bool
    bytes: int


def fetched(s: Schedule, made: Tiled, *, sides_last: bool) -> list[Copy]:
    """Copy each operand's tile to shared memory, its rows or columns last.

    Without `sides_last` only where neither they nor the steps of the reduction are last already.
    """
    found = find_loop(s.program, made.step.var)
    assert found is not None, "the loop over steps stands in the program"
    (site,) = sites(found)
    inner = site.loops[-1].var
    copies: list[Copy] = []
    done: set[Buffer] = set()
    for use in leaf_loads(site.leaf):
        if use.buffer in done or not use.indices:
            continue
        done.add(use.buffer)
        order = _order(use, made)
        if order is None:
            continue
        kept = order == sorted(order) or (not sides_last and _is_by_rows(use, order[-1], inner))
        given = None if kept else order
        stage = s.cache_read(use.buffer.name, made.step, scope="shared", order=given, pad=0)
        buffer = find_buffer(s.program, stage.name)
        assert buffer is not None, "the copy was just made"
        by_steps = kept and order != sorted(order)
        copies.append(Copy(stage.name, use.buffer, not kept, by_steps, size_of(buffer)))
    return copies


def size_of(buffer: Buffer) -> int:
    """The bytes that a buffer takes."""
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


def _is_by_rows(use: Load, side: int, inner: Var) -> bool:
    """Whether the last dimension of an operand is that of a side, or that of the steps alone."""
    last = len(use.indices) - 1
    along = [d for d, i in enumerate(use.indices) if depends([i], inner)]
    return side == last or along == [last]


def whole_vectors(s: Schedule, copy: Copy) -> int:
    """How many neighbours a thread copies at once: up to 16 bytes, on a multiple of them."""
    (*_, site) = stage_sites(s.program, copy.name)
    row = const_int(copy.source.shape[-1])
    extent = const_int(site.loops[-1].extent)
    form = linear(next(u for u in leaf_loads(site.leaf) if u.buffer is copy.source).indices[-1])
    if row is None or extent is None or form is None:
        return 1
    steps = [c for v, c in form.coeffs.items() if v is not site.loops[-1].var]
    return gcd(VECTOR_BYTES // copy.source.dtype.bytes, row, extent, form.const, *steps)


def collect(s: Schedule, stage: str, product: Product, made: Tiled) -> None:
    """Keep the tile in a buffer of its own, with what is computed from its elements in the block.

    Raises:
        ScheduleError: a step is refused.
    """
    consume(s, stage, product.spatial, made.block)
    block = find_loop(s.program, made.block.var)
    assert block is not None, "the loop over blocks stands in the program"
    kept = find_allocation(block.body, stage)
    if kept is None:
        s.cache_write(stage, made.block)
    elif kept.buffer.scope != "local":  # A large tile: each thread has a part of it.
        s.set_scope(stage, "local")
    relax(s, made.block)


def on_blocks(s: Schedule, made: Tiled) -> None:
    """Bind the loops around a tile to the axes of the grid, by groups of rows of blocks.

    Raises:
        ScheduleError: a step is refused.
    """
    axes = ("block.x", "block.y", "block.z")
    blocks = [made.block, *made.around]
    if _is_grouped(s, made):
        blocks[:2] = [s.rasterize(made.around[0], made.block, GROUP)]
    for loop in blocks[2:-1]:
        blocks[-1] = s.fuse(blocks[-1], loop)
    for loop, axis in zip([*blocks[:2], *blocks[2:][-1:]], axes, strict=False):
        s.bind(loop, axis)


def _is_grouped(s: Schedule, made: Tiled) -> bool:
    """Whether blocks go through the tiles by groups of rows."""
    rows, columns = const_int(s.extent(made.around[0])), const_int(s.extent(made.block))
    return bool(rows) and (rows or 0) % GROUP == 0 and (columns or 0) >= MANY


def on_multiprocessors(s: Schedule, made: Tiled, sms: int) -> None:
    """Let a block for each multiprocessor go through the tiles, one after the other.

    What a tile begins with is then fetched while the one before it is stored.

    Raises:
        ScheduleError: a step is refused.
    """
    rows, *batches = made.around
    grouped = _is_grouped(s, made)
    tile = s.rasterize(rows, made.block, GROUP) if grouped else s.fuse(rows, made.block)
    for loop in batches:
        tile = s.fuse(loop, tile)
    turn, block = s.split(tile, sms)
    s.reorder(block, turn)
    s.bind(block, "block.x")


def phases_of(s: Schedule, product: Product, made: Tiled) -> tuple[list[Site], dict[Buffer, Dims]]:
    """The statements of a block, and which dimensions of the result's tile are its sides."""
    block = find_loop(s.program, made.block.var)
    assert block is not None, "the loop over blocks stands in the program"
    found = sites(block.body)
    (row,) = (d for d, i in enumerate(product.leaf.indices) if i is product.rows.var)
    first = next(x.leaf for x in found if isinstance(x.leaf, Accumulate))
    return found, {first.buffers[0]: (row, len(product.leaf.indices) - 1)}


def sides_of(site: Site, loops: Mapping[Var, For], dims: dict[Buffer, Dims]) -> tuple[Var, Var]:
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
