"""Steps that say where values are kept: caches, set_scope, storage_align, swizzle."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError, TensorcError
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Const,
    Expr,
    const,
    const_int,
)
from tensorc.ir.facts import reads, writes
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Allocate, For, ForKind, Program, Stmt, block
from tensorc.ir.swizzle import SHIFT, Swizzle
from tensorc.ir.verify import SCOPES
from tensorc.ir.walk import replace_buffers, written_buffers
from tensorc.schedule.legality import carried_pair, refuse, refuse_checks
from tensorc.schedule.padded_reads import without_conditions
from tensorc.schedule.region import (
    Box,
    Layout,
    copy_nest,
    is_covered,
    reads_own_writes,
    rebase,
    touched_box,
)
from tensorc.schedule.tree import (
    around,
    blocks_in,
    find_allocation,
    find_buffer,
    fresh_name,
    in_range,
    loop_names,
    loops_on,
    map_nests,
    path_to,
    replace_stmt,
    sites,
    used_names,
    with_body,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def cache_write(
    program: Program,
    name: str,
    loop: For,
    scope: str = "local",
    panel: int | None = None,
    order: Sequence[int] | None = None,
) -> Program:
    """Collect what one iteration of `loop` writes to `name` in a buffer of its own.

        for i in range(n):               for i in range(n):
          C[i] = 0.0           becomes     alloc C.local: float32[1] local
          for k in range(m):               C.local[0] = 0.0
            C[i] += A[i, k]                for k in range(m):
                                             C.local[0] += A[i, k]
                                           C[i] = C.local[0]

    The part is the box of all accesses inside the loop; its copy back has loops named `C.out0`,
    `C.out1`... Where the iteration reads elements that it has not written, or may leave some
    unwritten, they are copied in first (loops `C.in0`...). Guards appear where the box may reach
    over the end of `name`. With `order` the part has its dimensions in that order, the last one
    contiguous; with `panel` the last one is cut in panels. Both are as in `cache_read`.

    With `fold` the part starts from a reducer's identity instead: see `partial.cache_partial`.

    Legal within an iteration, where the copy stands for the part, in the same order; and in
    parallel ones where what they copy back does not overlap.

    Raises:
        ScheduleError: nothing in the loop writes `name`; the box has no constant size (scopes
            "local", "shared"), or blocks stand inside of the loop (the same); a check inside could
            end the call before the copy back; a loop around is parallel already, and two of its
            iterations would copy one element back; `order` is no permutation; `panel` is below 1.
    """
    step = f"cache_write({name}, {loop.var.name})"
    part = part_of(program, step, name, loop, scope, panel, order)
    whole = is_covered(loop.body, part.buffer, part.box, part.given)
    copy = partial(
        copy_nest, part.buffer, part.local, part.box, part.given, part.used, layout=part.layout
    )
    body: list[Stmt] = [part.uses, copy(to_local=False)]
    if not whole or not reads_own_writes(loop.body, part.buffer, part.given):
        body.insert(0, copy(to_local=True))
    return with_part(program, step, loop, part, body)


@dataclass(frozen=True, slots=True)
class Part:
    """What an iteration of a loop touches of a buffer that it writes, and a buffer that holds it.

    `uses` is the loop's body with the one in place of the other; `given` is known to hold in it,
    and `used` are the names that it knows.
    """

    buffer: Buffer
    local: Buffer
    box: Box
    layout: Layout
    uses: Stmt
    given: list[Expr]
    used: set[str]


def part_of(
    program: Program,
    step: str,
    name: str,
    loop: For,
    scope: str,
    panel: int | None = None,
    order: Sequence[int] | None = None,
) -> Part:
    """The part of the buffer `name` that an iteration of `loop` writes, if it may have a buffer.

    Raises:
        ScheduleError: it may not.
    """
    buffer = _known(program, step, name, loop, scope)
    found = [written_buffers(site.leaf) for site in sites(loop.body)]
    for written in found:
        if buffer in set(written) and len(written) > 1:
            others = ", ".join(b.name for b in written if b is not buffer)
            raise ScheduleError(
                f"{step}: '{name}' is accumulated together with {others}, at one index; the parts "
                "of a pair cannot be cached apart"
            )
    if not any(buffer in set(written) for written in found):
        raise ScheduleError(f"{step}: nothing in loop {loop.var.name} writes '{name}'")
    refuse_checks(step, loop)
    box = touched_box(loop.body, buffer, full_tiles=scope == "local" or panel is not None)
    assert box is not None, "a write is an access"
    _constant_size(step, scope, box)
    own_name = fresh_name(f"{name}.local", used_names(program))
    shape, layout = _laid_out(step, buffer, box, order, panel)
    local = Buffer(own_name, shape, buffer.dtype, scope)
    given = [*around(program, loop), *in_range(loop)]
    uses = rebase(loop.body, buffer, local, layout)
    return Part(buffer, local, box, layout, uses, given, loop_names(program, loop))


def with_part(program: Program, step: str, loop: For, part: Part, body: Sequence[Stmt]) -> Program:
    """The program in which `loop` keeps a part of a buffer, and does `body` in an iteration.

    Raises:
        ScheduleError: copies of one part, more than what is written, meet in different threads.
    """
    new = replace(loop, body=Allocate(part.local, block(body), loc=loop.loc))
    result = with_body(program, replace_stmt(program.body, loop, new))
    _refuse_races(step, result, new)
    return result


def _refuse_races(step: str, program: Program, loop: For) -> None:
    """Refuse where copies of one part, more than what is written, meet in different threads."""
    path = path_to(program.body, loop)
    assert path is not None, "the loop stands in the program"
    for outer in loops_on(path):
        if outer.kind in (ForKind.SERIAL, ForKind.UNROLLED):
            continue
        violation = carried_pair(outer, around(program, outer))
        if violation is not None:
            raise refuse(step, violation, outer, f"{outer.var.name} runs {outer.kind.value}")


def cache_read(
    program: Program,
    name: str,
    loop: For,
    scope: str = "global",
    order: Sequence[int] | None = None,
    pad: float | None = None,
    panel: int | None = None,
) -> Program:
    """Copy what one iteration of `loop` reads from `name` to a buffer of its own, first.

        for j in range(n):               for j in range(n):
          for i in range(m):   becomes     alloc B.local: float32[p]
            for k in range(p):               for B.in0 in range(p):
              ... B[k, j]                      B.local[B.in0] = B[B.in0, j]
                                             for i in range(m):
                                               for k in range(p):
                                                 ... B.local[k]

    With scope "shared" the threads of one block share the copy: the loop is then one inside of the
    blocks and around the threads.

    The part is the box of all reads inside the loop, contiguous in the copy, its dimensions in
    `order` (the last one contiguous; as in `name` where it is left out): packing a matrix into
    panels is one `cache_read`. The copy has loops named `B.in0`, `B.in1`... A guard keeps it
    inside `name`.

    With `pad` the copy has room for every iteration, those that guards leave out too, and holds
    that number where the box reaches over the end of `name`: a ragged tile then reads a full one.
    `relax_guard` makes it compute a full one. A read `where(inside, B[k, j], pad)` needs no
    condition any more, if that only keeps it inside of `name`.

    With `panel` the last dimension of the copy is cut in panels of so many elements, one whole
    panel after the other: `[k, j]` is stored at `[j // panel, k, j % panel]`. Its loops are
    `B.in0` over panels, then those of the other dimensions, and the last within a panel.

    Legal where nothing in the loop writes `name`.

    Raises:
        ScheduleError: the loop writes `name`, or does not read it; the box has no constant size
            (scopes "local", "shared"), or blocks stand inside of the loop (the same); `order` is no
            permutation; `pad` is no value of the buffer's dtype; `panel` is below 1, or `name` has
            no dimension to cut.
    """
    step = f"cache_read({name}, {loop.var.name})"
    buffer = _known(program, step, name, loop, scope)
    if any(buffer in set(written_buffers(s.leaf)) for s in sites(loop.body)):
        raise ScheduleError(f"{step}: loop {loop.var.name} writes '{name}'; use cache_write")
    box = touched_box(loop.body, buffer, full_tiles=pad is not None)
    if box is None:
        raise ScheduleError(f"{step}: nothing in loop {loop.var.name} reads '{name}'")
    _constant_size(step, scope, box)
    padding = None if pad is None else _padding(step, pad, buffer)
    shape, layout = _laid_out(step, buffer, box, order, panel)
    own_name = fresh_name(f"{name}.local", used_names(program))
    local = Buffer(own_name, shape, buffer.dtype, scope)
    used = loop_names(program, loop)
    given = [*around(program, loop), *in_range(loop)]
    copy = copy_nest(buffer, local, box, given, used, to_local=True, layout=layout, pad=padding)
    body = loop.body
    if padding is not None:
        body = without_conditions(body, buffer, box, padding, given)
    uses = rebase(body, buffer, local, layout)
    new = replace(loop, body=Allocate(local, block([copy, uses]), loc=loop.loc))
    return with_body(program, replace_stmt(program.body, loop, new))


def _laid_out(
    step: str, buffer: Buffer, box: Box, order: Sequence[int] | None, panel: int | None
) -> tuple[tuple[Expr, ...], Layout]:
    """The shape of a buffer that holds a box of another, its dimensions in an order and in panels.

    Raises:
        ScheduleError: there is no such order, or there are no such panels.
    """
    dims = range(buffer.ndim)
    order = tuple(dims) if order is None else tuple(order)
    if sorted(order) != list(dims):
        raise ScheduleError(
            f"{step}: order {order} is no permutation of the {buffer.ndim} dimensions of "
            f"'{buffer.name}'"
        )
    shape = tuple(box.extents[d] for d in order)
    if panel is None:
        return shape, Layout(box.lows, order)
    if panel < 1 or not buffer.ndim:
        raise ScheduleError(
            f"{step}: a panel has at least 1 element of the last dimension; got panel={panel} for "
            f"'{buffer.name}', which has {buffer.ndim} dimensions"
        )
    shape = (_panels(shape[-1], panel), *shape[:-1], Const(panel))
    return shape, Layout(box.lows, order, panel)


def _panels(extent: Expr, panel: int) -> Expr:
    """How many panels hold `extent` elements."""
    more = Binary(BinaryOp.ADD, extent, Const(panel - 1))
    return simplify(Binary(BinaryOp.FLOORDIV, more, Const(panel)))


def set_scope(program: Program, name: str, scope: str) -> Program:
    """Keep the buffer `name` in another kind of memory.

        alloc T: float32[16]      becomes      alloc T: float32[16] local

    "global" is the workspace, "local" registers or the stack of one thread, "shared" the memory of
    one block of GPU threads, which a CPU has not. Legal always: no value changes.

    Raises:
        ScheduleError: `name` is a parameter, or of no constant size (scopes "local", "shared"), or
            allocated around the blocks of a grid (the same); there is no such scope.
    """
    step = f"set_scope({name}, {scope})"
    _known_scope(step, scope)
    buffer = _allocated(program, step, name)
    allocation = find_allocation(program.body, name)
    assert allocation is not None, "a buffer that is no parameter is allocated"
    _inside_of_blocks(step, name, scope, allocation.body)
    if scope != "global" and any(const_int(e) is None for e in buffer.shape):
        raise ScheduleError(
            f"{step}: '{name}' has {' x '.join(map(str, buffer.shape))} elements, which is no "
            "constant size; cache or compute a part of it inside of a loop"
        )
    if scope != "shared" and buffer.swizzle is not None:
        raise ScheduleError(
            f"{step}: '{name}' has the {buffer.swizzle}, which only shared memory has; "
            f"swizzle({name}, 0) takes it away"
        )
    return _replaced(program, buffer, replace(buffer, scope=scope))


def swizzle(program: Program, name: str, width: int, shift: int = SHIFT) -> Program:
    """Permute the rows of the shared buffer `name`, in chunks of 16 bytes within `width` bytes.

        alloc S: float16[64, 64] shared   becomes, of 128,   ... shared swizzle(128)

    Element (r, c) then lies where (r, c ^ r % 8 * 8) would: the chunks of a column, which threads
    read together, lie in other banks, without padding. See `ir.swizzle` for the pattern, and for
    `shift`: 3 where rows are of `width` bytes, 4 where they are of 256, 5 of 512. A width of 0
    takes it away.

    Legal always: no index changes, and no value. It is a matter of shared memory; a CPU has none.

    Raises:
        ScheduleError: `name` is a parameter, or not shared; its rows are no multiple of `width`, or
            its size none of the pattern's; there is no such pattern.
    """
    step = f"swizzle({name}, {width}{f', {shift}' if shift != SHIFT else ''})"
    buffer = _allocated(program, step, name)
    if not width:
        return _replaced(program, buffer, replace(buffer, swizzle=None))
    try:
        pattern = Swizzle(width, shift)
    except TensorcError as error:
        raise ScheduleError(f"{step}: {str(error).partition(': ')[2]}") from error
    problem = pattern.misfit(buffer.scope, [const_int(e) for e in buffer.shape], buffer.dtype.bytes)
    if problem is not None:
        raise ScheduleError(f"{step}: '{name}' cannot be permuted so: {problem}")
    return _replaced(program, buffer, replace(buffer, swizzle=pattern))


def storage_align(program: Program, name: str, dim: int, factor: int, offset: int = 0) -> Program:
    """Pad the buffer `name` so that the stride of dimension `dim` is `offset` modulo `factor`.

        alloc T: float32[8, 30]      becomes, of (0, 32, 1),      alloc T: float32[8, 33]

    The stride of a dimension is the number of elements from one index to the next; the dimension
    after `dim` gets wider by less than `factor`, with elements that are never touched. An odd
    stride keeps the threads that walk down a column in different banks of memory; a multiple of the
    vector width aligns each row.

    Legal always: no index changes.

    Raises:
        ScheduleError: `name` is a parameter; `dim` is its last dimension, of stride 1, or none of
            its dimensions; `factor` is below 1; no width gives such a stride.
    """
    step = f"storage_align({name}, {dim}, {factor}, {offset})"
    buffer = _allocated(program, step, name)
    if not 0 <= dim < buffer.ndim - 1:
        raise ScheduleError(
            f"{step}: '{name}' has {buffer.ndim} dimensions, of which 0 to {buffer.ndim - 2} have "
            "a stride to pad"
            if buffer.ndim > 1
            else f"{step}: '{name}' has one dimension, whose stride is 1"
        )
    if factor < 1:
        raise ScheduleError(f"{step}: the factor must be at least 1")
    inner = math.prod(const_int(e) or 0 for e in buffer.shape[dim + 2 :])
    if inner == 0:
        sizes = " x ".join(map(str, buffer.shape[dim + 2 :]))
        raise ScheduleError(f"{step}: the stride is a multiple of {sizes}, which must be constant")
    # The width w is to satisfy w * inner = offset modulo factor.
    unit = math.gcd(inner, factor)
    if offset % unit:
        raise ScheduleError(
            f"{step}: every stride of dimension {dim} is a multiple of {inner}, so it is never "
            f"{offset} modulo {factor}"
        )
    period = factor // unit
    wanted = (offset // unit) * pow(inner // unit, -1, period) % period
    size = buffer.shape[dim + 1]
    wider = simplify(size + (wanted - size) % period)
    shape = (*buffer.shape[: dim + 1], wider, *buffer.shape[dim + 2 :])
    if buffer.swizzle is not None:
        raise ScheduleError(
            f"{step}: '{name}' has the {buffer.swizzle}, which spreads its rows without padding; "
            f"swizzle({name}, 0) takes it away"
        )
    return _replaced(program, buffer, replace(buffer, shape=shape))


def _allocated(program: Program, step: str, name: str) -> Buffer:
    buffer = find_buffer(program, name)
    if buffer is None:
        raise ScheduleError(f"{step}: there is no buffer '{name}'")
    if any(p.buffer is buffer for p in program.params):
        raise ScheduleError(
            f"{step}: '{name}' is a parameter, stored as the caller has it; cache_read or "
            "cache_write makes a copy to store otherwise"
        )
    return buffer


def _replaced(program: Program, old: Buffer, new: Buffer) -> Program:
    path = path_to(program.body, old)
    assert path is not None, "the buffer is allocated in the program"
    (*_, allocation) = path
    assert isinstance(allocation, Allocate), "a buffer leads to its allocation"

    def change(nest: Stmt) -> Stmt:
        touched = reads(nest, old) or writes(nest, old)
        return replace_buffers(nest, {old: new}) if touched else nest

    body = Allocate(new, map_nests(allocation.body, change), loc=allocation.loc)
    return with_body(program, replace_stmt(program.body, allocation, body))


def _known(program: Program, step: str, name: str, loop: For, scope: str) -> Buffer:
    _known_scope(step, scope)
    buffer = find_buffer(program, name)
    if buffer is None:
        raise ScheduleError(f"{step}: there is no buffer '{name}'")
    _inside_of_blocks(step, f"{name}.local", scope, loop.body)
    own = path_to(loop.body, buffer)
    if own is not None:
        raise ScheduleError(
            f"{step}: '{name}' is allocated inside loop {loop.var.name}, an iteration's own already"
        )
    return buffer


def _known_scope(step: str, scope: str) -> None:
    if scope not in SCOPES:
        raise ScheduleError(f"{step}: scope must be one of {', '.join(SCOPES)}, got {scope!r}")


def _inside_of_blocks(step: str, name: str, scope: str, stmt: Stmt) -> None:
    """Refuse what one block or thread owns around the loops that make the blocks."""
    block_loop = next(blocks_in(stmt), None)
    if scope != "global" and block_loop is not None:
        owner = "one block" if scope == "shared" else "one thread"
        raise ScheduleError(
            f"{step}: '{name}' would be {owner}'s own, and stand around loop "
            f"{block_loop.var.name}, which is bound to {block_loop.axis}; place it inside of the "
            "blocks"
        )


def _padding(step: str, pad: float, buffer: Buffer) -> Const:
    try:
        return const(pad, buffer.dtype)
    except TensorcError as error:
        raise ScheduleError(f"{step}: pad={pad!r}: {error}") from error


def _constant_size(step: str, scope: str, box: Box) -> None:
    if scope != "global" and any(const_int(e) is None for e in box.extents):
        raise ScheduleError(
            f"{step}: one iteration touches {' x '.join(map(str, box.extents))} elements, which is "
            "no constant size; choose an inner loop or scope='global'"
        )
