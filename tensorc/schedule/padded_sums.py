"""Sums over padding: iterations beyond a guard that add 0, since what they multiply is 0 there.

    alloc A.local: float32[4]                          alloc A.local: float32[4]
      for k in range(4):                                 for k in range(4):
        A.local[k] = where(k < 3, A[k], 0.0)               A.local[k] = where(k < 3, A[k], 0.0)
      for k in range(4):                    becomes      for k in range(4):
        if k < 3:                                          S[0] += A.local[k] * A.local[k]
          S[0] += A.local[k] * A.local[k]

A product is 0 where both of its factors are: one of them alone might meet an infinity. And adding 0
changes nothing but the sign of a zero, so the sum must have begun with 0: then it is never -0.
"""

from __future__ import annotations

from math import copysign
from typing import TYPE_CHECKING

from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Call,
    Cast,
    Const,
    Expr,
    Load,
    Unary,
    UnaryOp,
    Var,
    Where,
    all_of,
    terms_of,
)
from tensorc.ir.sets import prove
from tensorc.ir.stmt import Accumulate, Store
from tensorc.ir.walk import free_vars, loads, substitute, written_buffers
from tensorc.schedule.tree import loops_on, path_to, sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Buffer
    from tensorc.ir.stmt import Program
    from tensorc.schedule.tree import Site


def adds_nothing(program: Program, site: Site, extra: Sequence[Expr]) -> bool:
    """Whether a leaf, where all of `extra` hold, adds 0 to a sum that began with 0."""
    leaf = site.leaf
    if not isinstance(leaf, Accumulate) or len(leaf.buffers) != 1 or leaf.reducer.name != "sum":
        return False
    starts = [x.leaf for x in _writers(program, leaf.buffers[0]) if x.leaf is not leaf]
    begun = all(isinstance(x, Store) and _is_plus_zero(x.value) for x in starts)
    return bool(starts) and begun and _is_zero(program, leaf.values[0], extra)


def _is_zero(program: Program, value: Expr, extra: Sequence[Expr]) -> bool:
    match value:
        case Binary(BinaryOp.MUL, a, b):
            return _is_zero(program, a, extra) and _is_zero(program, b, extra)
        case Cast(a, _) | Call("tf32", (a,), _):
            return _is_zero(program, a, extra)
        case Load():
            return _holds_padding(program, value, extra)
        case Const(number, _):
            return number == 0
        case _:
            return False


def _is_plus_zero(value: Expr) -> bool:
    return isinstance(value, Const) and value.value == 0 and copysign(1, value.value) == 1


def _holds_padding(program: Program, load: Load, extra: Sequence[Expr]) -> bool:
    """Whether what is loaded is the 0 by which a copy is padded, as `cache_read` makes one."""
    writers = _writers(program, load.buffer)
    path = path_to(program.body, load.buffer)
    if len(writers) != 1 or path is None:
        return False
    (writer,) = writers
    leaf = writer.leaf
    if not isinstance(leaf, Store) or not isinstance(leaf.value, Where) or writer.conds:
        return False
    condition, padding = leaf.value.cond, leaf.value.on_false
    if not isinstance(padding, Const) or padding.value != 0 or loads(condition):
        return False
    outside = {x.var for x in loops_on(path)}
    element: dict[Var, Expr] = {
        v: e for v, e in zip(leaf.indices, load.indices, strict=True) if isinstance(v, Var)
    }
    known = all_of(  # Of the others, which iteration writes the element is not known.
        [t for t in terms_of(condition) if all(v in outside or v in element for v in free_vars(t))]
    )
    if known is None:
        return False
    return prove(Unary(UnaryOp.NOT, substitute(known, element)), extra).holds


def _writers(program: Program, buffer: Buffer) -> list[Site]:
    return [x for x in sites(program.body) if buffer in written_buffers(x.leaf)]
