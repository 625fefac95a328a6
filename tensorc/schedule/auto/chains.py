"""Chains from one product to the next by blocks of rows: what lies between stays in near caches.

    S = Q K^T                             for block:
    P = softmax(S)            becomes       S[a block of rows] = Q K^T
    O = P V                                 P[the block] = softmax(S)
                                            O[the block] = P V

Attention is such a chain. It pays where what lies between is larger than all that the products
read: the operands are then packed once for all blocks.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import const_int
from tensorc.ir.facts import facts, leaf_loads, nests
from tensorc.ir.stmt import For
from tensorc.schedule.auto.cost import bytes_of, extent_of, stride
from tensorc.schedule.auto.operands import product_of
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop

if TYPE_CHECKING:
    from tensorc.ir.expr import Buffer, Load, Var
    from tensorc.ir.stmt import Stmt
    from tensorc.schedule.auto.operands import Product
    from tensorc.schedule.schedule import Schedule

BLOCK_BYTES = 128 * 1024  # Of what lies between, in a block: a quarter of a second-level cache.
LARGE_BYTES = 1024 * 1024  # Less than this stays in a cache without blocks.
HEIGHTS = range(96, 23, -1)  # Rows of a block: the most that leave no rest,
HEIGHT = 48  # or else these.


def block_chains(s: Schedule) -> list[Var]:
    """Compute what a product reads block by block, from the product before it on.

    Returns the loops over blocks.
    """
    made: list[Var] = []
    for stage in list(s.stages):
        product = product_of(s, stage)
        between = None if product is None else _row_operand(s, product)
        if product is None or between is None:
            continue
        rows = extent_of(product.rows)
        row_bytes = bytes_of(between) // (rows * _batch(product))
        fits = (h for h in HEIGHTS if h * row_bytes <= BLOCK_BYTES and rows % h == 0)
        height = next(fits, HEIGHT)
        if height < rows and height * row_bytes <= BLOCK_BYTES:
            attempt(s, partial(_blocked, s, stage, product, between, height, made))
    return made


def _row_operand(s: Schedule, product: Product) -> Buffer | None:
    """The large temporary whose rows the product reads, if it is larger than all else."""
    uses = leaf_loads(product.leaf)
    rows = [u for u in uses if stride(u, product.lane.var) == 0]
    if len(rows) != 1 or len(uses) != 2:
        return None
    (use,) = rows
    params = {p.buffer for p in s.program.params}
    if use.buffer in params or bytes_of(use.buffer) < LARGE_BYTES or not _by_rows(use, product):
        return None
    return use.buffer


def _by_rows(use: Load, product: Product) -> bool:
    """Whether the loops outside of the row are the first indices, and the row the next."""
    outer = product.spatial[: product.spatial.index(product.rows) + 1]
    if len(use.indices) < len(outer):
        return False
    return all(x.var is i for x, i in zip(outer, use.indices, strict=False))


def _batch(product: Product) -> int:
    count = 1
    for loop in product.spatial[: product.spatial.index(product.rows)]:
        count *= extent_of(loop)
    return count


def _blocked(
    s: Schedule, stage: str, product: Product, between: Buffer, height: int, made: list[Var]
) -> None:
    """Cut the rows of `stage`, and compute the chain that leads to `between` in each block.

    The loop over blocks is added to `made`.

    Raises:
        ScheduleError: a step is refused, or the chain does not begin with a product.
    """
    chain = _chain(s, between, product)
    block, _ = s.split(Loop(s, stage, product.rows.var), height)
    for name in chain:
        s.compute_at(name, block)
    made.append(block.var)


def _chain(s: Schedule, between: Buffer, last: Product) -> list[str]:
    """The stages from `between` back to the product whose rows it is made from, readers first.

    Raises:
        ScheduleError: there is no such product, or its operands are not small beside `between`.
    """
    made_by = {nest: list(facts(nest).written) for nest in nests(s.program.body)}
    wanted: set[Buffer] = {between}
    found: list[str] = []
    for nest, written in reversed(made_by.items()):
        if wanted.isdisjoint(written):
            continue
        if not _same_rows(nest, written, between, last) or len(written) != 1:
            raise ScheduleError(f"{written[0].name} is not computed row by row")
        found.append(written[0].name)
        first = product_of(s, written[0].name)
        if first is not None:
            read = [*leaf_loads(first.leaf), *leaf_loads(last.leaf)]
            operands = {u.buffer for u in read} - {between}
            if sum(map(bytes_of, operands)) > bytes_of(between):
                raise ScheduleError("the operands are larger than what lies between")
            return found
        wanted |= facts(nest).read
    raise ScheduleError(f"no product leads to {between.name}")


def _same_rows(nest: Stmt, written: list[Buffer], between: Buffer, last: Product) -> bool:
    """Whether a nest's outer loops choose the rows that those of `between` are."""
    count = last.spatial.index(last.rows) + 1
    for depth in range(count):
        if not isinstance(nest, For):
            return False
        sizes = {const_int(nest.extent), *(const_int(b.shape[depth]) for b in written)}
        if len(sizes) > 1 or const_int(between.shape[depth]) not in sizes:
            return False
        nest = nest.body
    return True
