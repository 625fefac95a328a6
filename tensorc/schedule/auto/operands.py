"""What a contraction multiplies: which loops choose an element, which operand they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate, For, Store
from tensorc.schedule.auto.cost import (
    SYMBOLIC,
    depends,
    extent_of,
    is_index,
    iterations,
    stride,
)
from tensorc.schedule.auto.steps import is_scheduled
from tensorc.schedule.tree import stage_sites

if TYPE_CHECKING:
    from tensorc.ir.expr import Load
    from tensorc.schedule.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Product:
    """A contraction's loops: those that choose the element, and those that are summed over.

    `lane` is the axis along which the result is contiguous; `rows` another, on which the operand
    along `lane` does not depend.
    """

    leaf: Accumulate
    spatial: tuple[For, ...]
    reduced: tuple[For, ...]
    lane: For
    rows: For

    @property
    def around(self) -> tuple[For, ...]:
        """The other loops that choose the element."""
        return tuple(x for x in self.spatial if x not in (self.lane, self.rows))


def product_of(s: Schedule, stage: str) -> Product | None:
    """The contraction that computes `stage`, if it stands in plain loops and reuses operands."""
    found = stage_sites(s.program, stage)
    updates = [x for x in found if isinstance(x.leaf, Accumulate)]
    inits = [x for x in found if isinstance(x.leaf, Store)]
    if len(updates) != 1 or not inits or is_scheduled(found):
        return None
    (update,) = updates
    spatial = inits[0].loops
    if any(a is not b for a, b in zip(spatial, update.loops, strict=False)):
        return None
    leaf = update.leaf
    assert isinstance(leaf, Accumulate)
    if not leaf.indices or len(leaf.buffers) != 1:
        return None
    lane = next((x for x in spatial if x.var is leaf.indices[-1] and extent_of(x) > 1), None)
    reduced = update.loops[len(spatial) :]
    if lane is None or not reduced:
        return None
    uses = leaf_loads(leaf)
    for loop in reversed(spatial):
        reused = any(stride(u, loop.var) == 0 and stride(u, lane.var) != 0 for u in uses)
        if loop is not lane and extent_of(loop) > 1 and reused:
            return Product(leaf, spatial, reduced, lane, loop)
    return None


def shared_operand(product: Product) -> Load | None:
    """The operand along the lanes that row tiles share, where it is the only read of its buffer."""
    uses = leaf_loads(product.leaf)
    for use in uses:
        if sum(u.buffer is use.buffer for u in uses) > 1 or stride(use, product.rows.var) != 0:
            continue
        dims = [i for i in use.indices if depends([i], product.lane.var)]
        if len(dims) == 1 and is_index(dims[0], product.lane.var):
            return use
    return None


def beside_of(product: Product) -> For | None:
    """An axis with more of the lanes' operand, all to be multiplied with the same rows.

    Such are the rows of an image, or images, for the filters of a convolution.
    """
    uses = leaf_loads(product.leaf)
    for loop in reversed(product.around):
        if (const_int(loop.extent) or 1) > 1 and all(
            (stride(u, loop.var) == 0) == (stride(u, product.lane.var) == 0) for u in uses
        ):
            return loop
    return None


def overlap_of(product: Product, use: Load) -> float:
    """How often a row of tiles reads each element of its panel, as windows do that overlap."""
    elements = 1
    for index, size in zip(use.indices, use.buffer.shape, strict=True):
        if depends([index], product.lane.var):
            continue  # What neighbouring lanes read is as much as there are lanes, or little more.
        loops = [x for x in product.reduced if depends([index], x.var)]
        elements *= min(iterations(loops), const_int(size) or SYMBOLIC)
    return max(1.0, iterations(product.reduced) / elements)


def is_for_all(product: Product, use: Load) -> bool:
    """Whether `use`, as the filters of a convolution, is what all rows of all images meet."""
    several = len(product.reduced) > 1 and iterations(product.around) > 1
    return several and not any(depends(use.indices, x.var) for x in product.around)
