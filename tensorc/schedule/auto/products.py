"""Contractions: a tile of the result stays in registers while the reduced axes run outside of it.

The axis along which the result is contiguous runs in lanes, a second axis that reuses the lanes'
operand is unrolled. An operand that row tiles share is packed in panels; lanes beyond its edge are
padded with zeros. What is computed from the result element by element moves into its tile, a bias
or an activation, unless it reads another large array.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.ir.facts import facts, leaf_loads, nests
from tensorc.ir.stmt import Accumulate, Allocate, For, Store
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import (
    SYMBOLIC,
    Tile,
    bytes_of,
    depends,
    extent_of,
    iterations,
    stride,
)
from tensorc.schedule.auto.operands import (
    beside_of,
    is_for_all,
    overlap_of,
    product_of,
    shared_operand,
)
from tensorc.schedule.auto.steps import (
    attempt,
    extent_in,
    finish_tile,
    in_squares,
    is_scheduled,
    vectors,
)
from tensorc.schedule.auto.turned import keep_rows_together, tile_of, turn_of, turned
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import path_to, sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Load
    from tensorc.schedule.auto.operands import Product
    from tensorc.schedule.handles import Stage
    from tensorc.schedule.schedule import Schedule
    from tensorc.target import Target

PACK_REUSE = 4  # Row tiles that must share a packed panel for the copy to pay.
PACK_STRIDE = 32  # Elements between rows of an operand above which its panel is packed.
# What is read beside a tile comes in short parts of rows that lie far apart. From near caches that
# is no slower than a pass of its own along the rows; from far ones neither, where it is asked for
# as many steps of the sum before.
NEAR_BYTES = 1024 * 1024
HIDDEN = 64
PAST_BYTES = 256 * 1024  # An array beyond this is not in the nearest caches when a tile ends.
FAR_ROWS = 1024  # Bytes between rows above which few of them stay in the nearest cache together.
SHORT = 4  # Steps of the innermost sum that are written out: a window's width.
BLOCK_BYTES = 256 * 1024  # Of panels that are packed together: half of a second-level cache.
MIN_BLOCKS = 8  # Of panels, for the threads.
MIN_PANELS = 2  # For each thread, where threads are to share them.
FAR_OPERAND = 512 * 1024  # Bytes of rows above which they do not stay in the second-level cache.
FAR_LEFT = 384 * 1024  # Bytes of rows above which they do not stay there beside a panel.
PAD_ROWS = 32  # Rows that must share a padded panel for the copy to pay.


def tile_product(s: Schedule, stage: str, target: Target) -> None:
    """Tile a contraction in registers, with its operand packed and its consumers in the tile.

    Raises:
        ScheduleError: a step is refused.
    """
    product = product_of(s, stage)
    if product is None:
        return
    lanes = max(1, target.vector_bytes // max(b.dtype.bytes for b in product.leaf.buffers))
    product = turned(product, lanes, target)
    lane, rows = product.lane, product.rows
    m, n = extent_of(rows), extent_of(lane)
    shared = shared_operand(product)
    common = shared if shared is not None and is_for_all(product, shared) else None
    images = 1 if common is None else iterations(product.around)
    uses = 0.0 if shared is None else m * images * overlap_of(product, shared)
    pad = n % lanes != 0 and uses >= PAD_ROWS
    beside = beside_of(product)
    tile = tile_of(product, beside, lanes, target, padded=pad)
    around = {x: Loop(s, stage, x.var) for x in product.around}
    several: list[Loop] = []
    if beside is not None and tile.beside > 1:
        around[beside], inner_beside = s.split(around[beside], tile.beside)
        several.append(inner_beside)
    before = list(around.values())
    columns = Loop(s, stage, lane.var)
    first = []
    if isinstance(product.spatial[0].body, Allocate):  # It holds images between zeros.
        first.append(before.pop(0))
    if common is not None:
        once, columns = s.split(columns, n)  # What is packed in it serves all images.
        first.append(once)
    scattered = _scattered_operand(product, tile, lanes)
    if scattered is not None:
        once, columns = s.split(columns, n)  # What is packed in it serves all tiles.
        before.append(once)
    row_outer, row_inner = _cut(s, Loop(s, stage, rows.var), tile.rows)
    lane_outer, column = _cut(s, columns, tile.vectors * lanes, always=pad)
    width = tile.vectors * lanes
    wide = n >= MIN_PANELS * max(1, target.threads or 1) * width
    count = _panels_at_once(product, shared, width) if row_outer and not pad else 1
    blocked = count > 1
    if blocked:
        block, next_tile = s.split(lane_outer[0], count)
        outer = [*first, *before, block, *row_outer, next_tile]
    elif common is not None and _is_far(product, common) and wide:
        outer = [*first, *before[:-1], *lane_outer, *before[-1:], *row_outer]
    else:
        outer = [*first, *before, *lane_outer, *row_outer]
    inner = [row_inner, *several, column]
    if extent_in(s, column) > lanes:
        inner = [row_inner, *several, *s.split(column, lanes)]
    s.reorder(*outer, *inner)  # The initialisation moves along, in the innermost loop.
    s.reorder(*(Loop(s, stage, x.var) for x in product.reduced), *inner)
    if not outer:
        return
    if shared is not None and len(outer) > 1:
        at = first[-1] if common is not None else _outside_of_blocks(s, stage, product, shared)
        whole = at is not None
        if at is None:
            at = outer[-3] if blocked else outer[-2]
        panel = width if whole or blocked else None
        if max(uses / tile.rows, -(-m // tile.rows) * images) >= PACK_REUSE:
            _pack(s, shared, product, at, lanes, padded=pad, panel=panel)
    if scattered is not None:
        attempt(s, partial(_rows_packed, s, scattered, before[-1], tile))
    if turn_of(product) is not None:
        keep_rows_together(s, product, [*first, *before], lanes)
    _in_registers(s, stage, product, outer[-1], lanes, padded=pad)


def _in_registers(
    s: Schedule, stage: str, product: Product, at: Loop, lanes: int, *, padded: bool
) -> None:
    """Keep the tile of an iteration of `at` in registers, with what is computed from it."""
    turn = turn_of(product)
    if turn is None:
        s.cache_write(stage, at)
    else:
        s.cache_write(stage, at, "global", order=turn)  # It adds up in registers before.
    if padded:
        relax(s, at)
    _consume(s, stage, product, at)
    finish_tile(s, at.var, lanes)
    last = product.reduced[-1]
    if (const_int(last.extent) or SYMBOLIC) <= SHORT:
        s.unroll(Loop(s, f"{stage}.local", last.var))


def _is_far(product: Product, use: Load) -> bool:
    """Whether the operand of all lanes is too large for a cache that is near."""
    steps = extent_of(product.lane) * iterations(product.reduced)
    return steps * use.buffer.dtype.bytes > FAR_OPERAND


def _outside_of_blocks(s: Schedule, stage: str, product: Product, use: Load) -> Loop | None:
    """The loop around blocks of rows that share the whole operand `use`, if it fits a cache."""
    if _is_far(product, use):
        return None
    shared = False
    for loop in reversed(product.around):
        if depends(use.indices, loop.var) and extent_of(loop) > 1:
            return Loop(s, stage, loop.var) if shared else None
        shared = shared or extent_of(loop) > 1
    return None


def _panels_at_once(product: Product, shared: Load | None, width: int) -> int:
    """How many panels of `width` columns are packed together, so that a row serves all of them.

    More than one where the operand of the rows comes from far for each; as many as stay near.
    """
    if shared is None or len(product.reduced) > 1:
        return 1
    steps = iterations(product.reduced)
    far = (u for u in leaf_loads(product.leaf) if stride(u, product.lane.var) == 0)
    rows = extent_of(product.rows) * steps
    if not any(rows * u.buffer.dtype.bytes > FAR_LEFT for u in far):
        return 1
    panels = -(-extent_of(product.lane) // width)
    fit = BLOCK_BYTES // (steps * width * shared.buffer.dtype.bytes)
    most = min(fit, panels // MIN_BLOCKS)
    whole = (c for c in range(most, most // 2, -1) if panels % c == 0)
    return max(1, next(whole, most))


def _cut(s: Schedule, loop: Loop, factor: int, *, always: bool = False) -> tuple[list[Loop], Loop]:
    """Split by `factor`, or take the whole loop inside where it is no longer than that."""
    extent = const_int(s.extent(loop))
    if extent is not None and extent <= factor and not (always and extent < factor):
        return [], loop
    outer, inner = s.split(loop, factor)
    return [outer], inner


def _scattered_operand(product: Product, tile: Tile, lanes: int) -> Load | None:
    """The operand of the rows, where a tile reads a few neighbours of each of many far rows of it.

    Such is A in `A^T B`: its rows lie so far apart that they meet in few places of the cache.
    """
    m, n = const_int(product.rows.extent), const_int(product.lane.extent)
    if m is None or n is None or n < PACK_REUSE * tile.vectors * lanes or m < 2 * tile.rows:
        return None
    uses = leaf_loads(product.leaf)
    for use in uses:
        alone = sum(u.buffer is use.buffer for u in uses) == 1
        steps = stride(use, product.rows.var) == 1 and stride(use, product.lane.var) == 0
        width = const_int(use.buffer.shape[-1]) or 0
        if alone and steps and width * use.buffer.dtype.bytes >= FAR_ROWS:
            return use
    return None


def _rows_packed(s: Schedule, use: Load, at: Loop, tile: Tile) -> None:
    copy = s.cache_read(use.buffer.name, at, panel=tile.rows)
    s.unroll(copy.loops[-1])


def _pack(
    s: Schedule,
    use: Load,
    product: Product,
    at: Loop,
    lanes: int,
    *,
    padded: bool,
    panel: int | None,
) -> None:
    """Copy the operand that a lane tile shares among its row tiles into one panel, or several."""
    lane = product.lane
    d = next(i for i, x in enumerate(use.indices) if depends([x], lane.var))
    far = d + 1 < use.buffer.ndim or extent_of(lane) >= PACK_STRIDE
    if not far and not padded:
        return
    order = [*(x for x in range(use.buffer.ndim) if x != d), d]
    given = None if d == use.buffer.ndim - 1 else order
    attempt(s, partial(packed, s, use, at, given, 0.0 if padded else None, panel, lanes))


def packed(
    s: Schedule,
    use: Load,
    at: Loop,
    order: Sequence[int] | None,
    pad: float | None,
    panel: int | None,
    lanes: int,
) -> Stage:
    """Copy row by row of the panel, or of several at once, each in whole registers."""
    copied = s.cache_read(use.buffer.name, at, order=order, pad=pad, panel=panel)
    copy = copied.loops[-use.buffer.ndim :]
    if order is not None and panel is None:
        copy = tuple(copy[d] for d in order)
        s.reorder(*copy)
    if order is None and panel is not None:  # What neighbours in memory is read together.
        s.reorder(*copy[:-1], copied.loops[-use.buffer.ndim - 1], copy[-1])
    if const_int(s.extent(copy[-1])) is None:
        return copied
    across = copy[-1] if order is None else _row_of(s, use, order, copy, lanes)
    if across is copy[-1] or pad is not None or not in_squares(s, across, copy[-1], lanes):
        vectors(s, copy[-1], lanes)
    return copied


def _row_of(s: Schedule, use: Load, order: Sequence[int], copy: Sequence[Loop], lanes: int) -> Loop:
    """The loop of a copy along which neighbours are read.

    Over all dimensions that lie together in both buffers, where registers divide them then.
    """
    at = order.index(use.buffer.ndim - 1)
    sizes = [const_int(s.extent(x)) or 1 for x in copy]
    first, size = at, sizes[at]
    while first > 0 and order[first - 1] == order[first] - 1:
        if const_int(use.buffer.shape[order[first]]) != sizes[first]:
            break
        first -= 1
        size *= sizes[first]
    if sizes[at] % lanes == 0 or size % lanes:
        return copy[at]
    across = copy[at]
    for loop in reversed(copy[first:at]):
        across = s.fuse(loop, across)
    return across


def _consume(s: Schedule, stage: str, product: Product, at: Loop) -> None:
    """Move the element-wise nests that use the result, or what came of it, into the tile.

    What they touch in far memory is asked for where the tile begins.
    """
    made = {stage}
    extents = sorted(extent_of(x) for x in product.spatial)
    long = iterations(product.reduced) >= HIDDEN
    ahead = False
    for nest in list(nests(s.program.body)):
        touched = facts(nest)
        uses = any(b.name in made for b in touched.read)
        if not isinstance(nest, For) or not uses:
            continue
        inside = sites(nest)
        (*_, last) = inside
        if len(inside) != 1 or not isinstance(last.leaf, Store) or is_scheduled(inside):
            continue
        name = last.leaf.buffer.name
        alike = sorted(extent_of(x) for x in last.loops) == extents
        sizes = [bytes_of(b) for b in touched.read if b.name not in made]
        near = long or all(n <= NEAR_BYTES for n in sizes)
        if near and alike and attempt(s, partial(s.reverse_compute_at, name, at)):
            made.add(name)
            ahead = ahead or any(n > PAST_BYTES for n in (*sizes, bytes_of(last.leaf.buffer)))
    if ahead and long:
        s.annotate(at, "prefetch_tile", 0)


def relax(s: Schedule, around: Loop, *, inside: bool = False) -> None:
    """Compute lanes beyond the edge too, where only the tile's own storage holds them.

    With `inside`, guards of whole tiles stay.
    """
    path = path_to(s.program.body, around.var)
    assert path is not None, "the tile's loop stands in the program"
    for site in sites(path[-1]):
        leaf = site.leaf
        if not site.conds or not (isinstance(leaf, Store | Accumulate)):
            continue
        for loop in site.loops[inside:]:
            name = written_buffers(leaf)[0].name
            if any(depends([c], loop.var) for c in site.conds):
                attempt(s, partial(s.relax_guard, name, Loop(s, name, loop.var)))
