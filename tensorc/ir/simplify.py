"""Algebraic rules, in one table for each kind of node, applied from the parts to the whole.

Every rule is exact. Integers wrap, so `i + 1 < n + 1` is left alone, while `i + 1 - i` is 1. A
float keeps each of its bits: `x + 0.0` stays, since it turns -0.0 into 0.0. What depends on the
ranges of variables is not for here but for `sets`.

The time is linear in the size of the graph: each node is visited once, and structure is compared
by interned keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tensorc.dtypes import DType, bool_
from tensorc.ir import scalars
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
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
from tensorc.ir.interp import is_fused
from tensorc.ir.stmt import Accumulate, Allocate, Block, Check, For, Hint, If, Node, Stmt
from tensorc.ir.walk import children, substitute, walk, with_children

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["simplify"]

T = TypeVar("T", bound=Node)


def simplify(node: T) -> T:
    """The same meaning in a plainer form; `node` itself where no rule applies.

        for i in range(1): B[i * 4 + i] = A[i] * 1.0    becomes    B[0] = A[0]

    A statement that does nothing becomes an empty block.
    """
    with scalars.exact():
        return _Simplifier().visit(node)  # type: ignore[return-value]


def _hinted(body: Node, hints: tuple[tuple[str, Hint], ...]) -> Node:
    """The body of a loop that goes away; what was said of the loop is said of the one inside."""
    if not hints or not isinstance(body, For):
        return body
    return replace(body, annotations=tuple({**dict(hints), **dict(body.annotations)}.items()))


class _Simplifier:
    """The tables of one run. They hold the nodes too, so that no id is used again."""

    def __init__(self) -> None:
        self.memo: dict[int, tuple[Node, Node]] = {}
        self.keys: dict[int, tuple[Expr, int]] = {}
        self.interned: dict[tuple[object, ...], int] = {}
        self.sums: dict[int, tuple[Expr, _Sum]] = {}

    def visit(self, node: Node) -> Node:
        known = self.memo.get(id(node))
        if known is None:
            known = self.memo[id(node)] = (node, self.parts(node))
        return known[1]

    def parts(self, node: Node) -> Node:
        """`node` with its parts simplified, then itself."""
        match node:
            case For(var, start, extent, body) if self.is_once(extent):
                inner = substitute(body, {var: self.visit(start)})  # type: ignore[dict-item]
                return self.visit(_hinted(inner, node.annotations))
            case Let(var, value, body):
                plain = self.visit(value)
                if isinstance(plain, Const | Var):
                    return self.visit(substitute(body, {var: plain}))
            case Accumulate():
                return self.accumulate(node)
            case _:
                pass
        rebuilt = with_children(node, tuple([self.visit(part) for part in children(node)]))
        return self.whole(rebuilt)

    def whole(self, node: Node) -> Node:
        """Apply the rules for this node, whose parts are simple, until none does."""
        while (rules := RULES.get(type(node))) is not None:
            for rule in rules:
                better = rule(self, node)
                if better is not None:
                    node = better
                    break
            else:
                return node
        return node

    def is_once(self, extent: Expr) -> bool:
        simple = self.visit(extent)
        return isinstance(simple, Const) and simple.value == 1

    def accumulate(self, node: Accumulate) -> Node:
        """Its parts, unless that made a product of what was none, or the other way round.

        A product is added by a fused multiply-add, which rounds in another way.
        """
        rebuilt = with_children(node, tuple([self.visit(part) for part in children(node)]))
        assert isinstance(rebuilt, Accumulate), "an accumulation keeps its kind"
        constant = isinstance(rebuilt.values[0], Const)
        fused = is_fused(node)
        if (is_fused(rebuilt) and not fused) or (fused and constant):
            value = node.values[0]
            inner = tuple([self.visit(part) for part in children(value)])
            value = with_children(value, inner)  # type: ignore[assignment]
            return with_children(rebuilt, (*rebuilt.indices, value))
        return rebuilt

    def same(self, a: Expr, b: Expr) -> bool:
        return a is b or self.key(a) == self.key(b)

    def key(self, e: Expr) -> int:
        """A number that two expressions share when they have one structure."""
        known = self.keys.get(id(e))
        if known is None:
            parts = [self.key(part) for part in children(e)]  # type: ignore[arg-type]
            signature = (type(e).__name__, *_own(e), *parts)
            known = (e, self.interned.setdefault(signature, len(self.interned)))
            self.keys[id(e)] = known
        return known[1]

    # --- sums of multiples -----------------------------------------------------------------------

    def sum(self, e: Expr) -> _Sum:
        """An integer expression as a sum of multiples of what is no sum itself."""
        known = self.sums.get(id(e))
        if known is None:
            known = self.sums[id(e)] = (e, self.make_sum(e))
        return known[1]

    def make_sum(self, e: Expr) -> _Sum:
        match e:
            case Const(value):
                return _Sum({}, int(value), 1)
            case Binary(BinaryOp.ADD, lhs, rhs):
                return self.sum(lhs).plus(self.sum(rhs), 1, e.dtype)
            case Binary(BinaryOp.SUB, lhs, rhs):
                return self.sum(lhs).plus(self.sum(rhs), -1, e.dtype)
            case Binary(BinaryOp.MUL, inner, Const(factor)):
                return self.sum(inner).times(int(factor), 2, e.dtype)
            case Binary(BinaryOp.MUL, Const(factor), inner):
                return self.sum(inner).times(int(factor), 2, e.dtype)
            case Unary(UnaryOp.NEG, inner):
                return self.sum(inner).times(-1, 1, e.dtype)
            case _:
                return _Sum({self.key(e): (e, 1)}, 0, 1)


def _own(e: Expr) -> tuple[object, ...]:
    """What tells `e` from others of its kind with the same parts."""
    match e:
        case Const(value, dtype):
            return (repr(value), dtype.name)
        case Unary(op) | Binary(op) | Compare(op):
            return (op.value,)
        case Cast(_, dtype):
            return (dtype.name,)
        case Call(name, _, dtype):
            return (name, dtype.name)
        case Load(buffer):
            return (id(buffer),)
        case Select() | Where():
            return ()
        case Var() | Let() | Reduce():
            return (id(e),)


@dataclass(frozen=True, slots=True)
class _Sum:
    """The sum of `atom * coefficient`, plus `const`, modulo 2 ** bits.

    `size` counts the nodes that it was made of.
    """

    terms: Mapping[int, tuple[Expr, int]]
    const: int
    size: int

    def plus(self, other: _Sum, sign: int, dtype: DType) -> _Sum:
        terms = dict(self.terms)
        for key, (atom, c) in other.terms.items():
            total = _wrap(terms.get(key, (atom, 0))[1] + sign * c, dtype)
            terms[key] = (atom, total)
            if total == 0:
                del terms[key]
        const = _wrap(self.const + sign * other.const, dtype)
        return _Sum(terms, const, self.size + other.size + 1)

    def times(self, factor: int, added: int, dtype: DType) -> _Sum:
        scaled = {k: (a, _wrap(c * factor, dtype)) for k, (a, c) in self.terms.items()}
        terms = {k: (a, c) for k, (a, c) in scaled.items() if c != 0}
        return _Sum(terms, _wrap(self.const * factor, dtype), self.size + added)

    @property
    def cost(self) -> int:
        """How many nodes `build` makes."""
        factors = [c for _, c in self.terms.values()]
        nodes = sum(1 if abs(c) == 1 else 3 for c in factors) + (self.const != 0)
        joins = len(factors) + (self.const != 0) - 1
        starts_negative = factors[:1] == [-1] and max(factors) < 0 and self.const <= 0
        return max(1, nodes + max(0, joins) + starts_negative)

    def build(self, dtype: DType) -> Expr:
        """The sum as an expression, a positive part first, the constant last."""
        parts: list[tuple[Expr, int]] = [(a, c) for a, c in self.terms.values()]
        if self.const:
            parts.append((Const(1, dtype), self.const))
        lead = next((i for i, (_, c) in enumerate(parts) if c > 0), 0)
        parts.insert(0, parts.pop(lead)) if parts else None
        total: Expr | None = None
        for atom, c in parts:
            if total is None:
                total = _multiple(atom, c, dtype)
            elif c < 0 and -c <= dtype.max_value:
                total = Binary(BinaryOp.SUB, total, _multiple(atom, -c, dtype))
            else:
                total = Binary(BinaryOp.ADD, total, _multiple(atom, c, dtype))
        return Const(0, dtype) if total is None else total


def _multiple(atom: Expr, factor: int, dtype: DType) -> Expr:
    if isinstance(atom, Const):
        return scalars.constant(scalars.scalar(factor, dtype), dtype)
    if factor == 1:
        return atom
    if factor == -1:
        return Unary(UnaryOp.NEG, atom)
    constant = scalars.constant(scalars.scalar(factor, dtype), dtype)
    return Binary(BinaryOp.MUL, atom, constant)


def _wrap(value: int, dtype: DType) -> int:
    """The residue of `value` modulo 2 ** bits that lies nearest to 0."""
    half = 1 << (dtype.bits - 1)
    return (value + half) % (2 * half) - half


# --- rows: what one rule looks like --------------------------------------------------------------

Rule: TypeAlias = Callable[[_Simplifier, Any], "Node | None"]  # Any: the node of its row.
PairRule: TypeAlias = Callable[[_Simplifier, Expr, Expr], "Expr | None"]


def _is(e: Expr, value: float) -> bool:
    """Whether `e` is this constant, bit for bit: 0.0 is not -0.0."""
    if not isinstance(e, Const) or e.value != value:
        return False
    return not e.dtype.is_float or math.copysign(1, e.value) == math.copysign(1, value)


def _unit(value: float) -> PairRule:
    """`value op x` and `x op value` are `x`."""
    return lambda _, a, b: a if _is(b, value) else b if _is(a, value) else None


def _right_unit(value: float) -> PairRule:
    """`x op value` is `x`."""
    return lambda _, a, b: a if _is(b, value) else None


def _zero(value: float) -> PairRule:
    """`value op x` and `x op value` are `value`."""
    return lambda _, a, b: b if _is(b, value) else a if _is(a, value) else None


def _left_zero(value: float) -> PairRule:
    """`value op x` is `value`."""
    return lambda _, a, _b: a if _is(a, value) else None


def _right_zero(value: float, result: float) -> PairRule:
    """`x op value` is `result`."""
    return lambda _, a, b: Const(result, a.dtype) if _is(b, value) else None


def _equal(result: float | None) -> PairRule:
    """`x op x` is `result`, or `x` itself."""

    def rule(s: _Simplifier, a: Expr, b: Expr) -> Expr | None:
        if not s.same(a, b):
            return None
        return a if result is None else Const(result, a.dtype)

    return rule


def _least_and_greatest(op: BinaryOp) -> PairRule:
    """Of a minimum or maximum with an end of the dtype's range."""

    def rule(_: _Simplifier, a: Expr, b: Expr) -> Expr | None:
        low, high = a.dtype.min_value, a.dtype.max_value
        unit, zero = (high, low) if op is BinaryOp.MIN else (low, high)
        found = _unit(unit)(_, a, b)
        # NaN is not drowned by infinity.
        return found if found is not None or a.dtype.is_float else _zero(zero)(_, a, b)

    return rule


