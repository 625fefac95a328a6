"""Steps that fetch ahead: double_buffer, pipeline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Binary, BinaryOp, Compare, CompareOp, Const, Expr, Load, Var, const_int
from tensorc.ir.printer import show
from tensorc.ir.sets import prove
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Allocate, Block, Check, For, If, Program, Stmt, Store, block
from tensorc.ir.walk import free_vars, loads, rewrite, substitute, walk_stmts, written_buffers
from tensorc.schedule.legality import accesses, refuse, reordered_pair
from tensorc.schedule.loops import need_serial
from tensorc.schedule.tree import (
    around,
    find_buffer,
    find_loop,
    fresh_name,
    in_range,
    loop_names,
    parts,
    path_to,
    prune,
    replace_stmt,
    sites,
    with_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.ir.expr import Buffer
    from tensorc.ir.stmt import Node


@dataclass(frozen=True, slots=True)
class _Fetch:
    """What fills a buffer in each iteration of a loop, and the rest of the iteration."""

    buffer: Buffer
    copy: Stmt
    rest: Stmt


def double_buffer(program: Program, name: str, loop: For) -> Program:
    """Fill `name` for the next iteration of `loop` while this one computes.

        for i in range(n):                 alloc T: float32[2, 8]
          alloc T: float32[8]                for i.ahead in range(1):
            for j in range(8):                 if i.ahead < n:
              T[j] = A[i, j]                     for j.ahead in range(8):
            for k in range(8):     becomes         T[i.ahead % 2, j.ahead] = A[i.ahead, j.ahead]
              C[i, k] = f(T[k])              for i in range(n):
                                               if i + 1 < n:
                                                 for j in range(8):
                                                   T[(i + 1) % 2, j] = A[i + 1, j]
                                               for k in range(8):
                                                 C[i, k] = f(T[i % 2, k])

    It is `pipeline` of two stages, for one buffer.

    Raises:
        ScheduleError: as `pipeline` does; `name` is not allocated inside of `loop`.
    """
    step = f"double_buffer({name}, {loop.var.name})"
    buffer = find_buffer(program, name)
    if buffer is None or not any(b is buffer for b in _own_buffers(loop)):
        there = ", ".join(b.name for b in _own_buffers(loop)) or "none"
        raise ScheduleError(
            f"{step}: '{name}' is no buffer that each iteration of {loop.var.name} allocates; "
            f"there are: {there}"
        )
    return _staged(program, step, buffer, loop, 2)


def pipeline(program: Program, loop: For, stages: int) -> Program:
    """Fill the buffers that iterations of `loop` copy to `stages - 1` iterations ahead.

    Each buffer that an iteration allocates and fills by one nest of stores (as `cache_read` does)
    gets `stages` slots as a new first dimension, the one of iteration i being i % stages. The loop
    `i.ahead` before fills the first slots; iteration i fills that of i + stages - 1, where there
    is one, and then computes with its own: see `double_buffer`, which shows two stages. A guard
    falls away where it is proved. A loop of one iteration has nothing to overtake, and stays.

    Legal where what is copied is not written by the iterations that the copy overtakes.

    Raises:
        ScheduleError: an iteration writes what the copy reads (shown); no buffer of the loop is
            filled by one nest of stores; `stages` is below 2; the loop is not serial, or checks
            something; a buffer's size depends on the loop, or a guard of its copy on data.
    """
    step = f"pipeline({loop.var.name}, {stages})"
    if stages < 2:
        raise ScheduleError(f"{step}: two stages or more, one to copy and one to compute")
    wanted = [b for b in _own_buffers(loop) if _is_copied(loop, b)]
    if not wanted:
        raise ScheduleError(
            f"{step}: no buffer that each iteration of {loop.var.name} allocates is filled by "
            "one nest of stores; cache_read makes one"
        )
    for buffer in wanted:
        standing = find_loop(program, loop.var)
        assert standing is not None, "the loop stays, with another body"
        program = _staged(program, step, buffer, standing, stages)
    return program


def _own_buffers(loop: For) -> list[Buffer]:
    """What an iteration allocates for all of itself, outermost first."""
    found: list[Buffer] = []
    queue = [loop.body]
    while queue:
        stmt = queue.pop(0)
        if isinstance(stmt, Allocate):
            found.append(stmt.buffer)
        if isinstance(stmt, Allocate | Block):
            queue = [*parts(stmt), *queue]
    return found


def _writers(loop: For, buffer: Buffer) -> list[Stmt]:
    """The statements beside each other in the scope of `buffer` that write it."""
    path = path_to(loop, buffer)
    assert path is not None, "the loop allocates the buffer"
    home: Stmt = path[-1]
    found: list[Stmt] = []
    queue = list(parts(home))
    while queue:
        stmt = queue.pop(0)
        if isinstance(stmt, Allocate | Block):
            queue = [*parts(stmt), *queue]
        elif any(buffer in set(written_buffers(s.leaf)) for s in sites(stmt)):
            found.append(stmt)
    return found


def _is_copied(loop: For, buffer: Buffer) -> bool:
    """Whether one statement fills `buffer`, by stores to it alone that do not read it."""
    writers = _writers(loop, buffer)
    return len(writers) == 1 and all(
        isinstance(s.leaf, Store)
        and s.leaf.buffer is buffer
        and all(a.writes or a.buffer is not buffer for a in accesses(s.leaf))
        for s in sites(writers[0])
    )


def _staged(program: Program, step: str, buffer: Buffer, loop: For, stages: int) -> Program:
    """The program with one buffer filled ahead."""
    need_serial(step, loop)
    fetch = _fetch(step, buffer, loop)
    if const_int(loop.extent) == 1:
        return program
    distance = Const(stages - 1)
    _keeps_order(program, step, fetch, loop, distance)
    slots = replace(buffer, shape=(Const(stages), *buffer.shape))
    size = Const(stages)
    stop = simplify(Binary(BinaryOp.ADD, loop.start, loop.extent))

    def slot(at: Expr) -> Expr:
        count = at if const_int(loop.start) == 0 else Binary(BinaryOp.SUB, at, loop.start)
        return simplify(Binary(BinaryOp.MOD, count, size))

    def fill(copy: Stmt, at: Expr, known: Sequence[Expr]) -> Stmt:
        """The copy of iteration `at`, guarded unless it is known that there is one."""
        moved = _into_slot(substitute(copy, {loop.var: at}), buffer, slots, slot(at))
        guard = Compare(CompareOp.LT, at, stop)
        return moved if prove(guard, known).holds else If(guard, moved, loc=loop.loc)

    used = loop_names(program, loop)
    ahead = Var(fresh_name(f"{loop.var.name}.ahead", used), loc=loop.var.loc)
    prologue = For(ahead, Const(0), distance, Block(()), loc=loop.loc)
    known = [*around(program, loop), *in_range(prologue)]
    first = simplify(Binary(BinaryOp.ADD, loop.start, ahead))
    prologue = replace(prologue, body=fill(_renamed(fetch.copy, used), first, known))
    later = simplify(Binary(BinaryOp.ADD, loop.var, distance))
    compute = _into_slot(fetch.rest, buffer, slots, slot(loop.var))
    steady = block([fill(fetch.copy, later, ()), compute])
    new = Allocate(slots, block([prologue, replace(loop, body=steady)]), loc=loop.loc)
    return with_body(program, replace_stmt(program.body, loop, new))


def _fetch(step: str, buffer: Buffer, loop: For) -> _Fetch:
    """The loop's body taken apart, where that is possible."""
    writers = _writers(loop, buffer)
    if not _is_copied(loop, buffer):
        shown = "\n".join(f"  {show(s.leaf).strip()}" for w in writers for s in sites(w))
        raise ScheduleError(f"{step}: '{buffer.name}' is not filled by one nest of stores\n{shown}")
    (copy,) = writers
    check = next((s.leaf for s in sites(loop) if isinstance(s.leaf, Check)), None)
    if check is not None:
        raise ScheduleError(
            f"{step}: the copy would overtake a check that it may rely on\n  {show(check).strip()}"
        )
    inside = {s.var for s in walk_stmts(loop) if isinstance(s, For)}
    bad = next((v for e in buffer.shape for v in free_vars(e) if v in inside), None)
    if bad is not None:
        raise ScheduleError(
            f"{step}: the size of '{buffer.name}' depends on {bad.name}, so its slots have no one "
            "size"
        )
    fixed = (loop.start, loop.extent, *buffer.shape)
    if any(loads(e) for e in fixed):
        raise ScheduleError(
            f"{step}: how often {loop.var.name} runs, or the size of '{buffer.name}', reads data"
        )
    for stmt in walk_stmts(copy):
        conds = [stmt.cond] if isinstance(stmt, If) else []
        conds += [stmt.start, stmt.extent] if isinstance(stmt, For) else []
        if any(loads(c) for c in conds):
            raise ScheduleError(
                f"{step}: the copy to '{buffer.name}' runs under a condition that reads data: "
                f"{conds[0]}"
            )
    own = {s.buffer for s in walk_stmts(loop.body) if isinstance(s, Allocate)} - {buffer}
    for site in sites(copy):
        for access in accesses(site.leaf):
            if access.buffer in own and access.buffer not in site.private:
                raise ScheduleError(
                    f"{step}: the copy to '{buffer.name}' reads {access.buffer.name}, which the "
                    f"same iteration of {loop.var.name} allocates; pipeline that first"
                )
    everything = sites(loop.body)
    first_use = next(
        (
            d
            for d, s in enumerate(everything)
            if any(a.buffer is buffer and not a.writes for a in accesses(s.leaf))
        ),
        len(everything),
    )
    mine = {id(s.leaf) for s in sites(copy)}
    if any(id(s.leaf) in mine for s in everything[first_use:]):
        raise ScheduleError(f"{step}: '{buffer.name}' is read before it is filled")
    emptied = replace_stmt(loop.body, copy, Block(()))
    return _Fetch(buffer, copy, prune(_without_allocation(emptied, buffer)))


