"""Expressions to values: uniform ones as scalars, those that depend on the lane as vectors."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tensorc.codegen.llvm import arith
from tensorc.codegen.llvm.access import Mask, Place, load
from tensorc.codegen.llvm.intrinsics import intrinsic
from tensorc.codegen.llvm.pattern import flattened, known_mask, quotient
from tensorc.codegen.llvm.types import Poly, Val, Value, number
from tensorc.dtypes import bool_, int64
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Call,
    Cast,
    Compare,
    CompareOp,
    Const,
    Expr,
    Let,
    Load,
    Reduce,
    Select,
    Unary,
    UnaryOp,
    Var,
    Where,
)
from tensorc.ir.walk import walk
from tensorc.lower.ranges import Range, reads_inside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tensorc.codegen.llvm.builder import Builder

_POLY_OPS = {
    BinaryOp.ADD: Poly.__add__,
    BinaryOp.SUB: Poly.__sub__,
    BinaryOp.MUL: Poly.__mul__,
}
_FOLD: dict[BinaryOp, Callable[[int, int], int]] = {
    BinaryOp.FLOORDIV: lambda a, b: a // b if b else 0,
    BinaryOp.MOD: lambda a, b: a % b if b else 0,
    BinaryOp.MIN: min,
    BinaryOp.MAX: max,
}
_HOLDS: dict[CompareOp, Callable[[int, int], bool]] = {
    CompareOp.EQ: lambda a, b: a == b,
    CompareOp.NE: lambda a, b: a != b,
    CompareOp.LT: lambda a, b: a < b,
    CompareOp.LE: lambda a, b: a <= b,
    CompareOp.GT: lambda a, b: a > b,
    CompareOp.GE: lambda a, b: a >= b,
}


class ExprEmitter:
    """Evaluates expressions in the state of the statement around them.

    Attributes:
        env: values of the variables that are bound here.
        places: where the buffers in scope are.
        mask: the lanes that are on, None for all.
        ranges: the limits of variables, where they are constants.
    """

    def __init__(self, b: Builder) -> None:
        """Start with nothing bound."""
        self.b = b
        self.env: dict[Var, Value] = {}
        self.places: dict[Buffer, Place] = {}
        self.mask: Mask | None = None
        self.memo: list[dict[int, Value]] = [{}]
        self.reads: dict[int, bool] = {}
        self.ranges: dict[Var, Range] = {}

    # --- what statements ask for -----------------------------------------------------------

    @contextmanager
    def statement(self) -> Iterator[None]:
        """Within, shared subexpressions are evaluated once; memory must not change."""
        outer, self.memo = self.memo, [{}]
        yield
        self.memo = outer

    @contextmanager
    def region(self, mask: Mask | None) -> Iterator[None]:
        """Within, values are computed in a block or under a mask of their own."""
        outer, self.mask = self.mask, mask
        self.memo.append({})
        with self.b.scope():
            yield
        self.memo.pop()
        self.mask = outer

    def val(self, expr: Expr) -> Val:
        """The value of `expr` in a register."""
        return self.b.as_val(self.value(expr))

    def poly(self, expr: Expr) -> Poly:
        """An int64 expression as a polynomial; a narrower index is widened."""
        value = self.value(expr)
        if isinstance(value, Val) and value.dtype != int64:
            value = arith.convert(self.b, value, int64)
        return self.b.as_poly(value)

    def offset(self, place: Place, indices: tuple[Expr, ...]) -> Poly:
        """The element offset of an access to `place`."""
        flat = flattened(place.buffer.shape, indices)
        return place.offset(tuple(self.poly(i) for i in flat), self.b.lanes)

    def narrowed(self, cond: Val, *, some: bool) -> Mask:
        """The mask that is on where this one is and `cond` holds."""
        outer = self.mask.value if self.mask is not None else None
        return Mask(self.b.both(outer, cond), some)

    # --- evaluation ------------------------------------------------------------------------

    def value(self, expr: Expr) -> Value:
        """The value of `expr`, computed once a statement."""
        if isinstance(expr, Var):
            return self.env[expr]
        for known in reversed(self.memo):
            if id(expr) in known:
                return known[id(expr)]
        result = self._evaluate(expr)
        if expr.dtype == int64:
            result = self.b.as_poly(result)
        self.memo[-1][id(expr)] = result
        return result

    def _evaluate(self, expr: Expr) -> Value:
        b = self.b
        match expr:
            case Var():
                return self.env[expr]
            case Const(value, dtype):
                return number(int(value)) if dtype == int64 else arith.constant(value, dtype)
            case Unary(op, x):
                inner = self.value(x)
                if isinstance(inner, Poly):
                    return -inner if op is UnaryOp.NEG else -inner - number(1)
                return arith.unary(b, op, inner)
            case Binary(op, x, y):
                return self._binary(op, self.value(x), self.value(y))
            case Compare(cop, x, y):
                return self._compare(cop, self.value(x), self.value(y))
            case Cast(x, dtype):
                return arith.convert(b, self.val(x), dtype)
            case Call(name, args, dtype):
                return intrinsic(b, name, tuple(self.val(a) for a in args), dtype)
            case Load(buffer, indices):
                place = self.places[buffer]
                return load(b, place, self.offset(place, indices), self.mask)
            case Select(cond, x, y):
                return arith.select(b, self.val(cond), self.val(x), self.val(y))
            case Where(cond, x, y):
                return self._where(self.val(cond), x, y)
            case Let():
                while isinstance(expr, Let):  # They nest deeply.
                    self.env[expr.var] = self.value(expr.value)
                    expr = expr.body
                return self.value(expr)
            case Reduce():
                raise AssertionError(f"a Reduce in a program: {expr}")

    def _binary(self, op: BinaryOp, x: Value, y: Value) -> Value:
        if isinstance(x, Poly) and isinstance(y, Poly):
            if op in _POLY_OPS:
                return _POLY_OPS[op](x, y)
            if op in _FOLD and x.const is not None and y.const is not None:
                return number(_FOLD[op](x.const, y.const))
            if op in (BinaryOp.FLOORDIV, BinaryOp.MOD):
                found = quotient(self.b, x, y, rest=op is BinaryOp.MOD)
                if found is not None:
                    return found
        left, right = self.b.as_val(x), self.b.as_val(y)
        if op in (BinaryOp.AND, BinaryOp.OR) and left.dtype.is_bool:
            return self._logical(op, left, right)
        return arith.binary(self.b, op, left, right)

    def _logical(self, op: BinaryOp, x: Val, y: Val) -> Val:
        neutral = "true" if op is BinaryOp.AND else "false"
        for one, other in ((x, y), (y, x)):
            if one.is_literal and not one.varying:
                return other if one.text == neutral else one
        return arith.binary(self.b, op, x, y)

    def _compare(self, op: CompareOp, x: Value, y: Value) -> Val:
        if isinstance(x, Poly) and isinstance(y, Poly):
            a, c = x.const, y.const
            if a is not None and c is not None:
                return arith.constant(_HOLDS[op](a, c), bool_)
            apart = x - y
            steps, first = self.b.lane_offsets(apart), self.b.uniform_part(apart).const
            if self.b.lanes and steps is not None and first is not None:
                bits = [_HOLDS[op](first + step, 0) for step in steps]
                if len(set(bits)) == 1:
                    return arith.constant(bits[0], bool_)
                return Val(known_mask(bits), bool_, True)
        return arith.compare(self.b, op, self.b.as_val(x), self.b.as_val(y))

    # --- lazy choice -----------------------------------------------------------------------

    def _where(self, cond: Val, x: Expr, y: Expr) -> Value:
        if cond.is_literal and not cond.varying:
            return self.value(x if cond.text == "true" else y)
        if not (self._has_load(x) or self._has_load(y)):
            return arith.select(self.b, cond, self.val(x), self.val(y))
        if not cond.varying:
            return self._branch(cond, x, y)
        on_true = self._masked(cond, x)
        on_false = self._masked(self.b.negated(cond), y)
        return arith.select(self.b, cond, on_true, on_false)

    def _masked(self, cond: Val, expr: Expr) -> Val:
        if not self._has_load(expr) or reads_inside(expr, self.ranges):
            return self.val(expr)
        with self.region(self.narrowed(cond, some=False)):
            return self.val(expr)

    def _branch(self, cond: Val, x: Expr, y: Expr) -> Val:
        """A uniform choice with a load in it: two blocks and a phi."""
        b = self.b
        varying = self._may_vary(x) or self._may_vary(y)
        labels = b.new_label("then"), b.new_label("else")
        end = b.new_label("end")
        b.branch(cond.text, *labels)
        arms: list[tuple[Val, str]] = []
        for label, side in zip(labels, (x, y), strict=True):
            b.label(label)
            with self.region(self.mask):
                value = self.val(side)
                arms.append((b.splat(value) if varying else value, b.current))
                b.jump(end)
        b.label(end)
        edges = ", ".join(f"[ {v.text}, %{block} ]" for v, block in arms)
        first = arms[0][0]
        return Val(b.op(f"phi {b.type_of(first)} {edges}"), first.dtype, varying)

    def _may_vary(self, expr: Expr) -> bool:
        if not self.b.lanes:
            return False
        for node in walk(expr):
            if isinstance(node, Load) and self.places[node.buffer].private:
                return True
            if isinstance(node, Var) and node in self.env:
                value = self.env[node]
                if value.varying if isinstance(value, Val) else self.b.is_varying(value):
                    return True
        return False

    def _has_load(self, expr: Expr) -> bool:
        known = self.reads.get(id(expr))
        if known is None:
            known = self.reads[id(expr)] = any(isinstance(n, Load) for n in walk(expr))
        return known
