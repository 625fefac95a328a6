"""Reads that all iterations of a loop make at one place, so that they are made once, before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.ir.expr import Buffer, Expr, Let, Load, Var, Where, const_int
from tensorc.ir.stmt import Accumulate, Allocate, Block, Check, For, ForKind, If, Stmt, Store
from tensorc.ir.walk import children, walk

if TYPE_CHECKING:
    from collections.abc import Sequence

WRITTEN_OUT = (ForKind.UNROLLED, ForKind.VECTORIZED)


def invariant_loads(var: Var, body: Stmt) -> tuple[list[Load], set[Buffer]]:
    """The reads of an innermost loop that depend on nothing of it, and the buffers it writes.

    Each is made in every iteration: what stands under a condition does not count.
    """
    found = _Reads(var)
    if not found.visit(body, always=True):
        return [], set()
    return [x for x in found.loads if found.is_invariant(x)], found.written


class _Reads:
    """What straight code reads, writes and binds."""

    def __init__(self, var: Var) -> None:
        self.bound = {var}
        self.written: set[Buffer] = set()
        self.loads: list[Load] = []
        self.seen: set[int] = set()

    def visit(self, stmt: Stmt, *, always: bool) -> bool:
        """Look at a statement; gives whether it is straight code without checks."""
        match stmt:
            case Block(stmts):
                return all(self.visit(s, always=always) for s in stmts)
            case Allocate(buffer, body):
                self.written.add(buffer)
                return self.visit(body, always=always)
            case For(var, _, extent, body):
                self.bound.add(var)
                written_out = stmt.kind in WRITTEN_OUT and (const_int(extent) or 0) > 0
                return written_out and self.visit(body, always=always)
            case If(cond, body, orelse):
                self.read((cond,), always)
                sides = (body,) if orelse is None else (body, orelse)
                return all(self.visit(s, always=False) for s in sides)
            case Store(buffer, indices, value):
                self.written.add(buffer)
                self.read((*indices, value), always)
            case Accumulate(_, buffers, indices, values):
                self.written.update(buffers)
                self.read((*indices, *values), always)
            case Check():  # It may be what keeps a read in bounds.
                return False
        return True

    def read(self, exprs: Sequence[Expr], always: bool) -> None:
        """Note what expressions read and bind; a choice that is lazy reads nothing for sure."""
        if not always:
            return
        rest = list(exprs)
        while rest:
            expr = rest.pop()
            if id(expr) in self.seen:
                continue
            self.seen.add(id(expr))
            if isinstance(expr, Load):
                self.loads.append(expr)
            elif isinstance(expr, Let):
                self.bound.add(expr.var)
            elif isinstance(expr, Where):
                rest.append(expr.cond)
                continue
            rest += children(expr)  # type: ignore[arg-type]

    def is_invariant(self, load: Load) -> bool:
        """Whether a read depends on nothing that the loop binds or writes."""
        if load.buffer in self.written:
            return False
        nodes = (n for index in load.indices for n in walk(index))
        return not any(isinstance(n, Load) or n in self.bound for n in nodes)
