"""Convolutions with their filters in lanes, where a row of an image would leave lanes idle.

    for once:                                  for once:
      w.local = w[o, c, u, v] in panels of o     each panel, its filters side by side
      for b:
        x.local = x[b, c, i, j] as [i, c, j]     what a row of results reads lies together
        for i: for o: for j:                     tiles of pixels by filters
          y.local[j, o] = 0
          for c: for v: for u:
            y.local[j, o] += x.local[i + u, c, j + v] * w.local[c, u, v, o]
          y[b, o, i, j] = y.local[j, o]          stored the other way round

A row of 28 pixels takes four registers of 8, an eighth of them idle; 28 rows of a tile are 4 tiles
of 6 and one of 4.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.facts import leaf_loads
from tensorc.schedule.auto.cost import (
    Tile,
    best_tile,
    depends,
    extent_of,
    iterations,
    stride,
    time_of,
)
from tensorc.schedule.auto.operands import beside_of, is_for_all, overlap_of, shared_operand
from tensorc.schedule.auto.steps import vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Load
    from tensorc.ir.stmt import For
    from tensorc.schedule.auto.operands import Product
    from tensorc.schedule.handles import Loop
    from tensorc.schedule.schedule import Schedule
    from tensorc.target import Target

PASS = 8  # What it costs to read or store an element once more, in multiply-adds.
TURN = 12  # What it costs to store an element the other way round, in multiply-adds.
MAX_WINDOW = 8  # Rows of a window, which are written out inside of all other sums.


def turned(product: Product, lanes: int, target: Target) -> Product:
    """A product of windows with its rows in lanes, where that is faster; else as it is."""
    other = replace(product, lane=product.rows, rows=product.lane, reduced=_apart(product))
    common = shared_operand(other)
    if common is None or not is_for_all(other, common):
        return product
    m, n = extent_of(product.rows), extent_of(product.lane)
    beside = beside_of(product)
    count = 1 if beside is None else extent_of(beside)
    registers = target.vector_registers

    def time(tile: Tile, rows: int, columns: int, beside: int = 1) -> float:
        return time_of(tile, rows, columns, lanes, registers, padded=True, beside=beside)

    now = time(tile_of(product, beside, lanes, target, padded=True), m, n, count)
    then = time(tile_of(other, None, lanes, target, padded=True), n, m)
    then += m * n * (TURN / iterations(product.reduced) + _reading(product))
    return other if count * then < now else product


def tile_of(
    product: Product, beside: For | None, lanes: int, target: Target, *, padded: bool
) -> Tile:
    """The tile of registers for a product, which may lie across the axis `beside`."""
    return best_tile(
        extent_of(product.rows),
        extent_of(product.lane),
        lanes,
        target.vector_registers,
        padded=padded,
        beside=1 if beside is None else extent_of(beside),
        across=_across(product),
        # Beyond the edge may lie rows of another product, which a tile would have to keep.
        whole=all(i is not product.rows.var for i in product.leaf.indices),
    )


def _across(product: Product) -> float:
    """What it costs that a tile lies across rows, in multiply-adds for each element and step.

    It reads and stores halves of lines, so the same ones more often; but rows whose windows overlap
    share what they read.
    """
    return _reading(product, rows=True) + PASS / iterations(product.reduced)


def _reading(product: Product, *, rows: bool = False) -> float:
    """What a pass over the lanes' operand costs, in multiply-adds for each element and step.

    With `rows`, over that of several rows together.
    """
    shared = shared_operand(product)
    overlap = 1.0 if shared is None else overlap_of(product, shared)
    return PASS / (extent_of(product.rows) * overlap ** (2 if rows else 1))


def _apart(product: Product) -> tuple[For, ...]:
    """The loops of the sum, such that steps written out together share nothing along the lanes.

    They would keep what they share in registers, which the tile needs.
    """
    steps = [u.indices for u in leaf_loads(product.leaf) if stride(u, product.lane.var) != 0]
    dims = [i for indices in steps for i in indices if depends([i], product.lane.var)]
    along = [x for x in product.reduced if depends(dims, x.var)]
    others = [x for x in product.reduced if x not in along]
    few = [x for x in others if 1 < extent_of(x) <= MAX_WINDOW]
    far = [x for x in others if x not in few]
    return (*far, *along, *few) if few else (*along, *far)


def turn_of(product: Product) -> list[int] | None:
    """The order of a result's dimensions with that of the lanes last; None where it is so."""
    (*others, last) = (d for d, _ in enumerate(product.leaf.indices))
    d = next(d for d, i in enumerate(product.leaf.indices) if depends([i], product.lane.var))
    return None if d == last else [*(x for x in (*others, last) if x != d), d]


def keep_rows_together(s: Schedule, product: Product, around: Sequence[Loop], lanes: int) -> None:
    """Copy what the rows of tiles read, so that what a row of results needs lies together.

    Image by image: inside of all loops `around` but the innermost, which counts rows of results.

    Raises:
        ScheduleError: a step is refused.
    """
    at = around[max(0, len(around) - 2)]
    for use in leaf_loads(product.leaf):
        if stride(use, product.rows.var) != 0:
            order = sorted(range(use.buffer.ndim), key=partial(_rank, product, use))
            copied = s.cache_read(use.buffer.name, at, order=order)
            vectors(s, copied.loops[-1], lanes)


def _rank(product: Product, use: Load, dim: int) -> int:
    """Where a dimension is to stand among others: images, then their rows, then their channels."""
    index = [use.indices[dim]]
    if depends(index, product.rows.var):
        return 3
    if depends(index, product.around[-1].var):
        return 1
    return 0 if any(depends(index, x.var) for x in product.around) else 2
