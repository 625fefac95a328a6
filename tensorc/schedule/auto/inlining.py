"""Which temporaries are computed again at each use, in place of being stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.ir.affine import coefficient
from tensorc.ir.expr import Var
from tensorc.ir.facts import facts, leaf_loads
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, Allocate, Block, Store
from tensorc.ir.walk import substitute, walk, walk_stmts, written_buffers
from tensorc.schedule.auto.cost import (
    MAX_INLINE,
    MEMORY_WORK,
    cost_of,
    depends,
    elements_of,
    iterations,
)
from tensorc.schedule.tree import sites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tensorc.ir.expr import Buffer, Load
    from tensorc.ir.stmt import For, If, Leaf, Stmt
    from tensorc.schedule.auto.apart import Apart
    from tensorc.schedule.excerpt import Outline
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site
    from tensorc.target import Target


def inline_all(s: Schedule, apart: Apart) -> None:
    """Inline every temporary for which that saves work."""
    every = (x.buffer for x in walk_stmts(s.program.body) if isinstance(x, Allocate))
    allocated = {buffer.name: buffer for buffer in every}

    def span(outline: Outline, stage: str) -> tuple[int, int] | None:
        def nests_of(buffer: Buffer) -> list[Stmt]:
            return [outline.spine.nests[p] for p in outline.users.get(buffer, ())]

        def is_sum(buffer: Buffer) -> bool:
            inside = sites(Block(tuple(nests_of(buffer))))
            sums = (x.leaf for x in inside if isinstance(x.leaf, Accumulate))
            return any(buffer in leaf.buffers for leaf in sums)

        buffer = allocated[stage]
        if not _worth_inlining(nests_of(buffer), buffer, is_sum):
            return None
        places = outline.users[buffer]
        return places[0], places[-1]

    apart.attempt_all(_inline, allocated, span)


def _inline(s: Schedule, stage: str, _: Target) -> None:
    s.inline(stage)


def _worth_inlining(
    together: Sequence[Stmt], buffer: Buffer, is_sum: Callable[[Buffer], bool]
) -> bool:
    """One element-wise store whose recomputation costs no more than storing and loading it.

    `together` are all nests that touch the buffer.
    """

    def touches(stmt: For | If | Leaf) -> bool:
        found = facts(stmt)
        return buffer in found.read or buffer in found.written

    found = sites(Block(tuple(together)), touches)
    writers = [x for x in found if buffer in written_buffers(x.leaf)]
    uses = [(x, use) for x in found for use in leaf_loads(x.leaf) if use.buffer is buffer]
    if len(writers) != 1 or not isinstance(writers[0].leaf, Store) or not uses:
        return False
    if any(x is writers[0] for x, _ in uses):
        return False  # A recurrence.
    if any(_loses_rows(writers[0].leaf, site, use) for site, use in uses):
        return False
    if any(_folds_all(x) for x, _ in uses) and _reads_sums(writers[0], is_sum):
        return False  # It is computed with its rows, on threads, and folded afterwards.
    cost = cost_of(writers[0].leaf.value)
    if cost == 0:
        return True
    if cost > MAX_INLINE or max(_repeats(site, use) for site, use in uses) > 1:
        return False
    if cost * max(_overlap(site, buffer) for site, _ in uses) > cost + MEMORY_WORK:
        return False
    return len(uses) == 1 or cost * (len(uses) - 1) <= 2 * len(uses)


def _loses_rows(made: Store, site: Site, use: Load) -> bool:
    """Whether a sum that reads elements again and again could not read them in regular steps.

    As where `made` is a change of shape: what was at [i, k] comes from [i, k // 8, k % 8]. Or where
    the sum reads the other buffer too, as a product with its own transpose: one of them is packed.
    """
    if not isinstance(site.leaf, Accumulate) or _repeats(site, use) == 1:
        return False
    if not facts(site.leaf).read.isdisjoint(facts(made).read):
        return True
    steps = (x.var for x in site.loops if depends(use.indices, x.var))
    known = [x for x in steps if all(coefficient(i, x) is not None for i in use.indices)]
    places = [x for x in made.indices if isinstance(x, Var)]
    values = dict(zip(places, use.indices, strict=True)) if len(places) == len(made.indices) else {}
    reads = [simplify(substitute(i, values)) for read in leaf_loads(made) for i in read.indices]
    return any(coefficient(i, x) is None for i in reads for x in known)


def _folds_all(site: Site) -> bool:
    """Whether a leaf folds values into one element."""
    leaf = site.leaf
    return isinstance(leaf, Accumulate) and not any(
        depends(leaf.indices, x.var) for x in site.loops
    )


def _reads_sums(writer: Site, is_sum: Callable[[Buffer], bool]) -> bool:
    """Whether a leaf reads the result of a reduction."""
    return any(is_sum(use.buffer) for use in leaf_loads(writer.leaf))


def _overlap(site: Site, buffer: Buffer) -> float:
    """How often one element is read on average, where all of them are: several windows may."""
    return iterations(site.loops) / elements_of(buffer)


def _repeats(site: Site, use: Load) -> int:
    """How often one element is read by this use: the loops that its index does not depend on."""
    used = {n for i in use.indices for n in walk(i) if isinstance(n, Var)}
    return iterations(x for x in site.loops if x.var not in used)