def _all_ones(found: Callable[[float], PairRule]) -> PairRule:
    """The rule for the integer of which every bit is set."""
    return lambda s, a, b: found(-1 if a.dtype.kind == "i" else a.dtype.max_value)(s, a, b)


def _associate(op: BinaryOp) -> PairRule:
    """`(x op 3) op 5` is `x op (3 op 5)`."""

    def rule(_: _Simplifier, a: Expr, b: Expr) -> Expr | None:
        match a, b:
            case Binary(inner, x, Const() as c), Const() if inner is op:
                return Binary(op, x, _fold(op, c, b))
            case _:
                return None

    return rule


def _fold(op: BinaryOp, a: Const, b: Const) -> Const:
    x, y = scalars.scalar(a.value, a.dtype), scalars.scalar(b.value, b.dtype)
    return scalars.constant(scalars.BINARY[op](x, y), a.dtype)


def _divide_twice(_: _Simplifier, a: Expr, b: Expr) -> Expr | None:
    """`x // 4 // 2` is `x // 8`."""
    match a, b:
        case Binary(BinaryOp.FLOORDIV, x, Const(c)), Const(d) if c > 0 and d > 0:
            fits = c * d <= a.dtype.max_value
            return Binary(BinaryOp.FLOORDIV, x, Const(c * d, a.dtype)) if fits else None
        case _:
            return None


