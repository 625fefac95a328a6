"""reverse_compute_at: a computation moved to where what it reads has just been computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.dtypes import int64
from tensorc.errors import ScheduleError
from tensorc.ir.affine import Linear, linear, to_expr
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Compare,
    CompareOp,
    Const,
    Expr,
    Var,
    all_of,
    cast,
    const_int,
    is_const,
)
from tensorc.ir.facts import facts, holds, nests, reads, steers, writes
from tensorc.ir.printer import show
from tensorc.ir.sets import EMPTY, Encoder, prove, sample
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Allocate, Block, For, ForKind, If, Program, Stmt, block
from tensorc.ir.walk import free_vars, substitute, written_buffers
from tensorc.schedule.digits import fills, tied_vars
from tensorc.schedule.legality import (
    TwoInstances,
    Violation,
    accesses,
    refuse,
    refuse_checks,
    reordered_pair,
)
from tensorc.schedule.loops import guarded, need_serial
from tensorc.schedule.placement import STACK_LIMIT, bytes_of
from tensorc.schedule.region import Box, Layout, difference, reads_own_writes, rebase, touched_box
from tensorc.schedule.tree import (
    Siblings,
    Site,
    around,
    blocks_in,
    equal,
    find_loop,
    in_range,
    loops_on,
    parts,
    path_to,
    replace_stmt,
    siblings,
    sites,
    sites_of,
    stage_sites,
    with_body,
    with_parts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.ir.stmt import Leaf, Stmt

ZERO = Const(0)
THREADS = (ForKind.PARALLEL, ForKind.BOUND)  # They would share what is one thread's own.


@dataclass(frozen=True, slots=True)
class _Read:
    """A read of what the loop computes: the part that an iteration computes decides who uses it."""

    site: Site
    buffer: Buffer
    indices: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """The consumer's nest over one part, and its old loop variables in terms of the new ones."""

    nest: Stmt
    values: Mapping[Var, Expr]


def reverse_compute_at(program: Program, name: str, loop: For, strict: bool = False) -> Program:
    """Compute the part of `name` that uses what one iteration of `loop` computes, right after it.

        for i in range(n):                     for i in range(n):
          C[i] = 0.0                             alloc C: float32[1] local
          for k in range(m):                       C[0] = 0.0
            C[i] += A[i, k]           becomes      for k in range(m):
        for x in range(n):                           C[0] += A[i, k]
          D[x] = max(C[x], 0.0)                    for x in range(1):
                                                     D[i + x] = max(C[x], 0.0)

    The whole nest that computes `name` moves. A loop of it whose variable, plus or minus a
    constant, is an index of what `loop` computes now runs over an iteration's part; other loops
    stay as they are. Guards appear where a part may reach over the ends of a loop. A buffer that
    nothing else uses any more shrinks to the part. This fuses a bias and an activation into a
    matrix product: into each tile, if the loop runs over tiles.

    Legal where each element of `name` is still computed exactly once, and every dependent pair of
    iterations keeps its order: so what an element needs must be complete, which it is not inside of
    a reduction.

    Raises:
        ScheduleError: an element would be computed twice or not at all (shown); a pair of
            iterations forbids it (shown); `name` does not read what the loop computes, or through
            an index that has no inverse; its nest does not follow the loop's in the same block; a
            loop is not serial any more.
    """
    step = f"reverse_compute_at({name}, {loop.var.name})"
    found = _together(program, step, name, loop)
    producer, nest = found.stmts[found.first], found.stmts[found.second]
    path = path_to(producer, loop)
    assert path is not None, "the loop stands in its nest"
    for outer in loops_on(path):
        need_serial(step, outer)
    between = found.stmts[found.first + 1 : found.second]
    refuse_checks(step, producer, *between, nest)
    reads = _reads(step, name, loop, nest)
    refusal: ScheduleError | None = None
    for read in reads:
        try:
            return _placed(program, step, name, loop, found, read, strict)
        except ScheduleError as error:
            refusal = refusal or error
    assert refusal is not None, "one read at least was tried"
    raise refusal


def _together(program: Program, step: str, name: str, loop: For) -> Siblings:
    """The nests of the loop and of `name`, in one block."""
    writers = [s.leaf for s in stage_sites(program, name)]
    if not writers:
        raise ScheduleError(f"{step}: there is no stage '{name}'")
    found = siblings(program, loop, writers[0])
    if found is None:
        raise ScheduleError(
            f"{step}: '{name}' must follow loop {loop.var.name} or what is around it, in the same "
            "block"
        )
    inside = {id(s.leaf) for s in sites(found.stmts[found.second])}
    for leaf in writers:
        if id(leaf) not in inside:
            raise ScheduleError(
                f"{step}: '{name}' is computed in several nests; join them first\n"
                f"  {show(leaf).strip()}"
            )
    return found


