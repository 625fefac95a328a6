"""Structural identity of expressions, as numbers: equal structure, equal number."""

from __future__ import annotations

from tensorc.ir.expr import (
    Binary,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    Let,
    Load,
    Reduce,
    Unary,
    Var,
)
from tensorc.ir.walk import children


class Keys:
    """Numbers for expressions, equal where the expressions are one structure.

    Variables and buffers count as one where they are one object, constants where they are one
    value, -0.0 apart from 0.0.
    """

    def __init__(self) -> None:
        """No numbers given yet."""
        self.numbers: dict[tuple[object, ...], int] = {}
        self.memo: dict[int, int] = {}
        self.kept: list[Expr] = []  # Keeps ids alive while they are keys.

    def of(self, expr: Expr) -> int:
        """The number of `expr`."""
        known = self.memo.get(id(expr))
        if known is None:
            parts = tuple(self.of(c) for c in children(expr))  # type: ignore[arg-type]
            key = (type(expr).__name__, *_own(expr), *parts)
            known = self.memo[id(expr)] = self.numbers.setdefault(key, len(self.numbers))
            self.kept.append(expr)
        return known

    def of_fold(self, node: Reduce) -> int:
        """The number of a reduction, whichever of its components is meant."""
        where = -1 if node.where is None else self.of(node.where)
        values = (self.of(v) for v in node.values)
        key = ("fold", id(node.reducer), *(id(a) for a in node.axes), where, *values)
        self.kept.append(node)
        return self.numbers.setdefault(key, len(self.numbers))


def _own(expr: Expr) -> tuple[object, ...]:
    """What `children` leaves out; ids, since `==` of variables and tensors builds an expression."""
    match expr:
        case Const(value, dtype):
            return (repr(value), dtype)
        case Var():
            return (id(expr),)
        case Unary(op, _) | Binary(op, _, _) | Compare(op, _, _):
            return (op,)
        case Cast():
            return (expr.dtype,)
        case Call(name, _, dtype):
            return (name, dtype)
        case Load(buffer, _):
            return (id(buffer),)
        case Let(var, _, _):
            return (id(var),)
        case Reduce(reducer, axes, _, where, index):
            return (id(reducer), *map(id, axes), index, where is None)
        case _:
            return ()
