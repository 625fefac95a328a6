"""Steps that restructure reductions: rfactor, decompose_reduction."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Binary, BinaryOp, Buffer, Expr, Load, Var, const_int
from tensorc.ir.printer import show
from tensorc.ir.sets import Encoder
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    For,
    If,
    Leaf,
    Program,
    Stmt,
    Store,
    block,
)
from tensorc.ir.walk import children, free_vars, loads, substitute, written_buffers
from tensorc.schedule.legality import may_regroup, refuse, reordered_pair
from tensorc.schedule.loops import need_serial, own_nest
from tensorc.schedule.placement import STACK_LIMIT, bytes_of
from tensorc.schedule.region import always, is_written_before
from tensorc.schedule.tree import (
    around,
    blocks_in,
    fresh_name,
    in_range,
    loop_names,
    path_to,
    prune,
    replace_stmt,
    sites,
    used_names,
    with_body,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Factored:
    """The program after `rfactor`, and the buffers of the partial results."""

    program: Program
    partials: tuple[Buffer, ...]


def rfactor(program: Program, loop: For, strict: bool = False, *, last: bool = False) -> Factored:
    """Fold each iteration of the reduction loop `loop` into a partial result of its own.

        C[i] = 0.0                           C[i] = 0.0
        for ko in range(m):                  alloc C.rf: float32[4] local
          for ki in range(4):      becomes     for ki.init in range(4):
            C[i] += A[i, ko * 4 + ki]            C.rf[ki.init] = 0.0
                                               for ko in range(m):
                                                 for ki in range(4):
                                                   C.rf[ki] += A[i, ko * 4 + ki]
                                               for ki.fold in range(4):
                                                 C[i] += C.rf[ki.fold]

    Iterations of `loop` then no longer depend on each other: it may become lanes or threads. The
    buffer stands around the outermost loop that only reduces; the dimensions after its first (with
    `last`, before its last) are the other loops inside of that over elements of `C`, which get
    copies named `.init` and `.fold` too. Its partial results start from the reducer's identity, and
    what `C` held is folded in once. It is local where its size is constant and at most 64 KiB.
    Guards that read no data and do not depend on other reduction loops are kept in the last nest.

    Legal where the reducer is associative and commutative, and the values that are folded do not
    read `C`; sums and products of floats, which then round otherwise, not when `strict`.

    Raises:
        ScheduleError: `loop` does not run one accumulation alone, or an element of `C` depends on
            it; the reducer does not allow it; a range inside depends on another loop; an element
            of `C` might be folded into that holds no value yet.
    """
    step = f"rfactor({loop.var.name})"
    need_serial(step, loop)
    path, leaf = _reduction_path(program, step, loop)
    may_regroup(step, leaf, strict)
    top = _outermost_reduction(path, leaf, loop)
    inner = path[next(d for d, s in enumerate(path) if s is top) :]
    _reads_no_result(step, inner, leaf)
    spatial = [s for s in inner if isinstance(s, For) and _is_spatial(s, leaf)]
    _fixed_ranges(step, inner, (loop, *spatial))
    used = loop_names(program, loop)
    taken = used_names(program)
    dims = (*spatial, loop) if last else (loop, *spatial)
    shape = tuple(d.extent for d in dims)
    sizes = [const_int(e) for e in shape]
    own = next(blocks_in(top), None) is None
    partials = tuple(_partial(b, shape, sizes, taken, own=own) for b in leaf.buffers)
    places = tuple(_from_zero(d, d.var) for d in dims)
    body = replace_stmt(top, leaf, replace(leaf, buffers=partials, indices=places))
    fold, guards, folding = _fold(inner, leaf, partials, dims, used)
    new: Stmt = block([_init(leaf, partials, dims, used), body, fold])
    for buffer in reversed(partials):
        new = Allocate(buffer, new, loc=leaf.loc)
    result = with_body(program, replace_stmt(program.body, top, new))
    if not _is_reached(program, top, inner, dims, guards):
        for buffer in leaf.buffers:
            if not is_written_before(result, folding, buffer, folding.indices):
                raise ScheduleError(
                    f"{step}: where no iteration runs, '{buffer.name}' may hold no value to fold "
                    f"the partial results into\n  {show(leaf).strip()}\n"
                    f"  initialise all of '{buffer.name}' first"
                )
    return Factored(result, partials)


def _reduction_path(program: Program, step: str, loop: For) -> tuple[tuple[Stmt, ...], Accumulate]:
    """The statements from the program's body to the one accumulation inside `loop`."""
    found = sites(loop)
    leaf = found[0].leaf if len(found) == 1 else None
    if not isinstance(leaf, Accumulate):
        shown = "\n".join(f"  {show(s.leaf).strip()}" for s in found)
        raise ScheduleError(
            f"{step}: loop {loop.var.name} must run one accumulation alone; it runs\n{shown}\n"
            "  reorder or decompose_reduction moves an initialisation out of it"
        )
    if _is_spatial(loop, leaf):
        raise ScheduleError(
            f"{step}: {loop.var.name} is no reduction loop: which element of "
            f"'{leaf.buffers[0].name}' is updated depends on it\n  {show(leaf).strip()}"
        )
    path = path_to(program.body, leaf)
    assert path is not None, "the leaf stands in the program"
    return path, leaf


