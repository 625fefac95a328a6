"""Which buffers hold numbers that are rounded to tf32, so that tensor cores may read their bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tensorc.dtypes import float32
from tensorc.ir.expr import Call, Const, Expr, Load, Select, Where
from tensorc.ir.stmt import Accumulate, Check, Store
from tensorc.ir.walk import leaves, written_buffers

if TYPE_CHECKING:
    from tensorc.ir.expr import Buffer
    from tensorc.ir.stmt import Program

_DROPPED = 0x1FFF  # The bits of a float32 that tf32 has not.


def rounded_buffers(program: Program) -> frozenset[Buffer]:
    """The temporaries to which nothing is stored but such numbers, as all stores show."""
    stores: dict[Buffer, list[Expr]] = {}
    others = {p.buffer for p in program.params}
    for leaf in leaves(program.body):
        match leaf:
            case Store(buffer, _, value):
                stores.setdefault(buffer, []).append(value)
            case Accumulate():
                others.update(written_buffers(leaf))
            case Check():
                pass
    found = {b for b in stores if b.dtype == float32 and b not in others}
    while True:
        kept = {b for b in found if all(_is_rounded(v, found) for v in stores[b])}
        if kept == found:
            return frozenset(found)
        found = kept


def _is_rounded(value: Expr, known: set[Buffer]) -> bool:
    match value:
        case Call("tf32", _, _):
            return True
        case Load(buffer, _):
            return buffer in known
        case Where(_, a, b) | Select(_, a, b):
            return _is_rounded(a, known) and _is_rounded(b, known)
        case Const(number, _):
            return not int(np.float32(number).view(np.uint32)) & _DROPPED
        case _:
            return False
