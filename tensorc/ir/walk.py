"""The one traversal: children, rewriting, substitution, structural equality.

Expressions may share subexpressions, so they form a graph; `rewrite` visits each node once and
keeps the sharing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import is_not
from typing import Any, TypeVar, overload

from tensorc.ir.expr import (
    Binary,
    Buffer,
    Call,
    Cast,
    Compare,
    Const,
    Expr,
    Let,
    Load,
    Reduce,
    Reducer,
    Select,
    Unary,
    Var,
    Where,
)
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    If,
    Leaf,
    Node,
    Program,
    Stmt,
    Store,
    block,
)

STATEMENTS = (For, If, Store, Accumulate, Check, Allocate, Block)

T = TypeVar("T", bound=Node)
Rule = Callable[[Node], "Node | None"]


class _Parts(dict[type, Callable[[Any], tuple[Node, ...]]]):
    """What gives a node's direct parts, by its type; a derived type has those of its base."""

    def __missing__(self, kind: type) -> Callable[[Any], tuple[Node, ...]]:
        found = self[kind] = next(self[base] for base in kind.__mro__ if base in self)
        return found


# The direct parts of each kind of node, in the order in which they are evaluated. A table and no
# `match`: everything walks over expressions, and a lookup by type is several times as fast.
_CHILDREN = _Parts(
    {
        Const: lambda _: (),
        Var: lambda _: (),
        Unary: lambda n: (n.operand,),
        Cast: lambda n: (n.operand,),
        Binary: lambda n: (n.lhs, n.rhs),
        Compare: lambda n: (n.lhs, n.rhs),
        Call: lambda n: n.args,
        Load: lambda n: n.indices,
        Select: lambda n: (n.cond, n.on_true, n.on_false),
        Where: lambda n: (n.cond, n.on_true, n.on_false),
        Let: lambda n: (n.value, n.body),
        Reduce: lambda n: n.values if n.where is None else (n.where, *n.values),
        For: lambda n: (n.start, n.extent, n.body),
        If: lambda n: (n.cond, n.body) if n.orelse is None else (n.cond, n.body, n.orelse),
        Store: lambda n: (*n.indices, n.value),
        Accumulate: lambda n: (*n.indices, *n.values),
        Check: lambda n: (n.cond, *n.values),
        Allocate: lambda n: (n.body,),
        Block: lambda n: n.stmts,
    }
)


def children(node: Node) -> tuple[Node, ...]:
    """The direct parts of `node`, in the order in which they are evaluated."""
    return _CHILDREN[type(node)](node)


def with_children(node: Node, parts: tuple[Node, ...]) -> Node:
    """`node` with its direct parts replaced, in the order of `children`."""
    old = children(node)
    if len(old) == len(parts) and not any(map(is_not, old, parts)):
        return node
    p: tuple[object, ...] = parts
    loc = node.loc
    match node:
        case Const() | Var():
            return node
        case Unary(op, _):
            return Unary(op, *p, loc=loc)  # type: ignore[arg-type]
        case Cast(_, dtype):
            return Cast(*p, dtype, loc=loc)  # type: ignore[arg-type, misc]
        case Binary(bop, _, _):
            return Binary(bop, *p, loc=loc)  # type: ignore[arg-type]
        case Compare(cop, _, _):
            return Compare(cop, *p, loc=loc)  # type: ignore[arg-type]
        case Call(name, _, dtype):
            return Call(name, p, dtype, loc=loc)  # type: ignore[arg-type]
        case Load(buffer, _):
            return Load(buffer, p, loc=loc)  # type: ignore[arg-type]
        case Select():
            return Select(*p, loc=loc)  # type: ignore[arg-type]
        case Where():
            return Where(*p, loc=loc)  # type: ignore[arg-type]
        case Let(var, _, _):
            return Let(var, *p, loc=loc)  # type: ignore[arg-type]
        case Reduce(reducer, axes, _, where, index):
            cond, values = (None, p) if where is None else (p[0], p[1:])
            return Reduce(reducer, axes, values, cond, index, loc=loc)  # type: ignore[arg-type]
        case For(var, _, _, _, kind):
            more = {"axis": node.axis, "annotations": node.annotations, "loc": loc}
            return For(var, *p, kind, **more)  # type: ignore[arg-type, call-arg]
        case If():
            return If(*p, loc=loc)  # type: ignore[arg-type]
        case Store(buffer, _, _):
            return Store(buffer, p[:-1], p[-1], loc=loc)  # type: ignore[arg-type]
        case Accumulate(reducer, buffers, indices, _):
            n = len(indices)
            return Accumulate(reducer, buffers, p[:n], p[n:], loc=loc)  # type: ignore[arg-type]
        case Check(_, message, _):
            return Check(p[0], message, p[1:], loc=loc)  # type: ignore[arg-type]
        case Allocate(buffer, _):
            return Allocate(buffer, *p, loc=loc)  # type: ignore[arg-type]
        case Block():
            return block(p)  # type: ignore[arg-type]


