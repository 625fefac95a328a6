"""Steps that split a loop's body in two, and join the bodies of two loops: fission, fuse_with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Binary, BinaryOp, Buffer, Compare, CompareOp, Expr, Load, Var, is_const
from tensorc.ir.facts import facts, nests
from tensorc.ir.printer import show
from tensorc.ir.sets import prove
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    For,
    If,
    Program,
    Stmt,
    Store,
    block,
)
from tensorc.ir.walk import loads, substitute, walk, written_buffers
from tensorc.schedule.legality import Violation, refuse, refuse_checks, reordered_pair
from tensorc.schedule.loops import need_serial
from tensorc.schedule.tree import (
    Site,
    around,
    equal,
    fresh_name,
    loop_names,
    replace_stmt,
    siblings,
    sites,
    with_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Fissioned:
    """The program after `fission`, and the variable of the second loop."""

    program: Program
    var: Var


def fission(program: Program, loop: For, after: str | int, strict: bool = False) -> Fissioned:
    """Cut the body of `loop` after a statement, and run each part in a loop of its own.

        for i in range(n):             for i in range(n):
          B[i] = A[i] * 2.0   becomes    B[i] = A[i] * 2.0
          C[i] = B[i] + 1.0            for i.rest in range(n):
                                         C[i.rest] = B[i.rest] + 1.0

    `after` is a stage, whose last statement in the body ends the first part, or how many statements
    the first part has. Guards around the body are kept in both loops.

    Legal where every dependent pair of iterations keeps its order.

    Raises:
        ScheduleError: a pair of iterations forbids it (shown); nothing comes after the statement;
            both parts use a buffer that is allocated inside the loop; what a guard or a range reads
            is written inside; the loop is not serial any more.
    """
    step = f"fission({loop.var.name}, after={after!r})"
    need_serial(step, loop)
    wrappers, stmts = _body(step, loop)
    cut = _cut(step, loop, stmts, after)
    refuse_checks(step, loop)
    written = {b for s in sites(loop) for b in written_buffers(s.leaf)}
    conds = [w.cond for w in wrappers if isinstance(w, If)]
    for expr in (loop.start, loop.extent, *conds):
        for use in loads(expr):
            if use.buffer in written:
                raise ScheduleError(
                    f"{step}: {expr} reads {use.buffer.name}, which the loop writes, so it cannot "
                    "be evaluated again after the first part"
                )
    rest = Var(fresh_name(f"{loop.var.name}.rest", loop_names(program, loop)), loc=loop.var.loc)
    first = replace(loop, body=_wrapped(step, loop, wrappers, stmts[:cut], stmts[cut:]))
    second = replace(
        loop,
        var=rest,
        body=substitute(_wrapped(step, loop, wrappers, stmts[cut:], stmts[:cut]), {loop.var: rest}),
    )
    before, after_sites = sites(loop), sites(Block((first, second)))
    maps = [{loop.var: s.loops[0].var} for s in after_sites]
    violation = reordered_pair(before, after_sites, maps, around(program, loop), strict)
    if violation is not None:
        raise refuse(step, violation, loop, f"{loop.var.name} must run both parts together")
    new = replace_stmt(program.body, loop, block([first, second]))
    return Fissioned(with_body(program, new), rest)


def _body(step: str, loop: For) -> tuple[list[If | Allocate], tuple[Stmt, ...]]:
    """The statements of a loop, and the guards and allocations around all of them."""
    wrappers: list[If | Allocate] = []
    node = loop.body
    while True:
        match node:
            case If(_, body, None) | Allocate(_, body):
                wrappers.append(node)
                node = body
            case Block(stmts):
                return wrappers, stmts
            case _:
                raise ScheduleError(
                    f"{step}: the body of {loop.var.name} is one statement; name a loop that runs "
                    f"several\n  {_head(node)}"
                )


def _cut(step: str, loop: For, stmts: Sequence[Stmt], after: str | int) -> int:
    """How many statements the first part has."""
    lines = [f"\n  {number}: {_head(s)}" for number, s in enumerate(stmts, 1)]
    shown = f"; the statements of {loop.var.name} are{''.join(lines)}"
    if isinstance(after, str):
        writers = [
            d
            for d, stmt in enumerate(stmts, 1)
            if any(b.name == after for s in sites(stmt) for b in written_buffers(s.leaf))
        ]
        if not writers:
            raise ScheduleError(f"{step}: nothing in loop {loop.var.name} writes '{after}'{shown}")
        cut = writers[-1]
    else:
        cut = after
    if not 0 < cut < len(stmts):
        raise ScheduleError(f"{step}: both parts need a statement{shown}")
    return cut


def _head(stmt: Stmt) -> str:
    return show(stmt).splitlines()[0].strip()


def _wrapped(
    step: str,
    loop: For,
    wrappers: Sequence[If | Allocate],
    own: Sequence[Stmt],
    other: Sequence[Stmt],
) -> Stmt:
    """One part under the guards around both, with the buffers that it alone uses."""
    body = block(own)
    for wrapper in reversed(wrappers):
        if isinstance(wrapper, Allocate):
            if not uses(body, wrapper.buffer):
                continue
            if any(uses(s, wrapper.buffer) for s in other):
                raise ScheduleError(
                    f"{step}: both parts use {wrapper.buffer.name}, which each iteration of "
                    f"{loop.var.name} allocates for itself"
                )
        body = replace(wrapper, body=body)
    return body


def uses(stmt: Stmt, buffer: Buffer) -> bool:
    """Whether anything in `stmt` reads or writes `buffer`."""
    for node in walk(stmt):
        match node:
            case Load(b, _) if b is buffer:
                return True
            case Store() | Accumulate() if buffer in written_buffers(node):
                return True
            case _:
                pass
    return False


def fuse_with(program: Program, first: For, second: For, strict: bool = False) -> Program:
    """Run the bodies of two loops of one range, one after the other in one block, in one loop.

        for i in range(n):             for i in range(n):
          B[i] = A[i] * 2.0   becomes    B[i] = A[i] * 2.0
        for j in range(n):               C[i] = B[i] + 1.0
          C[j] = B[j] + 1.0

    The loop is `first`, its place that of `first`; statements between the two come after it, or
    before it where only that is legal, or those before it that touch what the second loop does.

    Legal where every dependent pair of iterations keeps its order.

    Raises:
        ScheduleError: a pair of iterations forbids it (shown); the ranges are not proved equal; the
            loops do not stand in one block in this order; one is not serial any more.
    """
    step = f"fuse_with({first.var.name}, {second.var.name})"
    for loop in (first, second):
        need_serial(step, loop)
    found = siblings(program, first, second)
    if (
        found is None
        or found.stmts[found.first] is not first
        or (found.stmts[found.second] is not second)
    ):
        raise ScheduleError(
            f"{step}: {second.var.name} must follow {first.var.name} in the same block; "
            "fuse the loops around them first"
        )
    given = around(program, found.root)
    if not (
        _same_number(first.start, second.start, given)
        and _same_number(first.extent, second.extent, given)
    ):
        raise ScheduleError(
            f"{step}: {first.var.name} runs over {_range(first)} and {second.var.name} over "
            f"{_range(second)}, which is not proved to be the same"
        )
    between = found.stmts[found.first + 1 : found.second]
    refuse_checks(step, first, *between, second)
    moved = substitute(second.body, {second.var: first.var})
    fused = replace(first, body=block([first.body, moved]))
    whole = Block(found.stmts[found.first : found.second + 1])
    violation: Violation | None = None
    for early in _early(between, second):
        late = [x for x in between if x not in early]
        stmts = (*early, fused, *late)
        broken = _reordered(whole, stmts, fused, first, second, given, strict)
        if broken is None:
            return found.rebuilt(program, stmts)
        violation = violation or broken
    assert violation is not None, "one order at least was tried"
    raise refuse(
        step, violation, whole, f"{first.var.name} must end before {second.var.name} begins"
    )


def _early(between: Sequence[Stmt], second: For) -> list[Sequence[Stmt]]:
    """Which statements could come before the loop: none, all, those that touch what `second` does.

    The last are what sets a sum to zero, for instance; what takes the first loop's comes after.
    """
    if not between:
        return [()]
    own = facts(second)
    near = [x for x in between if any(facts(nest).meets(own) for nest in nests(x))]
    found: list[Sequence[Stmt]] = [(), between]
    return [*found, near] if 0 < len(near) < len(between) else found


def _reordered(
    whole: Block,
    stmts: Sequence[Stmt],
    fused: For,
    first: For,
    second: For,
    given: Sequence[Expr],
    strict: bool,
) -> Violation | None:
    """What forbids `stmts`, among which is the fused loop, in place of `whole`."""
    made: dict[int, list[Site]] = {}
    rest = sites(Block(tuple(stmts)))
    for stmt in stmts:
        count = len(sites(stmt))
        made[id(stmt)], rest = rest[:count], rest[count:]
    heads = made[id(fused)]
    count = len(sites(first))
    between = [x for stmt in whole.stmts[1:-1] for x in made[id(stmt)]]
    order = [*heads[:count], *between, *heads[count:]]
    maps: list[Mapping[Var, Expr]] = [
        {second.var: first.var} if s.loops[:1] == (second,) else {} for s in sites(whole)
    ]
    return reordered_pair(sites(whole), order, maps, given, strict)


def _same_number(a: Expr, b: Expr, given: Sequence[Expr]) -> bool:
    if loads(a) or loads(b):
        return False
    return equal(a, b) or prove(Compare(CompareOp.EQ, a, b), given).holds


def _range(loop: For) -> str:
    stop: Expr = Binary(BinaryOp.ADD, loop.start, loop.extent)
    if is_const(loop.start, 0):
        stop = loop.extent
    return f"{loop.start} <= {loop.var.name} < {stop}"