def _reads(step: str, name: str, loop: For, nest: Stmt) -> list[_Read]:
    """What the nest reads of what the loop writes; each way of indexing once."""
    computed = set(facts(loop).written)
    found: list[_Read] = []
    for site in sites(nest):
        for access in accesses(site.leaf):
            if access.writes or access.buffer not in computed:
                continue
            if not any(_alike(access.indices, r) for r in found if r.buffer is access.buffer):
                found.append(_Read(site, access.buffer, access.indices))
    if not found:
        raise ScheduleError(f"{step}: '{name}' reads nothing that loop {loop.var.name} computes")
    return found


def _alike(indices: Sequence[Expr], read: _Read) -> bool:
    return all(equal(a, b) for a, b in zip(indices, read.indices, strict=True))


def _placed(
    program: Program,
    step: str,
    name: str,
    loop: For,
    found: Siblings,
    read: _Read,
    strict: bool,
) -> Program:
    """The program with the nest inside the loop, each instance where `read` has its element."""
    producer, nest = found.stmts[found.first], found.stmts[found.second]
    between = found.stmts[found.first + 1 : found.second]
    given = around(program, found.root)
    part = _part(step, loop, nest, read, [*around(program, loop), *in_range(loop)])
    inside = replace(loop, body=block([loop.body, part.nest]))
    new = replace_stmt(producer, loop, inside)
    whole = Block((producer, *between, nest))
    # In a block of its own, so that what the loop runs keeps its place in time.
    alone = loop.body if isinstance(loop.body, Block) else Block((loop.body,))
    held = replace_stmt(producer, loop, replace(loop, body=alone))
    # What neither of the two touches keeps its place among the rest.
    own = [facts(x) for s in (producer, nest) for x in nests(s)]
    near = tuple(s for s in between if any(facts(x).meets(f) for x in nests(s) for f in own))
    movers = [f for s in (nest, *near) for f in map(facts, nests(s))]

    def is_near(stmt: For | If | Leaf) -> bool:
        return any(facts(stmt).meets(f) for f in movers)

    before = sites(Block((held, *near, nest)), is_near)
    old = sites(nest, is_near)
    moved = [s for s in sites(Block((new,)), is_near) if inside in s.loops][-len(old) :]
    for a, b in zip(old, moved, strict=True):
        _refuse_twice(step, name, a, b, part, given)
        _refuse_never(step, name, loop, program, a, b, part, given)
    maps: list[Mapping[Var, Expr]] = [{} for _ in before[: -len(old)]] + [part.values for _ in old]
    violation: Violation | None = None
    for stmts in ((new, *near), (*near, new)) if near else ((new,),):
        after = _in_order(sites(Block(stmts), is_near), new, inside, len(old))
        broken = reordered_pair(before, after, maps, given, strict)
        if broken is None:
            every = (new, *between) if stmts[0] is new else (*between, new)
            result = found.rebuilt(program, every)
            for buffer in _computed(loop, nest):
                result = _shrink(result, buffer, loop.var)
            return result
        violation = violation or broken
    assert violation is not None, "one order at least was tried"
    raise refuse(
        step,
        violation,
        whole,
        f"'{name}' may be placed at a loop in whose iterations all that it needs is complete",
    )


def _in_order(after: Sequence[Site], new: Stmt, inside: For, count: int) -> list[Site]:
    """The sites of the producer, of what stands between, and of the consumer."""
    own = {id(s.leaf) for s in sites(new)}
    heads = [s for s in after if id(s.leaf) in own]
    others = [s for s in after if id(s.leaf) not in own]
    last = max(d for d, s in enumerate(heads) if inside in s.loops) + 1
    consumer = heads[last - count : last]
    return [*heads[: last - count], *heads[last:], *others, *consumer]


def _computed(loop: For, nest: Stmt) -> list[Buffer]:
    """What the loop writes and the nest reads."""
    written = set(facts(loop).written)
    read = {a.buffer: None for s in sites(nest) for a in accesses(s.leaf) if not a.writes}
    return [b for b in read if b in written]


# --- the part of one iteration -------------------------------------------------------------------


