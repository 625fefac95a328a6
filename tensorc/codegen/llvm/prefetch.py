"""Lines of the caches that are asked for ahead of use: hints `prefetch_tile`, `prefetch_next`.

    for j in range(64) {prefetch_tile: 0}:
      for k in range(256): T += ...               a sum over many steps
      for i in unrolled(6): W[i, j] = f(W[i, j], T)    what is computed from it, in straight code

At the beginning of an iteration the processor is asked for the lines that its straight code touches
after the loops: they come while the loops compute. With another number it is the straight code of
the iteration so many further on.

    for i in range(8) {prefetch_next: 1}:
      for j in range(64):
        for k in range(256): T += A[i, k] * B[j, k]

An iteration of the loop inside asks for its share, a 64th here, of what the next iteration of the
one with the hint adds up whatever `j` is: of A, so far on that it comes from a far cache meanwhile.

Such a request reads nothing and cannot fail.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from tensorc.codegen.llvm.access import address
from tensorc.codegen.llvm.types import Poly, number
from tensorc.ir.expr import Load, const_int
from tensorc.ir.facts import leaf_loads
from tensorc.ir.stmt import Accumulate, Allocate, Block, For, ForKind, If, Store
from tensorc.ir.walk import walk, written_buffers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tensorc.codegen.llvm.access import Place
    from tensorc.codegen.llvm.expr import ExprEmitter
    from tensorc.ir.expr import Buffer, Expr, Var
    from tensorc.ir.stmt import Stmt

    Key = frozenset[tuple[tuple[str, ...], int]]  # What of an offset depends on loops.

LINE = 64  # Bytes of a line, on nearly all machines.
LANES = 8  # Of a vector, so many at most in one line, whatever their type.
MOST = 64  # Lines that one iteration asks for: beyond, it would wait for them.
_PREFETCH = "llvm.prefetch.p0"
_WRITTEN_OUT = (ForKind.UNROLLED, ForKind.VECTORIZED)


def tile_ahead(loop: For) -> int | None:
    """The iteration, counted from the present one, that a loop asks for; None without the hint."""
    hint = dict(loop.annotations).get("prefetch_tile")
    return hint if isinstance(hint, int) and not isinstance(hint, bool) and hint >= 0 else None


def ask_for_tile(e: ExprEmitter, body: Stmt) -> None:
    """Ask for the lines that the straight code of a loop's body touches, its last element each.

    The line of the first element is that of the neighbour before, mostly.
    """
    rows: dict[tuple[Buffer, Key], tuple[Poly, dict[int, bool]]] = {}
    for loops, buffer, indices, writes in _accesses(body):
        if buffer not in e.places:  # It is the iteration's own.
            continue
        place = e.places[buffer]
        if place.room is not None or place.private:
            continue
        for values in itertools.product(*map(_values, loops)):
            e.env.update({x.var: number(v) for x, v in zip(loops, values, strict=True)})
            with e.statement():
                offset = e.offset(place, indices)
            const = offset.terms.get((), 0)
            rest = offset - number(const)
            _, found = rows.setdefault((buffer, frozenset(rest.terms.items())), (rest, {}))
            found[const] = found.get(const, False) or writes
    wanted = [
        (e.places[buffer], rest + number(const), writes)
        for (buffer, _), (rest, found) in rows.items()
        for const, writes in _lines(found, LINE // buffer.dtype.bytes)
    ]
    if len(wanted) > MOST:
        return
    for place, offset, writes in wanted:
        _ask(e, place, offset, writes=writes)


def chooses_next(loop: For) -> bool:
    """Whether a loop has the hint `prefetch_next`."""
    return bool(dict(loop.annotations).get("prefetch_next"))


def ask_for_next(e: ExprEmitter, outer: Var, var: Var, first: Poly, count: int, body: Stmt) -> None:
    """Ask for a share of what sums in `body` read in the next iteration of `outer`.

    Of what `var`, of `count` values from `first` on, does not choose, and what lies side by side.
    """
    here, at = e.env[outer], e.env[var]
    assert isinstance(here, Poly), "loops count by indices"
    assert isinstance(at, Poly), "loops count by indices"
    e.env[outer] = here + number(1)
    for place, low, elements in _added_up(e, outer, var, body):
        line = LINE // place.buffer.dtype.bytes
        share = -(-elements // (line * count))
        for i in range(share if share <= MOST else 0):
            offset = low + (at - first) * number(share * line) + number(i * line)
            _ask(e, place, offset, writes=False)
    e.env[outer] = here


def _added_up(
    e: ExprEmitter, outer: Var, var: Var, body: Stmt
) -> Iterator[tuple[Place, Poly, int]]:
    """What `outer` alone chooses among what sums read: where it begins, and its elements."""
    for loops, leaf in _sums(body, ()):
        for use in leaf_loads(leaf):
            names = {n for i in use.indices for n in walk(i)}
            if outer not in names or var in names or any(isinstance(n, Load) for n in names):
                continue
            place = e.places[use.buffer]
            ends = [_corner(e, loops, place, use, last=last) for last in (False, True)]
            length = (ends[1] - ends[0]).const
            if length is not None and length >= 0 and place.room is None and not place.private:
                yield place, ends[0], length + 1


def _sums(stmt: Stmt, loops: tuple[For, ...]) -> Iterator[tuple[tuple[For, ...], Accumulate]]:
    """The accumulations under loops of constant size."""
    match stmt:
        case Block(stmts):
            for s in stmts:
                yield from _sums(s, loops)
        case Allocate(_, body) | If(_, body, None):
            yield from _sums(body, loops)
        case For() if _is_constant(stmt):
            yield from _sums(stmt.body, (*loops, stmt))
        case Accumulate():
            yield loops, stmt
        case _:
            pass


def _corner(e: ExprEmitter, loops: Sequence[For], place: Place, use: Load, *, last: bool) -> Poly:
    for loop in loops:
        start, extent = const_int(loop.start) or 0, const_int(loop.extent) or 1
        e.env[loop.var] = number(start + (extent - 1) * last)
    with e.statement():
        return e.offset(place, use.indices)


def _ask(e: ExprEmitter, place: Place, offset: Poly, *, writes: bool) -> None:
    e.b.module.declare(_PREFETCH, "void", ["ptr", "i32", "i32", "i32"])
    asked = f"ptr {address(e.b, place, offset)}, i32 {int(writes)}, i32 3, i32 1"
    e.b.line(f"call void @{_PREFETCH}({asked})")


def _lines(found: dict[int, bool], elements: int) -> Iterator[tuple[int, bool]]:
    """Of the touched elements the last of each line, from the end on; whether one is written."""
    last: int | None = None
    for const in sorted(found, reverse=True):
        if last is None or last - const >= elements:
            last = const
            yield const, any(w for c, w in found.items() if const - elements < c <= const)


def _accesses(
    body: Stmt,
) -> Iterator[tuple[tuple[For, ...], Buffer, tuple[Expr, ...], bool]]:
    """What straight code reads and writes: the loops around that are written out, and the place."""
    for loops, leaf in _straight(body, ()):
        for use in leaf_loads(leaf):
            if not any(isinstance(n, Load) for i in use.indices for n in walk(i)):
                yield loops, use.buffer, use.indices, False
        for buffer in written_buffers(leaf):
            yield loops, buffer, leaf.indices, True


def _straight(
    stmt: Stmt, loops: tuple[For, ...]
) -> Iterator[tuple[tuple[For, ...], Store | Accumulate]]:
    match stmt:
        case Block(stmts):
            for s in stmts:
                yield from _straight(s, loops)
        case Allocate(_, body):
            yield from _straight(body, loops)
        case For() if stmt.kind in _WRITTEN_OUT and _is_constant(stmt):
            yield from _straight(stmt.body, (*loops, stmt))
        case Store() | Accumulate():
            yield loops, stmt
        case _:
            pass


def _is_constant(loop: For) -> bool:
    return const_int(loop.start) is not None and const_int(loop.extent) is not None


def _values(loop: For) -> list[int]:
    start, extent = const_int(loop.start) or 0, const_int(loop.extent) or 0
    if loop.kind is ForKind.VECTORIZED:
        return list(range(start + extent - 1, start - 1, -LANES))
    return list(range(start, start + extent))
