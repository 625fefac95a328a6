"""Sides of a tile that go along several loops: a box of places of an image, of some images.

    for n, y, x: for o:                       for n.outer, y.outer, x.outer, o.outer in blocks:
      for c, u, v:                  becomes     for c, u, v:
        C[n, y, x, o] +=                          for n, y, x in a box of 128: for o in 64:
          A[n, y + u, x + v, c] * W[u, v, c, o]     C += A * W

Loops belong to one side where they move the same operand, each along a dimension of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product as every
from math import ceil, prod
from typing import TYPE_CHECKING, TypeVar

from tensorc.errors import ScheduleError
from tensorc.ir.expr import const_int
from tensorc.ir.facts import leaf_loads
from tensorc.schedule.auto.cost import depends, extent_of, stride

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.stmt import For
    from tensorc.schedule.auto.operands import Product
    from tensorc.schedule.handles import Loop
    from tensorc.schedule.schedule import Schedule

T = TypeVar("T")
BROKEN = 0.5  # What it costs, of all, that neighbours of a box do not lie side by side in memory.


@dataclass(frozen=True, slots=True)
class Axes:
    """The extents of a side's loops; with `run` the last goes along rows in memory.

    Without it any of them may be the innermost of a box.
    """

    extents: tuple[int, ...]
    run: bool = True


@dataclass(frozen=True, slots=True)
class Box:
    """How much of each loop of a side is in a tile, and which loop is the innermost there."""

    factors: tuple[int, ...]
    inner: int

    def ordered(self, loops: Sequence[T]) -> tuple[T, ...]:
        """What belongs to the loops of a side, the innermost of a box last."""
        others = [x for d, x in enumerate(loops) if d != self.inner]
        return (*others, loops[self.inner])

    def count(self, axes: Axes) -> int:
        """How many boxes there are in all."""
        return prod(ceil(n / f) for n, f in zip(axes.extents, self.factors, strict=True))


@lru_cache(maxsize=4096)
def box_of(axes: Axes, side: int, whole: int = 1) -> Box:
    """The box of `side` places that wastes the least, `whole` neighbours of one loop together."""
    last = len(axes.extents) - 1
    if last == 0:
        return Box((side,), 0)
    inner = [last] if axes.run else range(last, -1, -1)
    found = [
        Box(factors, at)
        for factors in every(*(_factors(n, side) for n in axes.extents))
        if prod(factors) == side
        for at in inner
        if factors[at] % whole == 0
    ]
    if not found:
        return Box((*(1 for _ in range(last)), side), last)
    return min(found, key=lambda b: (_cost(axes, b), [-f for f in reversed(b.factors)]))


def _factors(extent: int, side: int) -> list[int]:
    """Powers of two, and the whole loop, that divide a side."""
    powers = [1 << k for k in range(side.bit_length()) if 1 << k <= extent]
    return [f for f in sorted({*powers, extent}) if side % f == 0]


def _cost(axes: Axes, box: Box) -> float:
    places = prod(n for n in axes.extents)
    wasted = box.count(axes) * prod(box.factors) / places
    return wasted * (1 + (BROKEN / box.factors[box.inner] if axes.run else 0.0))


@dataclass(frozen=True, slots=True)
class Side:
    """The loops of a side of a product's tiles, the one that goes along rows in memory last."""

    loops: tuple[For, ...]
    run: bool = True

    @property
    def axes(self) -> Axes:
        """Their extents."""
        return Axes(tuple(extent_of(x) for x in self.loops), self.run)


def sides(product: Product) -> tuple[Side, Side]:
    """The loops that belong to the rows of a product's tiles, and those of its columns."""
    return _side(product, product.rows), _side(product, product.lane)


def _side(product: Product, main: For) -> Side:
    uses = leaf_loads(product.leaf)
    moved = [depends(u.indices, main.var) for u in uses]

    def belongs(loop: For) -> bool:
        constant = (const_int(loop.extent) or 0) > 1 and const_int(main.extent) is not None
        return constant and [depends(u.indices, loop.var) for u in uses] == moved

    mains = (product.rows, product.lane)
    others = [x for x in product.spatial if x not in mains and belongs(x)]
    loops = [*others, main]
    apart = all(
        sum(depends([i], x.var) for x in loops) <= 1 for u in uses for i in u.indices
    ) and all(sum(depends([i], x.var) for i in u.indices) <= 1 for u in uses for x in loops)
    if not apart:
        loops = [main]
    run = main is product.lane or any(stride(u, main.var) == 1 for u in uses)
    return Side(tuple(loops), run or len(loops) == 1)


# --- loops of a box -------------------------------------------------------------------------------


def take(s: Schedule, loops: Sequence[Loop], count: int) -> tuple[list[Loop], list[Loop]]:
    """The innermost `count` iterations of nested loops: what is left around them, and they.

    Raises:
        ScheduleError: a loop would have to be cut where it is no multiple.
    """
    rest = list(loops)
    taken: list[Loop] = []
    while count > 1:
        if not rest:
            raise ScheduleError(f"a box has no {count} iterations more")
        loop = rest.pop()
        extent = const_int(s.extent(loop)) or 0
        if extent == 0 or (count % extent if extent <= count else extent % count):
            raise ScheduleError(f"{extent} iterations are no part of {count}, or a multiple of it")
        if extent > count:
            outer, loop = s.split(loop, count)
            rest.append(outer)
        taken.insert(0, loop)
        count //= min(extent, count)
    return rest, taken


def one(s: Schedule, loops: Sequence[Loop]) -> Loop:
    """Nested loops as one."""
    joined, *others = loops
    for loop in others:
        joined = s.fuse(joined, loop)
    return joined
