"""Updates of large arrays by blocks of rows: only a block of a gradient is ever stored.

    d.W = X^T dY                        for block:
    M = f(M, d.W)             becomes     d.W[a block of rows] = X^T dY
    W = g(W, M)                           for each row of it: M = f(M, d.W); W = g(W, M)

A gradient as large as its weight would otherwise be the largest temporary of a training step. Where
its weight alone is updated, it is not stored at all: the update moves into the product's tiles.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.ir.expr import const_int
from tensorc.ir.facts import facts, nests
from tensorc.ir.stmt import For, Role, Store
from tensorc.schedule.auto.cost import bytes_of, iterations
from tensorc.schedule.auto.operands import product_of
from tensorc.schedule.auto.products import HIDDEN
from tensorc.schedule.auto.steps import attempt, is_scheduled
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import sites

if TYPE_CHECKING:
    from tensorc.ir.expr import Buffer
    from tensorc.schedule.schedule import Schedule
    from tensorc.target import Target

ROWS = 192  # Of a block at most: with fewer, panels are packed too often; more leave the cache.
TILE = 12  # Rows of a block are a multiple of it, and it of the usual heights of tiles.
LARGE_BYTES = 1024 * 1024  # Smaller gradients are fused into the tile, or cost little to keep.


def block_updates(s: Schedule, target: Target) -> None:
    """Compute each large gradient block by block, where only updates of arguments read it."""
    arguments = {p.buffer for p in s.program.params if p.role is Role.INOUT}
    for stage in list(s.stages):
        product = product_of(s, stage)
        if product is None:
            continue
        (gradient,) = product.leaf.buffers
        shape = [const_int(n) for n in gradient.shape]
        if len(shape) < 2 or shape[0] is None or bytes_of(gradient) < LARGE_BYTES:
            continue
        readers = _updates(s, gradient, arguments)
        if len(readers) == 1 and iterations(product.reduced) >= HIDDEN:
            continue  # What it reads comes while the tile is computed.
        if readers and shape[0] > ROWS:
            threads = target.threads or 1
            count = -(-shape[0] // (ROWS * threads)) * threads  # As many blocks for each thread.
            height = -(-shape[0] // (count * TILE)) * TILE
            attempt(s, partial(_blocked, s, stage, readers, height))


def _updates(s: Schedule, gradient: Buffer, arguments: set[Buffer]) -> list[tuple[str, For]]:
    """The nests that read `gradient`, or what came of it, if each updates an argument by rows."""
    made, found = {gradient}, list[tuple[str, For]]()
    for nest in nests(s.program.body):
        written = list(facts(nest).written)
        if gradient in written or made.isdisjoint(facts(nest).read):
            continue
        rows = _row_by_row(nest, gradient)
        if rows is None or written[0] not in arguments:
            if gradient in facts(nest).read:
                return []
            continue
        made.add(written[0])
        found.append((written[0].name, rows))
    return found


def _row_by_row(nest: object, gradient: Buffer) -> For | None:
    """The outer loop of a plain nest that stores elements, rows of the gradient's number."""
    if not isinstance(nest, For):
        return None
    (site, *more) = sites(nest)
    if more or not isinstance(site.leaf, Store) or is_scheduled([site]):
        return None
    fits = const_int(nest.extent) == const_int(gradient.shape[0])
    return nest if fits and site.leaf.indices[0] is nest.var else None


def _blocked(s: Schedule, stage: str, readers: list[tuple[str, For]], height: int) -> None:
    """One nest of all updates, cut into blocks of rows; the gradient of a block inside.

    Raises:
        ScheduleError: a step is refused.
    """
    (first, rows), *others = readers
    for name, loop in others:
        s.fuse_with(Loop(s, first, rows.var), Loop(s, name, loop.var))
    blocks, _ = s.split(Loop(s, first, rows.var), height)
    s.compute_at(stage, blocks)
