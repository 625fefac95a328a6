"""Nests that go through the same rows, one after the other, as one nest: row by row.

A softmax is five of them: the greatest of a row, the exponentials, their sum... Together they read
each row once and keep what is between in the nearest cache.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.ir.facts import facts, leaf_loads, nests
from tensorc.ir.stmt import Accumulate, Check, For, ForKind
from tensorc.schedule.auto.cost import FAR_BYTES, SHARED_BYTES, bytes_of, depends, extent_of
from tensorc.schedule.auto.reductions import reads_rows, reads_windows
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import find_loop, sites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tensorc.ir.expr import Var
    from tensorc.ir.stmt import Stmt
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site

SHORT_ROW = 32  # Elements up to which each nest goes through all rows, its lanes across them.
MOST_STAGES = 40  # In one nest: each further one would cost more steps than it saves passes.
ROW_LIMIT = 64 * 1024  # Elements of a row beyond which it leaves the second-level cache.


def join_rows(s: Schedule, is_apart: Callable[[str], bool], blocks: Iterable[Var] = ()) -> None:
    """Move each nest into the one before that computes the rows it reads, where that is legal.

    `is_apart` names stages that are scheduled on their own; `blocks` are loops over blocks of rows,
    inside of which nests are joined too.
    """
    _join(s, list(nests(s.program.body)), is_apart)
    for block in blocks:
        loop = find_loop(s.program, block)
        if loop is not None:
            _join(s, list(nests(loop.body)), is_apart)


def _join(s: Schedule, together: Sequence[Stmt], is_apart: Callable[[str], bool]) -> None:
    heads: list[tuple[Var, str]] = []  # A loop over rows, and a stage that it computes.
    for nest in together:
        stage = _stage(nest)
        if stage is None or is_apart(stage):
            continue
        assert isinstance(nest, For), "what computes a stage is a loop"
        row = _row_loop(nest)
        read = {b.name for b in facts(nest).read}
        moved = any(_joined(s, stage, read, *head) for head in reversed(heads))
        if not moved and row is not None:
            moved = any(_beside(s, stage, row, *head) for head in reversed(heads))
            if not moved:
                heads.append((row.var, stage))


def _joined(s: Schedule, stage: str, read: set[str], row: Var, first: str) -> bool:
    """Whether `stage`, which reads `read`, could be moved into loop `row`, of stage `first`."""
    loop = find_loop(s.program, row)
    assert loop is not None, "what was joined before stands in the program"
    stages = facts(loop).stages
    if read.isdisjoint(stages) or len(stages) >= MOST_STAGES:
        return False
    return attempt(s, partial(s.reverse_compute_at, stage, Loop(s, first, row)))


def _beside(s: Schedule, stage: str, row: For, head: Var, first: str) -> bool:
    """Whether `stage` could be computed in the loop `head` too, of one large array."""
    loop = find_loop(s.program, head)
    assert loop is not None, "what was joined before stands in the program"
    shared = facts(loop).read & facts(row).read
    if len(facts(loop).stages) >= MOST_STAGES:
        return False
    if max((bytes_of(b) for b in shared), default=0) < SHARED_BYTES:
        return False
    return attempt(s, partial(s.fuse_with, Loop(s, first, head), Loop(s, stage, row.var)))


def _stage(nest: object) -> str | None:
    """What a nest of plain loops computes, if it is one thing."""
    if not isinstance(nest, For):
        return None
    names = [b.name for b in facts(nest).written]
    inside = sites(nest)
    plain = all(x.kind is ForKind.SERIAL for site in inside for x in site.loops)
    if len(names) != 1 or not plain or any(isinstance(x.leaf, Check) for x in inside):
        return None
    sums = [x for x in inside if isinstance(x.leaf, Accumulate)]
    return names[0] if all(reads_rows(x) or reads_windows(x) for x in sums) else None


def _row_loop(nest: object) -> For | None:
    """The innermost loop over rows: all inside of it computes one row."""
    assert isinstance(nest, For)
    inside = sites(nest)
    last = inside[-1]
    spatial = _spatial(last)
    if not spatial:
        return None
    if reads_windows(last):
        spatial = _outside_windows(last, spatial)
    elif not isinstance(last.leaf, Accumulate):
        wide = [x for x in spatial if const_int(x.extent) != 1]
        spatial = spatial[: spatial.index(wide[-1])] if wide else []
    spatial = [x for x in spatial if const_int(x.extent) != 1]
    inner = 1
    for x in last.loops:
        if x not in spatial:
            inner *= extent_of(x)
    if not spatial or inner > ROW_LIMIT:
        return None
    near = max(map(bytes_of, (*facts(nest).read, *facts(nest).written))) < FAR_BYTES
    return None if inner <= SHORT_ROW and near else spatial[-1]


def _outside_windows(site: Site, spatial: list[For]) -> list[For]:
    """The loops around all that windows run along: what is inside is an image."""
    folded = [x for x in site.loops if x not in spatial]
    moved = [
        i
        for use in leaf_loads(site.leaf)
        for i in use.indices
        if any(depends([i], x.var) for x in folded)
    ]
    along = next((n for n, x in enumerate(spatial) if depends(moved, x.var)), len(spatial))
    return spatial[:along]


def _spatial(site: Site) -> list[For]:
    """The loops that choose the element, from the outermost on, up to the first that does not."""
    found: list[For] = []
    assert not isinstance(site.leaf, Check), "a stage is written by stores"
    for loop in site.loops:
        if not depends(site.leaf.indices, loop.var) and const_int(loop.extent) != 1:
            break
        found.append(loop)
    return found
