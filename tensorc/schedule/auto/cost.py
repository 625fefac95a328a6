"""What the automatic schedule knows of costs: of values, of loops, of a machine's registers.

The numbers are rules of thumb for the choice between schedules, measured on Zen 3; none decides
whether a step is legal.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING

from tensorc.dtypes import int64
from tensorc.ir.affine import coefficient
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    Var,
    Where,
    const_int,
)
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate, Store
from tensorc.ir.walk import loads, walk, written_buffers

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tensorc.ir.expr import Buffer
    from tensorc.ir.stmt import For, Leaf
    from tensorc.schedule.tree import Site
    from tensorc.target import Target

PARALLEL_WORK = 256 * 1024  # Work below which a nest stays on one thread: some 10 us.
LONG_WORK = 20  # From this cost on, an element's chain of operations waits for itself.
MEMORY_WORK = 8  # What an element costs that is loaded and stored, beside its arithmetic.
DIVISION = 4  # What a division costs.
MAX_INLINE = 400  # Cost of an element beyond which it is stored: expressions stay of bounded size.
SHARED_BYTES = 256 * 1024  # An array larger than this is worth reading once for two nests.
FAR_BYTES = 8 * 1024 * 1024  # A result beyond this mostly leaves the caches before it is read.
SYMBOLIC = 4096  # What a symbolic extent counts for when work is estimated.
CHEAP_CALLS = (
    "abs",
    "sign",
    "floor",
    "ceil",
    "round",
    "trunc",
    "tf32",
    "isnan",
    "isinf",
    "isfinite",
    "fma",
    "stop_gradient",
    "bitcast",
    "eighths",
    "sqrt",
)


def cost_of(value: Expr) -> int:
    """How much an element costs, beside its loads: 0 for a plain copy, 20 for a transcendental."""
    total = 0
    for node in walk(value):
        match node:
            case Const() | Var() | Load():
                if isinstance(node, Load) and any(loads(i) for i in node.indices):
                    total += 2
            case Call(name, _, _) if name not in CHEAP_CALLS:
                total += 20
            case Where():
                total += 1
            case Binary(BinaryOp.DIV, _, by) if not isinstance(by, Const) and node.dtype.is_float:
                total += DIVISION
            case Unary() | Binary() | Compare() | Cast() | Call() | Select():
                total += 0 if node.dtype == int64 else 1  # Indices are free.
            case _:
                pass
    return total


def work_of(found: Iterable[Site]) -> int:
    """The work of some leaves, in multiply-adds of a contraction, roughly."""
    total = 0
    for site in found:
        total += _each(site.leaf) * iterations(site.loops)
    return total


def _each(leaf: Leaf) -> int:
    """The work of a leaf, once: of a fold one, unless what it folds is transcendental."""
    if isinstance(leaf, Store):
        return MEMORY_WORK + cost_of(leaf.value)
    if isinstance(leaf, Accumulate):
        folded = sum(map(cost_of, leaf.values))
        return folded if folded >= LONG_WORK else 1
    return 1


def iterations(loops: Iterable[For]) -> int:
    """How often the innermost of nested loops runs."""
    return prod(extent_of(x) for x in loops)


def extent_of(loop: For) -> int:
    """A loop's extent; `SYMBOLIC` for one that is not constant."""
    n = const_int(loop.extent)
    return SYMBOLIC if n is None else n