def _rest_of_rest(_: _Simplifier, a: Expr, b: Expr) -> Expr | None:
    """`x % 8 % 4` is `x % 4`, `x % 4 % 8` is `x % 4`, and `x % 4 // 4` is for `_part_of_rest`."""
    match a, b:
        case Binary(BinaryOp.MOD, x, Const(c)), Const(d) if c > 0 and d > 0:
            if c % d == 0:
                return Binary(BinaryOp.MOD, x, b)
            return a if d > c else None
        case _:
            return None


def _part_of_rest(_: _Simplifier, a: Expr, b: Expr) -> Expr | None:
    """`x % 4 // 8` is 0."""
    match a, b:
        case Binary(BinaryOp.MOD, _, Const(c)), Const(d) if 0 < c <= d:
            return Const(0, a.dtype)
        case _:
            return None


def _drop_multiples(s: _Simplifier, a: Expr, b: Expr) -> Expr | None:
    """`(i * 8 + j) % 4` is `j % 4`: a power of two divides what wrapping takes away."""
    if not isinstance(b, Const) or b.value <= 0 or int(b.value) & (int(b.value) - 1):
        return None
    total = s.sum(a)
    kept = {k: (x, c) for k, (x, c) in total.terms.items() if c % int(b.value)}
    if len(kept) == len(total.terms):
        return None
    rest = _Sum(kept, total.const, 0).build(a.dtype)
    return (
        _fold(BinaryOp.MOD, rest, b) if isinstance(rest, Const) else Binary(BinaryOp.MOD, rest, b)
    )


