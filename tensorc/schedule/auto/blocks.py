"""Large products by blocks of their sum, whose operands stay in the caches that suit them.

    for io: for ko:                           a block of rows, of the sum
      A.local = the panels of A[io, ko]       packed, read from the last cache
      for jo:                                 a block of columns, for a thread
        B.local = the panels of B[ko, jo]     packed, in the second-level cache
        for i: for j:                         tiles of rows, of columns
          C.local = 0; for ki: C.local += A.local * B.local; C += C.local

A panel of A, the one operand that the tiles beside each other share, stays in the nearest cache
meanwhile, and so do the lines of C that two of them share. What a tile adds to comes while it is
computed, since it is needed at its end alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads, nests, reads
from tensorc.schedule.auto.cost import best_tile, depends, is_index, stride
from tensorc.schedule.auto.operands import product_of, shared_operand
from tensorc.schedule.auto.products import packed, relax
from tensorc.schedule.auto.steps import attempt, finish_tile, vectors
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import stage_sites

if TYPE_CHECKING:
    from tensorc.ir.expr import Load, Var
    from tensorc.schedule.auto.operands import Product
    from tensorc.schedule.schedule import Schedule
    from tensorc.target import Target

LARGE_OPERAND = 11 * 1024 * 1024  # Bytes of each operand from which blocks pay for their passes.
MIN_ROWS = 384  # Rows that must share a packed block of columns for its copy to pay.
NEAREST_BYTES = 32 * 1024  # The nearest cache: a panel of columns, or that and one of rows.
SETS_BYTES = 4096  # Panels that start multiples of this apart meet in the same sets of it.
COLUMNS_BYTES = 384 * 1024  # Of a block of columns: three quarters of a second-level cache.
ROWS_BYTES = 4 * 1024 * 1024  # Of the rows packed together: a part of the last cache.
EVEN = 2  # Steps of a sum that are written out together.
MANY = 64  # Steps for each one that blocks may add.
LONG_SUM = 2048  # Steps from which on what uses the result costs little as a pass of its own.


@dataclass(frozen=True, slots=True)
class Blocks:
    """The operands, and how many steps, rows and columns are in a block."""

    left: Load
    right: Load
    steps: int
    rows: int
    columns: int


def tile_by_blocks(s: Schedule, stage: str, target: Target) -> bool:
    """Tile a product block by block where that pays; whether it is done."""
    product = product_of(s, stage)
    blocks = None if product is None else _blocks_of(s, product, target)
    if product is None or blocks is None:
        return False
    return attempt(s, partial(_in_blocks, s, stage, product, target, blocks))


def _blocks_of(s: Schedule, product: Product, target: Target) -> Blocks | None:
    """The blocks of a product, where its operands are so large that they pay."""
    if len(product.spatial) != 2 or len(product.reduced) != 1:
        return None
    m, n, k = (const_int(x.extent) for x in (product.rows, product.lane, product.reduced[0]))
    right = shared_operand(product)
    others = [x for x in leaf_loads(product.leaf) if x is not right]
    if m is None or n is None or k is None or right is None or len(others) != 1:
        return None
    (left,) = others
    size = right.buffer.dtype.bytes
    if m < MIN_ROWS or min(m, n) * k * size < LARGE_OPERAND or not _is_plain(left, product):
        return None
    if k < LONG_SUM and any(reads(nest, product.leaf.buffers[0]) for nest in nests(s.program.body)):
        return None
    tile = best_tile(m, n, _lanes(product, target), target.vector_registers, padded=True)
    width = tile.vectors * _lanes(product, target)
    steps = _steps(k, width * size, tile.rows * size)
    if steps is None:
        return None
    rows = _whole(-(-m // tile.rows), ROWS_BYTES // (steps * size * tile.rows)) * tile.rows
    most = COLUMNS_BYTES // (steps * size * width)
    panels = -(-n // width)
    threads = max(1, target.threads or 1)
    count = -(-panels // (most * threads)) * threads  # As many blocks for each thread.
    return Blocks(left, right, steps, rows, -(-panels // count) * width)


def _lanes(product: Product, target: Target) -> int:
    return max(1, target.vector_bytes // product.leaf.buffers[0].dtype.bytes)


def _is_plain(left: Load, product: Product) -> bool:
    """Whether the rows' operand has a dimension of rows and does not depend on the lanes."""
    dims = [i for i in left.indices if depends([i], product.rows.var)]
    free = stride(left, product.lane.var) == 0
    return free and len(dims) == 1 and is_index(dims[0], product.rows.var)


