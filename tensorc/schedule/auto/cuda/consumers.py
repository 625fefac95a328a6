"""Element-wise work moved to where an element has just been folded: a thread does both.

for j in range(n): S[j] = the sum of a column       for j in range(n):
for x in range(n): b[x] = b[x] - S[x] * 0.1     becomes  T[0] = the sum; b[j] = b[j] - T[0] * 0.1
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.facts import facts, nests
from tensorc.ir.stmt import Accumulate, For, Store
from tensorc.schedule.auto.cost import depends, extent_of
from tensorc.schedule.auto.cuda.partials import accumulation
from tensorc.schedule.auto.steps import attempt, is_scheduled
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.schedule.schedule import Schedule


def consume_folds(s: Schedule) -> None:
    """Move what uses a reduction's results element by element into its loops."""
    for stage in list(s.stages):
        update = accumulation(s, stage)
        if update is None:
            continue
        assert isinstance(update.leaf, Accumulate), "it is one"
        spatial = [x for x in update.loops if depends(update.leaf.indices, x.var)]
        if spatial and update.loops[: len(spatial)] == tuple(spatial):
            consume(s, stage, spatial, Loop(s, stage, spatial[-1].var))


def consume(s: Schedule, stage: str, spatial: Sequence[For], at: Loop) -> None:
    """Move the element-wise nests that use the result, or what came of it, into the loop `at`."""
    made = {stage}
    extents = sorted(extent_of(x) for x in spatial)
    for nest in list(nests(s.program.body)):
        uses = any(b.name in made for b in facts(nest).read)
        if not isinstance(nest, For) or not uses:
            continue
        inside = sites(nest)
        (*_, last) = inside
        if len(inside) != 1 or not isinstance(last.leaf, Store) or is_scheduled(inside):
            continue
        name = last.leaf.buffer.name
        alike = sorted(extent_of(x) for x in last.loops) == extents
        if alike and attempt(s, partial(s.reverse_compute_at, name, at)):
            made.add(name)