def rewrite(node: T, rule: Rule) -> T:
    """Apply `rule` to every node, parts first; None leaves a node as it is.

    What does not change is shared, so `is` detects that nothing happened. The result of a rule is
    not visited again.
    """
    return _rewritten(node, rule, {})  # type: ignore[return-value]


def _rewritten(node: Node, rule: Rule, memo: dict[int, Node]) -> Node:
    """`node` rewritten; `memo` has the results by the identity of nodes."""
    # Not a closure: one that calls itself is a cycle, which waits for the garbage collector.
    done = memo.get(id(node))
    if done is None:
        parts = _CHILDREN[type(node)](node)
        rebuilt = node
        if parts:
            rebuilt = with_children(node, tuple([_rewritten(c, rule, memo) for c in parts]))
        replaced = rule(rebuilt)
        done = memo[id(node)] = rebuilt if replaced is None else replaced
    return done


def substitute(node: T, values: Mapping[Var, Expr]) -> T:
    """Replace free variables by expressions. No value may hold a variable bound inside `node`."""
    if not values:
        return node
    return rewrite(node, lambda n: values.get(n) if isinstance(n, Var) else None)


def replace_buffers(node: T, buffers: Mapping[Buffer, Buffer]) -> T:
    """Replace whole buffers where they are read, written or allocated; indices stay."""

    def rule(n: Node) -> Node | None:
        match n:
            case Load(b, indices) if b in buffers:
                return Load(buffers[b], indices, loc=n.loc)
            case Store(b, indices, value) if b in buffers:
                return Store(buffers[b], indices, value, loc=n.loc)
            case Accumulate(reducer, bs, indices, values) if any(b in buffers for b in bs):
                new = tuple(buffers.get(b, b) for b in bs)
                return Accumulate(reducer, new, indices, values, loc=n.loc)
            case Allocate(b, body) if b in buffers:
                return Allocate(buffers[b], body, loc=n.loc)
            case _:
                return None

    return rewrite(node, rule)


def walk(node: Node) -> Iterator[Node]:
    """Every node once, parents before parts, in text order."""
    seen: set[int] = set()
    stack: list[Node] = [node]
    while stack:
        n = stack.pop()
        if id(n) in seen:
            continue
        seen.add(id(n))
        yield n
        parts = _CHILDREN[type(n)](n)
        if parts:
            stack.extend(parts[::-1])


def loads(node: Node) -> list[Load]:
    """Every load in `node`, in text order; a shared one counts once."""
    if isinstance(node, Const | Var):
        return []
    return [n for n in walk(node) if isinstance(n, Load)]


def leaves(stmt: Stmt) -> list[Leaf]:
    """The statements that do something, in text order."""
    return [n for n in walk_stmts(stmt) if isinstance(n, Store | Accumulate | Check)]


def walk_stmts(stmt: Stmt) -> Iterator[Stmt]:
    """Every statement, parents first, in text order, expressions left aside."""
    stack: list[Stmt] = [stmt]
    while stack:  # No recursion: nested generators pay for their depth with every item.
        s = stack.pop()
        yield s
        inside = [p for p in children(s) if isinstance(p, STATEMENTS)]
        stack.extend(reversed(inside))


def free_vars(node: Node) -> list[Var]:
    """The variables that `node` uses and does not bind, in order of first use."""
    bound: set[Var] = set()
    used: dict[Var, None] = {}
    for n in walk(node):
        match n:
            case Var():
                used[n] = None
            case Let(var, _, _) | For(var, _, _, _, _):
                bound.add(var)
            case Reduce(_, axes, _, _, _):
                bound.update(axes)
            case _:
                pass
    return [v for v in used if v not in bound]


def written_buffers(leaf: Leaf) -> tuple[Buffer, ...]:
    """The buffers that a leaf statement writes."""
    match leaf:
        case Store(buffer, _, _):
            return (buffer,)
        case Accumulate(_, buffers, _, _):
            return buffers
        case Check():
            return ()


@overload
def same(a: Node, b: Node) -> bool: ...
@overload
def same(a: Program, b: Program) -> bool: ...
def same(a: Node | Program, b: Node | Program) -> bool:
    """Whether two nodes or programs have one structure.

    Bound variables, buffers and sizes correspond by position and must agree in name; source
    lines do not matter.
    """
    return _Same().top(a, b)


