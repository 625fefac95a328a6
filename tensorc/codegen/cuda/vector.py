"""Vector loops as loads and stores of up to 16 bytes at once.

    for v in vectorized(4): B[i*4 + v] = A[i*4 + v] * 2.0

    becomes     float A_lanes[4], B_lanes[4];
                copy16(&A_lanes[0], &A[i * 4]);
                for (int v = 0; v < 4; ++v) B_lanes[v] = A_lanes[v] * 2.0f;
                copy16(&B[i * 4], &B_lanes[0]);

A load whose element number grows by 1 from lane to lane, and whose first is a multiple of
the width, reads several lanes at once, and a store likewise. Where that is not proved, or the body
is more than plain statements, lanes are written out one by one. `guards` tells what a guard around
them, or a padded value, means for the vector.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.guards import Guarded, guarded, of_all_lanes, of_first_lane
from tensorc.codegen.cuda.ranges import is_multiple
from tensorc.ir.affine import coefficient
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Const,
    Expr,
    Let,
    Load,
    Where,
    const_int,
    is_const,
)
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, Block, For, Stmt, Store
from tensorc.ir.walk import free_vars, rewrite, substitute, walk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.codegen.cuda.places import Place
    from tensorc.codegen.cuda.stmt import StmtEmitter
    from tensorc.ir.expr import Buffer
    from tensorc.ir.stmt import Node

WIDEST = 16  # Bytes that a thread loads or stores at once.


@dataclass(frozen=True, slots=True)
class _Access:
    """A contiguous access of a vector loop: what it is in lane 0, and how many lanes at once."""

    buffer: Buffer
    first: tuple[Expr, ...]
    width: int


def emit(e: StmtEmitter, loop: For) -> bool:
    """Write the vector loop where any of its accesses can be wide; else nothing, and False."""
    lanes = const_int(loop.extent)
    guard = guarded(loop.body)
    if guard is not None:
        return _guarded(e, loop, guard)
    stmts = _stmts(e, loop)
    if lanes is None or stmts is None:
        return False
    for stmt in stmts:
        _statement(e, stmt, loop, lanes)
    return True


def _guarded(e: StmtEmitter, loop: For, guard: Guarded) -> bool:
    """Write the loop under a guard that is asked once, if what it guards can be wide."""
    inner = replace(loop, body=guard.inside)
    if not is_wide(e, inner):
        return False
    cond = of_first_lane(guard.cond, loop)
    other = None if guard.outside is None else replace(loop, body=guard.outside)
    if cond is not None and e.asynchronous and other is not None:
        _filled(e, inner, cond)
        return True
    if cond is None:
        cond, other = of_all_lanes(guard.cond, loop), loop
        if cond is None or e.asynchronous:
            return False
    with e.statement(cond):
        test = e.condition(cond)
    with e.region(), e.scope(), e.out.inside(f"if ({test})"):
        emit(e, inner)
    if other is not None:
        with e.region(), e.scope(), e.out.inside("else"):
            if other is loop or not emit(e, other):
                with e.looping(other):
                    e.emit(other.body)
    return True


def is_wide(e: StmtEmitter, loop: For) -> bool:
    """Whether `emit` writes the loop."""
    guard = guarded(loop.body)
    if guard is None:
        return _stmts(e, loop) is not None
    if not is_wide(e, replace(loop, body=guard.inside)):
        return False
    if of_first_lane(guard.cond, loop) is not None:
        return True
    return not e.asynchronous and of_all_lanes(guard.cond, loop) is not None


def _stmts(e: StmtEmitter, loop: For) -> list[Store | Accumulate] | None:
    """The statements of a loop with an access that can be wide; None where there is none."""
    lanes = const_int(loop.extent)
    stmts = _plain(loop.body)
    if lanes is None or lanes < 2 or stmts is None:
        return None
    if e.asynchronous:  # Not through registers: both sides are wide, or lanes go one by one.
        return stmts if all(_is_wide_copy(e, s, loop, lanes) for s in stmts) else None
    return stmts if any(_wide(e, s, loop, lanes) for s in stmts) else None


def _is_wide_copy(e: StmtEmitter, stmt: Store | Accumulate, loop: For, lanes: int) -> bool:
    plain = isinstance(stmt, Store) and isinstance(stmt.value, Load)
    return plain and _copy(e, stmt, loop, lanes) is not None  # type: ignore[arg-type]


def _plain(stmt: Stmt) -> list[Store | Accumulate] | None:
    """The body as statements that lanes may run one after the other, each for all lanes."""
    found: list[Store | Accumulate] = []
    for part in stmt.stmts if isinstance(stmt, Block) else (stmt,):
        if not isinstance(part, Store | Accumulate):
            return None
        if any(isinstance(n, Let | Where) for n in walk(part)):
            return None
        found.append(part)
    return found


def _wide(e: StmtEmitter, stmt: Store | Accumulate, loop: For, lanes: int) -> bool:
    uses = [(x.buffer, x.indices) for x in _loads(stmt)]
    buffers = stmt.buffers if isinstance(stmt, Accumulate) else (stmt.buffer,)
    uses += [(b, stmt.indices) for b in buffers]
    return any(_access(e, b, indices, loop, lanes) is not None for b, indices in uses)


def _loads(stmt: Store | Accumulate) -> list[Load]:
    return [n for n in walk(stmt) if isinstance(n, Load)]


def _access(
    e: StmtEmitter, buffer: Buffer, indices: Sequence[Expr], loop: For, lanes: int
) -> _Access | None:
    """The access as a wide one, if it is contiguous and its alignment is proved."""
    place = e.places[buffer]
    if buffer.scope == "local":
        return None  # Registers: each lane is one.
    indices = [_within_panel(i, loop, lanes) for i in indices]
    for index in indices[:-1]:
        if loop.var in set(free_vars(index)):
            return None
    if not indices:
        return None
    stride = coefficient(indices[-1], loop.var)
    if stride is None or not is_const(simplify(stride), 1):
        return None
    first = tuple(simplify(substitute(i, {loop.var: loop.start})) for i in indices)
    size = buffer.dtype.bytes
    width = min(WIDEST // size, lanes)
    while width > 1:
        fits = lanes % width == 0 and width & (width - 1) == 0
        if fits and _aligned(place, first, width, size):
            return _Access(buffer, first, width)
        width -= 1
    return None


def _within_panel(index: Expr, loop: For, lanes: int) -> Expr:
    """`index` where lanes beside each other never are on two sides of a multiple.

    (x*2 + v) // 64 and (x*2 + v) % 64 of two lanes v are x*2 // 64 and x*2 % 64 + v.
    """

    def rule(node: Node) -> Node | None:
        match node:
            case Binary(BinaryOp.FLOORDIV | BinaryOp.MOD as op, x, Const(by, _)) if (
                by > 0 and by % lanes == 0 and loop.var in set(free_vars(x))
            ):
                step = coefficient(x, loop.var)
                first = simplify(substitute(x, {loop.var: loop.start}))
                if step is None or not is_const(step, 1) or not is_multiple(first, lanes):
                    return None
                part = Binary(op, first, Const(by))
                return part if op is BinaryOp.FLOORDIV else Binary(BinaryOp.ADD, part, loop.var)
            case _:
                return None

    return index if const_int(loop.start) != 0 else rewrite(index, rule)


def _aligned(place: Place, first: Sequence[Expr], width: int, size: int) -> bool:
    if place.align % (width * size):
        return False
    return is_multiple(place.offset(first), width)


# --- writing ----------------------------------------------------------------------------------


def _statement(e: StmtEmitter, stmt: Store | Accumulate, loop: For, lanes: int) -> None:
    """One statement for all lanes: wide loads, the lanes one by one, wide stores."""
    if isinstance(stmt, Store) and isinstance(stmt.value, Load) and _copied(e, stmt, loop, lanes):
        return
    with e.region(), e.scope(), e.out.inside(""):
        held = _fetched(e, stmt, loop, lanes)
        results = _lanes(e, stmt, loop, lanes, held)
        for access, name in results:
            _put(e, access, name, lanes)


def _copied(e: StmtEmitter, stmt: Store, loop: For, lanes: int, test: str | None = None) -> bool:
    """A plain copy between two places of memory, as wide as both allow; zeros unless `test`."""
    found = _copy(e, stmt, loop, lanes)
    if found is None:
        return False
    target, source, width = found
    call = f"{'cp_async' if e.asynchronous else 'copy'}{width * stmt.buffer.dtype.bytes}"
    for lane in range(0, lanes, width):
        args = f"{_address(e, target, lane)}, {_address(e, source, lane)}"
        filled = f"{call}({args})" if test is None else f"{call}_or_zeros({args}, {test})"
        e.out.line(f"{filled};")
    return True


def _filled(e: StmtEmitter, loop: For, cond: Expr) -> None:
    """Asynchronous copies of whole vectors where `cond` holds, and of zeros where it does not."""
    lanes = const_int(loop.extent) or 1
    with e.statement(cond):
        test = e.condition(cond)
    for stmt in _stmts(e, loop) or ():
        assert isinstance(stmt, Store), "an asynchronous phase is of copies"
        _copied(e, stmt, loop, lanes, test)


def _copy(
    e: StmtEmitter, stmt: Store, loop: For, lanes: int
) -> tuple[_Access, _Access, int] | None:
    """The two accesses of a plain copy, and how many lanes both allow at once."""
    value = stmt.value
    assert isinstance(value, Load), "a copy stores a load"
    target = _access(e, stmt.buffer, stmt.indices, loop, lanes)
    source = _access(e, value.buffer, value.indices, loop, lanes)
    if target is None or source is None:
        return None
    return target, source, min(target.width, source.width)


def copy_bytes(e: StmtEmitter, stmt: Store, loop: For | None) -> int:
    """How many bytes a plain copy moves at once, in the vector loop `loop` if there is one.

    The guards around it, and a value that is padded, are those of all lanes.
    """
    size = stmt.buffer.dtype.bytes
    lanes = const_int(loop.extent) if loop is not None else None
    if loop is None or lanes is None or lanes < 2:
        return size
    found = _copy(e, stmt, loop, lanes)
    return size if found is None else size * found[2]


def _address(e: StmtEmitter, access: _Access, lane: int) -> str:
    *outer, last = access.first
    at = simplify(Binary(BinaryOp.ADD, last, Const(lane))) if lane else last
    return f"&{e.element(access.buffer, (*outer, at)).text}"


def _fetched(e: StmtEmitter, stmt: Store | Accumulate, loop: For, lanes: int) -> dict[Load, Place]:
    """Arrays with the lanes of each contiguous load of the statement."""
    held: dict[Load, Place] = {}
    known: dict[str, Place] = {}
    for load in _loads(stmt):
        access = _access(e, load.buffer, load.indices, loop, lanes)
        if access is None:
            continue
        key = _address(e, access, 0)
        if key not in known:
            known[key] = _array(e, access, lanes)
            _get(e, access, known[key], lanes)
        held[load] = known[key]
    return held


def _array(e: StmtEmitter, access: _Access, lanes: int) -> Place:
    """An array in registers for the lanes of an access."""
    base = e.places[access.buffer]
    buffer = type(access.buffer)(
        f"{access.buffer.name}.lanes", (Const(lanes),), access.buffer.dtype, "local"
    )
    place = type(base)(buffer, e.names.fresh(buffer.name), False, access.buffer.dtype.bytes)
    e.places[buffer] = place
    align = access.width * access.buffer.dtype.bytes
    e.out.line(f"__align__({align}) {place.declaration()};")
    return place


def _lanes(
    e: StmtEmitter,
    stmt: Store | Accumulate,
    loop: For,
    lanes: int,
    held: dict[Load, Place],
) -> list[tuple[_Access, Place]]:
    """The statement lane by lane, on the arrays in place of memory."""
    index: Expr = loop.var
    if const_int(loop.start) != 0:
        index = Binary(BinaryOp.SUB, loop.var, loop.start)

    def rule(node: Node) -> Node | None:
        if isinstance(node, Load) and node in held:
            return Load(held[node].buffer, (index,))
        return None

    inner: Stmt = rewrite(stmt, rule)
    results: list[tuple[_Access, Place]] = []
    if isinstance(inner, Store) and isinstance(stmt, Store):
        access = _access(e, stmt.buffer, stmt.indices, loop, lanes)
        if access is not None:
            place = _array(e, access, lanes)
            results.append((access, place))
            inner = Store(place.buffer, (index,), inner.value, loc=stmt.loc)
    elif isinstance(inner, Accumulate) and isinstance(stmt, Accumulate):
        found = [_access(e, b, stmt.indices, loop, lanes) for b in stmt.buffers]
        if all(a is not None for a in found):
            accesses = [a for a in found if a is not None]
            results = [(a, _array(e, a, lanes)) for a in accesses]
            for access, place in results:
                _get(e, access, place, lanes)
            buffers = tuple(p.buffer for _, p in results)
            inner = Accumulate(stmt.reducer, buffers, (index,), inner.values, loc=stmt.loc)
    with e.looping(loop):
        e.emit(inner)
    return results


def _get(e: StmtEmitter, access: _Access, place: Place, lanes: int) -> None:
    """Fill the array from memory."""
    for lane in range(0, lanes, access.width):
        size = access.width * access.buffer.dtype.bytes
        e.out.line(f"copy{size}(&{place.name}[{lane}], {_address(e, access, lane)});")


def _put(e: StmtEmitter, access: _Access, place: Place, lanes: int) -> None:
    """Write the array to memory."""
    for lane in range(0, lanes, access.width):
        size = access.width * access.buffer.dtype.bytes
        e.out.line(f"copy{size}({_address(e, access, lane)}, &{place.name}[{lane}]);")
