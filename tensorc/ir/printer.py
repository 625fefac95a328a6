"""IR to text. `parser` reads the text back to the same structure.

    program scale(A: in float32[n, 16], B: out float32[n, 16]) dims(n >= 0):
      alloc T: float32[16] local
        for i in range(n):
          for j in vectorized(16):
            T[j] = A[i, j] * 2.0
          for j in parallel(2, 16):
            B[i, j] += T[j]
          check idx[i] < n, "row {0}", (idx[i])

A loop's hints follow its domain, `for i in range(8) {unroll: 4, name: "x"}:`; one that is bound to
an axis of a grid is named for it, `for i in thread.x(32):`. A shared buffer's swizzle follows its
scope: `alloc S: float16[64, 64] shared swizzle(128)`.
An int64 constant prints bare, a float32 one with a dot or an exponent, others as `int32(4)`. A
conversion prints as `float32(x)`, of a constant as `cast(float32, 2)`. Operators have Python's
precedence; `and`, `or`, `not` are the logical ones of bools. Nested blocks print as one, and a
subexpression that is shared prints in each place.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from tensorc.dtypes import ALL_DTYPES, bool_, float32, int64
from tensorc.errors import DTypeError
from tensorc.ir import expr as expressions
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
    Reducer,
    Select,
    Unary,
    UnaryOp,
    Var,
    Where,
)
from tensorc.ir.intrinsics import INTRINSICS
from tensorc.ir.reducers import NAMES, builtin
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    ForKind,
    If,
    Node,
    Program,
    Stmt,
    Store,
)
from tensorc.ir.walk import free_vars, same, walk_stmts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ASSIGN", "FLAGS", "KEYWORDS", "LEVEL", "LOOP", "builtin_name", "show"]

# Words that no variable or buffer may be called in the text; one that is gets a suffix.
KEYWORDS = (
    *("program", "reducer", "dims", "alloc", "for", "in", "if", "else", "check", "pass", "let"),
    *("and", "or", "not", "True", "False", "inf", "nan"),
    *(dtype.name for dtype in ALL_DTYPES),
)

# How tightly an operator binds; 0 is a `let`, which ends as late as it can.
LEVEL = {
    "or": 1,
    "and": 2,
    "not": 3,
    **dict.fromkeys((op.value for op in CompareOp), 4),
    "|": 5,
    "^": 6,
    "&": 7,
    **dict.fromkeys(("<<", ">>"), 8),
    **dict.fromkeys(("+", "-"), 9),
    **dict.fromkeys(("*", "/", "//", "%"), 10),
}
_NOT, _COMPARE, _UNARY, _ATOM = 3, 4, 11, 12
_BOOL_WORDS = {BinaryOp.AND: "and", BinaryOp.OR: "or"}

LOOP = {
    ForKind.SERIAL: "range",
    ForKind.PARALLEL: "parallel",
    ForKind.VECTORIZED: "vectorized",
    ForKind.UNROLLED: "unrolled",
}
# The built-in reducers that are written as an operator; others by name, as in `argmax=`.
ASSIGN = {"sum": "+=", "prod": "*=", "max": "max=", "min": "min=", "all": "and=", "any": "or="}
FLAGS = {"associative": "nonassociative", "commutative": "noncommutative", "empty": "nonempty"}

K = TypeVar("K", Var, Buffer, Reducer)


def show(node: Node | Program, mark: frozenset[int] = frozenset()) -> str:
    """The text of an expression, a statement or a program, without a newline at its end.

    Args:
        node: what to print; names are made unique where two of one name meet.
        mark: ids of statements. Where there are any, each line has a gutter, which is `> `
            for the first line of a statement in `mark`.
    """
    printer = _Printer(mark)
    if isinstance(node, Program):
        printer.program(node)
    elif isinstance(node, For | If | Store | Accumulate | Check | Allocate | Block):
        for var in free_vars(node):
            printer.var(var)
        printer.stmt(node, 0)
    else:
        return printer.expr(node)
    return "\n".join(printer.lines)


expressions._SHOW[0] = show


def builtin_name(reducer: Reducer) -> str | None:
    """The name under which `reducers.builtin` has this very reduction, else None."""
    if reducer.name not in NAMES:
        return None
    try:
        other = builtin(reducer.name, *(v.dtype for v in reducer.lhs))
    except (DTypeError, TypeError):
        return None
    if reducer is other:
        return reducer.name
    units = reducer.identity
    alike = reducer.arity == other.arity and all(
        a.dtype == b.dtype for a, b in zip(units, other.identity, strict=True)
    )
    equal = alike and same(Reduce(reducer, (), units), Reduce(other, (), units))
    return reducer.name if equal else None


class _Printer:
    """The names in scope and the lines so far."""

    def __init__(self, mark: frozenset[int]) -> None:
        self.mark = mark
        self.lines: list[str] = []
        self.vars: dict[Var, str] = {}
        self.buffers: dict[Buffer, str] = {}
        self.reducers: dict[Reducer, str] = {}

    def var(self, var: Var) -> str:
        return self.vars.get(var) or _enter(self.vars, var, KEYWORDS)

    def buffer(self, buffer: Buffer) -> str:
        return self.buffers.get(buffer) or _enter(self.buffers, buffer, KEYWORDS)

    def reducer(self, reducer: Reducer) -> str:
        if reducer not in self.reducers:
            name = builtin_name(reducer)
            if name is None:
                return _enter(self.reducers, reducer, (*NAMES, "and", "or"))
            self.reducers[reducer] = name
        return self.reducers[reducer]

    def line(self, depth: int, text: str, stmt: Stmt | None = None) -> None:
        gutter = "" if not self.mark else "> " if id(stmt) in self.mark else "  "
        self.lines.append(gutter + "  " * depth + text)

    # --- programs and statements ---------------------------------------------------------------

    def program(self, p: Program) -> None:
        for stmt in walk_stmts(p.body):
            if isinstance(stmt, Accumulate) and stmt.reducer not in self.reducers:
                self.reducer(stmt.reducer)
                if builtin_name(stmt.reducer) is None:
                    self.declare(stmt.reducer)
        dims = ", ".join(f"{_typed(self.var(d), d)} >= {d.lower}" for d in p.dims)
        params = ", ".join(
            f"{self.buffer(q.buffer)}: {q.role.value} {self.storage(q.buffer)}" for q in p.params
        )
        self.line(0, f"program {p.name}({params}){f' dims({dims})' if dims else ''}:")
        self.stmt(p.body, 1)

    def declare(self, reducer: Reducer) -> None:
        bound = (*reducer.lhs, *reducer.rhs)
        with self.bound(bound):
            params = ", ".join(f"{self.vars[v]}: {v.dtype}" for v in bound)
            words = [word for flag, word in FLAGS.items() if not getattr(reducer, flag)]
            head = f"reducer {self.reducers[reducer]}({params})"
            unit, result = self.list(reducer.identity), self.list(reducer.result)
            self.line(0, " ".join([head, f"identity ({unit})", *words, f"= ({result})"]))

    def storage(self, buffer: Buffer) -> str:
        scope = "" if buffer.scope == "global" else f" {buffer.scope}"
        scope += "" if buffer.swizzle is None else f" {buffer.swizzle}"
        return f"{buffer.dtype}[{self.list(buffer.shape)}]{scope}"

    def stmt(self, stmt: Stmt, depth: int) -> None:
        match stmt:
            case Block(stmts):
                if not stmts:
                    self.line(depth, "pass", stmt)
                for part in stmts:
                    self.stmt(part, depth)
            case For():
                domain = self.domain(stmt)
                with self.bound((stmt.var,)):
                    name = _typed(self.vars[stmt.var], stmt.var)
                    kind = stmt.axis or LOOP[stmt.kind]
                    self.line(depth, f"for {name} in {kind}({domain}){_hints(stmt)}:", stmt)
                    self.stmt(stmt.body, depth + 1)
            case If(cond, body, orelse):
                self.line(depth, f"if {self.expr(cond)}:", stmt)
                self.stmt(body, depth + 1)
                if orelse is not None:
                    self.line(depth, "else:", stmt)
                    self.stmt(orelse, depth + 1)
            case Store(buffer, indices, value):
                self.line(depth, f"{self.access(buffer, indices)} = {self.expr(value)}", stmt)
            case Accumulate():
                self.line(depth, self.accumulate(stmt), stmt)
            case Check(cond, message, values):
                shown = f", ({self.list(values)})" if values else ""
                text = json.dumps(message, ensure_ascii=False)
                self.line(depth, f"check {self.expr(cond)}, {text}{shown}", stmt)
            case Allocate(buffer, body):
                storage = self.storage(buffer)
                name = _enter(self.buffers, buffer, KEYWORDS)
                self.line(depth, f"alloc {name}: {storage}", stmt)
                self.stmt(body, depth if isinstance(body, Allocate) else depth + 1)
                self.buffers.pop(buffer, None)

    def domain(self, f: For) -> str:
        """The arguments of `range`: `extent` from 0, else `start, start + extent`."""
        start, extent = self.expr(f.start), self.expr(f.extent)
        if isinstance(f.start, Const) and f.start.value == 0:
            return extent
        if isinstance(f.start, Const) and isinstance(f.extent, Const):
            stop = int(f.start.value) + int(f.extent.value)
            if stop <= f.var.dtype.max_value:
                return f"{start}, {_number(Const(stop, f.var.dtype))}"
        match f.extent:
            case Binary(BinaryOp.SUB, end, begin) if self.expr(begin) == start:
                text = self.expr(end)
                both = isinstance(f.start, Const) and isinstance(end, Const)
                if not both and not self.starts_with(end, start):
                    return f"{start}, {text}"
            case _:
                pass
        return f"{start}, {self.expr(Binary(BinaryOp.ADD, f.start, f.extent))}"

    def starts_with(self, end: Expr, start: str) -> bool:
        match end:
            case Binary(BinaryOp.ADD, lhs, _):
                return self.expr(lhs) == start
            case _:
                return False

    def accumulate(self, stmt: Accumulate) -> str:
        targets = ", ".join(self.access(b, stmt.indices) for b in stmt.buffers)
        name = self.reducer(stmt.reducer)
        sign = ASSIGN.get(name, f"{name}=")
        values = self.list(stmt.values)
        if stmt.reducer.arity == 1:
            return f"{targets} {sign} {values}"
        return f"({targets}) {sign} ({values})"

    # --- expressions -----------------------------------------------------------------------------

    def access(self, buffer: Buffer, indices: Sequence[Expr]) -> str:
        return f"{self.buffer(buffer)}[{self.list(indices)}]"

    def list(self, exprs: Sequence[Expr]) -> str:
        return ", ".join([self.expr(e) for e in exprs])

    def expr(self, e: Expr, least: int = 0) -> str:
        """The text of `e`, in parentheses where it binds less tightly than `least`."""
        level = _ATOM
        match e:
            case Const():
                text = _number(e)
            case Var():
                text = self.var(e)
            case Load(buffer, indices):
                text = self.access(buffer, indices)
            case Binary(BinaryOp.MIN | BinaryOp.MAX as op, lhs, rhs):
                text = f"{op.value}({self.list((lhs, rhs))})"
            case Binary():
                level = LEVEL[_sign(e)]
                text = self.chain(e, level)
            case Compare(op, lhs, rhs):
                level = _COMPARE
                text = f"{self.expr(lhs, level + 1)} {op.value} {self.expr(rhs, level + 1)}"
            case Unary(UnaryOp.NOT, operand) if operand.dtype == bool_:
                level = _NOT
                text = f"not {self.expr(operand, level)}"
            case Unary(op, operand):
                level = _UNARY
                inner = self.expr(operand, level)
                # `-4` is a constant, the negative of the constant 4 is `-(4)`.
                text = f"{op.value}({inner})" if inner[0].isdigit() else op.value + inner
            case Cast(Const() as operand, dtype):
                text = f"cast({dtype}, {_number(operand)})"
            case Cast(operand, dtype):
                text = f"{dtype}({self.expr(operand)})"
            case Call(name, args, dtype):
                given = f"{dtype}, " if INTRINSICS[name].result == "given" else ""
                text = f"{name}({given}{self.list(args)})"
            case Select(cond, a, b):
                text = f"select({self.list((cond, a, b))})"
            case Where(cond, a, b):
                text = f"where({self.list((cond, a, b))})"
            case Let(var, value, body):
                level, shown = 0, self.expr(value)
                with self.bound((var,)):
                    text = f"let {self.vars[var]} = {shown} in {self.expr(body)}"
            case Reduce():
                text = self.reduce(e)
        return text if level >= least else f"({text})"

    def chain(self, e: Binary, level: int) -> str:
        """`a + b - c`: left operands of one level need no parentheses, however many there are."""
        parts: list[str] = []
        first: Expr = e
        while isinstance(first, Binary) and LEVEL.get(_sign(first)) == level:
            parts += (self.expr(first.rhs, level + 1), _sign(first))
            first = first.lhs
        parts.append(self.expr(first, level))
        return " ".join(reversed(parts))

    def reduce(self, e: Reduce) -> str:
        with self.bound(e.axes):
            names = ", ".join(self.vars[a] for a in e.axes)
            axis = names if len(e.axes) == 1 else f"({names})"
            where = "" if e.where is None else f", where={self.expr(e.where)}"
            text = f"{self.reducer(e.reducer)}({self.list(e.values)}, axis={axis}{where})"
        return text if e.reducer.arity == 1 else f"{text}[{e.index}]"

    @contextmanager
    def bound(self, variables: Sequence[Var]) -> Iterator[None]:
        """Give the variables names of their own, for as long as they are in scope."""
        outer = {v: self.vars.pop(v) for v in variables if v in self.vars}
        for v in variables:
            _enter(self.vars, v, KEYWORDS)
        yield
        for v in variables:
            self.vars.pop(v, None)
        self.vars.update(outer)


def _enter(names: dict[K, str], key: K, reserved: Sequence[str]) -> str:
    """Name `key` in `names`: as it calls itself, with a number where that is taken."""
    taken = set(names.values())
    name, count = key.name, 0
    while name in taken or name in reserved:
        count += 1
        name = f"{key.name}_{count}"
    names[key] = name
    return name


def _typed(name: str, var: Var) -> str:
    return name if var.dtype == int64 else f"{name}: {var.dtype}"


def _hints(loop: For) -> str:
    """` {key: value, ...}` where the loop has annotations."""
    pairs = [
        f"{key}: {json.dumps(value, ensure_ascii=False) if isinstance(value, str) else value}"
        for key, value in loop.annotations
    ]
    return f" {{{', '.join(pairs)}}}" if pairs else ""


def _sign(e: Binary) -> str:
    word = _BOOL_WORDS.get(e.op) if e.lhs.dtype.is_bool else None
    return word or e.op.value


def _number(c: Const) -> str:
    if c.dtype.is_bool or c.dtype == int64:
        return str(c.value)
    text = _shortest(c) if c.dtype.is_float else str(c.value)
    return text if c.dtype == float32 and np.isfinite(c.value) else f"{c.dtype}({text})"


def _shortest(c: Const) -> str:
    """The shortest decimal that rounds to `c`, by way of float64, in its own dtype."""
    text = str(np.float64(c.value).astype(c.dtype.numpy))
    if not any(mark in text for mark in ".en"):
        text += ".0"
    return text if repr(Const(float(text), c.dtype).value) == repr(c.value) else repr(c.value)
