"""Tiles of a contraction for tensor cores, of a block and of a warp, chosen by a model.

The model counts cycles of one multiprocessor: those of its tensor cores, of shared memory that
fragments are loaded from, of the second-level cache that operands are fetched from.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorc.schedule.auto.cuda.tiles import Problem
    from tensorc.target import CudaArch

FMAS = 2048  # Times bytes of an operand, in a cycle: A100's data sheet, 312e12 / 108 / 1.41e9.
SHARED = 128  # Bytes in a cycle, of 32 banks.
FETCHED = 40  # Bytes in a cycle that come from the second-level cache: 5120 / 108, and some less.
BUSY = 8  # Warps that hide the latency of what they do: two on each of four schedulers.
RESIDENT = 2  # Blocks of one multiprocessor that run at a time, by rule: 128 registers each.
START = 600  # Cycles until a block has its first operands, and stores its results.
LAUNCH = 4000  # A kernel more.
STORED = 12  # Bytes in a cycle that come from, or go to, global memory.
STAGES = (4, 3, 2)
SPLIT_DEPTH = 256  # Steps of a part of the reduction at least, where it is split among blocks.
MOST_PARTS = 32


@dataclass(frozen=True, slots=True)
class WarpTile:
    """The results of a block and of each of its warps, and the steps that are fetched at a time."""

    rows: int
    columns: int
    warp_rows: int
    warp_columns: int
    depth: int
    size: int = 2  # Bytes of an operand's element.

    @property
    def warps(self) -> int:
        """Warps of a block."""
        return (self.rows // self.warp_rows) * (self.columns // self.warp_columns)

    @property
    def stage_bytes(self) -> int:
        """Shared memory of one stage: both operands."""
        return self.size * (self.rows + self.columns) * self.depth


# Results of a block and of a warp: 64x32 of a warp take 64 registers of each thread.
SIDES = (
    (128, 128, 64, 32),
    (128, 64, 32, 32),
    (64, 128, 32, 32),
    (64, 64, 32, 32),
    (64, 32, 32, 16),
    (32, 64, 16, 32),
    (32, 32, 16, 16),
    (16, 64, 16, 16),
    (64, 16, 16, 16),
    (16, 32, 16, 8),
    (16, 16, 16, 8),
    (64, 8, 16, 8),
    (16, 8, 16, 8),
)
WHOLE = (16, 8)  # Rows and columns of one instruction.
ROWS = (64, 32)  # Bytes of a row of an operand for which it is fetched at a time.


def best_warp_tile(problem: Problem, steps: int, sms: int, size: int = 2) -> WarpTile | None:
    """The tile for a problem on a device of `sms` multiprocessors; the first of equal ones.

    `steps` are those of the reduction's longest loop, `size` the bytes of an operand's element.
    None where no tile fits into the result.
    """
    depth = next((n // size for n in ROWS if n // size <= steps), None)
    fits = [x for x in SIDES if x[0] <= problem.m and x[1] <= problem.n]
    if depth is None or not fits:
        return None
    tiles = [WarpTile(*x, depth, size) for x in fits]
    return min(tiles, key=lambda t: warp_time(t, problem, sms, warp_parts(t, problem, sms)))


def warp_blocks(tile: WarpTile, problem: Problem) -> int:
    """How many blocks the results take."""
    return problem.tiles(tile.rows, tile.columns, WHOLE)


def warp_time(tile: WarpTile, problem: Problem, sms: int, parts: int) -> float:
    """Cycles of the busiest multiprocessor, with its reduction in so many parts, by rule.

    Blocks that run at the same time share it; few warps leave it waiting.
    """
    each = ceil(warp_blocks(tile, problem) * parts / sms)
    step = max(
        tile.rows * tile.columns * tile.size / FMAS,
        tile.size * tile.warps * (tile.warp_rows + tile.warp_columns) / SHARED,
        tile.size * (tile.rows + tile.columns) / FETCHED,
    )
    waiting = max(1.0, BUSY / (min(each, RESIDENT) * tile.warps))
    steps = ceil(problem.k / parts / tile.depth) * tile.depth
    stored = problem.m * problem.n * problem.batch * 4 / sms / STORED
    passes = LAUNCH + (2 * parts + 1) * stored if parts > 1 else 0.0
    return each * steps * step * waiting + ceil(each / RESIDENT) * START + passes


def warp_parts(tile: WarpTile, problem: Problem, sms: int) -> int:
    """How many parts of the reduction run in blocks of their own; 1 where that does not pay."""
    blocks = warp_blocks(tile, problem)
    most = max(1, min(sms // blocks, problem.k // SPLIT_DEPTH, MOST_PARTS))
    return min((1, most), key=lambda parts: warp_time(tile, problem, sms, parts))


def stages_of(stage_bytes: int, steps: int, blocks: int, arch: CudaArch, taken: int = 0) -> int:
    """How many stages of a pipeline fit, with so many blocks on a multiprocessor; 1 is none.

    `taken` are the bytes of shared memory that a block has beside them.
    """
    for wanted in (blocks, 1):
        room = min(arch.shared // wanted - arch.reserved, arch.block_shared)
        for stages in STAGES:
            if stages <= steps and stages * stage_bytes + taken <= room:
                return stages
    return 1
