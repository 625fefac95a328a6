"""Where the elements of a swizzled buffer lie, as indices of its array.

    S[r, c] of float16[64, 64] shared swizzle(128)      becomes      S[r][c ^ r % 8 * 8]

The pattern moves chunks of 16 bytes within a row, so that the array keeps its dimensions. Terms
that do not change the row's number in the pattern, as a multiple of 8 here, are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.cuda.ranges import is_multiple
from tensorc.ir.expr import Binary, BinaryOp, Buffer, Const, Expr, const_int, is_const
from tensorc.ir.simplify import simplify
from tensorc.ir.swizzle import CHUNK

if TYPE_CHECKING:
    from collections.abc import Sequence


def stored_at(buffer: Buffer, indices: Sequence[Expr]) -> tuple[Expr, ...]:
    """The indices of the array at which the element `indices` of a shared buffer lies."""
    swizzle = buffer.swizzle
    if swizzle is None:
        return tuple(indices)
    *rows, column = indices
    chunk = CHUNK // buffer.dtype.bytes
    line, count = chunk << swizzle.shift, swizzle.width // CHUNK
    size = const_int(buffer.shape[-1]) or 1
    # A line, for which the pattern has one number, is some rows; or a row is some lines.
    if line % size == 0:
        number = _digit(_row(buffer, rows), line // size, count)
    else:
        offset = Binary(BinaryOp.ADD, Binary(BinaryOp.MUL, _row(buffer, rows), Const(size)), column)
        number = _digit(offset, line, count)
    moved = simplify(Binary(BinaryOp.MUL, number, Const(chunk)))
    if is_const(moved, 0):
        return tuple(indices)
    if is_const(column, 0):
        return (*rows, moved)
    return (*rows, Binary(BinaryOp.XOR, column, moved))


def _row(buffer: Buffer, rows: Sequence[Expr]) -> Expr:
    """The number of the row, over all dimensions but the last."""
    total: Expr = Const(0)
    stride = 1
    for index, size in reversed(list(zip(rows, buffer.shape, strict=False))):
        term = index if stride == 1 else Binary(BinaryOp.MUL, index, Const(stride))
        total = Binary(BinaryOp.ADD, term, total)
        stride *= const_int(size) or 1
    return simplify(total)


def _digit(expr: Expr, unit: int, count: int) -> Expr:
    """`expr // unit % count`, from the terms that change it."""
    period = unit * count
    total: Expr = Const(0)
    for term in _terms(expr):
        if not is_multiple(term, period):
            total = Binary(BinaryOp.ADD, total, term)
    digit: Expr = Binary(BinaryOp.MOD, simplify(total), Const(period))
    if unit > 1:
        digit = Binary(BinaryOp.FLOORDIV, digit, Const(unit))
    return simplify(digit)


def _terms(expr: Expr) -> list[Expr]:
    match expr:
        case Binary(BinaryOp.ADD, a, b):
            return [*_terms(a), *_terms(b)]
        case _:
            return [expr]
