"""The automatic schedule for CPUs: a trace chosen by rule from each nest's shape and the target.

Element-wise temporaries with one cheap use are inlined. An element-wise nest is vectorized along
its last axis. A reduction keeps a tile of accumulators in registers: the axis along which the
result and the operands are contiguous runs in lanes, a second axis that reuses the lanes' operands
is unrolled, and the reduced axes run outside of both. Large nests run their outer loop in parallel.

Steps are only asked for, never forced: where one is refused, the nest stays as it was before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod
from typing import TYPE_CHECKING, TypeGuard

from tensorc.errors import ScheduleError
from tensorc.ir.affine import coefficient
from tensorc.ir.expr import (
    Binary,
    Buffer,
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
from tensorc.ir.facts import facts, leaf_loads
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Check,
    For,
    ForKind,
    If,
    Leaf,
    Node,
    Program,
    Store,
)
from tensorc.ir.walk import children, loads, walk, walk_stmts, written_buffers
from tensorc.schedule.schedule import Loop, Schedule
from tensorc.schedule.tree import Site, path_to, sites, stage_sites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tensorc.target import Target

PARALLEL_WORK = 32 * 1024  # Scalar operations below which a nest stays on one thread.
MAX_INLINE = 400  # Cost of an element beyond which it is stored: expressions stay of bounded size.
SYMBOLIC = 4096  # What a symbolic extent counts for when work is estimated.
CHEAP_CALLS = (
    "abs",
    "sign",
    "floor",
    "ceil",
    "round",
    "trunc",
    "isnan",
    "isinf",
    "isfinite",
    "fma",
    "stop_gradient",
    "bitcast",
    "sqrt",
)


def auto_schedule(program: Program, target: Target) -> Schedule:
    """A legal schedule of `program` for `target`, as a trace that can be printed and edited."""
    s = Schedule(program)
    _inline_all(s)
    for stage in s.stages:
        found = stage_sites(s.program, stage)
        if any(isinstance(x.leaf, Accumulate) for x in found):
            _attempt(s, partial(_reduction, s, stage, target))
        else:
            _attempt(s, partial(_elementwise, s, stage, target))
    return s


def _attempt(s: Schedule, steps: Callable[[], object]) -> bool:
    """Take steps together or, where one is refused, none of them."""
    saved = s.save()
    try:
        steps()
    except ScheduleError:
        s.restore(saved)
        return False
    return True


# --- inlining ----------------------------------------------------------------------------------


def _inline_all(s: Schedule) -> None:
    allocated = [x.buffer for x in walk_stmts(s.program.body) if isinstance(x, Allocate)]
    for buffer in allocated:
        if _worth_inlining(s.program, buffer):
            _attempt(s, partial(s.inline, buffer.name))


def _worth_inlining(program: Program, buffer: Buffer) -> bool:
    """One element-wise store whose recomputation costs no more than storing and loading it."""

    def touches(stmt: For | If | Leaf) -> bool:
        found = facts(stmt)
        return buffer in found.read or buffer in found.written

    found = sites(program.body, touches)
    writers = [x for x in found if buffer in written_buffers(x.leaf)]
    uses = [(x, use) for x in found for use in leaf_loads(x.leaf) if use.buffer is buffer]
    if len(writers) != 1 or not isinstance(writers[0].leaf, Store) or not uses:
        return False
    cost = _cost(writers[0].leaf.value)
    if cost == 0:
        return True
    if cost > MAX_INLINE or max(_repeats(site, use) for site, use in uses) > 1:
        return False
    return len(uses) == 1 or cost * (len(uses) - 1) <= 2 * len(uses)


def _cost(value: Expr) -> int:
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
            case Unary() | Binary() | Compare() | Cast() | Call() | Select():
                total += 0 if node.dtype.is_int else 1
            case _:
                pass
    return total


def _repeats(site: Site, use: Load) -> int:
    """How often one element is read by this use: the loops that its index does not depend on."""
    used = {n for i in use.indices for n in walk(i) if isinstance(n, Var)}
    return prod(_extent(x) for x in site.loops if x.var not in used)


def _extent(loop: For) -> int:
    n = const_int(loop.extent)
    return SYMBOLIC if n is None else n


# --- element-wise nests --------------------------------------------------------------------------


def _elementwise(s: Schedule, stage: str, target: Target) -> None:
    (*_, last) = stage_sites(s.program, stage)
    if not last.loops or isinstance(last.leaf, Check) or _is_scheduled(last):
        return
    work = prod(_extent(x) for x in last.loops) * max(1, _cost_of(last))
    loops = list(s.loops(stage))
    lanes = _lanes(last, target)
    inner = last.loops[-1]
    vector = [loops[-1]]

    def vectorize() -> None:
        if _extent(inner) > lanes:
            outer, vector[0] = s.split(loops[-1], lanes)
            loops[-1] = outer
        s.vectorize(vector[0])

    if _extent(inner) > 1:
        kept = list(loops)
        if not _attempt(s, vectorize):
            loops[:] = kept
    if work >= PARALLEL_WORK:
        _parallel(s, loops)


def _cost_of(site: Site) -> int:
    return _cost(site.leaf.value) if isinstance(site.leaf, Store) else 1


def _is_scheduled(site: Site) -> bool:
    return any(x.kind is not ForKind.SERIAL for x in site.loops)


def _lanes(site: Site, target: Target) -> int:
    """How many lanes a register holds of the widest type that the statement computes in."""
    sizes = [n.dtype.bytes for c in children(site.leaf) for n in walk(c) if _computes(n)]
    sizes += [b.dtype.bytes for b in written_buffers(site.leaf)]
    return max(1, target.vector_bytes // max(sizes, default=4))


def _computes(node: Node) -> TypeGuard[Load]:
    return isinstance(node, Load) and node.dtype.is_float


def _parallel(s: Schedule, loops: Sequence[Loop]) -> None:
    """Run the outermost loop with more than one iteration on several threads."""
    for loop in loops:
        found = next(
            (x for x in stage_sites(s.program, loop.stage)[-1].loops if x.var is loop.var), None
        )
        if found is None or found.kind is not ForKind.SERIAL:
            return
        if _extent(found) > 1:
            _attempt(s, partial(s.parallel, loop))
            return


# --- reductions ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Nest:
    """A reduction's loops: those around its initialisation, and those it runs over."""

    leaf: Accumulate
    spatial: tuple[For, ...]
    reduced: tuple[For, ...]


