"""Structurally equal expressions made one object, so that `is` finds repeated reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

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
    Select,
    Unary,
    Var,
    Where,
)
from tensorc.ir.walk import children, rewrite, substitute

if TYPE_CHECKING:
    from tensorc.ir.stmt import Node

Signature: TypeAlias = tuple[object, ...]


class Interner:
    """A table of the expressions seen; the first of equal ones stands for all of them.

    Variables, buffers and reductions are equal only to themselves.
    """

    def __init__(self) -> None:
        """Start with an empty table."""
        self._table: dict[Signature, Expr] = {}

    def __call__(self, expr: Expr) -> Expr:
        """The one expression of the structure of `expr`, its parts interned too."""

        def rule(node: Node) -> Node | None:
            own = _own(node)
            if own is None:
                return None
            return self._table.setdefault((*own, *map(id, children(node))), node)  # type: ignore[arg-type]

        return rewrite(expr, rule)


def _own(node: Node) -> Signature | None:
    """What tells `node` from others of the same parts; None where only identity does."""
    match node:
        case Const(value, dtype):
            return (Const, repr(value), dtype)
        case Unary(op, _) | Binary(op, _, _) | Compare(op, _, _):
            return (type(node), op)
        case Cast(_, dtype):
            return (Cast, dtype)
        case Call(name, _, dtype):
            return (Call, name, dtype)
        case Load(buffer, _):
            return (Load, id(buffer))
        case Select() | Where():
            return (type(node),)
        case Var() | Let() | Reduce():
            return None
        case _:
            raise AssertionError(f"a statement inside an expression: {node}")


def expand_lets(expr: Expr) -> Expr:
    """`expr` with every let's value in place of its variable; the parts are shared, not copied."""
    return rewrite(
        expr, lambda n: substitute(n.body, {n.var: n.value}) if isinstance(n, Let) else None
    )
