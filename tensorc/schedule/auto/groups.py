"""Convolutions in groups: a loop for the groups, and one for the filters of each.

    for o in range(64):                      for g in range(4):
      y[o] += x[o // 16 * 16 + c] * w[o, c]    for f in range(16):
                                      becomes    y[g*16 + f] += x[g*16 + c] * w[g*16 + f, c]

The filters of a group multiply the same channels, so they are rows of a product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Binary, BinaryOp, Const, Var, const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate
from tensorc.ir.walk import walk
from tensorc.schedule.auto.operands import product_of
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import stage_sites

if TYPE_CHECKING:
    from tensorc.ir.stmt import For
    from tensorc.schedule.schedule import Schedule
    from tensorc.target import Target

LEAST = 4  # Filters of a group, from which a tile of them is faster than each for itself.


def is_in_groups(s: Schedule, stage: str) -> bool:
    """Whether a stage is no product, and might be one for each group."""
    return product_of(s, stage) is None and _groups_of(s, stage) is not None


def split_groups(s: Schedule, stage: str, _target: Target) -> None:
    """Split the loop over the filters of a convolution by its groups.

    Raises:
        ScheduleError: a step is refused, or it makes no product.
    """
    found = _groups_of(s, stage)
    if found is None:
        return
    loop, each = found
    s.split(Loop(s, stage, loop.var), each)
    if product_of(s, stage) is None:
        raise ScheduleError(f"{stage} is no product of groups")


def _groups_of(s: Schedule, stage: str) -> tuple[For, int] | None:
    """The loop whose iterations fall into groups that read the same, and how many make one."""
    for site in stage_sites(s.program, stage):
        if not isinstance(site.leaf, Accumulate):
            continue
        loops = {x.var: x for x in site.loops}
        for node in (n for use in leaf_loads(site.leaf) for i in use.indices for n in walk(i)):
            match node:
                case Binary(BinaryOp.FLOORDIV, Var() as var, Const(int() as each)) if var in loops:
                    extent = const_int(loops[var].extent) or 1
                    if LEAST <= each < extent and extent % each == 0:
                        return loops[var], each
                case _:
                    pass
    return None