def _is_spatial(loop: For, leaf: Accumulate) -> bool:
    return any(v is loop.var for i in leaf.indices for v in free_vars(i))


def _outermost_reduction(path: Sequence[Stmt], leaf: Accumulate, loop: For) -> For:
    """The outermost reduction loop around `loop` in which nothing but `leaf` runs."""
    top = loop
    for stmt in reversed(path[:-1]):
        if isinstance(stmt, Block) or (isinstance(stmt, If) and stmt.orelse is not None):
            break
        if isinstance(stmt, For) and not _is_spatial(stmt, leaf):
            top = stmt
    return top


def _reads_no_result(step: str, inner: Sequence[Stmt], leaf: Accumulate) -> None:
    own = set(leaf.buffers)
    read = next((x for x in loads(inner[0]) if x.buffer in own), None)
    if read is not None:
        raise ScheduleError(
            f"{step}: what is folded reads '{read.buffer.name}' itself, which would hold only a "
            f"part of the result\n  {show(leaf).strip()}"
        )


def _fixed_ranges(step: str, inner: Sequence[Stmt], dims: Sequence[For]) -> None:
    inside = {s.var for s in inner if isinstance(s, For)}
    for loop in dims:
        for part in (loop.start, loop.extent):
            if loads(part):
                raise ScheduleError(
                    f"{step}: the range of {loop.var.name} reads data, so the partial results have "
                    f"no fixed number; the range is {part}"
                )
            for var in free_vars(part):
                if var in inside:
                    raise ScheduleError(
                        f"{step}: the range of {loop.var.name} depends on {var.name}, so the "
                        f"partial results have no fixed number; the range is {part}"
                    )


def _partial(
    buffer: Buffer, shape: tuple[Expr, ...], sizes: list[int | None], used: set[str], *, own: bool
) -> Buffer:
    small = own and all(s is not None for s in sizes) and bytes_of(sizes, buffer) <= STACK_LIMIT
    name = fresh_name(f"{buffer.name}.rf", used)
    return Buffer(name, shape, buffer.dtype, "local" if small else "global")


def _from_zero(loop: For, var: Var) -> Expr:
    return var if const_int(loop.start) == 0 else Binary(BinaryOp.SUB, var, loop.start)


def _renamed(dims: Sequence[For], suffix: str, used: set[str]) -> dict[Var, Var]:
    return {
        d.var: Var(fresh_name(f"{d.var.name}.{suffix}", used), d.var.dtype, loc=d.var.loc)
        for d in dims
    }


def _init(
    leaf: Accumulate, partials: Sequence[Buffer], dims: Sequence[For], used: set[str]
) -> Stmt:
    fresh = _renamed(dims, "init", used)
    places = tuple(_from_zero(d, fresh[d.var]) for d in dims)
    units = zip(partials, leaf.reducer.identity, strict=True)
    body = block([Store(buffer, places, unit, loc=leaf.loc) for buffer, unit in units])
    for loop in reversed(dims):
        body = replace(loop, var=fresh[loop.var], body=body, annotations=())
    return body


def _fold(
    inner: Sequence[Stmt],
    leaf: Accumulate,
    partials: Sequence[Buffer],
    dims: Sequence[For],
    used: set[str],
) -> tuple[Stmt, list[Expr], Accumulate]:
    """The nest that folds the partial results in, the guards that it keeps, and its leaf."""
    gone = {s.var for s in inner if isinstance(s, For)} - {d.var for d in dims}
    guards = [
        s.cond
        for s in inner
        if isinstance(s, If)
        and not any(v in gone for v in free_vars(s.cond))
        and not loads(s.cond)  # What it reads may be there under the guards left out alone.
    ]
    fresh = _renamed(dims, "fold", used)
    places = tuple(_from_zero(d, fresh[d.var]) for d in dims)
    values = tuple(Load(buffer, places, loc=leaf.loc) for buffer in partials)
    indices = tuple(substitute(i, fresh) for i in leaf.indices)
    folding = replace(leaf, indices=indices, values=values)
    body: Stmt = folding
    for cond in reversed(guards):
        body = If(substitute(cond, fresh), body, loc=leaf.loc)
    for loop in reversed(dims):
        body = replace(loop, var=fresh[loop.var], body=body, annotations=())
    return body, guards, folding


def _is_reached(
    program: Program, top: For, inner: Sequence[Stmt], dims: Sequence[For], kept: Sequence[Expr]
) -> bool:
    """Whether each partial result that is folded got at least one value."""
    over = [s for s in inner if isinstance(s, For) and s not in dims]
    encoder = Encoder()
    known = [*around(program, top), *(c for d in dims for c in in_range(d)), *kept]
    texts = [encoder.condition(c) for c in known]
    conds = [c for s in over for c in in_range(s)]
    known_already = {id(c) for c in kept}
    conds += [s.cond for s in inner if isinstance(s, If) and id(s.cond) not in known_already]
    own = {s.var: f"y{d}" for d, s in enumerate(over)}
    some = Encoder()
    some.names = {(v, 0): name for v, name in own.items()} | encoder.names
    parts = [some.condition(c) for c in conds]
    new = [key for key in some.names if key not in encoder.names and key[0] not in own]
    if not some.exact or some.side or new:
        return False
    body = " and ".join(parts) or "true"
    case = f"exists ({', '.join(own.values())} : {body})" if own else body
    return always(encoder, texts, [case])


