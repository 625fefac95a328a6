"""Any nest on a grid: its parallel loops as one, cut into blocks of threads.

This is what is left for nests that no better rule fits: each thread computes an element, or four
neighbours of a row, and folds what they need by itself.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads, nests
from tensorc.ir.stmt import Check, For, ForKind, Store
from tensorc.ir.walk import free_vars, walk_stmts, written_buffers
from tensorc.schedule.auto.cost import depends, extent_of, stride
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.legality import carried_pair
from tensorc.schedule.parallel import MAX_BLOCKS
from tensorc.schedule.tree import around, find_loop, parts, sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Var
    from tensorc.ir.stmt import Stmt
    from tensorc.schedule.schedule import Schedule
    from tensorc.target import Target

THREADS = 256  # Of a block, where the grid has enough of them for every multiprocessor.
WARP = 32
WAVES = 2  # Blocks for each multiprocessor at least, before blocks get larger.
VECTOR_BYTES = 16  # The most that one thread loads or stores at once.


def bind_all(s: Schedule, target: Target) -> None:
    """Give every nest that is not on a grid yet its blocks and threads."""
    for nest in list(nests(s.program.body)):
        if isinstance(nest, For) and not is_bound(nest):
            attempt(s, partial(bind_nest, s, nest, target))


def is_bound(stmt: Stmt) -> bool:
    """Whether a loop under `stmt` runs on a grid."""
    return any(isinstance(x, For) and x.kind is ForKind.BOUND for x in walk_stmts(stmt))


def bind_nest(s: Schedule, nest: For, target: Target) -> None:
    """Put one nest of plain loops on a grid.

    Raises:
        ScheduleError: a step is refused.
    """
    chain = [Loop(s, stage_of(x), x.var) for x in perfect(nest)]
    if not chain:
        return
    found = [x for x in chain if is_parallel(s, x)]
    if found and chain[: len(found)] != found:
        rest = [x for x in chain if x not in found]
        if not attempt(s, partial(s.reorder, *found, *rest)):
            found = _prefix(chain, found)
    if not found:
        if not attempt(s, partial(_fold, s, chain)):
            _inner_threads(s, chain[0].var)
        return
    lanes = _lanes(s, found[-1])
    vector = None
    if lanes > 1:
        outer, vector = s.split(found[-1], lanes)
        found[-1] = outer
    _on_grid(s, found, target)
    if vector is not None:
        s.vectorize(vector)


def _prefix(chain: Sequence[Loop], found: Sequence[Loop]) -> list[Loop]:
    """The parallel loops before the first other one."""
    count = next((d for d, x in enumerate(chain) if x not in found), len(chain))
    return list(chain[:count])


def stage_of(stmt: Stmt) -> str:
    """A stage that `stmt` computes, the last one."""
    written = [b.name for x in sites(stmt) for b in written_buffers(x.leaf)]
    return written[-1] if written else ""


def perfect(nest: Stmt) -> list[For]:
    """The loops that stand alone inside each other, of ranges free of each other."""
    found: list[For] = []
    own: set[Var] = set()
    while isinstance(nest, For) and nest.kind is ForKind.SERIAL:
        if any(v in own for e in (nest.start, nest.extent) for v in free_vars(e)):
            break
        found.append(nest)
        own.add(nest.var)
        nest = nest.body
    return found


def is_parallel(s: Schedule, loop: Loop) -> bool:
    """Whether no iteration of `loop` depends on another one."""
    found = find_loop(s.program, loop.var)
    assert found is not None, "the loop stands in the program"
    return carried_pair(found, around(s.program, found)) is None


def _on_grid(s: Schedule, loops: Sequence[Loop], target: Target) -> None:
    """Nested parallel loops, outermost first, on the blocks and threads of a grid.

    A last loop that is a multiple of a block's threads has block.x and thread.x for itself, those
    around it block.y and block.z. Others are joined to one loop first. Where an inner one has a
    symbolic extent, `//` by it would say little to later proofs: then loops around it are not.
    """
    extents = [const_int(s.extent(x)) for x in loops]
    threads = threads_for(s, loops, target)
    symbolic = [d for d, n in enumerate(extents) if d and n is None]
    cut = symbolic[-1] if symbolic else 0
    if not symbolic and 1 < len(loops) <= 3 and _fits(extents, threads):
        cut = len(loops) - 1
    joined = loops[cut]
    for inner in loops[cut + 1 :]:
        joined = s.fuse(joined, inner)
    blocks, inside = s.split(joined, threads)
    s.bind(inside, "thread.x")
    s.bind(blocks, "block.y" if symbolic else "block.x")
    free = ("block.x" if symbolic else "block.y", "block.z")
    for loop, axis in zip(reversed(loops[:cut]), free, strict=False):
        s.bind(loop, axis)


def _fits(extents: Sequence[int | None], threads: int) -> bool:
    """Whether the last of some extents is a multiple of the threads, the others short enough."""
    *others, last = (n or 0 for n in extents)
    return last % threads == 0 and all(0 < n <= MAX_BLOCKS for n in others)


def threads_for(s: Schedule, loops: Sequence[Loop], target: Target) -> int:
    """Threads of a block for nested loops over elements: fewer where blocks would be few."""
    extents = [const_int(s.extent(x)) for x in loops]
    if None in extents:
        return THREADS
    n = prod(x or 1 for x in extents)
    threads, sms = THREADS, target.resolved().sms
    while threads > WARP and n < threads * sms * WAVES:
        threads //= 2
    return max(1, min(threads, n))


def _lanes(s: Schedule, loop: Loop) -> int:
    """How many neighbours along `loop` a thread computes with whole registers, 1 for none."""
    found = find_loop(s.program, loop.var)
    assert found is not None, "the loop stands in the program"
    inside = sites(found)
    n = const_int(found.extent)
    if n is None or len(inside) != 1 or not isinstance(inside[0].leaf, Store):
        return 1
    (site,) = inside
    leaf = site.leaf
    assert isinstance(leaf, Store), "it was looked at"
    if site.loops[-1] is not found or site.conds:
        return 1
    sizes = [leaf.buffer.dtype.bytes, *(x.buffer.dtype.bytes for x in leaf_loads(leaf))]
    lanes = VECTOR_BYTES // max(sizes)
    steps = [stride(use, found.var) for use in leaf_loads(leaf)]
    whole = _is_row(leaf, found.var) and None not in steps
    return lanes if whole and n % lanes == 0 and n > lanes else 1


def _is_row(leaf: Store, var: Var) -> bool:
    """Whether a store moves along a row with `var`."""
    return bool(leaf.indices) and leaf.indices[-1] is var and not depends(leaf.indices[:-1], var)


def _fold(s: Schedule, loops: Sequence[Loop]) -> None:
    """Fold one element by the threads of one block.

    Raises:
        ScheduleError: that is no such reduction.
    """
    joined = loops[0]
    for inner in loops[1:]:
        joined = s.fuse(joined, inner)
    n = const_int(s.extent(joined))
    if n is None or n > THREADS:
        outer, joined = s.split(joined, THREADS)
        s.reorder(joined, outer)
    s.bind(joined, "thread.x")


def _inner_threads(s: Schedule, top: Var) -> None:
    """Threads for the parallel loops inside of a loop that is none, in one block."""
    loop = find_loop(s.program, top)
    assert loop is not None, "the nest stands in the program"
    for inner in _outermost_parallel(s, loop.body):
        n = const_int(inner.extent)
        handle = Loop(s, stage_of(inner), inner.var)
        if n is None or n > THREADS:
            _, handle = s.split(handle, THREADS)
        s.bind(handle, "thread.x")


def _outermost_parallel(s: Schedule, stmt: Stmt) -> list[For]:
    """The outermost loops under `stmt` whose iterations do not depend on each other."""
    if isinstance(stmt, For) and stmt.kind is ForKind.SERIAL and extent_of(stmt) > 1:
        name = stage_of(stmt)
        if name and is_parallel(s, Loop(s, name, stmt.var)):
            return [stmt]
    if isinstance(stmt, Check | Store):
        return []
    return [x for part in parts(stmt) for x in _outermost_parallel(s, part)]
