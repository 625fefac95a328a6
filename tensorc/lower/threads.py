"""Thread loops brought to where a kernel runs them: directly around work without further ones.

A loop over `thread.*` may stand around several nests of other thread loops, and around serial
loops. The threads of a block run a kernel's phases one after the other, so each phase gets thread
loops of its own:

    for ty in thread.y(4):              for k in range(8):
      for k in range(8):                  for ty in thread.y(4):
        for tx in thread.x(32):             for tx in thread.x(32):
          S[ty, tx] = A[k, ty, tx]            S[ty, tx] = A[k, ty, tx]
        for tx in thread.x(32):    becomes  for ty in thread.y(4):
          B[k, ty, tx] += S[ty, 31 - tx]      for tx in thread.x(32):
                                                B[k, ty, tx] += S[ty, 31 - tx]

Iterations of a bound loop are independent, so the order of instances changes only where it may.
What such a loop allocates around several phases gets a dimension for it. Thread loops count from 0,
since a loop around may decide where they start.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from tensorc.errors import CompileError
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Const,
    Expr,
    Load,
    Unary,
    UnaryOp,
    const_int,
)
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    If,
    Node,
    Program,
    Stmt,
    Store,
    block,
)
from tensorc.ir.walk import loads, rewrite, substitute, walk, walk_stmts, written_buffers

if TYPE_CHECKING:
    from collections.abc import Sequence

_Around: TypeAlias = tuple[For | If, ...]


def spread_threads(program: Program) -> Program:
    """Bring every thread loop to its phases (see the module's first lines).

    Raises:
        CompileError: a serial loop or a condition around several phases depends on the thread.
    """
    return replace(program, body=_spread(rewrite(program.body, _from_zero)))


def _from_zero(node: Node) -> Node | None:
    """`for t in thread.x(2, 9): body(t)` as `for t in thread.x(7): body(2 + t)`."""
    if not isinstance(node, For) or not is_thread_loop(node) or const_int(node.start) == 0:
        return None
    var = replace(node.var)
    body = substitute(node.body, {node.var: Binary(BinaryOp.ADD, node.start, var)})
    return replace(node, var=var, start=Const(0, var.dtype), body=body)


def is_thread_loop(stmt: Stmt) -> bool:
    """Whether `stmt` gives its iterations to the threads of a block."""
    return isinstance(stmt, For) and stmt.axis is not None and stmt.axis.startswith("thread")


def is_block_loop(stmt: Stmt) -> bool:
    """Whether `stmt` gives its iterations to the blocks of a grid."""
    return isinstance(stmt, For) and stmt.axis is not None and stmt.axis.startswith("block")


def has_threads(stmt: Stmt) -> bool:
    """Whether a loop in `stmt`, or `stmt` itself, is bound to threads."""
    return any(is_thread_loop(s) for s in walk_stmts(stmt))


def _spread(stmt: Stmt) -> Stmt:
    match stmt:
        case For() if is_thread_loop(stmt):
            return _push(stmt.body, (stmt,))
        case For(_, _, _, body) | Allocate(_, body):
            return replace(stmt, body=_spread(body))
        case If(_, body, orelse):
            other = None if orelse is None else _spread(orelse)
            return replace(stmt, body=_spread(body), orelse=other)
        case Block(stmts):
            return block([_spread(s) for s in stmts])
        case Store() | Accumulate() | Check():
            return stmt


def _push(stmt: Stmt, around: _Around) -> Stmt:
    """`stmt` as if inside `around`: thread loops, and conditions that depend on them."""
    if not has_threads(stmt):
        return _phase(stmt, around)
    match stmt:
        case For() if is_thread_loop(stmt):
            return _push(stmt.body, (*around, stmt))
        case For():
            _need_uniform(stmt, (stmt.start, stmt.extent), around)
            return replace(stmt, body=_push(stmt.body, around))
        case If(cond, body, orelse):
            if not _depends(cond, around):
                other = None if orelse is None else _push(orelse, around)
                return replace(stmt, body=_push(body, around), orelse=other)
            _need_fixed(stmt, cond)
            parts = [_push(body, (*around, If(cond, Block(()))))]
            if orelse is not None:
                parts.append(_push(orelse, (*around, If(Unary(UnaryOp.NOT, cond), Block(())))))
            return block(parts)
        case Allocate():
            return _allocated(stmt, around)
        case Block(stmts):
            return block([_push(group, around) for group in _groups(stmts)])
        case Store() | Accumulate() | Check():
            return _phase(stmt, around)


def _groups(stmts: Sequence[Stmt]) -> list[Stmt]:
    """Statements with thread loops one by one, those between them together."""
    groups: list[list[Stmt]] = []
    open_group = False
    for stmt in stmts:
        threaded = has_threads(stmt)
        if threaded or not open_group:
            groups.append([])
        groups[-1].append(stmt)
        open_group = not threaded
    return [block(group) for group in groups]


def _phase(stmt: Stmt, around: _Around) -> Stmt:
    """`stmt` inside the thread loops, and the conditions inside of all of them."""
    for outer in reversed([a for a in around if isinstance(a, If)]):
        stmt = replace(outer, body=stmt)
    for loop in reversed([a for a in around if isinstance(a, For)]):
        stmt = replace(loop, body=stmt)
    return stmt


def _depends(expr: Expr, around: _Around) -> bool:
    own = {a.var for a in around if isinstance(a, For)}
    return any(n in own for n in walk(expr))


def _need_uniform(loop: For, parts: Sequence[Expr], around: _Around) -> None:
    for part in parts:
        if _depends(part, around):
            names = ", ".join(a.var.name for a in around if isinstance(a, For))
            raise CompileError(
                f"loop {loop.var.name}: its range {part} depends on the thread ({names}), and "
                "thread loops inside of it would not all run; bind the loops inside, or none"
            )


def _need_fixed(stmt: If, cond: Expr) -> None:
    """A condition that guards several phases is evaluated for each: it may not change between."""
    read = {x.buffer for x in loads(cond)}
    written = {b for s in walk_stmts(stmt) for b in _written(s)}
    for buffer in read & written:
        raise CompileError(
            f"if {cond}: what it guards writes '{buffer.name}', which it reads; compute the "
            "condition into a buffer of its own first"
        )


def _written(stmt: Stmt) -> tuple[Buffer, ...]:
    return written_buffers(stmt) if isinstance(stmt, Store | Accumulate | Check) else ()


def _allocated(stmt: Allocate, around: _Around) -> Stmt:
    """Allocations inside thread loops: one copy for each thread, outside of them."""
    threads = [a for a in around if isinstance(a, For)]
    sizes = tuple(t.extent for t in threads)
    own = tuple(
        t.var if const_int(t.start) == 0 else Binary(BinaryOp.SUB, t.var, t.start) for t in threads
    )
    wide: dict[Buffer, Buffer] = {}
    body: Stmt = stmt
    while isinstance(body, Allocate):  # Together, since one step may fold several of them.
        wide[body.buffer] = replace(body.buffer, shape=(*sizes, *body.buffer.shape))
        body = body.body

    def rule(node: Node) -> Node | None:
        match node:
            case Load(b, indices) if b in wide:
                return Load(wide[b], (*own, *indices), loc=node.loc)
            case Store(b, indices, value) if b in wide:
                return Store(wide[b], (*own, *indices), value, loc=node.loc)
            case Accumulate(reducer, bs, indices, values) if any(b in wide for b in bs):
                if not all(b in wide for b in bs):
                    raise CompileError(
                        f"{', '.join(b.name for b in bs)} are folded together, and only some of "
                        "them are allocated inside the thread loops; allocate all in one place"
                    )
                new = tuple(wide[b] for b in bs)
                return Accumulate(reducer, new, (*own, *indices), values, loc=node.loc)
            case _:
                return None

    result = _push(rewrite(body, rule), around)
    for buffer in reversed(wide.values()):
        result = Allocate(buffer, result, loc=stmt.loc)
    return result
