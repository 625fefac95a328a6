"""Conditions around reads that a padded copy answers: what is chosen outside is what it holds.

    where(0 <= i - 1 & i - 1 < 56, x[i - 1], 0.0)      becomes      x[i - 1]

A copy of `x` with zeros beyond its ends has a zero wherever the condition fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.ir.expr import Binary, BinaryOp, Compare, CompareOp, Const, Expr, Load, Where
from tensorc.ir.facts import reads
from tensorc.ir.sets import prove
from tensorc.ir.walk import rewrite, walk
from tensorc.schedule.region import difference
from tensorc.schedule.tree import sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Buffer
    from tensorc.ir.stmt import Node, Stmt
    from tensorc.schedule.region import Box


def without_conditions(
    body: Stmt, buffer: Buffer, box: Box, pad: Const, given: Sequence[Expr]
) -> Stmt:
    """`body` with `buffer[i]` for each `where(cond, buffer[i], pad)` that fails only outside of it.

    So `buffer[i]` is to be read as `pad` there, and is in `box` always. `given` is what holds
    around `body`.
    """
    answered, kept = set[int](), set[int]()
    for site in sites(body):
        if not reads(site.leaf, buffer):
            continue
        for node in walk(site.leaf):
            match node:
                case Where(cond, Load(b, indices), Const() as other) if b is buffer:
                    known = [*given, *site.domain()]
                    same = _is(other, pad) and _fails_outside(cond, indices, b.shape, known)
                    fits = same and _stays_in(box, indices, known)
                    (answered if fits else kept).add(id(node))
                case _:
                    pass

    answered -= kept  # A node may stand in several statements.

    def rule(node: Node) -> Node | None:
        return node.on_true if isinstance(node, Where) and id(node) in answered else None

    return rewrite(body, rule) if answered else body


def _is(value: Const, pad: Const) -> bool:
    """Whether two constants are the same bits, but for those of a NaN."""
    return value.dtype == pad.dtype and repr(value.value) == repr(pad.value)


def _fails_outside(
    cond: Expr, indices: Sequence[Expr], shape: Sequence[Expr], known: Sequence[Expr]
) -> bool:
    """Whether an index lies outside of `shape` wherever `cond` does not hold."""
    claim = cond
    for index, size in zip(indices, shape, strict=True):
        for outside in (Compare(CompareOp.LT, index, Const(0)), Compare(CompareOp.GE, index, size)):
            claim = Binary(BinaryOp.OR, claim, outside)
    return prove(claim, known).holds


def _stays_in(box: Box, indices: Sequence[Expr], known: Sequence[Expr]) -> bool:
    """Whether an access stays in a box in every iteration; one may be cut to its buffer."""
    for index, low, extent in zip(indices, box.lows, box.extents, strict=True):
        place = difference(index, low)
        claims = (Compare(CompareOp.GE, place, Const(0)), Compare(CompareOp.LT, place, extent))
        if not all(prove(claim, known).holds for claim in claims):
            return False
    return True