_MIN, _MAX = BinaryOp.MIN, BinaryOp.MAX

FLOAT_RULES: dict[BinaryOp, tuple[PairRule, ...]] = {
    BinaryOp.ADD: (_unit(-0.0),),
    BinaryOp.SUB: (_right_unit(0.0),),
    BinaryOp.MUL: (_unit(1.0),),
    BinaryOp.DIV: (_right_unit(1.0),),
    BinaryOp.MIN: (_equal(None), _least_and_greatest(_MIN)),
    BinaryOp.MAX: (_equal(None), _least_and_greatest(_MAX)),
}
INT_RULES: dict[BinaryOp, tuple[PairRule, ...]] = {
    BinaryOp.ADD: (_unit(0),),
    BinaryOp.SUB: (_right_unit(0), _equal(0)),
    BinaryOp.MUL: (_unit(1), _zero(0)),
    BinaryOp.FLOORDIV: (
        _right_unit(1),
        _right_zero(0, 0),
        _left_zero(0),
        _divide_twice,
        _part_of_rest,
    ),
    BinaryOp.MOD: (
        _right_zero(1, 0),
        _right_zero(0, 0),
        _left_zero(0),
        _equal(0),
        _rest_of_rest,
        _drop_multiples,
    ),
    BinaryOp.MIN: (_equal(None), _least_and_greatest(_MIN), _associate(_MIN)),
    BinaryOp.MAX: (_equal(None), _least_and_greatest(_MAX), _associate(_MAX)),
    BinaryOp.AND: (_zero(0), _all_ones(_unit), _equal(None), _associate(BinaryOp.AND)),
    BinaryOp.OR: (_unit(0), _all_ones(_zero), _equal(None), _associate(BinaryOp.OR)),
    BinaryOp.XOR: (_unit(0), _equal(0), _associate(BinaryOp.XOR)),
    BinaryOp.SHL: (_right_unit(0), _left_zero(0)),
    BinaryOp.SHR: (_right_unit(0), _left_zero(0)),
}
BOOL_RULES: dict[BinaryOp, tuple[PairRule, ...]] = {
    BinaryOp.AND: (_unit(True), _zero(False), _equal(None)),
    BinaryOp.OR: (_unit(False), _zero(True), _equal(None)),
    BinaryOp.XOR: (_unit(False), _equal(False)),
    BinaryOp.MIN: (_unit(True), _zero(False), _equal(None)),
    BinaryOp.MAX: (_unit(False), _zero(True), _equal(None)),
}
_PAIR_RULES = {"f": FLOAT_RULES, "i": INT_RULES, "u": INT_RULES, "b": BOOL_RULES}


# --- the rules of each kind of node --------------------------------------------------------------


