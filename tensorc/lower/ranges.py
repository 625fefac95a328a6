"""Which accesses stay in their buffers whatever the conditions around them say.

Limits of an index follow from those of the loops around it, where these are constants. A load that
is inside anyway need not wait for the condition of a `Where`: lanes read it without a mask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tensorc.dtypes import int64
from tensorc.ir.expr import Binary, BinaryOp, Const, Expr, Var, const_int
from tensorc.ir.walk import loads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc.ir.expr import Load
    from tensorc.ir.stmt import For

Range: TypeAlias = tuple[int, int]  # The least and the greatest value.


def range_of_loop(loop: For) -> Range | None:
    """The limits of a loop's variable, where its start and extent are constants."""
    start, extent = const_int(loop.start), const_int(loop.extent)
    return None if start is None or extent is None else (start, start + max(extent, 1) - 1)


def range_of(expr: Expr, known: Mapping[Var, Range]) -> Range | None:
    """Limits of an index, from those of variables; None where they are not known."""
    match expr:
        case Const(value, dtype) if dtype == int64:
            return int(value), int(value)
        case Var():
            return known.get(expr)
        case Binary(op, lhs, rhs) if expr.dtype == int64:
            a, b = range_of(lhs, known), range_of(rhs, known)
            return None if a is None or b is None else _combined(op, a, b)
        case _:
            return None


def _combined(op: BinaryOp, a: Range, b: Range) -> Range | None:
    match op:
        case BinaryOp.ADD:
            return a[0] + b[0], a[1] + b[1]
        case BinaryOp.SUB:
            return a[0] - b[1], a[1] - b[0]
        case BinaryOp.MUL:
            ends = [x * y for x in a for y in b]
            return min(ends), max(ends)
        case BinaryOp.MIN | BinaryOp.MAX:
            pick = min if op is BinaryOp.MIN else max
            return pick(a[0], b[0]), pick(a[1], b[1])
        case BinaryOp.FLOORDIV if b[0] == b[1] > 0:
            return a[0] // b[0], a[1] // b[0]
        case BinaryOp.MOD if b[0] == b[1] > 0:
            same = a[0] // b[0] == a[1] // b[0]
            return (a[0] % b[0], a[1] % b[0]) if same else (0, b[0] - 1)
        case _:
            return None


def reads_inside(expr: Expr, known: Mapping[Var, Range]) -> bool:
    """Whether all that `expr` reads, in sides that are not taken too, is in its buffer."""
    return all(_is_inside(use, known) for use in loads(expr))


def _is_inside(use: Load, known: Mapping[Var, Range]) -> bool:
    for index, size in zip(use.indices, use.buffer.shape, strict=True):
        limits, extent = range_of(index, known), const_int(size)
        if limits is None or extent is None or limits[0] < 0 or limits[1] >= extent:
            return False
    return True
