"""Large contractions of 16-bit floats on sm_90a: warp groups multiply tiles of 64 rows, by `wgmma`.

    for io, jo in blocks:
      alloc C.local local                            # 128x128 or 128x256 results.
      for ko: A.local, B.local = boxes of A and of B, 64 steps deep, by the copy engine, ahead
              for g in groups: wgmma of C.local, A.local, B.local, 64 rows for each of them
      C = what is computed from C.local, element by element

A third warp group does nothing but start copies. Rows of an operand are 128 bytes, permuted as the
instruction reads them: 64 steps of the sum where those lie side by side in memory, as in both of
A B^T, else a panel of 64 rows or columns. Others are left to `tensor_cores`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate, Check
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import depends, extent_of, is_index
from tensorc.schedule.auto.cuda.tiling import (
    collect,
    cut,
    on_blocks,
    phases_of,
    problem_of,
    sides_of,
    steps_first,
)
from tensorc.schedule.auto.cuda.warps import stages_of
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import own_loops

if TYPE_CHECKING:
    from tensorc.ir.expr import Buffer, Load
    from tensorc.schedule.auto.cuda.tiling import Dims
    from tensorc.schedule.auto.products import Product
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site
    from tensorc.target import Target

KINDS = {"bfloat16": "bf16", "float16": "f16"}
ARCH = "sm_90a"
GROUPS = 2  # Warp groups that multiply; one more copies.
GROUP_ROWS = 64
ROWS = GROUPS * GROUP_ROWS
COLUMNS = (256, 128)  # Of a tile: the first where that is enough blocks for all multiprocessors.
DEPTH = 64  # Steps of the sum that are fetched at a time: 128 bytes.
SUMMED = 16  # Steps of one instruction.
UNIT = 8  # Elements of which a copy engine's rows are multiples: 16 bytes.
LINE = 128  # Bytes of a row, and of its pattern.
LARGEST = 4  # Dimensions of an operand that is copied as a box.


def group_columns(product: Product, target: Target) -> int | None:
    """The columns of a tile of warp groups; None where they cannot compute a product, or slowly.

    The operands must be boxes for the copy engine, and there must be a tile for every other
    multiprocessor at least: with less, smaller tiles of `tensor_cores` are faster.
    """
    if target.cuda.name != ARCH:
        return None
    if any(u.buffer.dtype.name not in KINDS for u in leaf_loads(product.leaf)):
        return None
    problem, sms = problem_of(product), target.resolved().sms
    if extent_of(steps_first(product)[-1]) < DEPTH or problem.m < ROWS:
        return None
    if not all(_is_box(u, product) for u in leaf_loads(product.leaf)):
        return None
    for columns, least in zip(COLUMNS, (sms, sms // 2), strict=True):
        tiles = -(-problem.m // ROWS) * -(-problem.n // columns) * problem.batch
        if columns <= problem.n and tiles >= least:
            return columns
    return None


def _is_box(use: Load, product: Product) -> bool:
    """Whether tiles of an operand are boxes: a loop along each dimension, rows on 16 bytes."""
    sizes = [const_int(n) for n in use.buffer.shape]
    if None in sizes or len(sizes) > LARGEST or (sizes[-1] or 1) % UNIT:
        return False
    loops = (*product.spatial, *product.reduced)
    own = [[x for x in loops if depends([i], x.var)] for i in use.indices]
    plain = all(
        len(xs) == 1 and is_index(i, xs[0].var) for i, xs in zip(use.indices, own, strict=True)
    )
    steps = steps_first(product)[-1]
    sides = [x for x in (product.rows, product.lane) if any(x in xs for xs in own)]
    return plain and len(sides) == 1 and own[-1][0] in (steps, *sides)


def group_product(s: Schedule, stage: str, product: Product, columns: int, target: Target) -> None:
    """Put a contraction on the tensor cores of warp groups, its operands fetched by a third one.

    Raises:
        ScheduleError: a step is refused.
    """
    operands = leaf_loads(product.leaf)
    made = cut(s, stage, product, ROWS, columns, DEPTH)
    for use in operands:
        along = depends(use.indices[-1:], steps_first(product)[-1].var)
        panel = None if along else LINE // use.buffer.dtype.bytes
        copy = s.cache_read(use.buffer.name, made.step, scope="shared", pad=0, panel=panel)
        s.swizzle(copy.name, LINE)
        s.bulk_fetch(copy.name)
    collect(s, stage, product, made)
    row, column = (Loop(s, stage, v) for v in (made.row, made.column))
    group, row = s.split(row, GROUP_ROWS)
    part, depth = s.split(s.loops(stage)[-1], SUMMED)
    s.reorder(part, group, row, column, depth)
    s.tensorize(row, f"wgmma.m64n{columns}k16.{KINDS[operands[0].buffer.dtype.name]}")
    s.bind(group, "thread.y")
    every, dims = phases_of(s, product, made)
    for site in every:
        assert not isinstance(site.leaf, Check), "a stage is computed by stores"
        buffer = written_buffers(site.leaf)[0]
        if not isinstance(site.leaf, Accumulate) and buffer.scope != "shared":
            _elements(s, buffer.name, site, dims)
    stages = stages_of(_stage_bytes(columns), const_int(s.extent(made.step)) or 0, 1, target.cuda)
    if stages > 1:
        s.pipeline(made.step, stages)
        s.specialize(made.step)
    on_blocks(s, made)


def _stage_bytes(columns: int) -> int:
    return 2 * (ROWS + columns) * DEPTH


def _elements(s: Schedule, name: str, site: Site, dims: dict[Buffer, Dims]) -> None:
    """Give a tile's elements to the lanes that the instruction gives them to.

    Raises:
        ScheduleError: a step is refused; the sides of the tile cannot be told.
    """
    own = {x.var: x for x in own_loops(s.program, site.leaf)}
    row, column = (Loop(s, name, v) for v in sides_of(site, own, dims))
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
