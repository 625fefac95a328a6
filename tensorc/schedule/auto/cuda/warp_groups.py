"""Large contractions on tensor cores of sm_90a: warp groups multiply tiles of 64 rows, by `wgmma`.

    for io, jo in blocks:
      alloc C.local local                            # 128x128 or 128x256 results.
      for ko: A.local, B.local = boxes of A and of B, of 64 steps, by the copy engine, ahead
              for g in groups: wgmma of C.local, A.local, B.local, 64 rows for each of them
      C = what is computed from C.local, element by element

A third warp group does nothing but start copies. Rows of an operand are 128 bytes, permuted as the
instruction reads them: 64 steps of the sum where those lie side by side in memory, as in both of
A B^T, else a panel of 64 rows or columns. Others are left to `tensor_cores`.

Of float32 in tf32 operands are first stored anew, rounded and with the sum along their rows: the
instruction drops bits in place of rounding, and reads float32 no other way round. A kernel of its
own does that, once for all tiles; for a large product it takes a small part of the time.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING

from tensorc.dtypes import float32
from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate, Check
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import depends, extent_of, is_index
from tensorc.schedule.auto.cuda.boxes import Box, Side
from tensorc.schedule.auto.cuda.tensor_cores import instruction_of
from tensorc.schedule.auto.cuda.tiling import (
    collect,
    cut,
    on_blocks,
    on_multiprocessors,
    phases_of,
    problem_of,
    sides_of,
    steps_first,
)
from tensorc.schedule.auto.cuda.warps import stages_of
from tensorc.schedule.auto.operands import product_of
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import own_loops

if TYPE_CHECKING:
    from tensorc.ir.expr import Buffer, Load
    from tensorc.schedule.auto.cuda.tensor_cores import Instruction
    from tensorc.schedule.auto.cuda.tiling import Dims, Tiled
    from tensorc.schedule.auto.operands import Product
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site
    from tensorc.target import Target

ARCH = "sm_90a"
GROUPS = 2  # Warp groups that multiply; one more copies.
GROUP_ROWS = 64
ROWS = GROUPS * GROUP_ROWS
COLUMNS = (256, 128)  # Of a tile: the first where that is enough blocks for all multiprocessors.
UNIT = 16  # Bytes of which a copy engine's rows are multiples.
LINE = 128  # Bytes of a row, and of its pattern; so many of the sum are fetched at a time.
RESERVED = 1024  # Bytes of shared memory for barriers.
PACKED = 1024  # m n / (m + n) from which on it pays to store float32 operands anew.
SQUARE = 32  # Rows and columns of what a block stores the other way round.
THREADS = 256
AXES = ("block.x", "block.y", "block.z")
LARGEST = 4  # Dimensions of an operand that is copied as a box.


def group_columns(product: Product, target: Target) -> int | None:
    """The columns of a tile of warp groups; None where they cannot compute a product, or slowly.

    The operands must be boxes for the copy engine, and there must be a tile for every other
    multiprocessor at least: with less, smaller tiles of `tensor_cores` are faster.
    """
    instruction = instruction_of(product, target)
    if target.cuda.name != ARCH or instruction is None:
        return None
    problem, sms = problem_of(product), target.resolved().sms
    if extent_of(steps_first(product)[-1]) < _depth(product) or problem.m < ROWS:
        return None
    if instruction.rounds and problem.m * problem.n < PACKED * (problem.m + problem.n):
        return None
    if not all(_is_box(u, product) for u in leaf_loads(product.leaf)):
        return None
    for columns, least in zip(COLUMNS, (sms, sms // 2), strict=True):
        tiles = -(-problem.m // ROWS) * -(-problem.n // columns) * problem.batch
        if columns <= problem.n and tiles >= least:
            return columns
    return None


def _depth(product: Product) -> int:
    """Steps of the sum that are fetched at a time."""
    return LINE // leaf_loads(product.leaf)[0].buffer.dtype.bytes


def _is_box(use: Load, product: Product) -> bool:
    """Whether tiles of an operand are boxes: a loop along each dimension, rows on 16 bytes."""
    sizes = [const_int(n) for n in use.buffer.shape]
    if None in sizes or len(sizes) > LARGEST:
        return False
    loops = (*product.spatial, *product.reduced)
    own = [[x for x in loops if depends([i], x.var)] for i in use.indices]
    plain = all(
        len(xs) == 1 and is_index(i, xs[0].var) for i, xs in zip(use.indices, own, strict=True)
    )
    steps = steps_first(product)[-1]
    sides = [x for x in (product.rows, product.lane) if any(x in xs for xs in own)]
    if not plain or len(sides) != 1 or not any(steps in xs for xs in own):
        return False
    dtype = use.buffer.dtype
    row = steps if dtype == float32 else own[-1][0]  # float32 is stored anew.
    return row in (steps, *sides) and extent_of(row) * dtype.bytes % UNIT == 0


def group_product(s: Schedule, stage: str, product: Product, columns: int, target: Target) -> None:
    """Put a contraction on the tensor cores of warp groups, its operands fetched by a third one.

    Raises:
        ScheduleError: a step is refused.
    """
    instruction = instruction_of(product, target)
    assert instruction is not None, "the tile is one of tensor cores"
    if instruction.rounds:
        product = _packed(s, stage, product)
    operands, line = leaf_loads(product.leaf), _depth(product)
    rows, across = Side((product.rows,)), Side((product.lane,))
    made = cut(s, stage, product, (rows, Box((ROWS,), 0)), (across, Box((columns,), 0)), line)
    fetched: set[str] = set()
    for use in operands:
        along = depends(use.indices[-1:], steps_first(product)[-1].var)
        panel = None if along else line
        copy = s.cache_read(use.buffer.name, made.step, scope="shared", pad=0, panel=panel)
        s.swizzle(copy.name, LINE)
        s.bulk_fetch(copy.name)
        fetched.add(copy.name)
    collect(s, stage, product, made)
    staged = _staged(s, made)
    every, dims = phases_of(s, made)
    for site in every:
        assert not isinstance(site.leaf, Check), "a stage is computed by stores"
        buffer = written_buffers(site.leaf)[0]
        if isinstance(site.leaf, Accumulate):
            _multiply(s, buffer.name, site, made, columns, instruction)
        elif buffer.name not in fetched and buffer is not staged:
            _elements(s, buffer.name, site, dims)
    if staged is not None:
        s.bulk_store(staged.name)
    tiles = prod(const_int(s.extent(x)) or 1 for x in (*made.across, *made.down, *made.batch))
    size, steps = LINE * (ROWS + columns), const_int(s.extent(made.step)) or 0
    taken = RESERVED + (0 if staged is None else ROWS * columns * staged.dtype.bytes)
    stages = stages_of(size, steps, 1, target.cuda, taken)
    if stages > 1:
        s.pipeline(made.step, stages)
        s.specialize(made.step)
    sms = target.resolved().sms
    if stages > 1 and tiles > sms:
        on_multiprocessors(s, made, sms)
    else:
        on_blocks(s, made)


def _staged(s: Schedule, made: Tiled) -> Buffer | None:
    """The result of 16 bits that a tile leaves, which is put together in shared memory.

    Its threads have pairs of a row, half a sector of four of them: the copy engine stores whole
    rows. None where there is no such result, or its rows are not on 16 bytes.

    Raises:
        ScheduleError: a step is refused.
    """
    every, _ = phases_of(s, made)
    (last,) = {b: None for x in every[-1:] for b in written_buffers(x.leaf)}
    row = (const_int(last.shape[-1]) or 1) * last.dtype.bytes
    others = [x for x in every if last in written_buffers(x.leaf)]
    if last.scope != "global" or last.dtype.bytes != 2 or row % UNIT or len(others) != 1:
        return None
    before = set(s.stages)
    s.cache_write(last.name, made.block, scope="shared", panel=LINE // last.dtype.bytes)
    (copy,) = (x for x in s.stages if x not in before)
    s.swizzle(copy, LINE)
    return last


def _packed(s: Schedule, stage: str, product: Product) -> Product:
    """The product of operands that are stored anew: rounded, the steps of the sum along rows.

    Raises:
        ScheduleError: a step is refused.
    """
    sides, steps = (product.rows, product.lane), steps_first(product)[-1]
    for use in leaf_loads(product.leaf):

        def place(d: int, use: Load = use) -> int:
            index = use.indices[d : d + 1]
            return 2 if depends(index, steps.var) else any(depends(index, x.var) for x in sides)

        order = sorted(range(use.buffer.ndim), key=place)
        kept = order == sorted(order)
        copy = s.pack(stage, use.buffer.name, None if kept else order, "tf32")
        if order[-1] != use.buffer.ndim - 1:
            _transpose(s, copy.name, use.buffer, order[-1])
    found = product_of(s, stage)
    assert found is not None, "operands have other names, and else nothing has changed"
    return found


def _transpose(s: Schedule, name: str, source: Buffer, down: int) -> None:
    """Copy by squares in shared memory, rows of which go along dimension `down` of the source.

    Raises:
        ScheduleError: a step is refused.
    """
    found = s.loops(name)
    before = [x for d, x in enumerate(found[:-1]) if d != down]
    outer, inner = s.split(found[down], SQUARE)
    wide, column = s.split(found[-1], SQUARE)
    s.reorder(*before, outer, wide, column, inner)
    square = s.cache_read(source.name, wide, scope="shared", pad=0)
    s.storage_align(square.name, source.ndim - 2, SQUARE, 1)
    s.cooperative_fetch(square.name, THREADS)
    group, column = s.split(column, THREADS // SQUARE)
    s.unroll(group)
    s.bind(column, "thread.y")
    s.bind(inner, "thread.x")
    for loop in before[1:]:
        before[0] = s.fuse(before[0], loop)
    for loop, axis in zip((wide, outer, *before[:1]), AXES, strict=False):
        s.bind(loop, axis)


def _multiply(
    s: Schedule, name: str, site: Site, made: Tiled, columns: int, instruction: Instruction
) -> None:
    """Give each warp group its 64 rows of the tile.

    Raises:
        ScheduleError: a step is refused.
    """
    group, row = s.split(Loop(s, name, made.rows[-1]), GROUP_ROWS)
    part, depth = s.split(Loop(s, name, site.loops[-1].var), instruction.depth)
    s.reorder(part, group, row, Loop(s, name, made.columns[-1]), depth)
    s.tensorize(row, instruction.by_groups(columns), instruction.precision)
    s.bind(group, "thread.y")


def _elements(s: Schedule, name: str, site: Site, dims: dict[Buffer, Dims]) -> None:
    """Give a tile's elements to the lanes that the instruction gives them to.

    Raises:
        ScheduleError: a step is refused; the sides of the tile cannot be told.
    """
    own = {x.var: x for x in own_loops(s.program, site.leaf)}
    (row,), (column,) = ([Loop(s, name, v) for v in side] for side in sides_of(site, own, dims))
    inner = [Loop(s, name, v) for v in own if v is not row.var and v is not column.var]
    group, row = s.split(row, GROUP_ROWS)
    warp, row = s.split(row, 16)
    half, row = s.split(row, 8)
    eight, column = s.split(column, 8)
    four, pair = s.split(column, 2)
    s.reorder(group, warp, row, four, *inner, half, eight, pair)
    s.bind(s.fuse(s.fuse(warp, row), four), "thread.x")
    s.bind(group, "thread.y")
    s.unroll(half)
    s.unroll(eight)
    if not attempt(s, partial(s.vectorize, pair)):
        s.unroll(pair)
