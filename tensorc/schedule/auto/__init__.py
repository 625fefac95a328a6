"""The automatic schedule: a trace chosen by rule from each nest's shape and the target.

Temporaries that are cheaper to compute again are inlined. A contraction is tiled in registers, and
what is computed from its elements moves into the tile. Other nests over the same rows become one,
row by row; then an element-wise loop runs in lanes, and a reduction keeps several partial results.
Large nests run their outer loop on threads.

Steps are only asked for, never forced: where one is refused, the nest stays as it was before it.
What is here is for CPUs; `cuda` does the same for GPUs.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Load
from tensorc.ir.facts import facts, nests, reads
from tensorc.ir.stmt import Accumulate, Check, For, Program, Role, Store
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.ahead import read_ahead
from tensorc.schedule.auto.apart import Apart, with_readers
from tensorc.schedule.auto.blocks import tile_by_blocks
from tensorc.schedule.auto.chains import block_chains
from tensorc.schedule.auto.cost import (
    FAR_BYTES,
    LONG_WORK,
    SHARED_BYTES,
    bytes_of,
    cost_of,
    depends,
    extent_of,
    is_index,
    lanes_of,
    stride,
)
from tensorc.schedule.auto.cuda import cuda_schedule
from tensorc.schedule.auto.dense import run_on
from tensorc.schedule.auto.groups import is_in_groups, split_groups
from tensorc.schedule.auto.inlining import inline_all
from tensorc.schedule.auto.operands import product_of
from tensorc.schedule.auto.padding import store_padded
from tensorc.schedule.auto.products import tile_product
from tensorc.schedule.auto.reductions import (
    along_rows,
    by_parts,
    down_columns,
    of_everything,
    reads_rows,
)
from tensorc.schedule.auto.rows import join_rows
from tensorc.schedule.auto.steps import (
    attempt,
    extent_in,
    in_squares,
    is_scheduled,
    run_on_threads,
    vectors,
    wants_threads,
)
from tensorc.schedule.auto.sums import join_sums
from tensorc.schedule.auto.updates import block_updates
from tensorc.schedule.auto.widened import widen_operands
from tensorc.schedule.auto.windows import folds_windows, in_windows
from tensorc.schedule.handles import Loop
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.tree import Site, stage_sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.target import Target


BLOCK_HEIGHTS = (16, 20, 12, 10, 14, 8, 9)  # Squares in a block of a transposing copy, best first.


def auto_schedule(program: Program, target: Target) -> Schedule:
    """A legal schedule of `program` for `target`, as a trace that can be printed and edited."""
    if target.is_cuda:
        return cuda_schedule(program, target)
    s = Schedule(program)
    apart = Apart(s, target)
    inline_all(s, apart)
    block_updates(s, target)
    blocks = block_chains(s)
    apart.attempt_all(split_groups, [stage for stage in s.stages if is_in_groups(s, stage)])
    tiled = [stage for stage in s.stages if product_of(s, stage) is not None]
    apart.attempt_all(_in_tiles, tiled, with_readers)
    join_rows(s, lambda stage: product_of(s, stage) is not None, blocks)
    found = {stage: stage_sites(s.program, stage) for stage in s.stages}
    plain = [stage for stage, inside in found.items() if not is_scheduled(inside)]
    apart.attempt_all(_in_lanes, plain, whole=[x for x in plain if _is_large(found[x])])
    join_sums(s, tiled)
    read_ahead(s)
    wide = [facts(nest) for nest in nests(s.program.body) if wants_threads(nest)]
    computed = [x.written[0].name for x in wide if x.written]  # Others hold checks alone.
    apart.attempt_all(_on_threads, dict.fromkeys(computed))
    return s


def _in_tiles(s: Schedule, stage: str, target: Target) -> None:
    attempt(s, partial(store_padded, s, stage, target))
    widen_operands(s, stage)
    if not tile_by_blocks(s, stage, target):
        tile_product(s, stage, target)


def _is_large(found: Sequence[Site]) -> bool:
    """Whether a stage may be stored around the caches: then it matters who else reads it."""
    return any(bytes_of(b) >= FAR_BYTES for x in found for b in written_buffers(x.leaf))


def _on_threads(s: Schedule, _stage: str, _target: Target) -> None:
    run_on_threads(s)


def _around_caches(s: Schedule, stage: str) -> None:
    """Store a large result past the caches: nobody reads it before it would have left them."""
    (*_, last) = stage_sites(s.program, stage)
    (buffer,) = written_buffers(last.leaf)
    if bytes_of(buffer) < FAR_BYTES or len(last.loops) <= 2:
        return
    is_result = any(p.buffer is buffer and p.role is Role.OUT for p in s.program.params)
    if is_result and not any(reads(nest, buffer) for nest in nests(s.program.body)):
        s.annotate(Loop(s, stage, last.loops[-2].var), "nontemporal", True)


def _read_across(site: Site) -> For | None:
    """The loop along which a plain copy reads neighbours, where its lanes read far apart."""
    leaf = site.leaf
    if not isinstance(leaf, Store) or not isinstance(leaf.value, Load) or site.conds:
        return None
    (*outer, lane) = site.loops
    if not is_index(leaf.indices[-1], lane.var):
        return None
    steps = {x: stride(leaf.value, x.var) for x in (*outer, lane)}
    return next((x for x in outer if steps[x] == 1 and steps[lane] not in (0, 1)), None)


def _turned(s: Schedule, stage: str, across: For, along: For, target: Target) -> None:
    """Copy by squares.

    Raises:
        ScheduleError: a step is refused, or squares would leave a rest.
    """
    (site, *_) = stage_sites(s.program, stage)
    loops = Loop(s, stage, across.var), Loop(s, stage, along.var)
    if not in_squares(s, *loops, lanes_of(site, target)):
        raise ScheduleError(f"{stage} is not made of whole squares")
    far, outer, *_ = s.loops(stage)[-4:]
    high = next((n for n in BLOCK_HEIGHTS if extent_in(s, far) % n == 0), 1)
    (buffer,) = written_buffers(site.leaf)
    if bytes_of(buffer) >= SHARED_BYTES and high > 1 and extent_in(s, outer) % 2 == 0:
        block, row = s.split(far, high)  # Two squares side by side fill the lines that are written.
        pair, square = s.split(outer, 2)
        s.reorder(block, pair, row, square)


def _in_lanes(s: Schedule, stage: str, target: Target) -> None:
    found = stage_sites(s.program, stage)
    if is_scheduled(found):
        return
    (*_, last) = found
    if isinstance(last.leaf, Check) or not last.loops:
        return
    if not isinstance(last.leaf, Accumulate):
        inner = last.loops[-1]
        across = _read_across(last)
        if across is not None and attempt(s, partial(_turned, s, stage, across, inner, target)):
            return
        if extent_of(inner) > 1:
            long = cost_of(last.leaf.value) >= LONG_WORK  # Two registers fill each other's gaps.
            lanes = lanes_of(last, target) * (2 if long else 1)
            if not attempt(s, partial(run_on, s, stage, last, lanes)):
                vectors(s, Loop(s, stage, inner.var), lanes)
            _around_caches(s, stage)
        return
    if all(depends(last.leaf.indices, x.var) for x in last.loops):
        for site in found:  # A scatter: what an iteration adds to may run in lanes.
            inner = site.loops[-1]
            if extent_of(inner) > 1:
                attempt(s, partial(vectors, s, Loop(s, stage, inner.var), lanes_of(site, target)))
    elif folds_windows(last, target):
        attempt(s, partial(in_windows, s, stage, target))
    elif reads_rows(last):
        before = set(s.stages)
        attempt(s, partial(of_everything, s, stage))
        for part in [stage, *(x for x in s.stages if x not in before)]:
            attempt(s, partial(along_rows, s, part, target))
    else:
        before = set(s.stages)
        attempt(s, partial(by_parts, s, stage))
        for part in [stage, *(x for x in s.stages if x not in before)]:
            attempt(s, partial(down_columns, s, part, target))
