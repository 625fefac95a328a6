"""Short rows that lie one after the other: lanes run on from the end of a row to the next.

    for i in range(4096):                    for f.outer in range(1024):
      for j in range(10):                      for f.inner.outer in unrolled(5):
        y[i, j] = x[i, j] * s[i]   becomes       for f.inner.inner in vectorized(8):
                                                   y[f // 10, f % 10] = ...

Five registers hold four rows of ten, so which lane belongs to which row is known in each of them.
"""

from __future__ import annotations

from math import lcm
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Store
from tensorc.schedule.auto.cost import depends, extent_of
from tensorc.schedule.auto.steps import UNROLL, vectors
from tensorc.schedule.handles import Loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Buffer, Expr
    from tensorc.ir.stmt import For
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site


def run_on(s: Schedule, stage: str, site: Site, lanes: int) -> None:
    """Run the lanes of an element-wise nest over the ends of its short rows.

    Raises:
        ScheduleError: its rows are long, or not whole, or a step is refused.
    """
    leaf = site.leaf
    if len(site.loops) < 2 or site.conds or not isinstance(leaf, Store):
        raise ScheduleError(f"{stage} has no rows")
    row, column = site.loops[-2:]
    width = extent_of(column)
    group = lcm(width, lanes)
    if width >= 2 * lanes or width % lanes == 0 or group > UNROLL * lanes:
        raise ScheduleError(f"the rows of {stage} fill registers")
    if extent_of(row) * width < group or not (from_zero(row) and from_zero(column)):
        raise ScheduleError(f"{stage} has too few rows")
    uses = [(x.buffer, x.indices) for x in leaf_loads(leaf)]
    if not in_order(leaf.buffer, leaf.indices, row, column) or not all(
        in_order(*x, row, column) or _repeats(x[1], row, column) for x in uses
    ):
        raise ScheduleError(f"the rows of {stage} do not lie one after the other")
    whole = s.fuse(*(Loop(s, stage, x.var) for x in (row, column)))
    _, part = s.split(whole, group)
    vectors(s, part, lanes, UNROLL)


def in_order(buffer: Buffer, indices: Sequence[Expr], row: For, column: For) -> bool:
    """Whether `buffer[..., row, column]` is of whole rows; or depends on neither."""
    *outer, last = indices or (None,)
    if not outer or last is not column.var:
        return not (depends(indices, row.var) or depends(indices, column.var))
    alone = not (depends(outer, column.var) or depends(outer[:-1], row.var))
    whole = const_int(buffer.shape[-1]) == const_int(column.extent)
    return outer[-1] is row.var and alone and whole


def _repeats(indices: Sequence[Expr], row: For, column: For) -> bool:
    """Whether the element is one of each row, or one of each column, and these neighbours."""
    kept = [x for x in (row, column) if depends(indices, x.var)]
    fixed = [i for i in indices if not depends([i], row.var) and not depends([i], column.var)]
    return (
        len(kept) == 1 and len(fixed) == len(indices) - 1 and any(i is kept[0].var for i in indices)
    )


def from_zero(loop: For) -> bool:
    """Whether a loop counts from 0 to a constant."""
    return const_int(loop.start) == 0 and const_int(loop.extent) is not None