def _without_allocation(stmt: Stmt, buffer: Buffer) -> Stmt:
    path = path_to(stmt, buffer)
    assert path is not None, "the loop allocates the buffer"
    allocation = path[-1]
    assert isinstance(allocation, Allocate)
    return replace_stmt(stmt, allocation, allocation.body)


def _keeps_order(program: Program, step: str, fetch: _Fetch, loop: For, distance: Const) -> None:
    """Refuse where the copy would overtake what writes its source.

    What is compared with the loop as it stands is the pipelined one without its slots:

        for i in range(start - distance, stop):
          if i + distance >= start and i + distance < stop: copy(i + distance)
          if i >= start: rest(i)
    """
    sources = {a.buffer for s in sites(fetch.copy) for a in accesses(s.leaf) if not a.writes}
    written = {b for s in sites(fetch.rest) for b in written_buffers(s.leaf)}
    if not sources & written:  # Nothing to overtake, and nothing to ask isl.
        return
    now = Var(loop.var.name, loop.var.dtype, loc=loop.var.loc)
    at = Binary(BinaryOp.ADD, now, distance)
    stop = Binary(BinaryOp.ADD, loop.start, loop.extent)
    exists = Binary(
        BinaryOp.AND,
        Compare(CompareOp.GE, at, loop.start),
        Compare(CompareOp.LT, at, stop),
    )
    ahead = If(exists, substitute(fetch.copy, {loop.var: at}))
    started = Compare(CompareOp.GE, now, loop.start)
    behind = If(started, substitute(fetch.rest, {loop.var: now}))
    body = Allocate(fetch.buffer, block([ahead, behind]))
    start = Binary(BinaryOp.SUB, loop.start, distance)
    extent = Binary(BinaryOp.ADD, loop.extent, distance)
    virtual = replace(loop, var=now, start=start, extent=extent, body=body)
    before, after = sites(loop), sites(virtual)
    copies = {id(s.leaf) for s in sites(fetch.copy)}
    moved = [id(s.leaf) in copies for s in before]
    fetched, kept = iter(after[: sum(moved)]), iter(after[sum(moved) :])
    matched = [next(fetched) if m else next(kept) for m in moved]
    maps: list[Mapping[Var, Expr]] = [{loop.var: at if m else now} for m in moved]
    violation = reordered_pair(before, matched, maps, around(program, loop), strict=True)
    if violation is not None:
        raise refuse(
            step, violation, loop, f"'{fetch.buffer.name}' must be filled where it is used"
        )


def _renamed(stmt: Stmt, used: set[str]) -> Stmt:
    """A copy of `stmt` whose loops are its own."""
    loops = [s.var for s in walk_stmts(stmt) if isinstance(s, For)]
    fresh = {v: Var(fresh_name(f"{v.name}.ahead", used), v.dtype, loc=v.loc) for v in loops}

    def rule(node: Node) -> Node | None:
        return replace(node, var=fresh[node.var]) if isinstance(node, For) else None

    return substitute(rewrite(stmt, rule), fresh)


def _into_slot(stmt: Stmt, buffer: Buffer, slots: Buffer, slot: Expr) -> Stmt:
    def rule(node: Node) -> Node | None:
        match node:
            case Load(b, indices) if b is buffer:
                return Load(slots, (slot, *indices), loc=node.loc)
            case Store(b, indices, value) if b is buffer:
                return Store(slots, (slot, *indices), value, loc=node.loc)
            case _:
                return None

    return rewrite(stmt, rule)
