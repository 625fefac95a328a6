"""The automatic schedule for CUDA: a trace chosen by rule from each nest's shape and the target.

Steps are only asked for, never forced: where one is refused, the nest stays as it was before it,
and in the end every nest gets blocks and threads by the plainest rule, in `grid`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.schedule.auto.apart import Apart
from tensorc.schedule.auto.cuda.consumers import consume_folds
from tensorc.schedule.auto.cuda.grid import bind_all
from tensorc.schedule.auto.cuda.partials import cut_in_parts
from tensorc.schedule.auto.cuda.products import split_products, tile_product
from tensorc.schedule.auto.cuda.rows import fuse_rows
from tensorc.schedule.auto.inlining import inline_all
from tensorc.schedule.auto.operands import product_of
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.schedule import Schedule

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program
    from tensorc.target import Target


def cuda_schedule(program: Program, target: Target) -> Schedule:
    """A legal schedule of `program` for a GPU, as a trace that can be printed and edited."""
    s = Schedule(program)
    inline_all(s, Apart(s, target))
    split_products(s, target)
    for stage in s.stages:
        if product_of(s, stage) is not None:
            attempt(s, partial(tile_product, s, stage, target))
    for stage in s.stages:
        cut_in_parts(s, stage, target)
    fuse_rows(s, target)
    consume_folds(s)
    bind_all(s, target)
    return s
