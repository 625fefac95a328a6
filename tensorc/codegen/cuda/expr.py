"""Expressions to C.

An expression becomes one C expression where it can; what is named (a `Let`), what is used twice,
and the sides of a `Where` that need statements of their own become statements before it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tensorc.codegen.cuda import arith
from tensorc.codegen.cuda.ranges import INT32, Ranges, within
from tensorc.codegen.cuda.types import ATOM, CHOICE, UNARY, VALUE, Text, literal
from tensorc.dtypes import int64
from tensorc.ir.expr import (
    Binary,
    Buffer,
    Call,
    Cast,
    Compare,
    Const,
    Dim,
    Expr,
    Let,
    Load,
    Reduce,
    Select,
    Unary,
    Var,
    Where,
)
from tensorc.ir.walk import children, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tensorc.codegen.cuda.names import Names
    from tensorc.codegen.cuda.places import Place


_WIDTH = 96  # Characters of a call that stands on one line.


class Writer:
    """Lines of C at the depth where they stand."""

    def __init__(self) -> None:
        """No line yet."""
        self.lines: list[str] = []
        self.depth = 1

    def line(self, text: str) -> None:
        """Add a line."""
        self.lines.append(f"{'  ' * self.depth}{text}" if text else "")

    def call(self, name: str, *args: str) -> None:
        """Add a call, on two lines where one would be long."""
        text = ", ".join(args)
        if 2 * self.depth + len(name) + len(text) <= _WIDTH:
            self.line(f"{name}({text});")
        else:
            self.line(f"{name}(")
            self.line(f"    {text});")

    @contextmanager
    def inside(self, head: str) -> Iterator[None]:
        """A block: `head {`, what is written within, `}`."""
        self.line(f"{head} {{".lstrip())
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")


class ExprEmitter:
    """Writes expressions in the state of the statement around them.

    Attributes:
        vars: the C expressions of the variables that are bound here.
        places: where the buffers in scope are.
        ranges: how large the variables get.
    """

    def __init__(self, names: Names) -> None:
        """Start with nothing bound."""
        self.names = names
        self.vars: dict[Var, Text] = {}
        self.places: dict[Buffer, Place] = {}
        self.ranges = Ranges()
        self.out = Writer()
        self.memo: list[dict[int, Text]] = [{}]
        self.uses: dict[int, int] = {}

    # --- what statements ask for -----------------------------------------------------------

    @contextmanager
    def statement(self, *parts: Expr) -> Iterator[None]:
        """Within, a value that `parts` use more than once is computed once."""
        outer = self.memo, self.uses
        self.memo, self.uses = [{}], _uses(parts)
        yield
        self.memo, self.uses = outer

    @contextmanager
    def region(self) -> Iterator[None]:
        """Within, what is computed once is known only here: a block of its own."""
        self.memo.append({})
        yield
        self.memo.pop()

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Within, new names are those of a block in braces."""
        outer, self.names = self.names, self.names.inner()
        yield
        self.names = outer

    def value(self, expr: Expr) -> Text:
        """The text of `expr`."""
        if isinstance(expr, Var):
            return self.vars[expr]
        for known in reversed(self.memo):
            if id(expr) in known:
                return known[id(expr)]
        found = self._text(expr)
        if self.uses.get(id(expr), 0) > 1:
            if _is_worth(expr) and not found.text.isidentifier():
                found = self.named("t", found)
            self.memo[-1][id(expr)] = found
        return found

    def named(self, name: str, value: Text) -> Text:
        """A constant that holds `value` from here on."""
        text = self.names.fresh(name)
        self.out.line(f"const {value.ctype} {text} = {value.text};")
        return Text(text, ATOM, value.ctype)

    def condition(self, expr: Expr) -> str:
        """The text of a condition."""
        return self.value(expr).text

    def load(self, buffer: Buffer, indices: Sequence[Expr]) -> Text:
        """The element of `buffer` at `indices`, as a value."""
        return arith.from_memory(self.element(buffer, indices), buffer.dtype)

    def element(self, buffer: Buffer, indices: Sequence[Expr]) -> Text:
        """What C calls the element of `buffer` at `indices`."""
        place = self.places[buffer]
        return Text(place.element(self, indices), ATOM, place.ctype)

    # --- evaluation ------------------------------------------------------------------------

    def _text(self, expr: Expr) -> Text:
        match expr:
            case Var():
                return self.vars[expr]
            case Const(value, dtype):
                return literal(value, dtype)
            case Unary(op, x):
                return arith.unary(self, op, x, expr)
            case Binary(op, x, y):
                return arith.binary(self, op, x, y, expr)
            case Compare(cop, x, y):
                return arith.compare(self, cop, x, y)
            case Cast(x, dtype):
                return arith.convert(self, x, dtype)
            case Call(name, args, dtype):
                return arith.intrinsic(self, name, args, dtype)
            case Load(buffer, indices):
                return self.load(buffer, indices)
            case Select(cond, x, y) | Where(cond, x, y):
                return self._choice(cond, x, y)
            case Let():
                while isinstance(expr, Let):  # They nest deeply.
                    inner = self.value(expr.value)
                    self.ranges.vars[expr.var] = self.ranges.of(expr.value)
                    plain = inner.text.isidentifier()
                    self.vars[expr.var] = inner if plain else self.named(expr.var.name, inner)
                    expr = expr.body
                return self.value(expr)
            case Reduce():
                raise AssertionError(f"a Reduce in a program: {expr}")

    def _choice(self, cond: Expr, x: Expr, y: Expr) -> Text:
        """`cond ? x : y`, or an `if` where a side needs statements."""
        test = self.value(cond)
        sides: list[tuple[list[str], Text]] = []
        for side in (x, y):
            outer, self.out.lines = self.out.lines, []
            self.out.depth += 1
            with self.region():
                value = self.value(side)
            self.out.depth -= 1
            sides.append((self.out.lines, value))
            self.out.lines = outer
        (first, a), (second, b) = sides
        ctype = a.ctype if a.ctype == b.ctype else VALUE[x.dtype.name]
        if not first and not second:
            return Text(
                f"{test.at(CHOICE + 1)} ? {a.at(CHOICE + 1)} : {b.at(CHOICE)}", CHOICE, ctype
            )
        name = self.names.fresh("chosen")
        self.out.line(f"{ctype} {name};")
        for head, lines, value in ((f"if ({test.text}) {{", first, a), ("} else {", second, b)):
            self.out.line(head)
            self.out.lines += lines
            self.out.line(f"  {name} = {value.text};")
        self.out.line("}")
        return Text(name, ATOM, ctype)

    def integer(self, expr: Expr, ctype: str) -> Text:
        """An integer value as C's `ctype`."""
        value = self.value(expr)
        return value if value.ctype == ctype else Text(f"({ctype}){value.at(UNARY)}", UNARY, ctype)

    def index_type(self, expr: Expr) -> str:
        """The C type in which an int64 expression is computed."""
        return "int" if within(self.ranges.of(expr), INT32) else "long long"


def _uses(parts: Sequence[Expr]) -> dict[int, int]:
    """How many places use each node of `parts`."""
    count: dict[int, int] = {}
    seen: set[int] = set()
    stack: list[Expr] = list(parts)
    for part in parts:
        count[id(part)] = count.get(id(part), 0) + 1
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for child in children(node):
            count[id(child)] = count.get(id(child), 0) + 1
            stack.append(child)  # type: ignore[arg-type]
    return count


def _is_worth(expr: Expr) -> bool:
    """Whether a value that is used twice gets a name: an index is short, and C finds it again."""
    if isinstance(expr, Const | Var | Dim):
        return False
    if expr.dtype == int64:
        return any(isinstance(n, Load) for n in walk(expr))
    return not isinstance(expr, Cast) or not isinstance(expr.operand, Const | Var)
