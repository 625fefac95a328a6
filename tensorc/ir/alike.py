"""Statements that do the same to other variables and buffers: a key that leaves names out.

What is found out about a nest, or made of it, holds for all that are alike: `Remade` makes it of
another one's variables and buffers. That takes a tenth of the time of emitting a nest, and less of
scheduling it.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from tensorc.ir.expr import (
    Binary,
    Buffer,
    Call,
    Cast,
    Compare,
    Const,
    Let,
    Load,
    Reducer,
    Select,
    Unary,
    Var,
    Where,
)
from tensorc.ir.stmt import Accumulate, Allocate, Block, Check, For, If, Stmt, Store
from tensorc.ir.walk import children, with_children

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tensorc.ir.expr import Expr

_STATEMENTS = (For, If, Store, Accumulate, Check, Allocate, Block)
_EXPRESSIONS = (Unary, Binary, Compare, Cast, Call, Load, Select, Where, Let, Reducer)
# What counts of a node: all but where it was written and what is kept with it.
_PARTS: dict[type, tuple[str, ...]] = {
    kind: tuple(f.name for f in fields(kind) if f.name not in ("loc", "memo"))
    for kind in (*_STATEMENTS, *_EXPRESSIONS)
}


def pattern(stmt: Stmt) -> tuple[tuple[object, ...], tuple[Var | Buffer, ...]]:
    """A key, and the variables and buffers of `stmt` in order of first appearance.

    Two statements have equal keys where one becomes the other once each variable and buffer is
    replaced by the one at the same place. Expressions that appear several times count as such.
    """
    found = _Pattern()
    found.visit(stmt)
    return tuple(found.tokens), tuple(found.used)


class _Pattern:
    """Writes a statement down, each node by its type and parts, or as one of before."""

    def __init__(self) -> None:
        self.tokens: list[object] = []
        self.used: dict[Var | Buffer, int] = {}
        self.seen: dict[int, int] = {}

    def visit(self, item: object) -> None:
        """Write down a node, a tuple, or what a node holds beside its parts."""
        parts = _PARTS.get(type(item))
        if parts is not None:
            before = self.seen.setdefault(id(item), len(self.seen))
            if before < len(self.seen) - 1:
                self.tokens += ("again", before)
                return
            self.tokens.append(type(item))
            for name in parts:
                self.visit(getattr(item, name))
        elif isinstance(item, tuple):
            self.tokens.append(len(item))
            for part in item:
                self.visit(part)
        elif isinstance(item, Var):
            if self.number(item):
                self.tokens.append(item.dtype)
        elif isinstance(item, Buffer):
            if self.number(item):
                self.tokens += (item.dtype, item.scope, item.swizzle)
                self.visit(item.shape)
        elif isinstance(item, Const):
            # As text: 0.0 == -0.0 and 1 == True, yet they differ.
            self.tokens += (Const, repr(item.value), item.dtype)
        else:
            self.tokens += (type(item), item)

    def number(self, item: Var | Buffer) -> bool:
        """Write down a variable or a buffer; gives whether it is new."""
        is_new = item not in self.used
        self.tokens += (type(item), self.used.setdefault(item, len(self.used)))
        return is_new


class Remade:
    """Makes statements once more, of other variables and buffers.

    Loops and allocations that the mappings leave out get variables and buffers of their own.
    """

    def __init__(
        self,
        variables: Mapping[Var, Var],
        buffers: Mapping[Buffer, Buffer],
        named: Callable[[str], str] = str,
    ) -> None:
        """Start with what is known; `named` gives the names of what is not."""
        self._vars: dict[Var, Var] = dict(variables)
        self._buffers: dict[Buffer, Buffer] = dict(buffers)
        self._named = named
        self._done: dict[int, Expr] = {}

    def stmt(self, stmt: Stmt) -> Stmt:
        """`stmt` once more; no statement is shared with it."""
        match stmt:
            case For(var, start, extent, body):
                new = self._vars.get(var)
                if new is None:
                    new = self._vars[var] = replace(var, name=self._named(var.name))
                limits = self.expr(start), self.expr(extent)
                return replace(
                    stmt, var=new, start=limits[0], extent=limits[1], body=self.stmt(body)
                )
            case If(cond, body, orelse):
                other = None if orelse is None else self.stmt(orelse)
                return If(self.expr(cond), self.stmt(body), other, loc=stmt.loc)
            case Store(buffer, indices, value):
                return Store(
                    self.buffer(buffer), self._all(indices), self.expr(value), loc=stmt.loc
                )
            case Accumulate(reducer, buffers, indices, values):
                own = tuple(map(self.buffer, buffers))
                return Accumulate(reducer, own, self._all(indices), self._all(values), loc=stmt.loc)
            case Check(cond, message, values):
                return Check(self.expr(cond), message, self._all(values), loc=stmt.loc)
            case Allocate(buffer, body):
                if buffer not in self._buffers:
                    self._buffers[buffer] = replace(
                        buffer, name=self._named(buffer.name), shape=self._all(buffer.shape)
                    )
                return Allocate(self._buffers[buffer], self.stmt(body), loc=stmt.loc)
            case Block(stmts):
                return Block(tuple([self.stmt(s) for s in stmts]), loc=stmt.loc)

    def buffer(self, buffer: Buffer) -> Buffer:
        """What stands for a buffer; itself where nothing does."""
        return self._buffers.get(buffer, buffer)

    def expr(self, expr: Expr) -> Expr:
        """`expr` once more, as far as it changes."""
        if isinstance(expr, Const):
            return expr
        if isinstance(expr, Var):
            return self._vars.get(expr, expr)
        known = self._done.get(id(expr))
        if known is not None:
            return known
        inside = tuple([self.expr(x) for x in children(expr)])  # type: ignore[arg-type]
        made: Expr
        if isinstance(expr, Load):
            made = Load(self.buffer(expr.buffer), inside, loc=expr.loc)
        elif isinstance(expr, Let):
            made = Let(self._vars.get(expr.var, expr.var), *inside, loc=expr.loc)
        else:
            made = with_children(expr, inside)  # type: ignore[assignment]
        self._done[id(expr)] = made
        return made

    def _all(self, exprs: tuple[Expr, ...]) -> tuple[Expr, ...]:
        return tuple([self.expr(x) for x in exprs])