# --- decompose_reduction --------------------------------------------------------------------


def decompose_reduction(program: Program, name: str, loop: For, strict: bool = False) -> Program:
    """Move the initialisation of the reduction `name` out of `loop`, into loops before it.

        for i in range(n):                 for i.init in range(n):
          C[i] = 0.0             becomes     C[i.init] = 0.0
          for k in range(m):               for i in range(n):
            C[i] += A[i, k]                  for k in range(m):
                                               C[i] += A[i, k]

    The stores to `name` (and to what is accumulated together with it) that stand before its
    accumulation inside `loop` move; the loops and guards around them, from `loop` on, are copied,
    named `i.init`, `i.init_1`... A guard stays around the rest as well.

    Legal where every dependent pair keeps its order.

    Raises:
        ScheduleError: a pair of iterations forbids it (shown); nothing in the loop accumulates
            into `name`, or initialises it; a buffer of the initialisation is allocated inside
            `loop`, or one of its guards reads data.
    """
    step = f"decompose_reduction({name}, {loop.var.name})"
    need_serial(step, loop)
    leaves = [s.leaf for s in sites(loop)]
    updates = [
        x for x in leaves if isinstance(x, Accumulate) and any(b.name == name for b in x.buffers)
    ]
    if not updates:
        raise ScheduleError(f"{step}: nothing in loop {loop.var.name} accumulates into '{name}'")
    own = set(updates[0].buffers)
    end = leaves.index(updates[0])
    moved = [x for x in leaves[:end] if isinstance(x, Store) and x.buffer in own]
    if not moved:
        raise ScheduleError(
            f"{step}: '{name}' is not initialised inside loop {loop.var.name}\n"
            f"  {show(updates[0]).strip()}"
        )
    used = loop_names(program, loop)
    nests: list[Stmt] = []
    renamed: list[Mapping[Var, Var]] = []
    rest: Stmt = loop
    for group in _groups(loop, moved):
        wrappers = _wrappers(step, loop, group)
        nest, old_of = own_nest(block(group), wrappers, used)
        nests.append(nest)
        renamed.extend(old_of for _ in group)
        for leaf in group:
            rest = replace_stmt(rest, leaf, Block(()))
    new = block([*nests, prune(rest)])
    before, after = sites(loop), sites(new)
    stay = iter(after[len(moved) :])
    go = iter(after[: len(moved)])
    matched = [next(go) if any(s.leaf is x for x in moved) else next(stay) for s in before]
    names = iter(renamed)
    maps: list[Mapping[Var, Expr]] = [
        {old: v for v, old in next(names).items()} if any(s.leaf is x for x in moved) else {}
        for s in before
    ]
    violation = reordered_pair(before, matched, maps, around(program, loop), strict)
    if violation is not None:
        raise refuse(step, violation, loop, "the initialisation must stay where it is")
    return with_body(program, replace_stmt(program.body, loop, new))


def _groups(loop: For, moved: Sequence[Store]) -> list[list[Store]]:
    """Those that stand beside each other in one block go into one nest."""
    groups: list[tuple[Stmt, list[Store]]] = []
    for leaf in moved:
        path = path_to(loop, leaf)
        assert path is not None, "what is moved stands in the loop"
        if groups and groups[-1][0] is path[-2]:
            groups[-1][1].append(leaf)
        else:
            groups.append((path[-2], [leaf]))
    return [group for _, group in groups]


def _wrappers(step: str, loop: For, group: Sequence[Store]) -> list[For | If]:
    """The loops and guards from `loop` down to what is moved."""
    path = path_to(loop, group[0])
    assert path is not None, "what is moved stands in the loop"
    wrappers: list[For | If] = []
    for stmt, below in itertools.pairwise(path):
        match stmt:
            case For():
                wrappers.append(stmt)
            case If(cond, body, orelse):
                if loads(cond) or (orelse is not None and below is orelse):
                    raise ScheduleError(
                        f"{step}: the initialisation stands under an `if` that reads data, or in "
                        f"its else: {cond}"
                    )
                wrappers.append(replace(stmt, body=body, orelse=None))
            case Allocate(buffer, _):
                for leaf in group:
                    if buffer in _touched(leaf):
                        raise ScheduleError(
                            f"{step}: {buffer.name} is allocated inside loop {loop.var.name}; "
                            "name a loop inside of that"
                        )
            case _:
                pass
    return wrappers


def _touched(leaf: Leaf) -> set[Buffer]:
    return {*written_buffers(leaf), *(x.buffer for c in children(leaf) for x in loads(c))}
