"""A square of elements copied with rows and columns exchanged: whole rows, shuffled in registers.

    for i in unrolled(8):
      for j in vectorized(8):               8 loads of 8 neighbours, 24 shuffles, 8 stores, where
        B[i, j] = A[j, i]                   lanes apart would take 64 loads and 64 insertions

Shuffles stay within 16 bytes as long as they can, since x86 has cheap ones there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.llvm.pattern import flattened
from tensorc.ir.affine import coefficient
from tensorc.ir.expr import Load, const_int
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import For, ForKind, Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.codegen.llvm.builder import Builder
    from tensorc.ir.expr import Expr, Var

GROUP_BYTES = 16  # What a cheap shuffle stays within.
WIDTHS = (4, 8)  # Bytes of the elements that are worth it.


@dataclass(frozen=True, slots=True)
class Square:
    """A transposing copy: `rows` is written out and `lanes` runs in lanes, `size` of each."""

    rows: For
    lanes: For
    store: Store
    load: Load
    size: int


def square_of(rows: For) -> Square | None:
    """The transposing copy that an unrolled loop is, if it is one of a size for shuffles."""
    lanes = rows.body
    if not isinstance(lanes, For) or lanes.kind is not ForKind.VECTORIZED:
        return None
    copy, size = lanes.body, const_int(lanes.extent)
    if not isinstance(copy, Store) or not isinstance(copy.value, Load):
        return None
    load, width = copy.value, copy.buffer.dtype.bytes
    if size is None or const_int(rows.extent) != size or width not in WIDTHS:
        return None
    if size & (size - 1) or size * width < GROUP_BYTES or load.buffer is copy.buffer:
        return None
    read = flattened(load.buffer.shape, load.indices)
    written = flattened(copy.buffer.shape, copy.indices)
    by_row = _moves_last(read, rows.var) and _stays_last(read, lanes.var)
    by_lane = _moves_last(written, lanes.var) and _stays_last(written, rows.var)
    return Square(rows, lanes, copy, load, size) if by_row and by_lane else None


def _moves_last(indices: Sequence[Expr], var: Var) -> bool:
    """Whether `var` steps through neighbours: it is in the last index alone, with factor 1."""
    steps = _steps(indices, var)
    return steps[-1:] == [1] and not any(s != 0 for s in steps[:-1])


def _stays_last(indices: Sequence[Expr], var: Var) -> bool:
    """Whether `var` is in other indices than the last, each time with a constant factor."""
    steps = _steps(indices, var)
    return steps[-1:] == [0] and None not in steps


def _steps(indices: Sequence[Expr], var: Var) -> list[int | None]:
    factors = [coefficient(i, var) for i in indices]
    return [None if f is None else const_int(simplify(f)) for f in factors]


def transposed(b: Builder, rows: Sequence[str], element: str, width: int) -> list[str]:
    """The columns of a square of `rows`, each a vector of elements of `width` bytes."""
    size, group = len(rows), min(len(rows), GROUP_BYTES // width)
    vec = f"<{size} x {element}>"
    lines = list(rows)

    def shuffle(first: str, second: str, order: Sequence[int]) -> str:
        mask = ", ".join(f"i32 {i}" for i in order)
        return b.op(f"shufflevector {vec} {first}, {vec} {second}, <{size} x i32> <{mask}>")

    for _ in range(group.bit_length() - 1):
        # Elements of two lines in turns: of the lower half of each group, then of the upper.
        merged = list(lines)
        for start in range(0, size, group):
            for pair in range(group // 2):
                first, second = lines[start + pair], lines[start + pair + group // 2]
                for half in range(2):
                    order = _in_turns(size, group, half * group // 2)
                    merged[start + 2 * pair + half] = shuffle(first, second, order)
        lines = merged
    step = group
    while step < size:
        for i in range(size):
            if not i & step:
                a, c = lines[i], lines[i | step]
                low = [j if not j & step else size + j - step for j in range(size)]
                high = [j + step if not j & step else size + j for j in range(size)]
                lines[i], lines[i | step] = shuffle(a, c, low), shuffle(a, c, high)
        step *= 2
    return lines


def _in_turns(size: int, group: int, start: int) -> list[int]:
    """Half a group of the first vector and of the second in turns, from `start` in each on."""
    bases = range(start, size, group)
    return [i for base in bases for at in range(base, base + group // 2) for i in (at, size + at)]
