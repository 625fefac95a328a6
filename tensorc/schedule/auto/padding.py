"""Images that a convolution reads under conditions, stored between zeros first.

A window that reaches over the edge of an image asks at each element whether it is inside. A copy
with a border is read without asking, and costs one pass over what many windows read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Const, Load, Where
from tensorc.ir.walk import walk
from tensorc.schedule.auto.cost import depends, extent_of, lanes_of
from tensorc.schedule.auto.operands import beside_of, product_of
from tensorc.schedule.auto.steps import vectors
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import stage_sites

if TYPE_CHECKING:
    from tensorc.ir.stmt import Leaf
    from tensorc.schedule.schedule import Schedule
    from tensorc.target import Target


def store_padded(s: Schedule, stage: str, target: Target) -> None:
    """Copy what a product reads under conditions, image by image, with what it takes outside.

    Raises:
        ScheduleError: a step is refused, or the copy does not answer the conditions.
    """
    product = product_of(s, stage)
    if product is None:
        return
    image, *_ = product.spatial
    if image in (product.lane, product.rows, beside_of(product)):
        return
    for use, pad in guarded_reads(product.leaf):
        buffer = use.buffer
        if extent_of(image) > 1 and not depends(use.indices, image.var):
            return
        copied = s.cache_read(buffer.name, Loop(s, stage, image.var), pad=pad)
        (site,) = stage_sites(s.program, copied.name)
        vectors(s, copied.loops[-1], lanes_of(site, target))
        (*_, update) = stage_sites(s.program, stage)
        if any(isinstance(node, Where) for node in walk(update.leaf)):
            raise ScheduleError(f"{stage} asks more than whether it reads inside of {buffer.name}")


def guarded_reads(leaf: Leaf) -> list[tuple[Load, float]]:
    """What a leaf reads in some iterations, with the number that it takes in the others."""
    return [
        (node.on_true, node.on_false.value)
        for node in walk(leaf)
        if isinstance(node, Where)
        and isinstance(node.on_true, Load)
        and isinstance(node.on_false, Const)
    ]