def _part(step: str, loop: For, nest: Stmt, read: _Read, given: Sequence[Expr]) -> _Part:
    """The nest over the instances whose element of `read` one iteration of the loop computes."""
    box = touched_box(loop.body, read.buffer, written=True)
    assert box is not None, "a write is an access"
    loops = {x.var: x for x in read.site.loops}
    values: dict[Var, Expr] = {}
    extents: dict[Var, Expr] = {}
    conds: list[Expr] = []
    for d, index in enumerate(read.indices):
        if is_const(box.lows[d], 0) and equal(box.extents[d], read.buffer.shape[d]):
            continue
        limits = _limits(box, d, cast(index, int64))
        known = [*given, *read.site.domain()]
        if all(prove(c, known).holds for c in limits):
            continue
        found = _offset(index, loops)
        if found is None or found[0] in values:
            conds += limits
            continue
        var, sign, offset = found
        low, extent = box.lows[d], box.extents[d]
        base = (
            difference(low, offset)
            if sign == 1
            else difference(Binary(BinaryOp.ADD, offset, Const(1)), low + extent)
        )
        values[var] = var if is_const(base, 0) else Binary(BinaryOp.ADD, base, var)
        extents[var] = extent
    for cond in conds:
        for var in free_vars(cond):
            if var in loops and var not in values:
                raise ScheduleError(
                    f"{step}: {show(read.site.leaf).strip()} reads {read.buffer.name} at "
                    f"{cond.lhs if isinstance(cond, Compare) else cond}, from which "
                    f"{var.name} cannot be told; an index must be a loop plus a constant"
                )
    shifted = substitute(nest, values)
    narrowed = _narrowed(step, shifted, nest, values, extents, given)
    guard = all_of([simplify(substitute(c, values)) for c in conds])
    if guard is not None:
        narrowed = guarded(guard, narrowed)
    return _Part(narrowed, values)


def _limits(box: Box, d: int, index: Expr) -> list[Expr]:
    low, extent = box.lows[d], box.extents[d]
    return [
        Compare(CompareOp.LE, low, index),
        Compare(CompareOp.LT, index, extent if is_const(low, 0) else low + extent),
    ]


def _offset(index: Expr, loops: Mapping[Var, For]) -> tuple[Var, int, Expr] | None:
    """`var`, 1 or -1, and `rest` where `index` is `rest + var` or `rest - var`, of one loop."""
    form = linear(index)
    if form is None:
        return None
    own = [v for v in form.coeffs if v in loops]
    if len(own) != 1 or abs(form.coeffs[own[0]]) != 1:
        return None
    (var,) = own
    rest = {v: c for v, c in form.coeffs.items() if v is not var}
    return var, form.coeffs[var], to_expr(Linear(rest, form.const))


def _narrowed(
    step: str,
    shifted: Stmt,
    nest: Stmt,
    values: Mapping[Var, Expr],
    extents: Mapping[Var, Expr],
    given: Sequence[Expr],
) -> Stmt:
    """The loops of `values` over a part each, under a guard where that may end beyond the range."""
    ranges = {s.var: s for site in sites(nest) for s in site.loops}

    def visit(stmt: Stmt) -> Stmt:
        inner = with_parts(stmt, tuple(visit(p) for p in parts(stmt)))
        if not isinstance(inner, For) or inner.var not in values:
            return inner
        need_serial(step, inner)
        var, old = inner.var, ranges[inner.var]
        own = [Compare(CompareOp.LE, ZERO, var), Compare(CompareOp.LT, var, extents[var])]
        within = [substitute(c, values) for c in in_range(old)]
        needed = [simplify(c) for c in within if not prove(c, [*given, *own]).holds]
        guard = all_of(needed)
        body = inner.body if guard is None else If(guard, inner.body, loc=inner.loc)
        return replace(inner, start=ZERO, extent=extents[var], body=body)

    return visit(shifted)


# --- exactly once --------------------------------------------------------------------------------


def _refuse_twice(
    step: str,
    name: str,
    before: Site,
    after: Site,
    part: _Part,
    given: Sequence[Expr],
) -> None:
    """Refuse where two instances of `after` are one of `before`."""
    if not after.vars:
        return
    values = [part.values.get(v, v) for v in before.vars]
    tied = tied_vars(after, after, values, values)
    encoder = TwoInstances(frozenset(after.vars), tied)
    pairs = [(encoder.var(v, 0), encoder.var(v, 1)) for v in after.vars if v not in tied]
    if not pairs:
        return
    constraints = [encoder.condition(c) for c in given]
    for copy in (0, 1):
        constraints += [encoder.condition(c, True, copy) for c in after.domain()]
    for value in values:
        constraints.append(f"{encoder.number(value, 0)} = {encoder.number(value, 1)}")
    constraints.append("(" + " or ".join(f"{a} != {b}" for a, b in pairs) + ")")
    point = sample(encoder.set_of(*constraints))
    if point == EMPTY:
        return
    what = show(before.leaf).strip()
    if point is None or not encoder.exact:
        raise ScheduleError(
            f"{step}: whether each element of '{name}' is computed once is too hard to prove\n"
            f"  {what}"
        )
    numbers = encoder.read(point)
    own = set(before.vars)
    here, there = (
        ", ".join(
            f"{v.name}={numbers[v, 0 if v in tied else copy]}" for v in after.vars if v not in own
        )
        for copy in (0, 1)
    )
    again = f"in {here} and again in {there}" if here != there else f"twice in {here}"
    raise ScheduleError(
        f"{step}: an element of '{name}' would be computed {again}\n"
        f"  {what}\n"
        "  place it at a loop outside of those that compute one element of what it reads together"
    )


