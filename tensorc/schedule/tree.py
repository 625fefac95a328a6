"""Finding and replacing statements in a program, and what stands around a leaf."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Compare,
    CompareOp,
    Const,
    Expr,
    Unary,
    UnaryOp,
    Var,
)
from tensorc.ir.facts import Thing, facts, nests, steers, touches
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    If,
    Leaf,
    Program,
    Stmt,
    Store,
    block,
)
from tensorc.ir.walk import free_vars, replace_buffers, same, substitute
from tensorc.schedule.spine import allocated, names_in, names_of, spine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Time = tuple[int | Expr, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """A leaf statement and what stands around it, outermost first.

    `time` orders instances lexicographically: positions in blocks, and loop variables.
    """

    leaf: Leaf
    loops: tuple[For, ...]
    conds: tuple[Expr, ...]
    time: Time
    private: frozenset[Buffer]  # Buffers allocated around this leaf, inside a loop of the root.

    @property
    def vars(self) -> tuple[Var, ...]:
        """The loop variables, outermost first."""
        return tuple(loop.var for loop in self.loops)

    def domain(self) -> list[Expr]:
        """The conditions under which an instance runs: loop ranges, then guards."""
        ranges = [c for loop in self.loops for c in in_range(loop)]
        return [*ranges, *self.conds]


@lru_cache(maxsize=1024)  # Asked again for all that stands in the loop, and with every step.
def in_range(loop: For) -> tuple[Expr, Expr]:
    """`start <= var` and `var < start + extent`."""
    stop = loop.extent
    if not (isinstance(loop.start, Const) and loop.start.value == 0):
        stop = Binary(BinaryOp.ADD, loop.start, loop.extent)
    return (
        Compare(CompareOp.LE, loop.start, loop.var),
        Compare(CompareOp.LT, loop.var, stop),
    )


def sites(root: Stmt, where: Callable[[For | If | Leaf], bool] | None = None) -> list[Site]:
    """Every leaf under `root`, in text order; of statements `where` that holds, if it is given."""
    found: list[Site] = []
    _collect(root, where, ((), (), (), frozenset()), found)
    return found


def sites_of(root: Stmt, buffer: Buffer) -> list[Site]:
    """Those of `sites` that touch `buffer`; all of them where a range or a guard reads it."""
    return sites(root, None if steers(root, buffer) else lambda x: touches(x, buffer))


# What stands around a statement: `loops`, `conds`, `time` and `private` of a `Site`.
_Around: TypeAlias = tuple[tuple[For, ...], tuple[Expr, ...], Time, frozenset[Buffer]]


def _collect(
    stmt: Stmt, where: Callable[[For | If | Leaf], bool] | None, out: _Around, found: list[Site]
) -> None:
    # Not a closure of `sites`: one that calls itself is a cycle, for the garbage collector to find.
    loops, conds, time, private = out
    while isinstance(stmt, Allocate):
        if loops:
            private = private | {stmt.buffer}
        stmt = stmt.body
    if isinstance(stmt, Block):
        for position, part in enumerate(stmt.stmts):
            if where is None or isinstance(part, Block | Allocate) or where(part):
                _collect(part, where, (loops, conds, (*time, position), private), found)
    elif where is not None and not where(stmt):
        return
    elif isinstance(stmt, For):
        inside = ((*loops, stmt), conds, (*time, stmt.var), private)
        _collect(stmt.body, where, inside, found)
    elif isinstance(stmt, If):
        taken = (loops, (*conds, stmt.cond), (*time, 0), private)
        _collect(stmt.body, where, taken, found)
        if stmt.orelse is not None:
            negated = (*conds, Unary(UnaryOp.NOT, stmt.cond))
            _collect(stmt.orelse, where, (loops, negated, (*time, 1), private), found)
    else:
        found.append(Site(stmt, loops, conds, time, private))


def parts(stmt: Stmt) -> tuple[Stmt, ...]:
    """The statements directly inside `stmt`."""
    # By type, not by `match`: schedules walk programs all the time, and this is faster.
    kind = type(stmt)
    if kind is Block:
        return stmt.stmts  # type: ignore[union-attr]
    if kind is For or kind is Allocate:
        return (stmt.body,)  # type: ignore[union-attr]
    if isinstance(stmt, If):
        return (stmt.body,) if stmt.orelse is None else (stmt.body, stmt.orelse)
    return ()


def with_parts(stmt: Stmt, new: tuple[Stmt, ...]) -> Stmt:
    """`stmt` with other statements inside."""
    old = parts(stmt)
    if all(a is b for a, b in zip(old, new, strict=True)):
        return stmt
    match stmt:
        case Store() | Accumulate() | Check():
            return stmt
        case For() | Allocate():
            return replace(stmt, body=new[0])
        case If():
            return replace(stmt, body=new[0], orelse=new[1] if len(new) == 2 else None)
        case Block():
            return block(new)


def map_nests(stmt: Stmt, change: Callable[[For | If | Leaf], Stmt]) -> Stmt:
    """`stmt` with its outermost loops, guards and leaves changed; what stays is shared."""
    if isinstance(stmt, Block | Allocate):
        return with_parts(stmt, tuple(map_nests(p, change) for p in parts(stmt)))
    return change(stmt)


def path_to(root: Stmt, thing: Thing) -> tuple[Stmt, ...] | None:
    """The statements from `root` down to `thing`, both included; None where it does not stand here.

    A variable stands for the loop that runs over it, a buffer for its allocation.
    """
    spine = spine_of(root)
    known = (root,) if spine is None else spine.path_to(thing)
    if known is None:
        return None
    path = list(known)
    while True:
        below = path[-1]
        if below is thing or (type(below) is For and below.var is thing):
            return tuple(path)
        if type(below) is Allocate and below.buffer is thing:
            return tuple(path)
        further = [x for part in parts(below) for x in _down_to(part, thing)]
        if not further:
            return None
        path += further


def _down_to(top: Stmt, thing: Thing) -> list[Stmt]:
    """From `top` through blocks and allocations to one that is `thing` or a nest that holds it."""
    stack: list[tuple[Stmt, _Trail | None]] = [(top, None)]
    while stack:
        stmt, trail = stack.pop()
        trail = _Trail(stmt, trail)
        if isinstance(stmt, Block):
            found = stmt is thing
            stack.extend((part, trail) for part in reversed(stmt.stmts))
        elif isinstance(stmt, Allocate):
            found = thing is stmt or thing is stmt.buffer
            stack.append((stmt.body, trail))
        else:
            found = thing in facts(stmt).holds
        if found:
            return trail.statements()
    return []


class _Trail(NamedTuple):
    """A statement and those around it."""

    stmt: Stmt
    around: _Trail | None

    def statements(self) -> list[Stmt]:
        """From the outermost on."""
        found = []
        at: _Trail | None = self
        while at is not None:
            found.append(at.stmt)
            at = at.around
        return found[::-1]


def replace_stmt(root: Stmt, old: Stmt, new: Stmt) -> Stmt:
    """`root` with the statement object `old` replaced by `new`."""
    path = path_to(root, old)
    assert path is not None, "the statement to replace stands in the program"
    spine = spine_of(root)
    ours = () if spine is None else spine.path
    top = next(
        (d for d, (a, b) in enumerate(zip(path, ours, strict=False)) if a is not b), len(ours)
    )
    for depth in range(len(path) - 1, 0, -1):
        parent, child = path[depth - 1], path[depth]
        if depth == top and spine is not None:
            renewed = spine.replaced(child, new)
            if renewed is not None:
                return renewed
        if isinstance(parent, Allocate):
            new = allocated(parent, new)
        elif isinstance(parent, Block):
            position = parent.stmts.index(child)
            new = block((*parent.stmts[:position], new, *parent.stmts[position + 1 :]))
        else:
            new = with_parts(parent, tuple(new if p is child else p for p in parts(parent)))
    return new


@dataclass(frozen=True, slots=True)
class Siblings:
    """Two statements of one block, once allocations that hold only one of them hold both."""

    root: Block
    allocations: tuple[Allocate, ...]
    stmts: tuple[Stmt, ...]
    first: int
    second: int

    def rebuilt(self, program: Program, stmts: Sequence[Stmt]) -> Program:
        """The program with other statements from `first` to `second`."""
        body = block([*self.stmts[: self.first], *stmts, *self.stmts[self.second + 1 :]])
        for allocation in reversed(self.allocations):
            body = replace(allocation, body=body)
        return with_body(program, replace_stmt(program.body, self.root, body))


def siblings(program: Program, first: Stmt, second: Stmt) -> Siblings | None:
    """The statements of one block that hold `first` and, later, `second`; None of others."""
    one = path_to(program.body, first)
    two = path_to(program.body, second)
    assert one is not None, "the first statement stands in the program"
    assert two is not None, "the second statement stands in the program"
    depth = sum(1 for a, b in zip(one, two, strict=False) if a is b) - 1
    root = one[depth]
    if not isinstance(root, Block) or min(len(one), len(two)) == depth + 1:
        return None
    allocations: list[Allocate] = []
    flat: list[Stmt] = []
    on_path = {id(s) for s in (*one[depth:], *two[depth:])}

    def expand(stmt: Stmt) -> None:
        if isinstance(stmt, Allocate) and id(stmt) in on_path:
            allocations.append(stmt)
            expand(stmt.body)
        elif isinstance(stmt, Block) and id(stmt) in on_path:
            for part in stmt.stmts:
                expand(part)
        else:
            flat.append(stmt)

    expand(root)
    ids = [{id(p) for p in path} for path in (one, two)]
    places = [next(d for d, s in enumerate(flat) if id(s) in path) for path in ids]
    if places[0] >= places[1]:
        return None
    return Siblings(root, tuple(allocations), tuple(flat), places[0], places[1])


def prune(stmt: Stmt) -> Stmt:
    """`stmt` without loops, guards and allocations that run nothing."""
    inside = parts(stmt)
    if not inside:
        return stmt
    kept = with_parts(stmt, tuple(prune(p) for p in inside))
    return kept if sites(kept) else Block(())


def with_body(program: Program, body: Stmt) -> Program:
    """The program with another body."""
    return replace(program, body=body)


def find_loop(program: Program, var: Var) -> For | None:
    """The loop that `var` runs over, if it stands in the program."""
    path = path_to(program.body, var)
    return path[-1] if path is not None else None  # type: ignore[return-value]


def loops_on(path: tuple[Stmt, ...]) -> list[For]:
    """The loops on a path, outermost first."""
    return [s for s in path if isinstance(s, For)]


def own_loops(program: Program, leaf: Leaf) -> list[For]:
    """The loops around `leaf` in which nothing but it runs, outermost first."""
    path = path_to(program.body, leaf)
    assert path is not None, "the leaf stands in the program"
    found: list[For] = []
    for stmt in reversed(path[:-1]):
        if isinstance(stmt, Block | Allocate):
            break
        if isinstance(stmt, For):
            found.append(stmt)
    return found[::-1]


def blocks_in(stmt: Stmt) -> Iterator[For]:
    """The loops under `stmt` that are bound to the blocks of a grid."""
    if isinstance(stmt, For) and stmt.axis is not None and stmt.axis.startswith("block"):
        yield stmt
    for part in parts(stmt):
        yield from blocks_in(part)


def stage_sites(program: Program, name: str) -> list[Site]:
    """The leaves that write the buffer called `name`."""

    def is_wanted(stmt: For | If | Leaf) -> bool:
        return name in facts(stmt).stages

    spine = spine_of(program.body)
    if spine is None:
        return [s for s in sites(program.body, is_wanted) if is_wanted(s.leaf)]
    found: list[Site] = []
    for position in spine.writers.of(name):
        inside = sites(spine.nests[position], is_wanted)
        time = spine.times[position]
        found += [replace(s, time=(*time, *s.time)) for s in inside if is_wanted(s.leaf)]
    return found


def find_buffer(program: Program, name: str) -> Buffer | None:
    """The parameter or allocation called `name`."""
    for param in program.params:
        if param.buffer.name == name:
            return param.buffer
    allocation = find_allocation(program.body, name)
    return allocation.buffer if allocation is not None else None


def find_allocation(root: Stmt, name: str) -> Allocate | None:
    """The allocation of a buffer called `name`, the first in text order."""
    while type(root) is Allocate:
        if root.buffer.name == name:
            return root
        root = root.body
    if isinstance(root, For | If) and name not in facts(root).names:
        return None
    found = (find_allocation(part, name) for part in parts(root))
    return next((x for x in found if x is not None), None)


def loop_names(program: Program, thing: Thing) -> set[str]:
    """The names that a new loop must not have beside `thing`.

    Those in the nest that it stands in, and in others that compute the same: a loop is known by a
    stage and its name.
    """
    path = path_to(program.body, thing)
    assert path is not None, "a step makes loops where something stands"
    own = facts(next(s for s in path if not isinstance(s, Block | Allocate)))
    names = {d.name for d in program.dims} | own.names
    for nest in nests(program.body):
        other = facts(nest)
        if not own.stages.isdisjoint(other.stages):
            names |= other.names
    return names


def used_names(program: Program) -> set[str]:
    """Every loop's and buffer's name."""
    names = {p.buffer.name for p in program.params} | {d.name for d in program.dims}
    spine = spine_of(program.body)
    if spine is None:
        return names | names_in(program.body)
    names.update(buffer.name for buffer in spine.depths)
    return names | names_of(spine)


def fresh_name(name: str, used: set[str]) -> str:
    """`name`, or `name_1`, `name_2`... where it is taken; the result counts as used."""
    candidate, count = name, 0
    while candidate in used:
        count += 1
        candidate = f"{name}_{count}"
    used.add(candidate)
    return candidate


def around(program: Program, stmt: Stmt) -> list[Expr]:
    """What holds wherever `stmt` runs: the ranges of the loops and the guards around it."""
    path = path_to(program.body, stmt)
    assert path is not None, "the statement stands in the program"
    conds: list[Expr] = []
    for node, below in itertools.pairwise(path):
        if isinstance(node, For):
            conds.extend(in_range(node))
        elif isinstance(node, If):
            conds.append(node.cond if below is node.body else Unary(UnaryOp.NOT, node.cond))
    return conds


def equal(a: Expr, b: Expr) -> bool:
    """Whether two expressions read alike and use the very same variables."""
    if a is b:
        return True
    x, y = free_vars(a), free_vars(b)
    return len(x) == len(y) and all(v is w for v, w in zip(x, y, strict=True)) and same(a, b)


def copied(stmt: Stmt, suffix: str, used: set[str], taken: set[str]) -> Stmt:
    """`stmt` once more: loops and buffers of its own, with names that end in `suffix`.

    Loops have none of the names `used`, buffers none of `taken`.
    """
    vars_: dict[Var, Expr] = {}
    buffers: dict[Buffer, Buffer] = {}

    def visit(node: Stmt) -> Stmt:
        match node:
            case For(var):
                new = Var(fresh_name(f"{var.name}.{suffix}", used), var.dtype, loc=var.loc)
                vars_[var] = new
                return replace(node, var=new, body=visit(node.body))
            case Allocate(buffer, body):
                name = fresh_name(f"{buffer.name}.{suffix}", taken)
                buffers[buffer] = replace(buffer, name=name)
                return replace(node, body=visit(body))
            case If(_, body, orelse):
                return replace(
                    node, body=visit(body), orelse=None if orelse is None else visit(orelse)
                )
            case Block(stmts):
                return Block(tuple(visit(s) for s in stmts), loc=node.loc)
            case Store() | Accumulate() | Check():
                return replace(node)  # Statements are told apart by identity.

    return replace_buffers(substitute(visit(stmt), vars_), buffers)