def lanes_of(site: Site, target: Target) -> int:
    """How many lanes a register holds of the widest type that the statement computes in."""
    sizes = [x.dtype.bytes for x in leaf_loads(site.leaf) if x.dtype.is_float]
    sizes += [b.dtype.bytes for b in written_buffers(site.leaf)]
    if isinstance(site.leaf, Store):  # Integers of 64 bits are indices, or the same in all lanes.
        inside = (x.dtype for x in walk(site.leaf.value) if isinstance(x, Binary))
        sizes += [x.bytes for x in inside if x.is_int and x.bits < 64]
    return max(1, target.vector_bytes // max(sizes, default=4))


def stride(use: Load, var: Var) -> int | None:
    """The step in elements between neighbours along `var`: 0, 1, or None for anything else."""
    strides = [coefficient(i, var) for i in use.indices]
    if any(c is None for c in strides):
        return None
    numbers = [const_int(c) for c in strides if c is not None]
    if all(n == 0 for n in numbers):
        return 0
    return 1 if numbers[-1] == 1 and all(n == 0 for n in numbers[:-1]) else None


def is_index(index: Expr, var: Var) -> bool:
    """Whether `index` steps by 1 with `var`."""
    c = coefficient(index, var)
    return c is not None and const_int(c) == 1


def depends(indices: Sequence[Expr], var: Var) -> bool:
    """Whether an index depends on `var`."""
    return any(n is var for i in indices for n in walk(i))


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile of accumulators: rows, vector registers in a row, and such rows side by side.

    Those `beside` each other lie along another axis, as the next row of an image.
    """

    rows: int
    vectors: int
    beside: int = 1


# Tiles that leave registers for their operands: of 32 registers, of 16.
TILES_32 = tuple(Tile(*t) for t in ((12, 2), (8, 3), (8, 2), (6, 2), (4, 2)))
TILES_16 = tuple(Tile(*t) for t in ((6, 2), (5, 2), (4, 2)))
LATENCY = 4  # Cycles until the result of a multiply-add may be added to; two start in each.
BROADCAST = 1.7  # What a broadcast of a row's element costs, in loads; two loads start in a cycle.
MASKED = 0.8  # The speed that is left where blends of masked lanes take registers.


def best_tile(
    m: int,
    n: int,
    lanes: int,
    registers: int,
    *,
    padded: bool,
    beside: int = 1,
    across: float = 0.0,
    whole: bool = False,
) -> Tile:
    """The tile for a result of `m` rows and `n` columns; `padded` if the columns' edge is full.

    There are `beside` of them, all products with the same rows, which a tile may lie across; that
    costs `across` for each element and step. With `whole`, tiles divide the rows where there is a
    size that does.
    """
    sizes = TILES_32 if registers >= 32 else TILES_16
    if whole and any(m % t.rows == 0 for t in sizes):
        sizes = tuple(t for t in sizes if m % t.rows == 0)
    choices = [*sizes, *(Tile(t.rows, 1, t.vectors) for t in sizes if t.vectors <= beside)]
    time = partial(time_of, m=m, n=n, lanes=lanes, registers=registers, padded=padded)
    more = m * n * beside * across
    best = min(choices, key=lambda t: time(t, beside=beside) + (more if t.beside > 1 else 0.0))
    return Tile(best.rows, max(1, min(best.vectors, -(-n // lanes))), best.beside)


def time_of(
    tile: Tile, m: int, n: int, lanes: int, registers: int, *, padded: bool, beside: int = 1
) -> float:
    """The time for `beside` results of `m` x `n`, one step of the sum, by rule; 1 is the peak's.

    What is beyond a full tile at an edge is a smaller tile; in columns a full one where `padded`.
    Measured on Zen 3, see benchmarks.
    """
    width = tile.vectors * lanes
    rest = tile.vectors if padded else -(-(n % width) // lanes)
    rows = _parts(m, tile.rows)
    columns = [(tile.vectors, n // width), (rest, 1 if n % width else 0)]
    total = sum(
        a * b * c * mr * nv * each * lanes / _speed(mr, nv * each)
        for mr, a in rows
        for nv, b in columns
        for each, c in _parts(beside, tile.beside)
        if mr * a * b * each * c
    )
    accumulators = tile.rows * tile.vectors * tile.beside
    spills = n % lanes and not padded and accumulators > registers // 2
    return total / (MASKED if spills else 1.0)


def _parts(extent: int, size: int) -> list[tuple[int, int]]:
    """The sizes of the parts of an extent that is cut, and how many there are of each."""
    return [(size, extent // size), (extent % size, 1)]


def _speed(mr: int, nv: int) -> float:
    """The share of the peak at which a tile runs.

    A step of the reduction takes as long as its multiply-adds, its loads or the latency of one; a
    few accumulators more leave it some slack.
    """
    busy = mr * nv / 2
    step = max(busy, (BROADCAST * mr + nv) / 2, LATENCY)
    return busy / step * (1 - 0.5 / (mr * nv + 1))


def bytes_of(buffer: Buffer) -> int:
    """The size of a buffer in bytes."""
    return elements_of(buffer) * buffer.dtype.bytes


def elements_of(buffer: Buffer) -> int:
    """The number of elements of a buffer."""
    return prod(const_int(n) or SYMBOLIC for n in buffer.shape)
