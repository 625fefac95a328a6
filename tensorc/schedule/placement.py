"""Steps that move a computation to where it is used: inline, compute_at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Buffer, Const, Expr, Load, Var, all_of, cast, const_int, is_const
from tensorc.ir.facts import facts, leaf_loads, reads, writes
from tensorc.ir.interp import is_fused
from tensorc.ir.printer import show
from tensorc.ir.sets import EMPTY, sample
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    If,
    Leaf,
    Node,
    Program,
    Stmt,
    Store,
    block,
)
from tensorc.ir.walk import rewrite, substitute, written_buffers
from tensorc.schedule.legality import STRICT, TwoInstances, accesses, control
from tensorc.schedule.region import Box, Layout, limits, rebase, touched_box
from tensorc.schedule.tree import (
    Site,
    around,
    blocks_in,
    find_allocation,
    in_range,
    map_nests,
    parts,
    path_to,
    replace_stmt,
    sites,
    with_body,
    with_parts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

STACK_LIMIT = 64 * 1024  # Bytes: a placed buffer no larger than this lives on the stack.


@dataclass(frozen=True, slots=True)
class _Producer:
    """The statements that compute one temporary, which nothing else shares."""

    allocation: Allocate
    home: Block  # The block in which the nests stand, before every use.
    nests: tuple[Stmt, ...]

    @property
    def buffer(self) -> Buffer:
        return self.allocation.buffer


def inline(program: Program, name: str, strict: bool = False) -> Program:
    """Replace each use of `name`, an element-wise temporary, by its definition.

        for i in range(n):
          B[i] = A[i] * 2.0        becomes      for j in range(n):
        for j in range(n):                        C[j] = A[j] * 2.0 + 1.0
          C[j] = B[j] + 1.0

    Legal where the definition is one unguarded store over all of the buffer, and nothing it reads
    is written after it. A product that is then summed is added without rounding it first: not when
    `strict`.

    Raises:
        ScheduleError: `name` is a parameter, a reduction, guarded, or one of several results
            computed together; or what it reads is overwritten before a use; or a sum would round
            otherwise.
    """
    step = f"inline({name})"
    producer = _producer(program, step, name)
    found = [s for nest in producer.nests for s in sites(nest)]
    if len(found) != 1 or not isinstance(found[0].leaf, Store):
        raise ScheduleError(
            f"{step}: '{name}' is not one element-wise store, so its value cannot stand in place "
            f"of a use; compute_at places such a computation\n  {show(found[-1].leaf).strip()}"
        )
    (site,) = found
    assert isinstance(site.leaf, Store)
    axes = _axes(step, site, producer.buffer)
    if site.conds:
        raise ScheduleError(f"{step}: '{name}' is computed under a guard: {site.conds[0]}")
    _sources_unchanged(program, step, producer, after_use=None)
    value = site.leaf.value

    def rule(node: Node) -> Node | None:
        if isinstance(node, Load) and node.buffer is producer.buffer:
            return substitute(value, {v: cast(node.indices[d], v.dtype) for v, d in axes.items()})
        return None

    def change(nest: Stmt) -> Stmt:
        return rewrite(nest, rule) if reads(nest, producer.buffer) else nest

    result = with_body(program, map_nests(_remove(program.body, producer), change))
    if strict:
        _rounds_alike(step, program, result)
    return result


def _rounds_alike(step: str, before: Program, after: Program) -> None:
    """Refuse where a value that was rounded, then summed, became a product to add in one step."""
    was = {s.leaf.buffers: 0 for s in sites(before.body) if isinstance(s.leaf, Accumulate)}
    for program, sign in ((before, 1), (after, -1)):
        for leaf in (s.leaf for s in sites(program.body)):
            if isinstance(leaf, Accumulate) and is_fused(leaf):
                was[leaf.buffers] += sign
                if was[leaf.buffers] < 0:
                    raise ScheduleError(
                        f"{step}: a product would be added without rounding it first\n"
                        f"  {show(leaf).strip()}\n{STRICT}"
                    )


def compute_at(program: Program, name: str, loop: For) -> Program:
    """Compute the part of the temporary `name` that one iteration of `loop` uses inside of it.

        for i in range(n):                      for j in range(n):
          B[i] = f(i)                 becomes     alloc B: float32[2] local
        for j in range(n - 1):                      for i in range(2):
          C[j] = B[j] + B[j + 1]                      B[i] = f(j + i)
                                                    C[j] = B[0] + B[1]

    The buffer shrinks to that part. Where the parts of two iterations overlap they are computed
    again. A guard appears where a part may reach over the end of `name`. Buffers of constant size
    up to 64 KiB live on the stack.

    Raises:
        ScheduleError: `name` is a parameter, is used outside of `loop`, was restructured already,
            or what it reads is overwritten before `loop` ends.
    """
    step = f"compute_at({name}, {loop.var.name})"
    producer = _producer(program, step, name)
    path = path_to(program.body, loop)
    assert path is not None, "a loop handle points into the program"
    position = next((d for d, s in enumerate(path) if s is producer.home), None)
    if position is None or any(path[position + 1] is nest for nest in producer.nests):
        raise ScheduleError(
            f"{step}: loop {loop.var.name} does not come after '{name}' in the same block"
        )
    _only_used_in(program, step, producer, loop)
    _sources_unchanged(program, step, producer, after_use=path[position + 1])
    box = touched_box(loop.body, producer.buffer)
    if box is None:
        raise ScheduleError(f"{step}: nothing in loop {loop.var.name} reads '{name}'")
    sizes = [const_int(e) for e in box.extents]
    small = all(s is not None for s in sizes) and bytes_of(sizes, producer.buffer) <= STACK_LIMIT
    own = small and next(blocks_in(loop.body), None) is None
    scope = "local" if own else "global"
    local = replace(producer.buffer, shape=box.extents, scope=scope, swizzle=None)
    given = [*around(program, loop), *in_range(loop)]
    moved = [_shrunk(step, nest, producer.buffer, local, box, given) for nest in producer.nests]
    uses = rebase(loop.body, producer.buffer, local, Layout(box.lows))
    inside = Allocate(local, block([*moved, uses]), loc=producer.allocation.loc)
    rest = _remove(program.body, producer)
    return with_body(program, replace_stmt(rest, loop, replace(loop, body=inside)))


def bytes_of(sizes: list[int | None], buffer: Buffer) -> int:
    """The bytes of so many elements in each dimension; None counts as 1."""
    total = buffer.dtype.bytes
    for size in sizes:
        total *= size or 1
    return total


def _producer(program: Program, step: str, name: str) -> _Producer:
    allocation = find_allocation(program.body, name)
    if allocation is None:
        if any(p.buffer.name == name for p in program.params):
            raise ScheduleError(f"{step}: '{name}' is a parameter of the program, so it must stay")
        raise ScheduleError(f"{step}: there is no stage '{name}'")
    home: Stmt = allocation.body
    while True:
        if isinstance(home, Allocate):
            home = home.body
            continue
        if not isinstance(home, Block):
            raise ScheduleError(
                f"{step}: '{name}' is computed and used in the same nest already\n"
                f"  {show(home).splitlines()[0].strip()}"
            )
        writers = [s for s in home.stmts if writes(s, allocation.buffer)]
        readers = [s for s in home.stmts if reads(s, allocation.buffer)]
        if (
            len(writers) == 1
            and not [s for s in readers if s is not writers[0]]
            and (isinstance(writers[0], Block | Allocate))
        ):
            home = writers[0]
            continue
        break
    for nest in writers:
        for site in sites(nest):
            others = [b for b in written_buffers(site.leaf) if b is not allocation.buffer]
            if others or isinstance(site.leaf, Check):
                what = others[0].name if others else "a check"
                raise ScheduleError(f"{step}: '{name}' is computed together with {what}")
            if any(x.buffer is allocation.buffer for x in leaf_loads(site.leaf)):
                raise ScheduleError(
                    f"{step}: '{name}' is a recurrence, each element made from the one before it: "
                    "it is computed as a whole, where it stands\n"
                    f"  {show(site.leaf).strip()}"
                )
    return _Producer(allocation, home, tuple(writers))


def _axes(step: str, site: Site, buffer: Buffer) -> dict[Var, int]:
    """The loop variable that runs over each dimension of the write, all of it.

    A dimension of size 1 may be indexed by the constant 0.
    """
    leaf = site.leaf
    assert not isinstance(leaf, Check), "a stage is written by stores"
    loops = {loop.var: loop for loop in site.loops}
    axes: dict[Var, int] = {}
    for d, (index, size) in enumerate(zip(leaf.indices, buffer.shape, strict=True)):
        loop = loops.get(index) if isinstance(index, Var) else None
        if isinstance(index, Const) and index.value == 0 and const_int(size) == 1:
            continue
        if loop is None or loop.var in axes or not _same_extent(loop, size):
            raise ScheduleError(
                f"{step}: the loops of '{buffer.name}' were restructured already; place it first\n"
                f"  {show(leaf).strip()}"
            )
        axes[loop.var] = d
    return axes


def _same_extent(loop: For, size: Expr) -> bool:
    if not (isinstance(loop.start, Const) and loop.start.value == 0):
        return False
    a, b = const_int(loop.extent), const_int(size)
    return loop.extent is size or (a is not None and a == b) or show(loop.extent) == show(size)


def _only_used_in(program: Program, step: str, producer: _Producer, loop: For) -> None:
    apart = (loop, *producer.nests)

    def is_other_use(stmt: For | If | Leaf) -> bool:
        found = facts(stmt)
        touches = producer.buffer in found.read or producer.buffer in found.written
        is_leaf = not isinstance(stmt, For | If)  # It may stand under a guard that reads.
        return (touches or is_leaf) and not any(stmt is s for s in apart)

    for site in sites(program.body, is_other_use):
        if any(a.buffer is producer.buffer for a in (*accesses(site.leaf), *control(site))):
            raise ScheduleError(
                f"{step}: '{producer.buffer.name}' is used outside of loop {loop.var.name} too\n"
                f"  {show(site.leaf).strip()}"
            )


def _sources_unchanged(
    program: Program, step: str, producer: _Producer, after_use: Stmt | None
) -> None:
    """Refuse where something the producer reads is written between it and its uses."""
    sources = {
        a.buffer
        for nest in producer.nests
        for s in sites(nest)
        for a in (*accesses(s.leaf), *control(s))
        if not a.writes
    } - {producer.buffer}
    after = after_use
    if after is None:  # The last statement of the block that uses the buffer, whole.
        users = [s for s in producer.home.stmts if reads(s, producer.buffer)]
        after = next(
            (s for s in reversed(users) if id(s) not in {id(n) for n in producer.nests}), None
        )
    if after is None:
        return
    first, last = sites(producer.nests[0])[0].leaf, sites(after)[-1].leaf

    def is_asked_about(stmt: For | If | Leaf) -> bool:
        found = facts(stmt)
        ends = first in found.holds or last in found.holds
        return ends or not sources.isdisjoint(found.written)

    every = sites(program.body, is_asked_about)
    leaves = [s.leaf for s in every]
    for site in every[leaves.index(first) + 1 : leaves.index(last) + 1]:
        for buffer in written_buffers(site.leaf):
            if buffer in sources and not _same_element_update(site, buffer, producer):
                raise ScheduleError(
                    f"{step}: '{producer.buffer.name}' reads {buffer.name}, which is written "
                    f"before its last use\n  {show(site.leaf).strip()}"
                )


def _same_element_update(site: Site, buffer: Buffer, producer: _Producer) -> bool:
    """Whether the write happens in the one store that uses the producer's element, as it ends.

    `W[i, j] = W[i, j] - D[i, j]` with `D[i, j]` made from `W[i, j]`: the value is read before the
    store writes. That store must be the last to use `D`, and write no element twice.
    """
    users = [s for s in producer.home.stmts if reads(s, producer.buffer)]
    inside = sites(users[-1])
    own = next((s for s in inside if s.leaf is site.leaf), None)
    if own is None or not isinstance(own.leaf, Store):
        return False
    for s in inside:
        touched = [a for a in accesses(s.leaf) if a.buffer is producer.buffer and s is not own]
        if touched or any(a.buffer is producer.buffer for a in control(s)):
            return False
    target = own.leaf.indices
    used = [a.indices for a in accesses(own.leaf) if a.buffer is producer.buffer]
    if not all(_identical(u, target) for u in used) or len(set(target)) != len(target):
        return False
    if not _writes_once(own, target):
        return False
    made = [s for nest in producer.nests for s in sites(nest)]
    return all(
        _identical(a.indices, s.leaf.indices)
        for s in made
        if isinstance(s.leaf, Store)
        for other in made
        for a in (*accesses(other.leaf), *control(other))
        if a.buffer is buffer
    )


def _identical(one: tuple[Expr, ...], other: tuple[Expr, ...]) -> bool:
    return len(one) == len(other) and all(x is y for x, y in zip(one, other, strict=True))


def _writes_once(site: Site, target: tuple[Expr, ...]) -> bool:
    """Whether no two instances of a store write one element."""
    if not site.vars:
        return True
    encoder = TwoInstances(frozenset(site.vars))
    pairs = [(encoder.var(v, 0), encoder.var(v, 1)) for v in site.vars]
    known = [encoder.condition(c, True, copy) for copy in (0, 1) for c in site.domain()]
    known += [f"{encoder.number(i, 0)} = {encoder.number(i, 1)}" for i in target]
    apart = " or ".join(f"{a} != {b}" for a, b in pairs)
    return sample(encoder.set_of(*known, f"({apart})")) == EMPTY


def _shrunk(
    step: str,
    nest: Stmt,
    buffer: Buffer,
    local: Buffer,
    box: Box,
    given: list[Expr],
) -> Stmt:
    """A producer's nest over `box` in place of the whole buffer."""
    axes: dict[Var, int] = {}
    for site in sites(nest):
        axes.update(_axes(step, site, buffer))
    fresh = {v: Var(v.name, v.dtype, loc=v.loc) for v in axes}
    values: Mapping[Var, Expr] = {
        v: fresh[v] if is_const(box.lows[d], 0) else box.lows[d] + fresh[v] for v, d in axes.items()
    }
    guards = {
        v: all_of(limits([box.lows[d]], [fresh[v]], [box.extents[d]], [buffer.shape[d]], given))
        for v, d in axes.items()
    }

    def visit(stmt: Stmt) -> Stmt:
        if isinstance(stmt, For) and stmt.var in axes:
            inner = visit(stmt.body)
            guard = guards[stmt.var]
            if guard is not None:
                inner = If(guard, inner, loc=stmt.loc)
            extent = box.extents[axes[stmt.var]]
            return replace(stmt, var=fresh[stmt.var], start=Const(0), extent=extent, body=inner)
        return with_parts(stmt, tuple(visit(p) for p in parts(stmt)))

    moved = visit(nest)
    return rebase(substitute(moved, values), buffer, local, Layout(box.lows))


def _remove(body: Stmt, producer: _Producer) -> Stmt:
    """`body` without the producer's nests and the allocation of its buffer."""
    kept = block([s for s in producer.home.stmts if not any(s is n for n in producer.nests)])
    within = replace_stmt(producer.allocation.body, producer.home, kept)
    return replace_stmt(body, producer.allocation, within)
