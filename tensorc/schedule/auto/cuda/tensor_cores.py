"""Contractions on tensor cores: warps multiply tiles of 16x8 results.

    for io, jo in blocks:
      alloc C.local local                            # Each lane has what the instruction gives it.
      for ko.ahead in 3: fetch A.local[ko.ahead], B.local[ko.ahead]
      for ko: fetch A.local[(ko + 3) % 4], B.local[(ko + 3) % 4], asynchronously
              for wi, wj in warps: for i, j, k: mma.m16n8k16 of C.local, A.local, B.local
      C = what is computed from C.local, element by element

Operands lie in shared memory as they do in global memory, either way round, their rows permuted in
chunks of 16 bytes, so that those of a fragment lie in different banks. Edges are padded with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Binary, BinaryOp, Call, Cast, Load, const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate, Check
from tensorc.ir.swizzle import SHIFT
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import extent_of
from tensorc.schedule.auto.cuda.boxes import box_of, one, sides, take
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
from tensorc.schedule.auto.cuda.warps import RESIDENT, WHOLE, best_warp_tile, stages_of
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import find_buffer, own_loops
from tensorc.target import WARP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Buffer
    from tensorc.schedule.auto.cuda.tiling import Copy, Dims
    from tensorc.schedule.auto.cuda.warps import WarpTile
    from tensorc.schedule.auto.operands import Product
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site
    from tensorc.target import Target

CAPABILITY = 80  # Of the first GPUs with these instructions, ldmatrix, and cp.async.
LINE = 128  # Bytes of all banks of shared memory.
PADDING = 8  # Elements of a row beyond whole lines: rows of fragments then lie in other banks.


@dataclass(frozen=True, slots=True)
class Instruction:
    """What a warp multiplies 16x8 results by: its name, the steps that it sums up, its rounding."""

    name: str
    depth: int
    precision: str | None = None

    @property
    def rounds(self) -> bool:
        """Whether it is of float32 operands, which are rounded."""
        return self.name.endswith("tf32")

    def by_groups(self, columns: int) -> str:
        """The name of the same by a warp group, of 64 rows and so many columns."""
        return self.name.replace("mma.m16n8", f"wgmma.m64n{columns}")


KINDS = {
    "bfloat16": Instruction("mma.m16n8k16.bf16", 16),
    "float16": Instruction("mma.m16n8k16.f16", 16),
    "tf32": Instruction("mma.m16n8k8.tf32", 8),
    "float32": Instruction("mma.m16n8k8.tf32", 8, "tf32"),
}


def instruction_of(product: Product, target: Target) -> Instruction | None:
    """The instruction that computes what the product does, or what `target` lets it be rounded to.

    That is of 16-bit floats as float32, of `tf32(x)`, and of float32 where the target says tf32.
    """
    leaf = product.leaf
    if leaf.buffers[0].dtype.name != "float32" or leaf.reducer.name != "sum":
        return None
    match leaf.values[0]:
        case Binary(BinaryOp.MUL, Cast(Load(a, _), _), Cast(Load(b, _), _)):
            kind = a.dtype.name
        case Binary(BinaryOp.MUL, Call("tf32", (Load(a, _),), _), Call("tf32", (Load(b, _),), _)):
            kind = "tf32"
        case Binary(BinaryOp.MUL, Load(a, _), Load(b, _)) if target.precision == "tf32":
            kind = a.dtype.name
        case _:
            return None
    return KINDS.get(kind) if a.dtype == b.dtype and a is not b else None


def warp_tile(product: Product, target: Target) -> WarpTile | None:
    """The tile by which tensor cores compute a product; None where they cannot, or it is small."""
    if target.cuda.capability < CAPABILITY or instruction_of(product, target) is None:
        return None
    steps = extent_of(steps_first(product)[-1])
    size = leaf_loads(product.leaf)[0].buffer.dtype.bytes
    return best_warp_tile(problem_of(product, *sides(product)), steps, target.resolved().sms, size)


def tensor_product(
    s: Schedule, stage: str, product: Product, tile: WarpTile, target: Target
) -> None:
    """Put a contraction on tensor cores, with what is computed from its elements in its blocks.

    Raises:
        ScheduleError: a step is refused.
    """
    instruction = instruction_of(product, target)
    assert instruction is not None, "the tile is one of tensor cores"
    rows, columns = sides(product)
    boxes = box_of(rows.axes, tile.rows, WHOLE[0]), box_of(columns.axes, tile.columns, WHOLE[1])
    made = cut(s, stage, product, (rows, boxes[0]), (columns, boxes[1]), tile.depth)
    copies = fetched(s, made, sides_last=False)
    if len(copies) != 2:
        raise ScheduleError(f"tensor_product({stage}): the operands are not two tiles")
    collect(s, stage, product, made)
    for copy in copies:
        _fetch(s, copy, tile)
    every, dims = phases_of(s, made)
    names = {x.name for x in copies}
    for site in every:
        assert not isinstance(site.leaf, Check), "a stage is computed by stores"
        name = written_buffers(site.leaf)[0].name
        if name not in names:
            _elements(s, name, site, dims, tile, instruction)
    step = all_steps(s, made)
    stages = stages_of(tile.stage_bytes, const_int(s.extent(step)) or 0, RESIDENT, target.cuda)
    if stages > 1:
        attempt(s, partial(s.pipeline, step, stages))
    on_blocks(s, made)


def _fetch(s: Schedule, copy: Copy, tile: WarpTile) -> None:
    """Fetch a tile with all threads of a block, asynchronously where its rows allow."""
    _spread(s, copy)
    s.cooperative_fetch(copy.name, tile.warps * WARP, whole_vectors(s, copy))
    copied_ahead(s, copy)


def _spread(s: Schedule, copy: Copy) -> None:
    """Put the rows of a fragment in different banks: permuted in chunks of 16 bytes, or padded.

    Chunks are what `ldmatrix` reads; of 32-bit elements it does so only along the steps of a sum.

    Raises:
        ScheduleError: a step is refused.
    """
    buffer = find_buffer(s.program, copy.name)
    assert buffer is not None, "the copy stands in the program"
    row = (const_int(buffer.shape[-1]) or 0) * buffer.dtype.bytes
    width = min(row, LINE)
    chunks = row & (row - 1) == 0 and (buffer.dtype.bytes == 2 or copy.by_steps)
    shift = SHIFT + (row // width).bit_length() - 1
    if chunks and attempt(s, partial(s.swizzle, copy.name, width, shift)):
        return
    padded_rows(s, copy, PADDING)


def _elements(
    s: Schedule, name: str, site: Site, dims: dict[Buffer, Dims], tile: WarpTile, mma: Instruction
) -> None:
    """Give a tile's elements to warps and lanes: the products to tensor cores.

    Raises:
        ScheduleError: a step is refused; the sides of the tile cannot be told.
    """
    own = {x.var: x for x in own_loops(s.program, site.leaf)}
    rows, columns = sides_of(site, own, dims)
    inner = [Loop(s, name, v) for v in own if v not in {*rows, *columns}]
    down, across = ([Loop(s, name, v) for v in side] for side in (rows, columns))
    if isinstance(site.leaf, Accumulate):
        *others, depth = inner
        chunk, depth = s.split(depth, mma.depth)
        row, _, warps = _warps(s, down, across, [*others, chunk], [depth], tile)
        s.tensorize(row, mma.name, mma.precision)  # While the indices are affine.
        _bind_warps(s, *warps)
        return
    row, column, warps = _warps(s, down, across, inner, [], tile)
    _bind_warps(s, *warps)
    half, row = s.split(row, 8)
    four, pair = s.split(column, 2)
    s.reorder(row, four, half, pair)
    s.bind(s.fuse(row, four), "thread.x")
    s.unroll(half)
    if not attempt(s, partial(s.vectorize, pair)):
        s.unroll(pair)


def _warps(
    s: Schedule,
    rows: Sequence[Loop],
    columns: Sequence[Loop],
    around: Sequence[Loop],
    inner: Sequence[Loop],
    tile: WarpTile,
) -> tuple[Loop, Loop, tuple[list[Loop], list[Loop]]]:
    """Give each warp its part of a tile, in tiles of 16 rows and 8 columns.

    The loops of those, and the loops over warps along the rows and along the columns.
    """
    down, (row,) = _of_one(s, rows, WHOLE[0])
    across, (column,) = _of_one(s, columns, WHOLE[1])
    down, row_tiles = take(s, down, tile.warp_rows // WHOLE[0])
    across, column_tiles = take(s, across, tile.warp_columns // WHOLE[1])
    s.reorder(*down, *across, *around, *row_tiles, *column_tiles, row, column, *inner)
    return row, column, (down, across)


def _bind_warps(s: Schedule, down: Sequence[Loop], across: Sequence[Loop]) -> None:
    for loops, axis in ((down, "thread.z"), (across, "thread.y")):
        if loops:
            s.bind(one(s, loops), axis)


def _of_one(s: Schedule, loops: Sequence[Loop], count: int) -> tuple[list[Loop], list[Loop]]:
    """The innermost iterations of a side, which are of one loop.

    Raises:
        ScheduleError: that is shorter.
    """
    rest, taken = take(s, loops, count)
    if len(taken) != 1:
        raise ScheduleError(f"{count} neighbours of a tile are of {len(taken)} loops")
    return rest, taken
