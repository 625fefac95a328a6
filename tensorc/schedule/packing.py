"""pack: an operand stored anew, whole, before the nest that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.dtypes import DType, as_dtype, float32
from tensorc.errors import DTypeError, ScheduleError
from tensorc.ir.expr import Buffer, Call, Cast, Load
from tensorc.ir.facts import facts, nests
from tensorc.ir.stmt import Allocate, Node, Program, Stmt, Store, block
from tensorc.ir.walk import rewrite, written_buffers
from tensorc.schedule.region import Layout, copy_nest, rebase, touched_box
from tensorc.schedule.tree import (
    find_allocation,
    find_buffer,
    fresh_name,
    replace_stmt,
    sites,
    used_names,
    with_body,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def pack(
    program: Program,
    stage: str,
    name: str,
    order: Sequence[int] | None = None,
    precision: str | None = None,
    dtype: DType | str | None = None,
) -> Program:
    """Store what the nest of `stage` reads of `name` in a buffer of its own, before the nest.

        for i in range(m):             alloc B.packed: float32[n, k]
          for j in range(n):             for B.in0 in range(k):
            ... A[i, r] * B[r, j]          for B.in1 in range(n):
                                             B.packed[B.in1, B.in0] = tf32(B[B.in0, B.in1])
        with order=(1, 0),               for i in range(m):
        precision="tf32" becomes           for j in range(n):
                                             ... A[i, r] * B.packed[j, r]

    The copy has the dimensions of `name` in `order`, the last one contiguous; its loops are named
    `B.in0`, `B.in1`... With `precision="tf32"` it holds the numbers rounded, which are then other
    ones than were defined, and the program says so. With `dtype` it holds the same numbers in a
    wider type: `float32(B[r, j])` becomes `B.packed[r, j]`, any other use converts back.

    Legal where the nest does not write `name`.

    Raises:
        ScheduleError: it does, or does not read it, or allocates it itself; `order` is no
            permutation; there is no such precision, or `name` has no float32 numbers; `dtype` does
            not hold all numbers of `name`, or is another than float32 beside a `precision`.
    """
    step = f"pack({name}, {stage})"
    buffer = find_buffer(program, name)
    users = [n for n in nests(program.body) if stage in facts(n).stages]
    users = [n for n in users if any(b is buffer for b in facts(n).read)]
    if buffer is None or len(users) != 1:
        raise ScheduleError(
            f"{step}: one nest that computes '{stage}' should read '{name}', and {len(users)} do"
        )
    (nest,) = users
    if find_allocation(nest, name) is not None:
        raise ScheduleError(f"{step}: the nest allocates '{name}' itself; use cache_read")
    if any(buffer in set(written_buffers(s.leaf)) for s in sites(nest)):
        raise ScheduleError(f"{step}: the nest writes '{name}' too")
    order = tuple(range(buffer.ndim)) if order is None else tuple(order)
    if sorted(order) != list(range(buffer.ndim)):
        raise ScheduleError(
            f"{step}: order {order} is no permutation of the {buffer.ndim} dimensions of '{name}'"
        )
    if precision is not None and (precision != "tf32" or buffer.dtype != float32):
        raise ScheduleError(
            f"{step}: precision must be 'tf32', of float32 numbers, or None; got {precision!r} for "
            f"{buffer.dtype}"
        )
    held = _held(step, buffer, dtype)
    if precision is not None and held != buffer.dtype:
        raise ScheduleError(f"{step}: numbers rounded to tf32 are float32; leave out dtype={held}")
    box = touched_box(nest, buffer)
    assert box is not None, "a nest that reads a buffer touches some of it"
    used = used_names(program)
    shape = tuple(box.extents[d] for d in order)
    packed = Buffer(fresh_name(f"{name}.packed", used), shape, held)
    layout = Layout(box.lows, order)
    copy = copy_nest(buffer, packed, box, [], used, to_local=True, layout=layout)
    if precision is not None:
        copy = _rounded(copy)
    uses: Stmt = nest
    if held != buffer.dtype:
        uses, buffer = _widened(nest, buffer, held)
    new = Allocate(packed, block([copy, rebase(uses, buffer, packed, layout)]), loc=nest.loc)
    return with_body(program, replace_stmt(program.body, nest, new))


def _held(step: str, buffer: Buffer, dtype: DType | str | None) -> DType:
    """The type of the copy's numbers."""
    try:
        held = buffer.dtype if dtype is None else as_dtype(dtype)
    except DTypeError as error:
        raise ScheduleError(f"{step}: {error}") from None
    if not held.holds(buffer.dtype):
        raise ScheduleError(f"{step}: {held} does not hold all numbers of {buffer.dtype}")
    return held


def _rounded(copy: Stmt) -> Stmt:
    def rule(node: Node) -> Node | None:
        match node:
            case Store(buffer, indices, value):
                return Store(buffer, indices, Call("tf32", (value,), float32), loc=node.loc)
            case _:
                return None

    return rewrite(copy, rule)


def _widened(nest: Stmt, buffer: Buffer, held: DType) -> tuple[Stmt, Buffer]:
    """The nest as it reads the numbers of `buffer` in type `held`, and a buffer that has them."""
    wide = Buffer(buffer.name, buffer.shape, held)

    def rule(node: Node) -> Node | None:
        match node:
            case Load(source, indices) if source is buffer:
                return Cast(Load(wide, indices, loc=node.loc), buffer.dtype)
            case Cast(Cast(Load(source) as load), to) if source is wide and to == held:
                return load
            case _:
                return None

    return rewrite(nest, rule), wide