def _binary(s: _Simplifier, e: Binary) -> Expr | None:
    a, b = e.lhs, e.rhs
    if isinstance(a, Const) and isinstance(b, Const):
        return _fold(e.op, a, b)
    for rule in _PAIR_RULES[e.dtype.kind].get(e.op, ()):
        found = rule(s, a, b)
        if found is not None:
            return found
    return None


def _collect(s: _Simplifier, e: Binary | Unary) -> Expr | None:
    """Collect an integer sum: `i * 4 + 2 + i - 2` is `i * 5`."""
    sums = (BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, UnaryOp.NEG)
    if not e.dtype.is_int or e.op not in sums:
        return None
    total = s.sum(e)
    if total.cost >= total.size:
        return None
    better = total.build(e.dtype)
    return better if s.sum(better).size < total.size else None


def _unary(_: _Simplifier, e: Unary) -> Expr | None:
    match e.operand:
        case Const(value, dtype):
            return scalars.constant(scalars.UNARY[e.op](scalars.scalar(value, dtype)), dtype)
        case Unary(op, inner) if op is e.op:
            return inner
        case Compare(op, a, b) if not a.dtype.is_float or op in (CompareOp.EQ, CompareOp.NE):
            return Compare(_OPPOSITE[op], a, b)
        case _:
            return None


_OPPOSITE = {
    CompareOp.EQ: CompareOp.NE,
    CompareOp.NE: CompareOp.EQ,
    CompareOp.LT: CompareOp.GE,
    CompareOp.GE: CompareOp.LT,
    CompareOp.GT: CompareOp.LE,
    CompareOp.LE: CompareOp.GT,
}
_MIRRORED = {
    **{op: op for op in (CompareOp.EQ, CompareOp.NE)},
    **{CompareOp.LT: CompareOp.GT, CompareOp.GT: CompareOp.LT},
    **{CompareOp.LE: CompareOp.GE, CompareOp.GE: CompareOp.LE},
}
_REFLEXIVE = (CompareOp.EQ, CompareOp.LE, CompareOp.GE)


def _compare(s: _Simplifier, e: Compare) -> Expr | None:
    op, a, b = e.op, e.lhs, e.rhs
    if isinstance(a, Const) and isinstance(b, Const):
        x, y = scalars.scalar(a.value, a.dtype), scalars.scalar(b.value, b.dtype)
        return Const(bool(scalars.COMPARE[op](x, y)), bool_)
    if a.dtype.is_float:
        return None
    if s.same(a, b):
        return Const(op in _REFLEXIVE, bool_)
    if isinstance(a, Const):
        op, a, b = _MIRRORED[op], b, a
    if isinstance(b, Const) and (found := _compare_const(op, a, b)) is not None:
        return found
    if a.dtype.is_int and op in (CompareOp.EQ, CompareOp.NE):
        difference = s.sum(a).plus(s.sum(b), -1, a.dtype)
        if not difference.terms:
            return Const((difference.const == 0) == (op is CompareOp.EQ), bool_)
    return None


def _compare_const(op: CompareOp, a: Expr, b: Const) -> Expr | None:
    """A comparison with an end of the dtype's range; of a bool with a constant."""
    if a.dtype.is_bool and op in (CompareOp.EQ, CompareOp.NE):
        return a if b.value == (op is CompareOp.EQ) else Unary(UnaryOp.NOT, a)
    if b.value == a.dtype.min_value and op in (CompareOp.LT, CompareOp.GE):
        return Const(op is CompareOp.GE, bool_)
    if b.value == a.dtype.max_value and op in (CompareOp.GT, CompareOp.LE):
        return Const(op is CompareOp.LE, bool_)
    return None


def _cast(_: _Simplifier, e: Cast) -> Expr | None:
    match e.operand:
        case inner if inner.dtype == e.dtype:
            return inner
        case Const(value, dtype):
            low, high = e.dtype.min_value, e.dtype.max_value
            if dtype.is_float and e.dtype.is_int and not low <= value <= high:
                return None
            converted = scalars.convert(scalars.scalar(value, dtype), e.dtype)
            return scalars.constant(converted, e.dtype)
        case Cast(inner) as middle if middle.dtype.holds(inner.dtype):
            if inner.dtype == e.dtype:
                return inner
            # An integer that does not fit converts by way of a float in another manner.
            direct = middle.dtype.kind == inner.dtype.kind or e.dtype.holds(inner.dtype)
            return Cast(inner, e.dtype) if direct else None
        case _:
            return None