def _reduction(s: Schedule, stage: str, target: Target) -> None:
    nest = _nest_of(s, stage)
    if nest is None:
        return
    lane = _lane_axis(nest)
    rows = _row_axis(nest, lane)
    registers = target.vector_registers
    lanes = max(1, target.vector_bytes // max(b.dtype.bytes for b in nest.leaf.buffers))
    mr, nv = _tile_shape(rows, lane, lanes, registers)
    handles = {x.var: h for x, h in zip(nest.spatial, s.loops(stage), strict=False)}
    reduced = list(s.loops(stage))[len(nest.spatial) :]
    outer = [handles[x.var] for x in nest.spatial if x not in (lane, rows)]
    inner: list[Loop] = []
    if rows is not None:
        row_outer, row_inner = _split(s, handles[rows.var], rows, mr)
        outer += row_outer
        inner += row_inner
    lane_inner: list[Loop] = []
    if lane is not None:
        lane_outer, lane_inner = _split(s, handles[lane.var], lane, nv * lanes)
        outer = (
            [*outer[: len(outer) - 1], *lane_outer, *outer[len(outer) - 1 :]]
            if rows is not None
            else [*outer, *lane_outer]
        )
        if _constant(s, lane_inner[0]) > lanes:
            lane_inner = list(s.split(lane_inner[0], lanes))
        inner += lane_inner
    if outer or inner:
        s.reorder(*outer, *inner)  # The initialisation moves along, in the innermost loop.
    if reduced and inner:
        s.reorder(*reduced, *inner)
    if rows is not None and lane is not None and lane_inner and len(outer) > 1:
        _pack(s, nest, rows, lane, outer, mr)
    if outer:
        s.cache_write(stage, outer[-1])
        _finish_tile(s, outer[-1], lane_inner, lanes)
    work = prod(_extent(x) for x in (*nest.spatial, *nest.reduced))
    if work >= PARALLEL_WORK:
        _parallel(s, outer)


PACK_REUSE = 4  # Row tiles that must share a packed panel for the copy to pay.
PACK_STRIDE = 256  # Elements between rows of an operand above which its panel is packed.


def _pack(s: Schedule, nest: _Nest, rows: For, lane: For, outer: Sequence[Loop], mr: int) -> None:
    """Copy the operand that a lane tile shares among its row tiles into one panel."""
    if -(-_extent(rows) // mr) < PACK_REUSE:
        return
    uses = [x for v in nest.leaf.values for x in loads(v)]
    for use in uses:
        if sum(u.buffer is use.buffer for u in uses) > 1 or _stride(use, rows.var) != 0:
            continue
        dims = [d for d, i in enumerate(use.indices) if _indexes([i], lane.var)]
        if len(dims) != 1 or not _is_index(use.indices[dims[0]], lane.var):
            continue
        (d,) = dims
        row_elements = prod(const_int(n) or SYMBOLIC for n in use.buffer.shape[d + 1 :])
        far = d + 1 < use.buffer.ndim or _extent(lane) >= PACK_STRIDE
        if row_elements == 1 and not far:
            continue
        order = [*(x for x in range(use.buffer.ndim) if x != d), d]
        given = None if d == use.buffer.ndim - 1 else order
        _attempt(s, partial(_packed, s, use, outer[-2], given))


def _packed(s: Schedule, use: Load, at: Loop, order: Sequence[int] | None) -> None:
    panel = s.cache_read(use.buffer.name, at, order=order)
    last = panel.loops[-1]
    if order is None and const_int(s.extent(last)) is not None:
        s.vectorize(last)


def _nest_of(s: Schedule, stage: str) -> _Nest | None:
    found = stage_sites(s.program, stage)
    updates = [x for x in found if isinstance(x.leaf, Accumulate)]
    inits = [x for x in found if isinstance(x.leaf, Store)]
    if len(updates) != 1 or not inits or any(_is_scheduled(x) for x in found):
        return None
    (update,) = updates
    spatial = inits[0].loops
    if any(a is not b for a, b in zip(spatial, update.loops, strict=False)):
        return None
    assert isinstance(update.leaf, Accumulate)
    return _Nest(update.leaf, spatial, update.loops[len(spatial) :])


def _stride(use: Load, var: Var) -> int | None:
    """The step in elements between neighbours along `var`: 0, 1, or None for anything else."""
    strides = [coefficient(i, var) for i in use.indices]
    if any(c is None for c in strides):
        return None
    numbers = [const_int(c) for c in strides if c is not None]
    if all(n == 0 for n in numbers):
        return 0
    return 1 if numbers[-1] == 1 and all(n == 0 for n in numbers[:-1]) else None


def _lane_axis(nest: _Nest) -> For | None:
    """The spatial loop along which the result is contiguous, and most operands too."""
    if not nest.spatial or not nest.leaf.indices:
        return None
    last = nest.leaf.indices[-1]
    loop = next((x for x in nest.spatial if x.var is last), None)
    return loop if loop is not None and _extent(loop) > 1 else None


def _row_axis(nest: _Nest, lane: For | None) -> For | None:
    """A second spatial loop that some operand does not depend on, so that a tile reuses it."""
    uses = [x for v in nest.leaf.values for x in loads(v)]
    rest = [x for x in nest.spatial if x is not lane and _extent(x) > 1]
    if lane is None:
        return rest[-1] if rest else None
    for loop in reversed(rest):
        if any(_stride(u, loop.var) == 0 and _stride(u, lane.var) != 0 for u in uses):
            return loop
    return None


# Rows and vectors of accumulator tiles that leave registers for their operands: of 32, of 16.
TILES_32 = ((12, 2), (8, 3), (8, 2), (6, 2), (4, 2))
TILES_16 = ((6, 2), (5, 2), (4, 2))
TAIL = 4  # How many times slower a guarded row at the edge is, roughly.
MASKED = 8  # Accumulators beyond which blends of masked lanes spill, with 16 registers.


def _tile_shape(rows: For | None, lane: For | None, lanes: int, registers: int) -> tuple[int, int]:
    """Rows and vectors of the accumulator tile."""
    if lane is None:
        return 4, 1
    if rows is None:
        return 1, _fit(_extent(lane), lanes, 4)
    choices = TILES_32 if registers >= 32 else TILES_16
    m, n = _extent(rows), _extent(lane)
    mr, nv = max(choices, key=lambda c: _efficiency(c, m, n, lanes, registers))
    return mr, _fit(n, lanes, nv)


def _fit(n: int, lanes: int, most: int) -> int:
    return max(1, min(most, -(-n // lanes)))


def _efficiency(shape: tuple[int, int], m: int, n: int, lanes: int, registers: int) -> float:
    """The share of the peak that a tile can reach, by rule: measured on Zen 3, see benchmarks.

    More accumulators hide more latency and share more loads; lanes beyond the edge are lost; rows
    at the edge are slow; masked lanes need registers for their blends.
    """
    mr, nv = shape
    width = nv * lanes
    useful = m * n / ((-(-m // mr) * mr) * (-(-n // width) * width))
    tail = 1 + TAIL * (m % mr) / m
    masked = 0.8 if n % width and mr * nv > MASKED * registers // 16 else 1.0
    return (1 - 1 / (mr * nv)) * useful * masked / tail


def _split(s: Schedule, handle: Loop, loop: For, factor: int) -> tuple[list[Loop], list[Loop]]:
    """Split by `factor`, or take the whole loop inside where it is no longer than that."""
    extent = const_int(loop.extent)
    if extent is not None and extent <= factor:
        return [], [handle]
    outer, inner = s.split(handle, factor)
    return [outer], [inner]


def _constant(s: Schedule, loop: Loop) -> int:
    """The extent of a loop that is known to be a constant."""
    extent = const_int(s.extent(loop))
    assert extent is not None, "an inner loop of a tile has a constant extent"
    return extent


def _finish_tile(s: Schedule, around: Loop, lane_inner: Sequence[Loop], lanes_wide: int) -> None:
    """Vectorize and unroll what stands inside the tile: initialisation, update, copy."""
    path = path_to(s.program.body, around.var)
    assert path is not None, "the tile's loop stands in the program"
    lanes = {h.var for h in lane_inner[-1:]}
    done: set[Var] = set()
    for site in sites(path[-1]):
        inside = list(site.loops[1:])
        name = written_buffers(site.leaf)[0].name
        contiguous = (
            site.leaf.indices[-1]
            if not isinstance(site.leaf, Check) and site.leaf.indices
            else None
        )
        for loop in reversed(inside):
            if loop.var in done or loop.kind is not ForKind.SERIAL:
                continue
            is_lane = loop.var in lanes or (
                contiguous is not None and bool(lanes) and _is_index(contiguous, loop.var)
            )
            extent = const_int(loop.extent)
            is_reduced = isinstance(site.leaf, Accumulate) and not _indexes(
                site.leaf.indices, loop.var
            )
            if extent is None or is_reduced:
                continue
            done.add(loop.var)
            handle = Loop(s, name, loop.var)
            if is_lane and extent > 1:
                _attempt(s, partial(_vectors, s, handle, extent, lanes_wide))
            elif extent <= 16:
                s.unroll(handle)


def _vectors(s: Schedule, handle: Loop, extent: int, lanes: int) -> None:
    """Run a loop as whole registers: lanes, and an unrolled loop over registers around them."""
    if extent <= lanes:
        s.vectorize(handle)
        return
    outer, inner = s.split(handle, lanes)
    s.vectorize(inner)
    s.unroll(outer)


def _is_index(index: Expr, var: Var) -> bool:
    c = coefficient(index, var)
    return c is not None and const_int(c) == 1


def _indexes(indices: Sequence[Expr], var: Var) -> bool:
    return any(n is var for i in indices for n in walk(i))
