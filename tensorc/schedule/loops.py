"""Steps that restructure loops: split, peel, fuse, reorder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.affine import Linear, linear, to_expr
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Compare,
    CompareOp,
    Const,
    Expr,
    Var,
    const_int,
    is_const,
)
from tensorc.ir.printer import show
from tensorc.ir.sets import prove
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Allocate, Block, For, ForKind, If, Node, Program, Stmt, block
from tensorc.ir.walk import free_vars, loads, rewrite, substitute, written_buffers
from tensorc.schedule.legality import refuse, reordered_pair
from tensorc.schedule.tree import (
    around,
    copied,
    equal,
    fresh_name,
    loop_names,
    loops_on,
    path_to,
    replace_stmt,
    sites,
    used_names,
    with_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


TAILS = ("guard", "peel", "mask")


@dataclass(frozen=True, slots=True)
class Split:
    """The program after `split`, and the two new loop variables."""

    program: Program
    outer: Var
    inner: Var


def split(
    program: Program,
    loop: For,
    factor: int,
    names: tuple[str, str] | None = None,
    tail: str = "guard",
) -> Split:
    """Split `loop`, of extent n, into an outer and an inner loop of `factor` steps.

        for i in range(n):             for i.outer in range(ceildiv(n, factor)):
          body(i)            becomes     for i.inner in range(factor):
                                           if i.outer * factor + i.inner < n:
                                             body(i.outer * factor + i.inner)

    `i // factor` and `i % factor` in the body become `i.outer` and `i.inner`.

    Always legal, since iterations keep their order. A constant n below `factor` makes one outer
    step of n. Where `factor` is not proved to divide n, `tail` says what becomes of the ragged end:
    "guard" is as above; "mask" puts the guard around each statement of the body instead, inside
    all of its loops, where a vectorized one masks its lanes; "peel" makes full tiles without a
    guard, and a loop over the rest:

        for i.outer in range(n // factor):
          for i.inner in range(factor):
            body(i.outer * factor + i.inner)
        for i.tail in range(n // factor * factor, n):
          body(i.tail)

    The loops and buffers of the rest's body are called `.tail` too.

    Raises:
        ScheduleError: `factor` is below 1, the loop is not serial any more, or no such tail.
    """
    step = f"split({loop.var.name}, {factor})"
    if factor < 1:
        raise ScheduleError(f"{step}: the factor must be at least 1")
    if tail not in TAILS:
        raise ScheduleError(f"{step}: tail must be one of {', '.join(TAILS)}, got {tail!r}")
    need_serial(step, loop)
    n = const_int(loop.extent)
    if n is not None:
        factor = min(factor, max(n, 1))
    used = loop_names(program, loop)
    given = names or (f"{loop.var.name}.outer", f"{loop.var.name}.inner")
    outer, inner = (Var(fresh_name(name, used), loc=loop.var.loc) for name in given)
    size = Const(factor)
    index: Expr = Binary(
        BinaryOp.ADD, Binary(BinaryOp.MUL, outer, size, loc=loop.loc), inner, loc=loop.loc
    )
    body, rest = loop.body, None
    if n % factor == 0 if n is not None else _divides(factor, loop.extent):
        count = _tiles(loop.extent, factor)
    elif tail == "peel":
        whole = _at_least_zero(program, loop)
        full = simplify(whole // factor * factor)
        count = simplify(whole // factor)
        rest = _part(loop, full, simplify_constant(whole - full), "tail", program)
    else:
        count = _tiles(loop.extent, factor)
        guard = Compare(CompareOp.LT, index, loop.extent)
        body = guarded(guard, body) if tail == "mask" else If(guard, body, loc=loop.loc)
    if is_const(loop.start, 0):
        body = _as_digits(body, loop.var, factor, outer, inner)
    body = substitute(body, {loop.var: _from(loop.start, index)})
    zero = Const(0)
    new: Stmt = For(outer, zero, count, For(inner, zero, size, body, loc=loop.loc), loc=loop.loc)
    if rest is not None:
        new = block([new, rest])
    return Split(with_body(program, replace_stmt(program.body, loop, new)), outer, inner)


def _as_digits(body: Stmt, var: Var, factor: int, outer: Var, inner: Var) -> Stmt:
    """`body` with the new variables for `var // factor` and `var % factor`."""

    def rule(node: Node) -> Node | None:
        match node:
            case Binary(BinaryOp.FLOORDIV | BinaryOp.MOD as op, lhs, Const(by)) if lhs is var:
                return None if by != factor else outer if op is BinaryOp.FLOORDIV else inner
            case _:
                return None

    return rewrite(body, rule)


def _tiles(extent: Expr, factor: int) -> Expr:
    return simplify((extent + (factor - 1)) // factor)


def _from(start: Expr, index: Expr) -> Expr:
    return index if is_const(start, 0) else Binary(BinaryOp.ADD, start, index)


def simplify_constant(expr: Expr) -> Expr:
    """`expr` as a constant if it is one, else as it reads: a range prints as start and stop."""
    short = simplify(expr)
    return short if isinstance(short, Const) else expr


def _at_least_zero(program: Program, loop: For) -> Expr:
    """How often `loop` runs: its extent, which may be below zero."""
    zero = Const(0)
    claim = Compare(CompareOp.LE, zero, loop.extent)
    if prove(claim, around(program, loop)).holds:
        return loop.extent
    return Binary(BinaryOp.MAX, loop.extent, zero)


def _part(loop: For, skipped: Expr, extent: Expr, suffix: str, program: Program) -> For:
    """A copy of `loop` that runs `extent` of its iterations, after those skipped."""
    start = simplify(_from(loop.start, skipped)) if not is_const(skipped, 0) else loop.start
    part = replace(loop, start=start, extent=extent)
    copy = copied(part, suffix, loop_names(program, loop), used_names(program))
    assert isinstance(copy, For), "the copy of a loop is a loop"
    return copy


def guarded(guard: Expr, stmt: Stmt) -> Stmt:
    """`guard` around each leaf of `stmt`, or around what must not be evaluated without it."""
    match stmt:
        case Block(stmts):
            return Block(tuple(guarded(guard, s) for s in stmts), loc=stmt.loc)
        case For(_, start, extent, body) if not loads(start) and not loads(extent):
            return replace(stmt, body=guarded(guard, body))
        case If(cond, body, orelse) if not loads(cond):
            other = None if orelse is None else guarded(guard, orelse)
            return replace(stmt, body=guarded(guard, body), orelse=other)
        case Allocate(_, body):
            return replace(stmt, body=guarded(guard, body))
        case _:
            return If(guard, stmt, loc=stmt.loc)


@dataclass(frozen=True, slots=True)
class Parts:
    """The program after `partition`, and the variables of the two loops, in order."""

    program: Program
    first: Var
    second: Var


def partition(program: Program, loop: For, at: int, called: str = "") -> Parts:
    """Cut the range of `loop`, of extent n, in two loops in order, the first of `at` iterations.

        for i in range(n):   becomes   for i.head in range(min(at, n)):
          body(i)                        body(i.head)
                                       for i in range(min(at, n), n):
                                         body(i)

    A negative `at` counts from the end; then the second part is called `i.tail`, and the first one
    keeps the name. Loops and buffers inside the named part get its suffix too. Always legal, since
    iterations keep their order.

    Raises:
        ScheduleError: the loop has fewer iterations, or is not serial any more.
    """
    step = called or f"partition({loop.var.name}, {at})"
    need_serial(step, loop)
    n, count = const_int(loop.extent), abs(at)
    if at == 0 or (n is not None and count >= n):
        many = loop.extent if n is None else max(n, 0)
        raise ScheduleError(
            f"{step}: the loop runs {many} iterations, and both parts need at least one"
        )
    extent = loop.extent
    size: Expr = Const(count)
    enough = prove(Compare(CompareOp.LE, size, extent), around(program, loop)).holds
    if at > 0:
        cut = size if enough else Binary(BinaryOp.MIN, size, extent)
        head = _part(loop, Const(0), cut, "head", program)
        start, left = simplify(_from(loop.start, cut)), simplify_constant(extent - cut)
        parts = [head, replace(loop, start=start, extent=left)]
    else:
        cut = simplify(extent - size)
        if not enough:
            cut = Binary(BinaryOp.MAX, cut, Const(0))
        rest = _part(loop, cut, simplify_constant(extent - cut), "tail", program)
        parts = [replace(loop, extent=cut), rest]
    body = replace_stmt(program.body, loop, block(parts))
    return Parts(with_body(program, body), parts[0].var, parts[1].var)


@dataclass(frozen=True, slots=True)
class Fused:
    """The program after `fuse`, and the new loop variable."""

    program: Program
    var: Var


def fuse(program: Program, outer: For, inner: For, name: str | None = None) -> Fused:
    """Run two loops, one directly inside the other, as one over the product of their ranges.

        for i in range(m):             for i.j in range(m * n):
          for j in range(n):   becomes   body(i.j // n, i.j % n)
            body(i, j)

    Always legal, since iterations keep their order. Guards between the loops move inside. An index
    in which the parts add up again, `i * n + j`, becomes `i.j`. Where n is a symbolic size,
    `// n` is not affine: proofs of later steps then know less about such an index, and may refuse.

    Raises:
        ScheduleError: something but guards stands between the loops (shown); the number of inner
            iterations depends on the outer loop; a loop is not serial any more.
    """
    step = f"fuse({outer.var.name}, {inner.var.name})"
    for loop in (outer, inner):
        need_serial(step, loop)
    guards = _between(step, outer, inner)
    if any(v is outer.var for v in free_vars(inner.extent)):
        raise ScheduleError(
            f"{step}: {inner.var.name} runs {inner.extent} iterations, which depends on "
            f"{outer.var.name}; both must be free of each other"
        )
    fused = Var(
        fresh_name(name or f"{outer.var.name}.{inner.var.name}", loop_names(program, outer)),
        loc=outer.var.loc,
    )
    m, n = outer.extent, inner.extent
    body = inner.body
    for cond in reversed(guards):
        body = If(cond, body, loc=inner.loc)
    first, second = (
        (Const(0), fused) if is_const(m, 1) else (simplify(fused // n), simplify(fused % n))
    )
    values: dict[Var, Expr] = {outer.var: _from(outer.start, first)}
    start = substitute(inner.start, values)
    values[inner.var] = _from(start, second)
    body = substitute(_joined(body, outer, inner, fused), values)
    given, zero = around(program, outer), Const(0)
    if not any(prove(Compare(CompareOp.LE, zero, size), given).holds for size in (m, n)):
        m = Binary(BinaryOp.MAX, m, zero)  # Two negative extents have a positive product.
    new = For(fused, zero, simplify(m * n), body, loc=outer.loc)
    return Fused(with_body(program, replace_stmt(program.body, outer, new)), fused)


def _between(step: str, outer: For, inner: For) -> list[Expr]:
    """The guards between two loops, between which nothing else may stand."""
    path = path_to(outer, inner)
    if path is None or inner is outer:
        raise ScheduleError(
            f"{step}: loop {inner.var.name} does not stand inside {outer.var.name}; "
            "name the outer loop first"
        )
    written = {b for s in sites(inner) for b in written_buffers(s.leaf)}
    guards: list[Expr] = []
    for node in path[1:-1]:
        match node:
            case If(cond, _, None) if not written & {x.buffer for x in loads(cond)}:
                guards.append(cond)
            case Block(stmts):
                other = next(s for s in stmts if all(s is not p for p in path))
                raise ScheduleError(
                    f"{step}: a statement stands between the loops; fission or reorder first\n"
                    f"  {show(other).splitlines()[0].strip()}"
                )
            case _:
                raise ScheduleError(
                    f"{step}: the loops must stand directly inside one another; between them "
                    f"stands\n  {show(node).splitlines()[0].strip()}"
                )
    return guards


def _joined(body: Stmt, outer: For, inner: For, fused: Var) -> Stmt:
    """`body` with sums of both variables, in the ratio of their extents, in terms of `fused`."""
    n = const_int(inner.extent)
    if not (is_const(outer.start, 0) and is_const(inner.start, 0)):
        return body

    def rule(node: Node) -> Node | None:
        match node:
            case Binary(BinaryOp.ADD, Binary(BinaryOp.MUL, a, b), c) if c is inner.var:
                alike = (a is outer.var and equal(b, inner.extent)) or (
                    b is outer.var and equal(a, inner.extent)
                )
                return fused if alike else None
            case Binary(BinaryOp.ADD | BinaryOp.SUB) if n is not None:
                form = linear(node)
                if form is None or node.dtype != fused.dtype:
                    return None
                i, j = form.coeffs.get(outer.var), form.coeffs.get(inner.var)
                if i is None or j is None or i != n * j:
                    return None
                both = {outer.var, inner.var}
                rest = {v: c for v, c in form.coeffs.items() if v not in both}
                return to_expr(Linear({fused: j, **rest}, form.const))
            case _:
                return None

    return rewrite(body, rule)


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


def reorder(program: Program, loops: Sequence[For], strict: bool = False) -> Program:
    """Put `loops`, which stand inside one another, in the given order, outermost first.

        for i in range(m):                  for k in range(p):
          for k in range(p):    becomes       for i in range(m):
            C[i] += A[i, k]                     C[i] += A[i, k]

    Loops between them that are not named keep their places. Statements that stand between the
    loops (an initialisation before a reduction) are moved out into loops of their own first, named
    `i.init`, `i.init_1`...

    Legal where every dependent pair of iterations keeps its order; accumulations of one
    associative and commutative reducer may change theirs, those that round not when `strict`.

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
    used = loop_names(program, top)
    new, old_of = _distribute(step, top, moved[-1], order, used)
    before, after = sites(top), sites(new)
    assert len(before) == len(after), "reorder must keep every statement"
    maps = [{old_of[v]: v for v in s.vars if v in old_of} for s in after]
    violation = reordered_pair(before, after, maps, around(program, top), strict)
    if violation is not None:
        kept = ", ".join(x.var.name for x in moved)
        raise refuse(step, violation, top, f"the order {kept} is legal")
    return with_body(program, replace_stmt(program.body, top, new))


def _band(program: Program, step: str, loops: Sequence[For]) -> tuple[list[For], For]:
    """The loops from the outermost to the innermost of those named, all on one path."""
    wanted = {id(x) for x in loops}
    deepest: tuple[Stmt, ...] = ()
    for loop in loops:
        path = path_to(program.body, loop)
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
    path = path_to(top, bottom)
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
                        nest, renamed = own_nest(block(group), wrappers, used)
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


def own_nest(
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
