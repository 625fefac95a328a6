"""Digits of sums of loops, told from the loops' limits.

    for o in range(8):                          for o in range(8):
      for l in vectorized(8):                     for l in vectorized(8):
        B[o*8 + l] =                    becomes     B[o*8 + l] =
          A[(o*8 + l) // 16, (o*8 + l) % 16]          A[o // 2, o % 2 * 8 + l]

A change of shape reads such indices. In this form lanes are seen to be neighbours.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from tensorc.dtypes import int64
from tensorc.ir.affine import exact_linear, split_digits, to_expr
from tensorc.ir.expr import Binary, BinaryOp, Const, Expr, const_int
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, Check, For, Program, Store
from tensorc.ir.walk import children, rewrite, walk, with_children
from tensorc.lower.ranges import range_of_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc.ir.expr import Var
    from tensorc.ir.stmt import Node
    from tensorc.lower.ranges import Range

_PARTS = (BinaryOp.FLOORDIV, BinaryOp.MOD)


def split_radix(program: Program) -> Program:
    """Rewrite quotients and remainders of loops' sums (see the module's first lines)."""
    return replace(program, body=_visited(program.body, {}))  # type: ignore[arg-type]


def _visited(node: Node, known: Mapping[Var, Range]) -> Node:
    if isinstance(node, For):
        limits = range_of_loop(node)
        if limits is not None:
            known = {**known, node.var: limits}
    elif isinstance(node, Expr | Store | Accumulate | Check):
        if not any(map(_is_part, walk(node))):
            return node
        return simplify(rewrite(node, partial(_split, known)))
    return with_children(node, tuple(_visited(x, known) for x in children(node)))


def _is_part(node: Node) -> bool:
    return isinstance(node, Binary) and node.op in _PARTS and node.dtype == int64


def _split(known: Mapping[Var, Range], node: Node) -> Node | None:
    """A quotient or remainder by a positive constant, by the digits of what it divides."""
    if not isinstance(node, Binary) or not _is_part(node):
        return None
    form, by = exact_linear(node.lhs), const_int(node.rhs)
    if form is None or by is None or by < 1:
        return None
    step, high, low = split_digits(form, by, known)
    if step == 1:
        return None
    left = Const(by // step)
    if node.op is BinaryOp.FLOORDIV:
        return Binary(BinaryOp.FLOORDIV, to_expr(high), left)
    upper = Binary(BinaryOp.MOD, to_expr(high), left)
    return Binary(BinaryOp.ADD, Binary(BinaryOp.MUL, upper, Const(step)), to_expr(low))
