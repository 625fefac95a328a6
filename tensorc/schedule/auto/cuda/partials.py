"""Reductions with too few results for a whole GPU: in parts, by two kernels.

    for j in range(n):                   for p in range(P):
      S[j] = 0.0                           for j in range(n):
      for i in range(m):     becomes         S.rf[p, j] = 0.0
        S[j] += A[i, j]                      for i in range(m / P):
                                               S.rf[p, j] += A[p * (m / P) + i, j]
                                         for j in range(n): S[j] = the sum of S.rf[:, j]

Each part is folded in a fixed order, and so are the parts: a result is repeatable to the bit.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate, ForKind, Store
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import depends, extent_of, iterations, stride
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import stage_sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.stmt import For
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site
    from tensorc.target import Target

BUSY = 512  # Threads that keep a multiprocessor busy.
LEAST = 16  # Iterations of a part, below which a second kernel costs more than it gives.
FEW = 4  # Times that an outer loop may be shorter than there should be parts.
LEAST_ROW = 4096  # The same for a part of a row, which many threads fold together.
MOST = 512  # Parts: the block that folds them has no more threads.


def cut_in_parts(s: Schedule, stage: str, target: Target) -> bool:
    """Fold `stage` in parts, where that gives the GPU more to do. Whether it was done."""
    update = accumulation(s, stage, alone=False)
    if update is None:
        return False
    assert isinstance(update.leaf, Accumulate), "it is one"
    if update.leaf.buffers[0].name != stage:
        return False  # A tuple is cut where its first component is.
    spatial = [x for x in update.loops if depends(update.leaf.indices, x.var)]
    reduced = [x for x in update.loops if x not in spatial]
    if update.loops != (*spatial, *reduced) or any(const_int(x.extent) is None for x in reduced):
        return False
    results, length = iterations(spatial), iterations(reduced)
    by_rows = is_contiguous(update)
    sms = target.resolved().sms
    wanted = sms * BUSY // max(1, results) if not by_rows else 4 * sms // max(1, results)
    least = LEAST_ROW if by_rows else LEAST
    count = min(wanted, length // least, MOST)
    if count < 2:
        return False
    return attempt(s, partial(fold_in_parts, s, stage, spatial, reduced, count))


def _chunk(length: int, count: int) -> int:
    """How long a part is: so that no part is shorter, where that is near."""
    least = -(-length // count)
    return next((n for n in range(least, min(2 * least, length)) if length % n == 0), least)


def fold_in_parts(
    s: Schedule,
    stage: str,
    spatial: Sequence[For],
    reduced: Sequence[For],
    count: int,
    multiple: int = 1,
) -> str:
    """Fold `stage` in about `count` parts of its outer reduced loop; their stage.

    The length of a part is a multiple of `multiple`.

    Raises:
        ScheduleError: a step is refused.
    """
    joined, *rest = (Loop(s, stage, x.var) for x in reduced)
    if extent_of(reduced[0]) * FEW < count:
        for loop in rest:
            joined = s.fuse(joined, loop)
        rest = []
    length = const_int(s.extent(joined))
    assert length is not None, "loops of constant size are cut in parts"
    chunk = -(-_chunk(length, min(count, length)) // multiple) * multiple
    part, inner = s.split(joined, chunk)
    elements = [Loop(s, stage, x.var) for x in spatial]
    if elements:
        s.reorder(part, *elements, inner, *rest)
    made = s.rfactor(part).name
    _with_its_start(s, made)
    if elements:
        last = stage_sites(s.program, stage)[-1]
        fold, *others = (Loop(s, stage, x.var) for x in last.loops)
        s.reorder(*others, fold)
        _with_its_start(s, stage)
    folded = stage_sites(s.program, made)[-1].leaf
    for buffer in written_buffers(folded):
        s.set_scope(buffer.name, "global")
    return made


def _with_its_start(s: Schedule, stage: str) -> None:
    """One nest of a reduction's initialisation and its accumulation, where they may be one."""
    depth = 0
    while True:
        first, *_, last = stage_sites(s.program, stage)
        if depth >= min(len(first.loops), len(last.loops)):
            return
        one, other = first.loops[depth], last.loops[depth]
        if one is not other:
            both = Loop(s, stage, one.var), Loop(s, stage, other.var)
            if not attempt(s, partial(s.fuse_with, *both)):
                return
        depth += 1


def accumulation(s: Schedule, stage: str, *, alone: bool = True) -> Site | None:
    """The one statement that folds values into `stage`, in plain loops; `alone`, or with others."""
    found = stage_sites(s.program, stage)
    sums = [x for x in found if isinstance(x.leaf, Accumulate)]
    others = [x for x in found if isinstance(x.leaf, Store)]
    if len(sums) != 1 or not others:
        return None
    if alone and len(written_buffers(sums[0].leaf)) != 1:
        return None
    plain = all(x.kind is ForKind.SERIAL for site in found for x in site.loops)
    return sums[0] if plain and not sums[0].conds and sums[0].loops else None


def is_contiguous(update: Site) -> bool:
    """Whether the innermost loop folds neighbours of a row."""
    assert isinstance(update.leaf, Accumulate), "a reduction folds"
    inner = update.loops[-1]
    steps = [stride(use, inner.var) for use in leaf_loads(update.leaf)]
    return 1 in steps and None not in steps and not depends(update.leaf.indices, inner.var)
