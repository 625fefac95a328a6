"""Operands of products in a narrower type than that of the sum: stored in the wider one first.

A product of bfloat16 widens each number at each use, on the units that multiply; its copy is
widened once. The numbers are the same, so the result is.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.expr import Cast, Load
from tensorc.ir.walk import walk
from tensorc.schedule.auto.cost import elements_of, iterations
from tensorc.schedule.auto.operands import product_of
from tensorc.schedule.auto.steps import attempt

if TYPE_CHECKING:
    from tensorc.schedule.schedule import Schedule

USES = 64  # Of each number, from which one store in the wider type is cheaper than to widen each.


def widen_operands(s: Schedule, stage: str) -> None:
    """Store the operands of a product in the type of its sum, where that pays."""
    product = product_of(s, stage)
    if product is None:
        return
    (total,) = product.leaf.buffers
    steps = iterations((*product.spatial, *product.reduced))
    widened = {
        node.operand.buffer: None
        for node in walk(product.leaf)
        if isinstance(node, Cast) and isinstance(node.operand, Load) and node.dtype == total.dtype
    }
    for buffer in widened:
        narrow = buffer.dtype.bits < total.dtype.bits and total.dtype.holds(buffer.dtype)
        if narrow and steps >= USES * elements_of(buffer):
            name = total.dtype.name
            attempt(s, partial(s.pack, stage, buffer.name, dtype=name))
