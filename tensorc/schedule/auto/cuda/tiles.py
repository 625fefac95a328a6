"""Tiles of a contraction for a GPU: of a block, and of a thread, chosen by a model of their time.

A block computes `rows` x `columns` results, each of its threads `row_regs` x `column_regs` of them
in registers, from parts of the operands in shared memory that are `depth` steps of the reduction.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from tensorc.schedule.auto.cuda.boxes import Axes, box_of

if TYPE_CHECKING:
    from tensorc.target import Target

SIDES = (128, 64, 32, 16)
REGS = (8, 4, 2, 1)
MOST_REGS = 64  # Results of one thread, of four bytes.
MOST_THREADS = 256
WARP = 32
WARP_ROWS = (8, 4, 2, 16)  # Threads of a warp along the rows, the best first.
# Multiply-adds of float32 in a cycle, by capability: NVIDIA's "CUDA C++ Programming Guide", table
# "Throughput of Native Arithmetic Instructions". Newer ones are as the last.
FMAS = {75: 64, 80: 64, 86: 128, 87: 128, 89: 128, 90: 128}
ISSUED = 4  # Instructions of a multiprocessor in a cycle.
OTHERS = 0.08  # Of a step, beside multiply-adds and loads: copies, addresses (1162 of 1024 + 64).
WAVES = 2  # Passes of shared memory for a load of 16 bytes by each thread; 1 for smaller ones.
COPIED = 4  # Cycles of a warp's copy to shared memory: an element, or a vector, for each lane.
FETCHED = 32  # Bytes in a cycle that come from the second-level cache.
BUSY = 8  # Warps that hide the latency of what they load: two on each of four schedulers.
REGISTERS = 65536  # Of a multiprocessor.
ADDRESSES = 32  # Registers of a thread beside results and operands.
START = 1000  # Cycles until a block has its first operands, and stores its results.
SLACK = 0.2  # How much of what is not the bottleneck is not hidden behind it.
DEPTHS = (16, 8, 24, 12, 20, 28)
LAUNCH = 4000  # Cycles of a kernel more: some microseconds.
STORED = 12  # Bytes in a cycle that come from, or go to, global memory.
SPLIT_DEPTH = 256  # Steps of a part of the reduction at least, where it is split among blocks.
MOST_PARTS = 32


@dataclass(frozen=True, slots=True)
class Tile:
    """The results of a block and of each of its threads."""

    rows: int
    columns: int
    row_regs: int
    column_regs: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return (self.rows // self.row_regs) * (self.columns // self.column_regs)

    @property
    def warp_rows(self) -> int:
        """Threads of a warp along the rows of its compact part of the tile; 0 if it has none."""
        sides = self.rows // self.row_regs, self.columns // self.column_regs
        return next((r for r in WARP_ROWS if sides[0] % r == 0 and sides[1] % (WARP // r) == 0), 0)

    @property
    def warp_columns(self) -> int:
        """Threads of a warp along the columns."""
        return WARP // self.warp_rows if self.warp_rows else 0


@dataclass(frozen=True, slots=True)
class Problem:
    """`batch` products of (m x k) and (k x n), of elements of `size` bytes.

    `rows` and `columns` are the axes of m and n, where these are several.
    """

    m: int
    n: int
    k: int
    batch: int = 1
    size: int = 4
    rows: Axes | None = None
    columns: Axes | None = None

    def tiles(self, rows: int, columns: int, whole: tuple[int, int] = (1, 1)) -> int:
        """How many tiles of so many rows and columns the results take."""
        down, across = self.rows or Axes((self.m,)), self.columns or Axes((self.n,))
        boxes = box_of(down, rows, whole[0]), box_of(across, columns, whole[1])
        return boxes[0].count(down) * boxes[1].count(across) * self.batch


def best_tile(problem: Problem, target: Target) -> Tile:
    """The tile for a problem on a GPU."""
    found = [
        Tile(rows, columns, a, b)
        for rows in _sides(problem.m)
        for columns in _sides(problem.n)
        for a in _regs(rows)
        for b in _regs(columns)
    ]
    fits = [
        t for t in found if t.threads <= MOST_THREADS and _registers(t, problem.size) <= MOST_REGS
    ]
    wide = [t for t in fits if t.threads >= WARP] or fits
    return min(wide, key=lambda t: time_of(t, problem, target, parts_of(t, problem, target)))


def _registers(tile: Tile, size: int) -> int:
    return tile.row_regs * tile.column_regs * max(1, size // 4)


def _sides(n: int) -> list[int]:
    """Sides of a tile along n results: no longer than they are, the edge as short as can be."""
    return [x for x in SIDES if x < n] + ([n] if n <= SIDES[0] else [])


def _regs(side: int) -> list[int]:
    return [x for x in REGS if side % x == 0]


def blocks_of(tile: Tile, problem: Problem) -> int:
    """How many blocks the results take."""
    return problem.tiles(tile.rows, tile.columns)


def time_of(tile: Tile, problem: Problem, target: Target, parts: int) -> float:
    """Cycles of the busiest multiprocessor, with its reduction in so many parts, by rule.

    A step of its warps takes what takes longest: multiply-adds, instructions, loads from shared
    memory, what the block fetches. Blocks that run at the same time share all of these; few warps
    leave them waiting. Parts cost a second kernel that reads what the first has stored.
    """
    sms, wide = target.resolved().sms, max(1, problem.size // 4)
    each = ceil(blocks_of(tile, problem) * parts / sms)
    a, b, warps = tile.row_regs, tile.column_regs, ceil(tile.threads / WARP)
    loads = wide * (ceil(a / 4) + ceil(b / 4))
    waves = sum(wide * (x // 4 * WAVES if x >= 4 else 1) for x in (a, b))
    costs = (
        warps * a * b * WARP * wide / _fmas(target),
        warps * (a * b + loads) * (1 + OTHERS) / ISSUED,
        warps * waves + COPIED * (tile.rows + tile.columns / 4) * wide / WARP,
        problem.size * (tile.rows + tile.columns) / FETCHED,
    )
    step = (1 - SLACK) * max(costs) + SLACK * sum(costs)
    resident = min(each, max(1, REGISTERS // (tile.threads * _taken(tile, problem.size))))
    waiting = max(1.0, BUSY / (resident * warps))
    results = problem.m * problem.n * problem.batch * problem.size
    passes = LAUNCH + (2 * parts + 1) * results / sms / STORED if parts > 1 else 0.0
    return each * step * waiting * problem.k / parts + ceil(each / resident) * START + passes


def _fmas(target: Target) -> int:
    capability = target.cuda.capability
    return next((n for c, n in reversed(FMAS.items()) if c <= capability), FMAS[75])


def _taken(tile: Tile, size: int) -> int:
    """Registers of a thread: results, operands of two steps, addresses."""
    operands = 2 * (tile.row_regs + tile.column_regs) * max(1, size // 4)
    return _registers(tile, size) + operands + ADDRESSES


def depth_of(k: int) -> int:
    """Steps of the reduction for which operands are fetched at a time, a part of all if it can."""
    order = sorted(DEPTHS, key=lambda d: (d % 8 != 0, d % 4 != 0, abs(d - 16)))
    if k <= max(DEPTHS):
        return k
    return next((d for d in order if k % d == 0), 16)


def parts_of(tile: Tile, problem: Problem, target: Target) -> int:
    """How many parts of the reduction run in blocks of their own; 1 where that does not pay."""
    blocks = blocks_of(tile, problem)
    most = max(1, min(target.resolved().sms // blocks, problem.k // SPLIT_DEPTH, MOST_PARTS))
    return min((1, most), key=lambda parts: time_of(tile, problem, target, parts))
