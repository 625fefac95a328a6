"""Axes: the variables that run over the dimensions of a definition, or over a reduction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.dtypes import int64
from tensorc.ir.expr import Const, Expr, Reduce, Var
from tensorc.ir.walk import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ZERO = Const(0, int64)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IterVar(Var):
    """The variable of an axis: `start <= v < start + extent`, spatial or reduced over.

    `where`, on a reduce axis, is a condition on the points that count.
    """

    start: Expr = ZERO
    extent: Expr = ZERO
    reduce: bool = False
    where: Expr | None = None


def reduce_extents(exprs: Iterable[Expr]) -> Iterator[Expr]:
    """The starts and extents of the reduce axes in `exprs`, which the traversals leave out."""
    for expr in exprs:
        for node in walk(expr):
            if isinstance(node, Reduce):
                for axis in node.axes:
                    assert isinstance(axis, IterVar), "a reduce axis has a range"
                    yield from (axis.start, axis.extent)