class _Inner(Encoder):
    """An encoder whose own variables are named apart from those of another one."""

    def fresh(self) -> str:
        self._count += 1
        return f"w{self._count}"

    @property
    def made(self) -> list[str]:
        return [f"w{d + 1}" for d in range(self._count)]


def _refuse_never(
    step: str,
    name: str,
    loop: For,
    program: Program,
    before: Site,
    after: Site,
    part: _Part,
    given: Sequence[Expr],
) -> None:
    """Refuse where an instance of `before` is none of `after`."""
    values = [part.values.get(v, v) for v in before.vars]
    starts, extents = [x.start for x in before.loops], [x.extent for x in before.loops]
    plain = not before.conds and all(is_const(x, 0) for x in starts)
    if plain and fills(after, values, starts, extents, extents):
        return
    outer = Encoder()
    known = [outer.condition(c) for c in (*given, *before.domain())]
    for var in (*before.vars, *program.dims):
        outer.var(var)
    inner = _Inner()
    inner.names = {(v, 0): f"y{d}" for d, v in enumerate(after.vars)}
    own = list(inner.names.values())
    for key, text in outer.names.items():
        inner.names.setdefault(key, text)
    holds = [inner.condition(c) for c in after.domain()]
    for var in before.vars:
        value = inner.number(part.values.get(var, var))
        holds.append(f"{value} = {outer.names[var, 0]}")
    what = show(before.leaf).strip()
    exact = outer.exact and inner.exact
    bound = ", ".join([*own, *inner.made])
    body = " and ".join([*holds, *inner.side]) or "true"
    case = f"exists ({bound} : {body})" if bound else body
    point = sample(outer.set_of(*known, f"not ({case})")) if exact else None
    if point == EMPTY:
        return
    if point is None:
        raise ScheduleError(
            f"{step}: whether each element of '{name}' is computed is too hard to prove\n  {what}"
        )
    numbers = outer.read(point)
    shown = ", ".join(f"{v.name}={numbers[v, 0]}" for v in before.vars)
    raise ScheduleError(
        f"{step}: '{name}' at {shown} would never be computed, since no iteration of "
        f"{loop.var.name} computes what it reads\n  {what}"
    )


# --- the buffer between --------------------------------------------------------------------------


def _shrink(program: Program, buffer: Buffer, var: Var) -> Program:
    """Keep only an iteration's part of `buffer`, inside the loop, where nothing else uses it."""
    loop = find_loop(program, var)
    assert loop is not None, "the loop that was placed at stands in the program"
    path = path_to(program.body, buffer)
    if path is None or path_to(path[-1], loop) is None:
        return program
    allocation = path[-1]
    assert isinstance(allocation, Allocate)
    inside = sites_of(loop.body, buffer)
    for nest in nests(allocation.body):
        rest = replace_stmt(nest, loop, Block(())) if holds(nest, loop) else nest
        if reads(rest, buffer) or writes(rest, buffer):
            return program
    held = (x for nest in nests(loop.body) for x in facts(nest).holds)
    if (
        any(isinstance(x, For) and x.kind in THREADS for x in held)
        or steers(loop.body, buffer)
        or any(
            buffer in written_buffers(s.leaf) and len(written_buffers(s.leaf)) > 1 for s in inside
        )
    ):
        return program
    given = [*around(program, loop), *in_range(loop)]
    if not reads_own_writes(loop.body, buffer, given):
        return program
    box = touched_box(loop.body, buffer)
    assert box is not None, "the loop writes the buffer"
    sizes = [const_int(e) for e in box.extents]
    small = all(s is not None for s in sizes) and bytes_of(sizes, buffer) <= STACK_LIMIT
    own = small and next(blocks_in(loop.body), None) is None
    local = replace(buffer, shape=box.extents, scope="local" if own else "global", swizzle=None)
    body = Allocate(local, rebase(loop.body, buffer, local, Layout(box.lows)), loc=allocation.loc)
    within = replace_stmt(allocation.body, loop, replace(loop, body=body))
    return with_body(program, replace_stmt(program.body, allocation, within))
