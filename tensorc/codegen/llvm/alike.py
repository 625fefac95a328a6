"""Statements that do the same to other buffers: a key that leaves names out.

Emitting a nest takes ten times as long as finding out that one like it was emitted before.
"""

from __future__ import annotations

from dataclasses import fields

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
            self.number(item)
        elif isinstance(item, Buffer):
            if self.number(item):
                self.tokens += (item.dtype, item.scope)
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
