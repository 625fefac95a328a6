"""Folds of short windows: each lane folds its own.

Pooling reads windows of 2 by 2 in steps of 2. No row of one fills a register, but neighbouring
windows do: their elements lie in steps, which a few loads and shuffles bring into lanes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.ir.affine import coefficient
from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate
from tensorc.schedule.auto.cost import SYMBOLIC, depends, is_index, iterations, lanes_of
from tensorc.schedule.auto.reductions import reads_rows, reads_windows
from tensorc.schedule.auto.steps import finish_tile
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import stage_sites

if TYPE_CHECKING:
    from tensorc.ir.expr import Load, Var
    from tensorc.ir.stmt import For
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site
    from tensorc.target import Target

STEP = 4  # The most elements between neighbouring windows.
SIZE = 32  # The most elements of a window, which are written out.


def folds_windows(site: Site, target: Target) -> bool:
    """Whether a fold goes through short windows, which neighbouring results have side by side."""
    parts = _parts(site)
    if parts is None or not (reads_rows(site) or reads_windows(site)):
        return False
    spatial, reduced = parts
    lane = spatial[-1]
    lanes = lanes_of(site, target)
    if lanes < 2 or (const_int(lane.extent) or SYMBOLIC) < lanes:
        return False
    sizes = [const_int(x.extent) for x in reduced]
    if None in sizes or iterations(reduced) > min(SIZE, 4 * lanes):
        return False
    if (sizes[-1] or 0) >= lanes:
        return False  # A row of a window is a register.
    return all(_steps(use, lane.var) for use in leaf_loads(site.leaf))


def _parts(site: Site) -> tuple[list[For], list[For]] | None:
    """The loops that choose the element, and those around the fold inside of them."""
    leaf = site.leaf
    if not isinstance(leaf, Accumulate) or site.conds or not leaf.indices:
        return None
    spatial = [x for x in site.loops if depends(leaf.indices, x.var)]
    reduced = list(site.loops[len(spatial) :])
    ordered = list(site.loops[: len(spatial)]) == spatial
    if not ordered or len(spatial) < 2 or not reduced:
        return None
    return (spatial, reduced) if is_index(leaf.indices[-1], spatial[-1].var) else None


def _steps(use: Load, lane: Var) -> bool:
    """Whether neighbouring lanes read at a short constant distance, or one element all."""
    steps = [const_int(c) if (c := coefficient(i, lane)) is not None else None for i in use.indices]
    return None not in steps and not any(steps[:-1]) and 0 <= (steps[-1] or 0) <= STEP


def in_windows(s: Schedule, stage: str, target: Target) -> None:
    """Fold as many windows at once as a register has lanes.

    Raises:
        ScheduleError: a step is refused.
    """
    site = next(x for x in stage_sites(s.program, stage) if isinstance(x.leaf, Accumulate))
    parts = _parts(site)
    assert parts is not None, "folds_windows found it"
    spatial, reduced = parts
    lanes = lanes_of(site, target)
    outer, lane = s.split(Loop(s, stage, spatial[-1].var), lanes)
    window = [Loop(s, stage, x.var) for x in reduced]
    s.reorder(*window, lane)
    s.cache_write(stage, outer)
    for loop in window:
        s.unroll(Loop(s, f"{stage}.local", loop.var))
    finish_tile(s, outer.var, lanes)