# Those whose result is the same on every backend; the rest differ by an ulp or so.
_FOLDED = ("abs", "sign", "floor", "ceil", "round", "trunc", "sqrt", "isnan", "isinf", "isfinite")
_ROUNDING = ("floor", "ceil", "round", "trunc")


def _call(_: _Simplifier, e: Call) -> Expr | None:
    match e.name, e.args:
        case name, (Const(value, dtype),) if name in _FOLDED:
            result = scalars.intrinsic(name, e.dtype)(scalars.scalar(value, dtype))
            return scalars.constant(result, e.dtype)
        case name, (Call(inner) as arg,) if name in _ROUNDING and inner in _ROUNDING:
            return arg
        case "abs" | "sign" as name, (Call(inner) as arg,) if inner == name:
            return arg
        case "abs", (Unary(UnaryOp.NEG, x),) if x.dtype.kind != "u":  # -1 wraps to 255, not 1.
            return Call("abs", (x,), e.dtype)
        case "pow", (x, exponent) if _is(exponent, 1.0):
            return x
        case _:
            return None


def _choice(s: _Simplifier, e: Select | Where) -> Expr | None:
    match e.cond, e.on_true, e.on_false:
        case Const(value), a, b:
            return a if value else b
        case Unary(UnaryOp.NOT, cond), a, b:
            return type(e)(cond, b, a)
        case cond, Const(True, dtype), Const(False) if dtype == bool_:
            return cond
        case _, a, b if s.same(a, b):
            return a
        case _:
            return None


def _let(_: _Simplifier, e: Let) -> Expr | None:
    if e.body is e.var:
        return e.value
    return None if any(part is e.var for part in walk(e.body)) else e.body


_NOTHING = Block(())


def _is_empty(stmt: Stmt | None) -> bool:
    return stmt is None or (isinstance(stmt, Block) and not stmt.stmts)


def _for(_: _Simplifier, e: For) -> Stmt | None:
    never = isinstance(e.extent, Const) and e.extent.value <= 0
    return _NOTHING if never or _is_empty(e.body) else None


def _if(s: _Simplifier, e: If) -> Stmt | None:
    match e.cond:
        case Const(value):
            return (e.body if value else e.orelse) or _NOTHING
        case Unary(UnaryOp.NOT, cond) if e.orelse is not None:
            return If(cond, e.orelse, e.body, loc=e.loc)
        case _:
            pass
    if _is_empty(e.body):
        return _NOTHING if _is_empty(e.orelse) else _if_not(s, e)
    return If(e.cond, e.body, loc=e.loc) if e.orelse and _is_empty(e.orelse) else None


def _if_not(s: _Simplifier, e: If) -> Stmt:
    assert e.orelse is not None, "an empty one has been dropped"
    cond = s.whole(Unary(UnaryOp.NOT, e.cond))
    return If(cond, e.orelse, loc=e.loc)  # type: ignore[arg-type]


def _allocate(_: _Simplifier, e: Allocate) -> Stmt | None:
    return _NOTHING if _is_empty(e.body) else None


def _check(_: _Simplifier, e: Check) -> Stmt | None:
    return _NOTHING if _is(e.cond, True) else None


def _block(_: _Simplifier, e: Block) -> Stmt | None:
    """Drop what does nothing; `with_children` flattens."""
    kept = tuple(s for s in e.stmts if not _is_empty(s))
    if len(kept) == 1:
        return kept[0]
    if any(isinstance(s, Block) for s in kept) or len(kept) < len(e.stmts):
        flat = [part for s in kept for part in (s.stmts if isinstance(s, Block) else (s,))]
        return Block(tuple(flat), loc=e.loc)
    return None


RULES: dict[type, tuple[Rule, ...]] = {
    Binary: (_binary, _collect),
    Unary: (_unary, _collect),
    Compare: (_compare,),
    Cast: (_cast,),
    Call: (_call,),
    Select: (_choice,),
    Where: (_choice,),
    Let: (_let,),
    For: (_for,),
    If: (_if,),
    Allocate: (_allocate,),
    Check: (_check,),
    Block: (_block,),
}
