"""Tiles of a contraction for a GPU: of a block, and of a thread, chosen by a model of their time.

A block computes `rows` x `columns` results, each of its threads `row_regs` x `column_regs` of them
in registers, from parts of the operands in shared memory that are `depth` steps of the reduction.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

SIDES = (128, 64, 32, 16)
REGS = (8, 4, 2, 1)
MOST_REGS = 64  # Results of one thread, of four bytes.
MOST_THREADS = 256
WARP = 32
SHARED = 1.0  # What an operand's element costs that a thread reads from shared memory, in FMAs.
FETCHED = 8.0  # What one costs that a block fetches, beside what else its multiprocessor does.
RESIDENT = 4  # Blocks of one multiprocessor that run at a time, by rule.
BUSY = 128  # Threads of a multiprocessor that hide the latency of what they load...
INDEPENDENT = 1024  # ... and multiply-adds that hide their own, up to CHAINS of a thread.
CHAINS = 8
DEPTHS = (16, 32, 8, 24, 12, 20, 28)
LAUNCH = 5e5  # What a kernel more costs: some microseconds.
STORED = 10.0  # What a byte costs that is stored to, or loaded from, global memory.
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


@dataclass(frozen=True, slots=True)
class Problem:
    """`batch` products of (m x k) and (k x n), of elements of `size` bytes."""

    m: int
    n: int
    k: int
    batch: int = 1
    size: int = 4


def best_tile(problem: Problem, sms: int) -> Tile:
    """The tile for a problem on a device of `sms` multiprocessors."""
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
    return min(wide, key=lambda t: time_of(t, problem, sms, parts_of(t, problem, sms)))


def _registers(tile: Tile, size: int) -> int:
    return tile.row_regs * tile.column_regs * max(1, size // 4)


def _sides(n: int) -> list[int]:
    """Sides of a tile along n results: no longer than they are, the edge as short as can be."""
    return [x for x in SIDES if x < n] + ([n] if n <= SIDES[0] else [])


def _regs(side: int) -> list[int]:
    return [x for x in REGS if side % x == 0]


def blocks_of(tile: Tile, problem: Problem) -> int:
    """How many blocks the results take."""
    return ceil(problem.m / tile.rows) * ceil(problem.n / tile.columns) * problem.batch


def time_of(tile: Tile, problem: Problem, sms: int, parts: int) -> float:
    """The time of a problem by rule, in multiply-adds of one multiprocessor.

    The busiest multiprocessor counts. Threads that load more than they multiply wait for shared
    memory, few threads for the latency of what they do. Parts of the reduction cost a second kernel
    that reads what the first has stored.
    """
    each = ceil(blocks_of(tile, problem) * parts / sms)
    a, b = tile.row_regs, tile.column_regs
    efficiency = a * b / (a * b + SHARED * (a + b))
    threads = min(each, RESIDENT) * tile.threads
    waiting = max(1.0, BUSY / threads, INDEPENDENT / (threads * min(a * b, CHAINS)))
    whole_warps = ceil(tile.threads / WARP) * WARP / tile.threads
    work = tile.rows * tile.columns / efficiency * waiting * whole_warps
    results = problem.m * problem.n * problem.batch * problem.size
    passes = LAUNCH + (2 * parts + 1) * results * STORED / sms if parts > 1 else 0.0
    return each * (work + FETCHED * (tile.rows + tile.columns)) * problem.k / parts + passes


def depth_of(k: int, tile: Tile) -> int:
    """Steps of the reduction for which operands are fetched at a time."""
    small = tile.rows * tile.columns <= 64 * 64
    order = sorted(DEPTHS, key=lambda d: (d % 4 != 0, abs(d - (32 if small else 16))))
    if k <= max(DEPTHS):
        return k
    return next((d for d in order if k % d == 0), 16)


def parts_of(tile: Tile, problem: Problem, sms: int) -> int:
    """How many parts of the reduction run in blocks of their own; 1 where that does not pay."""
    blocks = blocks_of(tile, problem)
    most = max(1, min(sms // blocks, problem.k // SPLIT_DEPTH, MOST_PARTS))
    return min((1, most), key=lambda parts: time_of(tile, problem, sms, parts))
