"""Reductions that go through the same large array in the same way, in one pass over it.

    for c:                                 for c:
      S[c] = 0.0                             S[c] = 0.0
      for i: S[c] += x[i, c]                 Q[c] = 0.0
    for c:                     becomes       for i:
      Q[c] = 0.0                               S[c] += x[i, c]
      for i: Q[c] += x[i, c] * y[i, c]         Q[c] += x[i, c] * y[i, c]

The gradients of a normalization are such sums. They are joined as they are scheduled, with their
partial results in lanes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.facts import facts, nests
from tensorc.ir.stmt import Accumulate, Check, For, ForKind
from tensorc.schedule.auto.cost import SHARED_BYTES, bytes_of, depends
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import find_loop, sites

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from tensorc.ir.expr import Buffer, Var
    from tensorc.ir.stmt import Stmt
    from tensorc.schedule.schedule import Schedule


def join_sums(s: Schedule, tiled: Collection[str]) -> None:
    """Run each reduction in the loops of one before that reads the same large array.

    Inside of loops over rows too, whose nests were joined before. Stages that are `tiled` fill the
    registers, each for itself.
    """
    _join(s, list(nests(s.program.body)), tiled)
    for nest in list(nests(s.program.body)):
        if isinstance(nest, For) and nest.kind is ForKind.SERIAL:
            _join(s, list(nests(nest.body)), tiled)


def _join(s: Schedule, together: Sequence[Stmt], tiled: Collection[str]) -> None:
    heads: list[Var] = []
    readers: dict[Buffer, list[int]] = {}  # By large array, which of `heads` read it.
    for nest in together:
        if (
            not isinstance(nest, For)
            or not _is_sum(nest)
            or not facts(nest).stages.isdisjoint(tiled)
        ):
            continue
        large = [b for b in facts(nest).read if bytes_of(b) >= SHARED_BYTES]
        near = sorted({place for b in large for place in readers.get(b, ())})
        tries = (p for p in near if attempt(s, partial(_together, s, heads[p], nest.var)))
        place = next(tries, len(heads))
        if place == len(heads):
            heads.append(nest.var)
        for b in large:
            readers.setdefault(b, []).append(place)


def _is_sum(nest: For) -> bool:
    return any(isinstance(x.leaf, Accumulate) for x in sites(nest))


def _together(s: Schedule, first: Var, second: Var) -> None:
    """Make all loops of `second` those of `first`.

    Raises:
        ScheduleError: they read no large array both, have not the same loops, or a step is refused.
    """
    one, two = (find_loop(s.program, x) for x in (first, second))
    assert one is not None, "what was joined before stands in the program"
    assert two is not None, "what is joined stands in the program"
    shared = max(facts(one).read & facts(two).read, key=bytes_of, default=None)
    if shared is None or bytes_of(shared) < SHARED_BYTES:
        raise ScheduleError(f"{first.name} and {second.name} read no large array both")
    mine, others = _loops_over(one, shared), _loops_over(two, shared)
    if len(mine) != len(others):
        raise ScheduleError(f"{first.name} and {second.name} have not the same loops inside")
    for a, b in zip(mine, others, strict=True):
        if _chooses(one, a) and not _chooses(two, b):
            raise ScheduleError(f"{first.name} would wait for the fold over {second.name}")
        s.fuse_with(*(Loop(s, facts(x).written[-1].name, x.var) for x in (a, b)))


def _chooses(nest: For, loop: For) -> bool:
    """Whether each iteration of `loop` has results of its own, so that threads may share them."""
    inside = (x.leaf for x in sites(nest) if loop in x.loops)
    return all(depends(x.indices, loop.var) for x in inside if not isinstance(x, Check))


def _loops_over(nest: For, buffer: Buffer) -> list[For]:
    """The plain loops around all that reads `buffer`, from the outermost on."""
    found: list[For] = []
    inside: list[For] = [nest]
    while len(inside) == 1 and inside[0].kind is ForKind.SERIAL:
        found += inside
        inside = [
            x for x in nests(found[-1].body) if isinstance(x, For) and buffer in facts(x).read
        ]
    return found