def _steps(k: int, column: int, row: int) -> int | None:
    """The steps of a block, of nearly equal ones; None where they add many.

    A step takes `column` bytes of a panel of columns and `row` of one of rows. The latter may come
    from a farther cache, unless all panels of columns meet in the same sets.
    """
    steps = _part(k, NEAREST_BYTES // column)
    if steps * column % SETS_BYTES == 0:
        steps = _part(k, NEAREST_BYTES // (column + row))
    return steps if steps < k and -k % steps * MANY <= k else None


def _part(k: int, most: int) -> int:
    return -(-k // -(-k // most) // EVEN) * EVEN


def _whole(extent: int, most: int) -> int:
    """The size of equal parts of `extent`, `most` or a little less; else of nearly equal ones."""
    count = max(1, -(-extent // most))
    fit = (c for c in range(count, count + count // 2 + 1) if extent % c == 0)
    return -(-extent // next(fit, count))


def _in_blocks(s: Schedule, stage: str, product: Product, target: Target, blocks: Blocks) -> None:
    """Tile a product block by block.

    Raises:
        ScheduleError: a step is refused.
    """
    loops = (product.rows, product.lane, product.reduced[0])
    m, n, k = (const_int(x.extent) or 0 for x in loops)
    lanes = _lanes(product, target)
    tile = best_tile(m, n, lanes, target.vector_registers, padded=True)
    width = tile.vectors * lanes
    s.decompose_reduction(stage, Loop(s, stage, product.spatial[0].var))
    (start, *_) = stage_sites(s.program, stage)
    vectors(s, Loop(s, stage, start.loops[-1].var), lanes)
    row, row_inner = s.split(Loop(s, stage, product.rows.var), tile.rows)
    row_block, row_tile = s.split(row, blocks.rows // tile.rows)
    column, column_inner = s.split(Loop(s, stage, product.lane.var), width)
    column_block, column_tile = s.split(column, blocks.columns // width)
    step_block, step = s.split(Loop(s, stage, product.reduced[0].var), blocks.steps)
    outer = [row_block, step_block, column_block, row_tile, column_tile]
    s.reorder(*outer, step, row_inner, *s.split(column_inner, lanes))
    right, left = blocks.right, blocks.left
    more = k % blocks.steps != 0
    pads = [0.0 if more or extent % size else None for extent, size in ((m, tile.rows), (n, width))]
    order = _last(left, product.rows.var)
    rows = s.cache_read(left.buffer.name, step_block, order=order, pad=pads[0], panel=tile.rows)
    s.unroll(rows.loops[-1])
    packed(s, right, column_block, _last(right, product.lane.var), pads[1], width, lanes)
    s.cache_write(stage, column_tile, fold=True)
    if pads != [None, None]:
        relax(s, column_tile, inside=True)  # Beyond the edges lie zeros.
    finish_tile(s, column_tile.var, lanes)
    s.annotate(column_tile, "prefetch_tile", 0)
    s.annotate(row_tile, "prefetch_next", 1)
    s.parallel(rows.loops[2])
    s.parallel(column_block)


def _last(use: Load, var: Var) -> list[int] | None:
    """The order of an operand's dimensions with that of `var` last; None where it is so."""
    (d,) = (d for d, i in enumerate(use.indices) if depends([i], var))
    if d == use.buffer.ndim - 1:
        return None
    return [*(x for x in range(use.buffer.ndim) if x != d), d]
