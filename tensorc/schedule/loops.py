"""Steps that restructure loops: split, reorder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Binary, BinaryOp, Compare, CompareOp, Const, Expr, Var, const_int
from tensorc.ir.sets import prove
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Allocate, Block, For, ForKind, If, Program, Stmt, block
from tensorc.ir.walk import free_vars, loads, substitute
from tensorc.schedule.legality import refuse, reordered_pair
from tensorc.schedule.tree import (
    around,
    fresh_name,
    loops_on,
    path_to,
    replace_stmt,
    sites,
    used_names,
    with_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Split:
    """The program after `split`, and the two new loop variables."""

    program: Program
    outer: Var
    inner: Var


def split(program: Program, loop: For, factor: int, names: tuple[str, str] | None = None) -> Split:
    """Split `loop`, of extent n, into an outer and an inner loop of `factor` steps.

        for i in range(n):             for i.outer in range(ceildiv(n, factor)):
          body(i)            becomes     for i.inner in range(factor):
                                           if i.outer * factor + i.inner < n:
                                             body(i.outer * factor + i.inner)

    Always legal, since iterations keep their order. No guard is made where `factor` is proved to
    divide n. A constant n below `factor` makes one outer step of n.

    Raises:
        ScheduleError: `factor` is below 1, or the loop is not serial any more.
    """
    step = f"split({loop.var.name}, {factor})"
    if factor < 1:
        raise ScheduleError(f"{step}: the factor must be at least 1")
    need_serial(step, loop)
    n = const_int(loop.extent)
    if n is not None:
        factor = min(factor, max(n, 1))
    used = used_names(program)
    given = names or (f"{loop.var.name}.outer", f"{loop.var.name}.inner")
    outer, inner = (Var(fresh_name(name, used), loc=loop.var.loc) for name in given)
    size = Const(factor)
    index: Expr = Binary(
        BinaryOp.ADD, Binary(BinaryOp.MUL, outer, size, loc=loop.loc), inner, loc=loop.loc
    )
    body = loop.body
    if n is None or n % factor:
        if not _divides(factor, loop.extent):
            body = If(Compare(CompareOp.LT, index, loop.extent), body, loc=loop.loc)
        count = simplify((loop.extent + (factor - 1)) // factor)
    else:
        count = Const(n // factor)
    if not (isinstance(loop.start, Const) and loop.start.value == 0):
        body = substitute(body, {loop.var: Binary(BinaryOp.ADD, loop.start, index)})
    else:
        body = substitute(body, {loop.var: index})
    zero = Const(0)
    new = For(outer, zero, count, For(inner, zero, size, body, loc=loop.loc), loc=loop.loc)
    return Split(with_body(program, replace_stmt(program.body, loop, new)), outer, inner)


def _divides(factor: int, extent: Expr) -> bool:
    claim = Compare(CompareOp.EQ, extent % factor, Const(0))
    return prove(claim).holds


def need_serial(step: str, loop: For) -> None:
    """Refuse a loop that is already parallel, vectorized or unrolled."""
    if loop.kind is not ForKind.SERIAL:
        raise ScheduleError(
            f"{step}: loop {loop.var.name} is {loop.kind.value} already; restructure loops first, "
            "then say how they run"
        )


def reorder(program: Program, loops: Sequence[For]) -> Program:
    """Put `loops`, which stand inside one another, in the given order, outermost first.

        for i in range(m):                  for k in range(p):
          for k in range(p):    becomes       for i in range(m):
            C[i] += A[i, k]                     C[i] += A[i, k]

    Loops between them that are not named keep their places. Statements that stand between the
    loops (an initialisation before a reduction) are moved out into loops of their own first, named
    `i.init`, `i.init_1`...

    Legal where every dependent pair of iterations keeps its order; accumulations of one
    associative and commutative reducer may change theirs.

    Raises:
        ScheduleError: a pair of iterations forbids it (shown); the loops do not stand inside one
            another; a loop's range depends on one that would come to stand inside it; a loop is
            not serial any more.
    """
    step = f"reorder({', '.join(x.var.name for x in loops)})"
    if not loops:
        raise ScheduleError("reorder(): name the loops in their new order, outermost first")
    if len({id(x) for x in loops}) != len(loops):
        raise ScheduleError(f"{step}: a loop is named twice")
    band, top = _band(program, step, loops)
    wanted = _new_order(band, loops)
    first = next((d for d, (a, b) in enumerate(zip(band, wanted, strict=True)) if a is not b), None)
    if first is None:
        return program
    top = band[first]
    last = max(d for d, (a, b) in enumerate(zip(band, wanted, strict=True)) if a is not b)
    moved, order = band[first : last + 1], wanted[first : last + 1]
    for loop in moved:
        need_serial(step, loop)
    _check_ranges(step, order)
    used = used_names(program)
    new, old_of = _distribute(step, top, moved[-1], order, used)
    before, after = sites(top), sites(new)
    assert len(before) == len(after), "reorder must keep every statement"
    maps = [{old_of[v]: v for v in s.vars if v in old_of} for s in after]
    violation = reordered_pair(before, after, maps, around(program, top))
    if violation is not None:
        kept = ", ".join(x.var.name for x in moved)
        raise refuse(step, violation, top, f"the order {kept} is legal")
    return with_body(program, replace_stmt(program.body, top, new))


def _band(program: Program, step: str, loops: Sequence[For]) -> tuple[list[For], For]:
    """The loops from the outermost to the innermost of those named, all on one path."""
    wanted = {id(x) for x in loops}
    deepest: tuple[Stmt, ...] = ()
    for loop in loops:
        path = path_to(program.body, lambda s, loop=loop: s is loop)  # type: ignore[misc]
        assert path is not None, "a loop handle points into the program"
        if len(path) > len(deepest):
            deepest = path
    on_path = loops_on(deepest)
    missing = [x.var.name for x in loops if all(x is not y for y in on_path)]
    if missing:
        names = ", ".join(x.var.name for x in on_path)
        raise ScheduleError(
            f"{step}: the loops must stand inside one another; around {on_path[-1].var.name} "
            f"stand {names}, which leaves out {', '.join(missing)}"
        )
    start = next(d for d, x in enumerate(on_path) if id(x) in wanted)
    return on_path[start:], on_path[start]


def _new_order(band: list[For], loops: Sequence[For]) -> list[For]:
    queue = iter(loops)
    named = {id(x) for x in loops}
    return [next(queue) if id(x) in named else x for x in band]


def _check_ranges(step: str, new: list[For]) -> None:
    for position, loop in enumerate(new):
        inside = {x.var: x for x in new[position:]}
        for bound in (loop.start, loop.extent):
            for var in free_vars(bound):
                if var in inside and inside[var] is not loop:
                    raise ScheduleError(
                        f"{step}: the range of {loop.var.name} depends on {var.name}, which would "
                        f"come to stand inside it; {var.name} must stay outside {loop.var.name}"
                    )


def _distribute(
    step: str, top: For, bottom: For, order: list[For], used: set[str]
) -> tuple[Stmt, Mapping[Var, Var]]:
    """The nest from `top` to `bottom` in the new order, side statements in nests of their own.

    Also says which old variable each new one stands for.
    """
    path = path_to(top, lambda s: s is bottom)
    assert path is not None, "bottom stands inside top"
    ahead: list[Stmt] = []
    behind: list[Stmt] = []
    conds: list[Expr] = []
    wrappers: list[For | If] = []
    old_of: dict[Var, Var] = {}
    for position, node in enumerate(path):
        match node:
            case For():
                wrappers.append(node)
            case If(cond, _, orelse):
                if orelse is not None or loads(cond):
                    raise ScheduleError(
                        f"{step}: the loops are separated by an `if` that has an else or reads "
                        f"data: {cond}"
                    )
                wrappers.append(node)
                conds.append(cond)
            case Block(stmts):
                child = path[position + 1]
                index = next(d for d, s in enumerate(stmts) if s is child)
                for group, side in ((stmts[:index], ahead), (stmts[index + 1 :], behind)):
                    if group:
                        nest, renamed = _own_nest(block(group), wrappers, used)
                        side.append(nest)
                        old_of.update(renamed)
            case Allocate(buffer, _):
                raise ScheduleError(
                    f"{step}: {buffer.name} is allocated between the loops; reorder first, "
                    "then place buffers"
                )
            case _:
                raise AssertionError(f"unexpected statement on a path of loops: {node}")
    inner: Stmt = bottom.body
    for cond in reversed(conds):
        inner = If(cond, inner, loc=bottom.loc)
    for loop in reversed(order):
        inner = replace(loop, body=inner)
    return block([*ahead, inner, *reversed(behind)]), old_of


def _own_nest(
    body: Stmt, wrappers: Sequence[For | If], used: set[str]
) -> tuple[Stmt, Mapping[Var, Var]]:
    """`body` in copies of the loops and conditions around it; also new variable -> old one."""
    fresh = {
        w.var: Var(fresh_name(f"{w.var.name}.init", used), w.var.dtype, loc=w.var.loc)
        for w in wrappers
        if isinstance(w, For)
    }
    result: Stmt = body
    for w in reversed(wrappers):
        var = {"var": fresh[w.var]} if isinstance(w, For) else {}
        result = replace(w, body=result, **var)  # type: ignore[arg-type]
    return substitute(result, fresh), {new: old for old, new in fresh.items()}
