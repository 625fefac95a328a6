"""Accesses whose lanes are a fixed pattern of neighbours: every second one, or each one twice.

    x[2 * (8 * i + lane)]          two loads of 8 neighbours and a shuffle, where lanes apart
    x[(8 * i + lane) // 2]         would take 8 loads and 8 insertions

The pattern is known where an index has constant differences between its lanes; quotients and rests
of a lane number by constants are such (`quotient`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.llvm.types import LANE, Poly, Val, number, symbol
from tensorc.dtypes import bool_, int64
from tensorc.ir.expr import Binary, BinaryOp, Const
from tensorc.ir.walk import same

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tensorc.codegen.llvm.builder import Builder
    from tensorc.ir.expr import Expr


def quotient(b: Builder, value: Poly, divisor: Poly, *, rest: bool) -> Poly | None:
    """`value // divisor`, or its rest, where only the lane number decides it; else None.

    The divisor must be a positive constant, and divide what all uniform names are multiplied with.
    """
    by, offsets = divisor.const, b.lane_offsets(value)
    if by is None or by <= 0 or offsets is None or not any(offsets):
        return None
    terms = b.uniform_part(value).terms
    first = terms.get((), 0)
    if any(c % by for key, c in terms.items() if key):
        return None
    if rest:
        return b.pattern([(first + o) % by for o in offsets])
    outside = Poly({key: c // by for key, c in terms.items() if key and c // by})
    return outside + b.pattern([(first + o) // by for o in offsets])


class Spread:
    """Loads of whole registers that hold what each lane reads, and the shuffle that takes it.

    Attributes:
        starts: the first element of each load, one or two, relative to lane 0's uniform part.
        width: how many elements each has, a power of two.
        places: for each lane, its element among those of the loads side by side.
    """

    def __init__(self, offsets: Sequence[int]) -> None:
        """Of lanes at these offsets; loads stay between the least and the greatest."""
        low, high = min(offsets), max(offsets)
        span = high - low + 1
        self.width = min(1 << (span.bit_length() - 1), len(offsets))
        self.starts = [low] if span == self.width else [low, high - self.width + 1]
        self.fits = span <= 2 * self.width
        self.places = [
            o - low if o - low < self.width else self.width + o - self.starts[-1] for o in offsets
        ]

    def loaded(
        self, b: Builder, element: str, load: Callable[[int, Val | None], str], mask: Val | None
    ) -> str:
        """What the lanes read; `load` gives the elements from a start on, where a mask is on."""
        parts = [load(s, self._mask(b, n, mask)) for n, s in enumerate(self.starts)]
        vec = f"<{self.width} x {element}>"
        order = ", ".join(f"i32 {p}" for p in self.places)
        second = parts[1] if len(parts) > 1 else "poison"
        return b.op(f"shufflevector {vec} {parts[0]}, {vec} {second}, <{b.lanes} x i32> <{order}>")

    def _mask(self, b: Builder, part: int, mask: Val | None) -> Val | None:
        """Which elements of a load some lane reads that is on."""
        if mask is None:
            return None
        vec, bits = b.vector("i1"), b.splat(mask).text
        readers = [
            [lane for lane, p in enumerate(self.places) if p == part * self.width + e]
            for e in range(self.width)
        ]
        found = ""
        for turn in range(max(map(len, readers))):
            order = (r[turn] if turn < len(r) else b.lanes for r in readers)
            text = ", ".join(f"i32 {lane}" for lane in order)
            one = b.op(
                f"shufflevector {vec} {bits}, {vec} zeroinitializer, <{self.width} x i32> <{text}>"
            )
            found = b.op(f"or <{self.width} x i1> {found}, {one}") if found else one
        return Val(found, bool_, True)


def pattern_name(values: Sequence[int]) -> str:
    """The name of what has these values in the lanes: no SSA name, which begin with %."""
    return f"{LANE}({', '.join(map(str, values))})"


def linear(values: Sequence[int]) -> Poly | None:
    """A pattern that grows by a constant, as a multiple of the lane number."""
    step = values[1] - values[0] if len(values) > 1 else 0
    if any(v != values[0] + step * i for i, v in enumerate(values)):
        return None
    return number(values[0]) + symbol(LANE) * number(step)


def known_mask(bits: Sequence[bool]) -> str:
    """A mask of lanes that code generation knows, as LLVM writes it."""
    return f"<{', '.join(f'i1 {str(bit).lower()}' for bit in bits)}>"


def lanes_on(mask: str) -> tuple[bool, ...] | None:
    """The lanes of a mask that `known_mask` made; None of any other."""
    if not mask.startswith("<i1 "):
        return None
    return tuple(bit == "i1 true" for bit in mask[1:-1].split(", "))


def flattened(shape: tuple[Expr, ...], indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """Indices `q // n, q % n` into rows of n elements as `0, q`, which is the same place.

    And `q // (m * n), q // n % m, q % n` as `0, 0, q`. Loops that were fused over a dense array
    read such indices: their lanes are neighbours, also from the end of a row to the next.
    """
    found = list(indices)
    last = len(found) - 1
    while last > 0:
        first, whole = _run(shape, found, last)
        if whole is not None:
            found[first : last + 1] = [*[Const(0, int64)] * (last - first), whole]
        last = first if whole is not None else last - 1
    return tuple(found)


def _run(shape: tuple[Expr, ...], indices: Sequence[Expr], last: int) -> tuple[int, Expr | None]:
    """Where the digits of one number begin of which that in `last` is the lowest, and the number.

    None for the number where there is no such run.
    """
    lowest, length = _digit(indices[last])[0], 1
    for d in range(last, -1, -1):
        whole, step, limit = _digit(indices[d])
        if step != length or not same(whole, lowest):
            break
        if limit is None:
            return d, whole if d < last else None
        size = shape[d]
        if not isinstance(size, Const) or size.value != limit:
            break
        length *= limit
    return last, None


def _digit(index: Expr) -> tuple[Expr, int, int | None]:
    """`q`, `n` and `m` of an index `q // n % m`; None for `m` where there is no such rest."""
    match index:
        case Binary(BinaryOp.FLOORDIV, x, Const(int() as by)) if by > 0:
            whole, step, limit = _digit(x)
            if limit is None or limit % by == 0:
                return whole, step * by, None if limit is None else limit // by
        case Binary(BinaryOp.MOD, x, Const(int() as by)) if by > 0:
            whole, step, limit = _digit(x)
            if limit is None or limit % by == 0:
                return whole, step, by
        case _:
            pass
    return index, 1, None
