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
from functools import partial
from math import gcd, prod
from typing import TYPE_CHECKING, TypeAlias

from tensorc.errors import ScheduleError
from tensorc.ir.affine import linear
from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate, Check
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import SYMBOLIC, depends, extent_of, iterations
from tensorc.schedule.auto.cuda.boxes import Box, Side, one
from tensorc.schedule.auto.cuda.consumers import consume
from tensorc.schedule.auto.cuda.tiles import Problem
from tensorc.schedule.auto.products import relax
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import find_allocation, find_buffer, find_loop, sites, stage_sites

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.ir.expr import Buffer, Expr, Load, Var
    from tensorc.ir.stmt import For
    from tensorc.schedule.auto.operands import Product
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site

VECTOR_BYTES = 16  # The most that a thread copies at once.
BANKS = 32  # Of shared memory.
GROUP = 8  # Rows of blocks that run at the same time, with all columns...
MANY = 16  # ... where these are so many that their operand does not stay in a cache.

# Which dimensions of a buffer are a tile's rows, and which its columns.
Dims: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Tiled:
    """The loops of a tiled product: blocks, steps, and those of a tile.

    Attributes:
        batch: loops around all others.
        down: those over tiles, along their rows; `across` along their columns.
        before: reduced loops around `step`, the one that is cut in steps.
        rows: the loops of a tile's rows, outermost first; `columns` those of its columns.
        dims: the dimensions of the result that these go along.
    """

    batch: tuple[Loop, ...]
    down: tuple[Loop, ...]
    across: tuple[Loop, ...]
    before: tuple[Loop, ...]
    step: Loop
    rows: tuple[Var, ...]
    columns: tuple[Var, ...]
    dims: Dims

    @property
    def block(self) -> Loop:
        """The innermost loop over tiles."""
        return self.across[-1]


def problem_of(product: Product, rows: Side | None = None, columns: Side | None = None) -> Problem:
    """The sizes of a contraction, whose tiles have these sides, or one loop along each."""
    rows, columns = rows or Side((product.rows,)), columns or Side((product.lane,))
    others = [x for x in product.spatial if x not in (*rows.loops, *columns.loops)]
    return Problem(
        iterations(rows.loops),
        iterations(columns.loops),
        iterations(product.reduced),
        iterations(others),
        max(b.dtype.bytes for b in product.leaf.buffers),
        rows.axes,
        columns.axes,
    )


def cut(
    s: Schedule,
    stage: str,
    product: Product,
    rows: tuple[Side, Box],
    columns: tuple[Side, Box],
    depth: int,
) -> Tiled:
    """Cut rows, columns and the reduction, and put the steps outside of a tile's elements."""
    own = (*rows[0].loops, *columns[0].loops)
    batch = [Loop(s, stage, x.var) for x in product.spatial if x not in own]
    (down, row), (across, column) = (_cut_side(s, stage, *x) for x in (rows, columns))
    s.reorder(*batch, *down, *across, *row, *column)
    *others, last = steps_first(product)
    step, inner = s.split(Loop(s, stage, last.var), depth)
    outside = tuple(Loop(s, stage, x.var) for x in others)
    s.reorder(*outside, step, *row, *column, inner)
    own_rows, own_columns = (tuple(x.var for x in loops) for loops in (row, column))
    dims = _dims(product, *rows), _dims(product, *columns)
    return Tiled(tuple(batch), down, across, outside, step, own_rows, own_columns, dims)


def _dims(product: Product, side: Side, box: Box) -> tuple[int, ...]:
    """The dimensions of the result along a side's loops, in the order of a box."""
    loops = box.ordered(side.loops)
    return tuple(d for x in loops for d, i in enumerate(product.leaf.indices) if i is x.var)


def _cut_side(
    s: Schedule, stage: str, side: Side, box: Box
) -> tuple[tuple[Loop, ...], tuple[Loop, ...]]:
    """The loops over boxes, and those of a box, the innermost of it last."""
    pairs = [
        s.split(Loop(s, stage, x.var), n) for x, n in zip(side.loops, box.factors, strict=True)
    ]
    return tuple(x for x, _ in pairs), box.ordered([x for _, x in pairs])


def steps_first(product: Product) -> list[For]:
    """The reduced loops, the longest last: it is the one that is cut in steps."""
    longest = max(product.reduced, key=extent_of)
    return [*(x for x in product.reduced if x is not longest), longest]


def all_steps(s: Schedule, made: Tiled) -> Loop:
    """The steps of all reduced loops as one loop, so that a pipeline goes on across them.

    To be called when the operands have been copied: what a step copies is seen of affine indices.
    """
    joined, *others = (*made.before, made.step)
    for loop in others:
        joined = s.fuse(joined, loop)
    return joined


def copied_ahead(s: Schedule, copy: Copy) -> None:
    """Copy a tile asynchronously. The hint is on a loop that stays: of one iteration none does."""
    loops = s.loops(copy.name)
    last = [x for x in loops if const_int(s.extent(x)) != 1] or loops
    s.annotate(last[-1], "async", True)