class _Same:
    """Structural comparison under a one-to-one match of variables and buffers."""

    def __init__(self) -> None:
        self.vars: dict[Var, Var] = {}
        self.buffers: dict[Buffer, Buffer] = {}
        self.done: set[tuple[int, int]] = set()

    def top(self, a: Node | Program, b: Node | Program) -> bool:
        if isinstance(a, Program) or isinstance(b, Program):
            return (
                isinstance(a, Program)
                and isinstance(b, Program)
                and a.name == b.name
                and len(a.params) == len(b.params)
                and len(a.dims) == len(b.dims)
                and all(
                    self.var(x, y) and x.lower == y.lower
                    for x, y in zip(a.dims, b.dims, strict=True)
                )
                and all(
                    x.role is y.role and self.buffer(x.buffer, y.buffer)
                    for x, y in zip(a.params, b.params, strict=True)
                )
                and self.node(a.body, b.body)
            )
        return self.node(a, b)

    def var(self, a: Var, b: Var) -> bool:
        known = self.vars.get(a)
        if known is None:
            if a.name != b.name or a.dtype != b.dtype:
                return False
            self.vars[a] = b
            return True
        return known is b

    def bind(self, a: Var, b: Var) -> bool:
        """Two variables are bound here; one variable may be bound again, beside or inside."""
        self.vars[a] = b
        self.done.clear()
        return a.name == b.name and a.dtype == b.dtype

    def buffer(self, a: Buffer, b: Buffer) -> bool:
        known = self.buffers.get(a)
        if known is None:
            if (a.name, a.dtype, a.scope, a.ndim) != (b.name, b.dtype, b.scope, b.ndim):
                return False
            if a.swizzle != b.swizzle:
                return False
            if not all(self.node(x, y) for x, y in zip(a.shape, b.shape, strict=True)):
                return False
            self.buffers[a] = b
            return True
        return known is b

    def node(self, a: Node, b: Node) -> bool:
        if (id(a), id(b)) in self.done:
            return True
        if type(a) is not type(b) and not (isinstance(a, Var) and isinstance(b, Var)):
            return False
        if not self.own(a, b):
            return False
        xs, ys = children(a), children(b)
        if len(xs) != len(ys) or not all(self.node(x, y) for x, y in zip(xs, ys, strict=True)):
            return False
        self.done.add((id(a), id(b)))
        return True

    def own(self, a: Node, b: Node) -> bool:
        """Compare what `children` leaves out."""
        match a, b:
            case Const(), Const():
                # Compare text: 0.0 == -0.0, yet they differ; NaN != NaN, yet they do not.
                return a.dtype == b.dtype and repr(a.value) == repr(b.value)
            case Var(), Var():
                return self.var(a, b)
            case (Unary(), Unary()) | (Binary(), Binary()) | (Compare(), Compare()):
                return a.op is b.op  # type: ignore[union-attr]
            case Cast(), Cast():
                return a.dtype == b.dtype
            case Call(), Call():
                return a.name == b.name and a.dtype == b.dtype
            case Load(), Load():
                return self.buffer(a.buffer, b.buffer)
            case Let(), Let():
                return self.bind(a.var, b.var)
            case Reduce(), Reduce():
                return (
                    self.reducer(a.reducer, b.reducer)
                    and a.index == b.index
                    and len(a.axes) == len(b.axes)
                    and all(self.var(x, y) for x, y in zip(a.axes, b.axes, strict=True))
                )
            case For(), For():
                # Compare text: 1 == True, yet they print apart.
                hints = repr(a.annotations) == repr(b.annotations)
                kind = a.kind is b.kind and a.axis == b.axis
                return kind and hints and self.bind(a.var, b.var)
            case Store(), Store():
                return self.buffer(a.buffer, b.buffer)
            case Accumulate(), Accumulate():
                return self.reducer(a.reducer, b.reducer) and all(
                    self.buffer(x, y) for x, y in zip(a.buffers, b.buffers, strict=True)
                )
            case Check(), Check():
                return a.message == b.message
            case Allocate(), Allocate():
                return self.buffer(a.buffer, b.buffer)
            case _:
                return True

    def reducer(self, a: Reducer, b: Reducer) -> bool:
        if a is b:
            return True
        flags = ("name", "arity", "associative", "commutative", "empty")
        if any(getattr(a, f) != getattr(b, f) for f in flags):
            return False
        inner = _Same()
        inner.vars = dict(zip((*a.lhs, *a.rhs), (*b.lhs, *b.rhs), strict=True))
        pairs = zip((*a.identity, *a.result), (*b.identity, *b.result), strict=True)
        return all(inner.node(x, y) for x, y in pairs)
