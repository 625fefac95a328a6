"""Where buffers are: pointers to global memory, and arrays of shared memory and of registers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.swizzle import stored_at
from tensorc.codegen.cuda.types import MEMORY
from tensorc.dtypes import int64
from tensorc.ir.affine import linear, to_expr
from tensorc.ir.expr import Binary, BinaryOp, Buffer, Cast, Const, Expr, const_int, is_const

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.codegen.cuda.expr import ExprEmitter


@dataclass(frozen=True, slots=True)
class Place:
    """A buffer and what C calls it.

    `flat`: a pointer, whose elements are counted row by row; else an array with the buffer's
    dimensions, or a scalar where there is none. `align`: bytes that the first element's address
    is a multiple of. `strides` of a flat place, and of an array too where its rows are padded.
    """

    buffer: Buffer
    name: str
    flat: bool
    align: int

    @property
    def ctype(self) -> str:
        """The C type of an element."""
        return MEMORY[self.buffer.dtype.name]

    def offset(self, indices: Sequence[Expr]) -> Expr:
        """How many elements lie before the one at `indices`, row by row."""
        total: Expr = Const(0)
        stride: Expr = Const(1)
        terms: list[Expr] = []
        for index, size in reversed(list(zip(indices, self.buffer.shape, strict=True))):
            if not is_const(index, 0):
                terms.append(_times(index if index.dtype == int64 else Cast(index, int64), stride))
            stride = _times(size, stride)
        for term in reversed(terms):
            total = term if is_const(total, 0) else Binary(BinaryOp.ADD, total, term)
        return total

    def element(self, e: ExprEmitter, indices: Sequence[Expr]) -> str:
        """What C calls the element at `indices`."""
        if self.flat:
            return f"{self.name}[{e.value(shortest(self.offset(indices))).text}]"
        return self.name + "".join(
            f"[{e.value(shortest(i)).text}]" for i in stored_at(self.buffer, indices)
        )

    def declaration(self) -> str:
        """The array, as C declares it."""
        sizes = "".join(f"[{const_int(s)}]" for s in self.buffer.shape)
        return f"{self.ctype} {self.name}{sizes}"


def shortest(index: Expr) -> Expr:
    """An index whose constants are added up, where it is a sum of them and of variables alone."""
    form = linear(index)
    if form is None or len(form.coeffs) > 1:
        return index
    return to_expr(form) if form.coeffs else Const(form.const)


def _times(a: Expr, b: Expr) -> Expr:
    if is_const(a, 1):
        return b
    if is_const(b, 1):
        return a
    if isinstance(a, Const) and isinstance(b, Const):
        return Const(int(a.value) * int(b.value))
    return Binary(BinaryOp.MUL, a, b)