@dataclass(frozen=True, slots=True)
class Copy:
    """The copy of an operand's tile in shared memory.

    Attributes:
        name: its stage.
        source: the operand.
        transposed: its rows go along another dimension than the operand's.
        by_steps: its last dimension is that of the steps of the reduction.
        sides: how many of its dimensions a side goes along; the last ones, or those before steps.
        bytes: what it takes.
    """

    name: str
    source: Buffer
    transposed: bool
    by_steps: bool
    sides: int
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
        kept = order == sorted(order)
        by_steps = not kept and not sides_last and _is_by_rows(use, order, inner)
        if by_steps:
            order.append(order.pop(order.index(len(order) - 1)))
        given = None if order == sorted(order) else order
        stage = s.cache_read(use.buffer.name, made.step, scope="shared", order=given, pad=0)
        buffer = find_buffer(s.program, stage.name)
        assert buffer is not None, "the copy was just made"
        transposed = not by_steps and order[-1] != len(order) - 1
        sides = sum(depends([i], v) for i in use.indices for v in (*made.rows, *made.columns))
        copies.append(Copy(stage.name, use.buffer, transposed, by_steps, sides, size_of(buffer)))
    return copies


def size_of(buffer: Buffer) -> int:
    """The bytes that a buffer takes."""
    total = buffer.dtype.bytes
    for n in buffer.shape:
        total *= const_int(n) or SYMBOLIC
    return total


def padded_rows(s: Schedule, copy: Copy, offset: int) -> bool:
    """Put a copy's elements that have one place on a side in different banks; whether it was done.

    A row of the copy is a side's neighbours, or a box of them, of which a loop gets longer.
    """
    buffer = find_buffer(s.program, copy.name)
    assert buffer is not None, "the copy stands in the program"
    sizes = [const_int(n) or 0 for n in buffer.shape]
    last = 1 if copy.by_steps else copy.sides
    if prod(sizes[-last:]) % (BANKS // 2):
        return False
    for d in range(max(1, len(sizes) - last), len(sizes)):
        below = max(offset, prod(sizes[d + 1 :]) if d + 1 < len(sizes) else 1)
        align = partial(s.storage_align, copy.name, d - 1, BANKS, below)
        if below < BANKS and below % offset == 0 and sizes[d] > 1 and attempt(s, align):
            return True
    return False


def _order(use: Load, made: Tiled) -> list[int] | None:
    """The order of a copy's dimensions: those which a tile's side goes along are the last.

    None where no side goes along the operand: all threads read the same element.
    """
    for side in (made.columns, made.rows):
        along = [[d for d, i in enumerate(use.indices) if depends([i], v)] for v in side]
        found = [d for dims in along for d in dims]
        if len(found) != len(set(found)) or any(len(dims) > 1 for dims in along):
            return None
        if found:
            return [*(d for d in range(len(use.indices)) if d not in found), *found]
    return None


def _is_by_rows(use: Load, order: Sequence[int], inner: Var) -> bool:
    """Whether the last dimension of an operand is that of a side's last loop, or of steps alone."""
    along = [d for d, i in enumerate(use.indices) if depends([i], inner)]
    return along == [len(order) - 1]


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
    down, across = one(s, made.down), one(s, made.across)
    blocks = [s.rasterize(down, across, GROUP)] if _is_grouped(s, down, across) else [across, down]
    if made.batch:
        blocks.append(one(s, made.batch))
    for loop, axis in zip(blocks, ("block.x", "block.y", "block.z"), strict=False):
        s.bind(loop, axis)


def _is_grouped(s: Schedule, down: Loop, across: Loop) -> bool:
    """Whether blocks go through the tiles by groups of rows."""
    rows, columns = const_int(s.extent(down)), const_int(s.extent(across))
    return bool(rows) and (rows or 0) % GROUP == 0 and (columns or 0) >= MANY


def on_multiprocessors(s: Schedule, made: Tiled, sms: int) -> None:
    """Let a block for each multiprocessor go through the tiles, one after the other.

    What a tile begins with is then fetched while the one before it is stored.

    Raises:
        ScheduleError: a step is refused.
    """
    down, across = one(s, made.down), one(s, made.across)
    grouped = _is_grouped(s, down, across)
    tile = s.rasterize(down, across, GROUP) if grouped else s.fuse(down, across)
    for loop in reversed(made.batch):
        tile = s.fuse(loop, tile)
    turn, block = s.split(tile, sms)
    s.reorder(block, turn)
    s.bind(block, "block.x")


def phases_of(s: Schedule, made: Tiled) -> tuple[list[Site], dict[Buffer, Dims]]:
    """The statements of a block, and which dimensions of the result's tile are its sides."""
    block = find_loop(s.program, made.block.var)
    assert block is not None, "the loop over blocks stands in the program"
    found = sites(block.body)
    first = next(x.leaf for x in found if isinstance(x.leaf, Accumulate))
    return found, {first.buffers[0]: made.dims}


def sides_of(
    site: Site, loops: Mapping[Var, For], dims: dict[Buffer, Dims]
) -> tuple[list[Var], list[Var]]:
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
        sides = [_along(indices, ds, loops) for ds in dims[buffer]]
        if any(side is None for side in sides):
            continue
        rows, columns = (side or [] for side in sides)
        found = tuple(
            tuple(d for v in side for d, i in enumerate(site.leaf.indices) if depends([i], v))
            for side in (rows, columns)
        )
        if [len(x) for x in found] == [len(rows), len(columns)]:
            dims.setdefault(target, (found[0], found[1]))
        return rows, columns
    raise ScheduleError(f"the tile's sides around '{target.name}' cannot be told")


def _along(
    indices: Sequence[Expr], dims: Sequence[int], loops: Mapping[Var, For]
) -> list[Var] | None:
    """The loops along some dimensions, one for each; None where there are others."""
    found = [[v for v in loops if depends([indices[d]], v)] for d in dims]
    return [v for (v,) in found] if all(len(vs) == 1 for vs in found) else None
