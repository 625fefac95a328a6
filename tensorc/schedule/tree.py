"""Finding and replacing statements in a program, and what stands around a leaf."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

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
from tensorc.ir.walk import written_buffers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    private: frozenset[Buffer]  # Buffers allocated around this leaf, inside the root.

    @property
    def vars(self) -> tuple[Var, ...]:
        """The loop variables, outermost first."""
        return tuple(loop.var for loop in self.loops)

    def domain(self) -> list[Expr]:
        """The conditions under which an instance runs: loop ranges, then guards."""
        ranges = [c for loop in self.loops for c in in_range(loop)]
        return [*ranges, *self.conds]


def in_range(loop: For) -> tuple[Expr, Expr]:
    """`start <= var` and `var < start + extent`."""
    stop = loop.extent
    if not (isinstance(loop.start, Const) and loop.start.value == 0):
        stop = Binary(BinaryOp.ADD, loop.start, loop.extent)
    return (
        Compare(CompareOp.LE, loop.start, loop.var),
        Compare(CompareOp.LT, loop.var, stop),
    )


def sites(root: Stmt) -> list[Site]:
    """Every leaf under `root`, in text order."""
    return list(_sites(root, (), (), (), frozenset()))


def _sites(
    stmt: Stmt,
    loops: tuple[For, ...],
    conds: tuple[Expr, ...],
    time: Time,
    private: frozenset[Buffer],
) -> Iterator[Site]:
    match stmt:
        case Store() | Accumulate() | Check():
            yield Site(stmt, loops, conds, time, private)
        case For(var, _, _, body):
            yield from _sites(body, (*loops, stmt), conds, (*time, var), private)
        case If(cond, body, orelse):
            yield from _sites(body, loops, (*conds, cond), (*time, 0), private)
            if orelse is not None:
                negated = (*conds, Unary(UnaryOp.NOT, cond))
                yield from _sites(orelse, loops, negated, (*time, 1), private)
        case Allocate(buffer, body):
            yield from _sites(body, loops, conds, time, private | {buffer})
        case Block(stmts):
            for position, part in enumerate(stmts):
                yield from _sites(part, loops, conds, (*time, position), private)


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


def path_to(root: Stmt, wanted: Callable[[Stmt], bool]) -> tuple[Stmt, ...] | None:
    """The statements from `root` down to the first one wanted, both included."""
    if wanted(root):
        return (root,)
    for part in parts(root):
        below = path_to(part, wanted)
        if below is not None:
            return (root, *below)
    return None


def replace_stmt(root: Stmt, old: Stmt, new: Stmt) -> Stmt:
    """`root` with the statement object `old` replaced by `new`."""
    path = path_to(root, lambda s: s is old)
    assert path is not None, "the statement to replace stands in the program"
    for parent, child in zip(reversed(path[:-1]), reversed(path[1:]), strict=True):
        new = with_parts(parent, tuple(new if p is child else p for p in parts(parent)))
    return new


def with_body(program: Program, body: Stmt) -> Program:
    """The program with another body."""
    return replace(program, body=body)


def find_loop(program: Program, var: Var) -> For | None:
    """The loop that `var` runs over, if it stands in the program."""
    path = path_to(program.body, lambda s: isinstance(s, For) and s.var is var)
    return path[-1] if path is not None else None  # type: ignore[return-value]


def loops_on(path: tuple[Stmt, ...]) -> list[For]:
    """The loops on a path, outermost first."""
    return [s for s in path if isinstance(s, For)]


def stage_sites(program: Program, name: str) -> list[Site]:
    """The leaves that write the buffer called `name`."""
    return [s for s in sites(program.body) if any(b.name == name for b in written_buffers(s.leaf))]


def find_buffer(program: Program, name: str) -> Buffer | None:
    """The parameter or allocation called `name`."""
    for param in program.params:
        if param.buffer.name == name:
            return param.buffer
    path = path_to(program.body, lambda s: isinstance(s, Allocate) and s.buffer.name == name)
    return path[-1].buffer if path is not None else None  # type: ignore[union-attr]


def used_names(program: Program) -> set[str]:
    """Every loop's and buffer's name."""
    names = {p.buffer.name for p in program.params} | {d.name for d in program.dims}

    def visit(stmt: Stmt) -> None:
        if isinstance(stmt, For):
            names.add(stmt.var.name)
        elif isinstance(stmt, Allocate):
            names.add(stmt.buffer.name)
        for part in parts(stmt):
            visit(part)

    visit(program.body)
    return names


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
    path = path_to(program.body, lambda s: s is stmt)
    assert path is not None, "the statement stands in the program"
    conds: list[Expr] = []
    for node, below in itertools.pairwise(path):
        if isinstance(node, For):
            conds.extend(in_range(node))
        elif isinstance(node, If):
            conds.append(node.cond if below is node.body else Unary(UnaryOp.NOT, node.cond))
    return conds
