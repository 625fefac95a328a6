"""Guards of vector loops, asked of the whole vector at once.

    for v in vectorized(4):                      if a*4 < n                     n a multiple of 4
      if a*4 + v < n: ...       becomes, of      if a*4 + 3 < n: all lanes
                                                 else: lane by lane             any other n

So the lanes of a ragged edge cost the others nothing. A value that is padded, `where(a*4 + v < n,
A[...], 0.0)`, has the guard inside; its other side is what the lanes are where it does not hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.ranges import is_multiple
from tensorc.ir.affine import coefficient
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Compare,
    CompareOp,
    Const,
    Expr,
    Load,
    Where,
    all_of,
    const_int,
)
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, Block, If, Stmt, Store
from tensorc.ir.walk import free_vars, rewrite, same, substitute, walk

if TYPE_CHECKING:
    from tensorc.ir.expr import Var
    from tensorc.ir.stmt import For, Node


@dataclass(frozen=True, slots=True)
class Guarded:
    """The body of a vector loop under a guard.

    Attributes:
        cond: the guard, which may differ from lane to lane.
        inside: the body where it holds.
        outside: the body where it does not; None of nothing.
    """

    cond: Expr
    inside: Stmt
    outside: Stmt | None


def guarded(body: Stmt) -> Guarded | None:
    """The body as one under a guard: an `If`, or statements whose `Where`s have one condition."""
    match body:
        case If(cond, inside, None):
            return Guarded(cond, inside, None)
        case Store() | Accumulate() | Block():
            conds = [n.cond for n in walk(body) if isinstance(n, Where)]
            if not conds or not all(same(conds[0], c) for c in conds):
                return None
            return Guarded(conds[0], _chosen(body, True), _chosen(body, False))
        case _:
            return None


def _chosen(body: Stmt, holds: bool) -> Stmt:
    def rule(node: Node) -> Node | None:
        if isinstance(node, Where):
            return node.on_true if holds else node.on_false
        return None

    return rewrite(body, rule)


def padded(value: Expr) -> tuple[Expr | None, Load] | None:
    """A value as a load, perhaps under a condition and zero elsewhere; None of any other."""
    match value:
        case Load():
            return None, value
        case Where(cond, Load() as load, Const(pad, _)) if str(pad) in ("0", "0.0", "False"):
            return cond, load
        case _:
            return None


def of_first_lane(cond: Expr, loop: For) -> Expr | None:
    """`cond` of lane 0, if all lanes agree with it; None where that is not seen."""
    lanes = const_int(loop.extent)
    if lanes is None or const_int(loop.start) != 0:
        return cond if loop.var not in set(free_vars(cond)) else None
    found: list[Expr] = []
    for part in _conjuncts(cond):
        if loop.var in set(free_vars(part)) and not _agree(part, loop.var, lanes):
            return None
        found.append(simplify(substitute(part, {loop.var: Const(0)})))
    return all_of(found)


def of_all_lanes(cond: Expr, loop: For) -> Expr | None:
    """A condition, free of the lane, that holds where `cond` holds in every lane; None of no such.

    A comparison that is affine in the lane holds in all of them if it does in the last, or in the
    first.
    """
    lanes = const_int(loop.extent)
    if lanes is None or const_int(loop.start) != 0:
        return None
    found: list[Expr] = []
    for part in _conjuncts(cond):
        if loop.var not in set(free_vars(part)):
            found.append(part)
            continue
        rising = _rises(part, loop.var)
        if rising is None:
            return None
        lane = lanes - 1 if rising else 0
        found.append(simplify(substitute(part, {loop.var: Const(lane)})))
    return all_of(found)


def _conjuncts(cond: Expr) -> list[Expr]:
    match cond:
        case Binary(BinaryOp.AND, a, b):
            return [*_conjuncts(a), *_conjuncts(b)]
        case _:
            return [cond]


_LESS, _GREATER = (CompareOp.LT, CompareOp.LE), (CompareOp.GT, CompareOp.GE)


def _agree(cond: Expr, lane: Var, lanes: int) -> bool:
    """Whether `x + lane < n`, and its like, is `x < n`: both are multiples of the lanes."""
    if not isinstance(cond, Compare) or cond.op not in (*_LESS, *_GREATER):
        return False
    mine, other = cond.lhs, cond.rhs
    if lane not in set(free_vars(mine)):
        mine, other = other, mine
    still = Const(0, other.dtype)
    if lane in set(free_vars(other)) or _slope(mine, still, lane) != 1:
        return False
    # Of x <= n and x > n the edge is n + 1; with the lane on the right, of x < n and x >= n.
    after = (CompareOp.LE, CompareOp.GT) if mine is cond.lhs else (CompareOp.LT, CompareOp.GE)
    if cond.op in after:
        other = simplify(Binary(BinaryOp.ADD, other, Const(1, other.dtype)))
    first = simplify(substitute(mine, {lane: Const(0, lane.dtype)}))
    return is_multiple(first, lanes) and is_multiple(other, lanes)


def _rises(cond: Expr, lane: Var) -> bool | None:
    """Whether the last lane is the one in which a comparison fails first; None where unknown."""
    if not isinstance(cond, Compare) or cond.op not in (*_LESS, *_GREATER):
        return None
    slope = _slope(cond.lhs, cond.rhs, lane)
    if slope is None or not cond.lhs.dtype.is_int:
        return None
    return (slope > 0) is (cond.op in _LESS)


def _slope(lhs: Expr, rhs: Expr, lane: Var) -> int | None:
    """By how much `lhs - rhs` grows from lane to lane."""
    a, b = coefficient(lhs, lane), coefficient(rhs, lane)
    if a is None or b is None:
        return None
    x, y = const_int(simplify(a)), const_int(simplify(b))
    return None if x is None or y is None else x - y
