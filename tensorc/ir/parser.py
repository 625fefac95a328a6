"""Text to IR: the inverse of `printer`, whose first lines show the language.

Blocks are told by indentation, as in Python; `#` starts a comment.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeVar

from tensorc.dtypes import ALL_DTYPES, DType, bool_, float32, int64
from tensorc.errors import IRError, ParseError, TensorcError
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Call,
    Cast,
    Compare,
    CompareOp,
    Const,
    Dim,
    Expr,
    Let,
    Load,
    Reducer,
    Select,
    Unary,
    UnaryOp,
    Var,
    Where,
)
from tensorc.ir.intrinsics import INTRINSICS
from tensorc.ir.printer import ASSIGN, FLAGS, KEYWORDS, LEVEL, LOOP
from tensorc.ir.reducers import NAMES, builtin
from tensorc.ir.stmt import (
    GRID_AXES,
    Accumulate,
    Allocate,
    Check,
    For,
    ForKind,
    Hint,
    If,
    Param,
    Program,
    Role,
    Stmt,
    Store,
    block,
)
from tensorc.ir.swizzle import Swizzle
from tensorc.ir.walk import same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["ParseError", "parse"]

T = TypeVar("T")

_TOKEN = re.compile(
    r"""(?P<space>[ \t]+|\#.*)
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_.]*)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<sign>\+=|\*=|==|!=|<=|>=|<<|>>|//|[-+*/%<>=&|^~()\[\]{}:,])""",
    re.VERBOSE,
)
_DTYPES = {dtype.name: dtype for dtype in ALL_DTYPES}
_KINDS = {word: kind for kind, word in LOOP.items()}
_REDUCERS = {sign: name for name, sign in ASSIGN.items()}
_COMPARE = {op.value: op for op in CompareOp}
_BINARY = {op.value: op for op in BinaryOp} | {"and": BinaryOp.AND, "or": BinaryOp.OR}
_FLAG_OF = {word: flag for flag, word in FLAGS.items()}


class _Token(NamedTuple):
    """A piece of text: of a group of `_TOKEN`, or "newline", "indent", "dedent", "end"."""

    kind: str
    text: str
    line: int
    column: int


def parse(text: str) -> Program:
    """The program that `text` shows; common indentation of all lines is ignored.

    Raises:
        ParseError: with the line, the column (both from 1) and the text that does not fit.
    """
    parser = _Parser(text)
    try:
        return parser.program()
    except RecursionError:
        _refuse(parser.token, "this is nested too deeply to be parsed")


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    depths: list[int] = []
    number = 0
    for number, line in enumerate(text.split("\n"), 1):
        found = _line_tokens(line, number)
        if not found:
            continue
        depth = found[0].column - 1
        if not depths:
            depths.append(depth)
        if depth > depths[-1]:
            depths.append(depth)
            tokens.append(_Token("indent", "", number, depth + 1))
        while depth < depths[-1]:
            depths.pop()
            tokens.append(_Token("dedent", "", number, depth + 1))
            if not depths or depth > depths[-1]:
                _refuse(found[0], "this indentation matches no line above")
        tokens += found
        tokens.append(_Token("newline", "", number, len(line) + 1))
    tokens += [_Token("dedent", "", number + 1, 1) for _ in depths[1:]]
    tokens.append(_Token("end", "", number + 1, 1))
    return tokens


def _line_tokens(line: str, number: int) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(line):
        match = _TOKEN.match(line, at)
        if match is None:
            _refuse(_Token("sign", line[at:], number, at + 1), "this is no part of the language")
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(_Token(kind, match[0], number, at + 1))
        at = match.end()
    return found


def _refuse(token: _Token, problem: str) -> NoReturn:
    shown = {"newline": "end of line", "end": "end of text"}.get(token.kind, repr(token.text))
    if token.kind in ("indent", "dedent"):
        shown = "indentation"
    raise ParseError(f"line {token.line}, column {token.column}: {problem}, at {shown}")


class _Parser:
    """Recursive descent over the tokens, with the names in scope."""

    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.vars: dict[str, Var] = {}
        self.buffers: dict[str, Buffer] = {}
        self.reducers: dict[str, Reducer] = {}

    # --- tokens ----------------------------------------------------------------------------------

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def ahead(self, count: int = 1) -> _Token:
        return self.tokens[min(self.at + count, len(self.tokens) - 1)]

    def next(self) -> _Token:
        token = self.token
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def sees(self, *texts: str) -> bool:
        return self.token.text in texts and self.token.kind in ("sign", "name")

    def accept(self, text: str) -> bool:
        if self.sees(text):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> _Token:
        if not self.sees(text):
            _refuse(self.token, f"expected '{text}'")
        return self.next()

    def expect_kind(self, kind: str, what: str) -> _Token:
        if self.token.kind != kind:
            _refuse(self.token, f"expected {what}")
        return self.next()

    def name(self, what: str) -> str:
        if self.token.kind != "name" or self.token.text in KEYWORDS:
            _refuse(self.token, f"expected {what}")
        return self.next().text

    def dtype(self) -> DType:
        if self.token.text not in _DTYPES:
            _refuse(self.token, "expected a dtype")
        return _DTYPES[self.next().text]

    def known(self, names: Mapping[str, T], what: str) -> T:
        token = self.token
        found = names.get(self.name(what))
        if found is None:
            _refuse(token, f"unknown {what}")
        return found

    def items(self, part: Callable[[], T], close: str) -> tuple[T, ...]:
        """`part, part...` up to and over `close`."""
        found: list[T] = []
        while not self.accept(close):
            if found:
                self.expect(",")
            found.append(part())
        return tuple(found)

    def build(self, token: _Token, make: Callable[[], T]) -> T:
        """What `make` constructs; its refusal becomes a ParseError at `token`."""
        try:
            return make()
        except (TensorcError, OverflowError, ValueError) as error:
            _refuse(token, str(error))

    # --- programs --------------------------------------------------------------------------------

    def program(self) -> Program:
        while self.sees("reducer"):
            self.reducer()
        first = self.expect("program")
        name = self.name("a program name")
        self.expect("(")
        start = self.at
        self.skip_parentheses()
        dims = self.items(self.dim, ")") if self.accept("dims") and self.expect("(") else ()
        end = self.at
        self.at = start
        params = self.items(self.param, ")")
        self.at = end
        body = self.body()
        self.expect_kind("end", "the end of the text")
        return self.build(first, lambda: Program(name, params, dims, body))

    def skip_parentheses(self) -> None:
        depth = 1
        while depth:
            if self.token.kind in ("newline", "end"):
                _refuse(self.token, "expected ')'")
            depth += {"(": 1, ")": -1}.get(self.next().text, 0)

    def dim(self) -> Dim:
        token, name = self.token, self.name("a size")
        dtype = self.dtype() if self.accept(":") else int64
        self.expect(">=")
        lower = self.expect_kind("number", "a lower bound").text
        if not lower.isdigit():
            _refuse(token, "expected an integer lower bound")
        dim = Dim(name, dtype, int(lower))
        self.enter(token, self.vars, name, dim)
        return dim

    def enter(self, token: _Token, names: dict[str, T], name: str, value: T) -> T:
        """Bring `name` into scope, where it must not be yet."""
        if name in names:
            _refuse(token, "this name is in scope already")
        names[name] = value
        return value

    def param(self) -> Param:
        token, name = self.token, self.name("a parameter")
        self.expect(":")
        roles = {role.value: role for role in Role}
        role = roles.get(self.token.text)
        if role is None:
            _refuse(self.token, "expected in, out or inout")
        self.next()
        return Param(self.enter(token, self.buffers, name, self.storage(name)), role)

    def storage(self, name: str) -> Buffer:
        token, dtype = self.token, self.dtype()
        self.expect("[")
        shape = self.items(self.expr, "]")
        scope = self.next().text if self.sees("local", "shared") else "global"
        swizzle = self.swizzle() if self.sees("swizzle") else None
        return self.build(token, lambda: Buffer(name, shape, dtype, scope, swizzle))

    def swizzle(self) -> Swizzle:
        """`swizzle(width)` or `swizzle(width, shift)`."""
        token = self.expect("swizzle")
        self.expect("(")
        numbers = self.items(self.number, ")")
        if len(numbers) not in (1, 2):
            _refuse(token, "expected a width and perhaps a shift")
        return self.build(token, lambda: Swizzle(*numbers))

    def number(self) -> int:
        token = self.expect_kind("number", "an integer")
        if not token.text.isdigit():
            _refuse(token, "expected an integer")
        return int(token.text)

    def reducer(self) -> None:
        first = self.expect("reducer")
        token, name = self.token, self.name("a reducer's name")
        self.expect("(")
        outer, self.vars = self.vars, {}
        operands = self.items(self.operand, ")")
        self.expect("identity")
        self.expect("(")
        identity = self.items(self.expr, ")")
        flags: dict[str, bool] = {}
        while self.token.text in _FLAG_OF:
            flags[_FLAG_OF[self.next().text]] = False
        self.expect("=")
        self.expect("(")
        result = self.items(self.expr, ")")
        self.end_of_line()
        self.vars = outer
        half = len(operands) // 2
        lhs, rhs = operands[:half], operands[half:]
        made = self.build(first, lambda: Reducer(name, lhs, rhs, identity, result, **flags))
        self.enter(token, self.reducers, name, made)

    def operand(self) -> Var:
        token, name = self.token, self.name("an operand")
        self.expect(":")
        return self.enter(token, self.vars, name, Var(name, self.dtype()))

    # --- statements ------------------------------------------------------------------------------

    def end_of_line(self) -> None:
        self.expect_kind("newline", "the end of the line")

    def body(self) -> Stmt:
        """`:`, the end of the line and an indented block."""
        self.expect(":")
        return self.indented()

    def indented(self) -> Stmt:
        self.end_of_line()
        return self.block()

    def block(self) -> Stmt:
        self.expect_kind("indent", "an indented block")
        stmts: list[Stmt] = []
        while self.token.kind != "dedent":
            if self.token.kind == "indent":
                _refuse(self.ahead(), "this is indented more than the line above")
            stmts.append(self.stmt())
        self.next()
        return block(stmts)

    def stmt(self) -> Stmt:
        token = self.token
        is_target = self.ahead().text == "["
        match token.text if token.kind == "name" and not is_target else "":
            case "pass":
                self.next()
                self.end_of_line()
                return block(())
            case "for":
                return self.loop()
            case "if":
                return self.branch()
            case "check":
                return self.check()
            case "alloc":
                return self.allocate()
            case _:
                return self.assignment()

    def loop(self) -> For:
        token = self.expect("for")
        place, name = self.token, self.name("a loop variable")
        dtype = self.dtype() if self.accept(":") else int64
        self.expect("in")
        word = self.token.text
        axis = word if word in GRID_AXES else None
        kind = ForKind.BOUND if axis else _KINDS.get(word)
        if kind is None:
            _refuse(self.token, f"expected {', '.join(_KINDS)}")
        self.next()
        opening = self.expect("(")
        bounds = self.items(self.expr, ")")
        if len(bounds) not in (1, 2):
            _refuse(opening, "expected one bound or two")
        start, extent = self.build(opening, lambda: _domain(bounds, dtype))
        hints = self.items(self.hint, "}") if self.accept("{") else ()
        var = self.enter(place, self.vars, name, Var(name, dtype))
        body = self.body()
        del self.vars[name]
        return self.build(
            token, lambda: For(var, start, extent, body, kind, axis=axis, annotations=hints)
        )

    def hint(self) -> tuple[str, Hint]:
        """`key: value`, the value an integer, a bool or a text."""
        key = self.name("a hint's name")
        self.expect(":")
        if self.token.kind == "string":
            return key, _message(self.next())
        token, value = self.token, self.expr(LEVEL["+"])
        if not isinstance(value, Const) or value.dtype not in (bool_, int64):
            _refuse(token, "expected an integer, True, False or a text in double quotes")
        return key, bool(value.value) if value.dtype == bool_ else int(value.value)

    def branch(self) -> If:
        token = self.expect("if")
        cond = self.expr()
        body = self.body()
        orelse = self.body() if self.accept("else") else None
        return self.build(token, lambda: If(cond, body, orelse))

    def check(self) -> Check:
        token = self.expect("check")
        cond = self.expr()
        self.expect(",")
        text = self.expect_kind("string", "a message in double quotes")
        values: tuple[Expr, ...] = ()
        if self.accept(","):
            self.expect("(")
            values = self.items(self.expr, ")")
        self.end_of_line()
        return self.build(token, lambda: Check(cond, _message(text), values))

    def allocate(self) -> Allocate:
        self.expect("alloc")
        token, name = self.token, self.name("a buffer")
        self.expect(":")
        buffer = self.enter(token, self.buffers, name, self.storage(name))
        body = self.allocated()
        del self.buffers[name]
        return Allocate(buffer, body)

    def allocated(self) -> Stmt:
        """What stands under an allocation: a block, or the next allocation at its side."""
        self.end_of_line()
        if self.token.text == "alloc" and self.token.kind == "name" and self.ahead().text != "[":
            return self.allocate()
        return self.block()

    def assignment(self) -> Store | Accumulate:
        token = self.token
        targets = self.items(self.target, ")") if self.accept("(") else (self.target(),)
        if not targets:
            _refuse(token, "expected a buffer")
        buffers, indices = tuple(t[0] for t in targets), targets[0][1]
        for _, others in targets[1:]:
            if len(others) != len(indices) or not all(map(same, indices, others)):
                _refuse(token, "the components of one reduction have the same indices")
        if len(targets) == 1 and self.accept("="):
            value = self.expr()
            self.end_of_line()
            return self.build(token, lambda: Store(buffers[0], indices, value))
        reducer = self.assign(buffers)
        values = self.values() if len(targets) > 1 else (self.expr(),)
        self.end_of_line()
        return self.build(token, lambda: Accumulate(reducer, buffers, indices, values))

    def target(self) -> tuple[Buffer, tuple[Expr, ...]]:
        buffer = self.known(self.buffers, "buffer")
        self.expect("[")
        return buffer, self.items(self.expr, "]")

    def assign(self, buffers: Sequence[Buffer]) -> Reducer:
        """`+=`, `max=` or another reducer's name before `=`."""
        token = self.next()
        sign = token.text
        if sign not in ("+=", "*="):
            self.expect("=")
            if sign in self.reducers:
                return self.reducers[sign]
            sign += "="
        name = _REDUCERS.get(sign, sign[:-1])
        if name not in NAMES:
            _refuse(token, "unknown reducer")
        try:
            return builtin(name, *(b.dtype for b in buffers))
        except (TensorcError, TypeError) as error:
            _refuse(token, f"reducer {name} does not fit: {error}")

    def values(self) -> tuple[Expr, ...]:
        self.expect("(")
        return self.items(self.expr, ")")

    # --- expressions -----------------------------------------------------------------------------

    def expr(self, least: int = 0) -> Expr:
        """An expression of operators that bind at least as tightly as `least`."""
        if least == 0 and self.sees("let"):
            return self.let()
        left = self.logical_not() if least <= LEVEL["not"] and self.sees("not") else self.unary()
        while (level := LEVEL.get(self.token.text, -1)) >= max(least, 1):
            token = self.next()
            if token.text == "not":
                _refuse(token, "expected an operator")
            right = self.expr(level + 1)
            left = self.operation(token, left, right)
            if token.text in _COMPARE and self.token.text in _COMPARE:
                _refuse(self.token, "a comparison does not chain: write (a < b) and (b < c)")
        return left

    def operation(self, token: _Token, left: Expr, right: Expr) -> Expr:
        if token.text in _COMPARE:
            return self.build(token, lambda: Compare(_COMPARE[token.text], left, right))
        if token.text in ("and", "or") and left.dtype != bool_:
            _refuse(token, f"'{token.text}' takes bools, got {left.dtype}")
        return self.build(token, lambda: Binary(_BINARY[token.text], left, right))

    def logical_not(self) -> Expr:
        token = self.expect("not")
        operand = self.expr(LEVEL["not"])
        if operand.dtype != bool_:
            _refuse(token, f"'not' takes a bool, got {operand.dtype}")
        return Unary(UnaryOp.NOT, operand)

    def let(self) -> Let:
        self.expect("let")
        token, name = self.token, self.name("a variable")
        self.expect("=")
        value = self.expr()
        self.expect("in")
        var = self.enter(token, self.vars, name, Var(name, value.dtype))
        body = self.expr()
        del self.vars[name]
        return Let(var, value, body)

    def unary(self) -> Expr:
        token = self.token
        if self.sees("-") and self.ahead().kind == "number":
            return self.literal(None)
        if self.accept("-"):
            operand = self.unary()
            return self.build(token, lambda: Unary(UnaryOp.NEG, operand))
        if self.accept("~"):
            operand = self.unary()
            return self.build(token, lambda: Unary(UnaryOp.NOT, operand))
        return self.atom()

    def atom(self) -> Expr:
        token = self.token
        if token.kind == "number" or self.sees("True", "False", "inf", "nan"):
            return self.literal(None)
        if self.accept("("):
            inner = self.expr()
            self.expect(")")
            return inner
        if token.kind == "name":
            after = self.ahead().text
            if after == "[":
                buffer, indices = self.target()
                return self.build(token, lambda: Load(buffer, indices))
            if after == "(":
                return self.call()
            if token.text not in KEYWORDS:
                return self.known(self.vars, "variable")
        _refuse(token, "expected an expression")

    def literal(self, dtype: DType | None) -> Const:
        """A constant; without `dtype`, an int64, a float32 or a bool, by its form."""
        token = self.token
        negative = self.accept("-")
        text = self.next().text
        return self.build(token, lambda: _constant(text, negative, dtype))

    def is_literal(self) -> bool:
        """Whether what comes is a number and nothing else up to the closing parenthesis."""
        sign = 1 if self.sees("-") else 0
        token = self.ahead(sign)
        number = token.kind == "number" or token.text in ("inf", "nan", "True", "False")
        return number and self.ahead(sign + 1).text == ")"

    def call(self) -> Expr:
        token = self.next()
        name = token.text
        self.expect("(")
        if name in _DTYPES:
            dtype = _DTYPES[name]
            inner = self.literal(dtype) if self.is_literal() else Cast(self.expr(), dtype)
            self.expect(")")
            return inner
        given = name == "cast" or (name in INTRINSICS and INTRINSICS[name].result == "given")
        dtype = self.dtype() if given else bool_
        if given:
            self.expect(",")
        args = self.items(self.expr, ")")
        return self.build(token, lambda: _call(name, args, dtype))


def _domain(bounds: Sequence[Expr], dtype: DType) -> tuple[Expr, Expr]:
    """Start and extent of `range(*bounds)`; see the printer's `domain`."""
    start, stop = bounds if len(bounds) == 2 else (Const(0, dtype), bounds[0])
    if isinstance(start, Const) and start.value == 0:
        return start, stop
    match stop:
        case Const() if isinstance(start, Const):
            return start, Const(int(stop.value) - int(start.value), dtype)
        case Binary(BinaryOp.ADD, begin, extent) if same(begin, start):
            return start, extent
        case _:
            return start, Binary(BinaryOp.SUB, stop, start)


def _constant(text: str, negative: bool, dtype: DType | None) -> Const:
    if text in ("True", "False"):
        return Const(text == "True", dtype or bool_)
    value = int(text) if text.isdigit() else float(text)
    return Const(-value if negative else value, dtype or (int64 if text.isdigit() else float32))


def _message(token: _Token) -> str:
    try:
        return str(json.loads(token.text))
    except ValueError as error:
        raise IRError(f"bad text {token.text}: {error}") from None


def _call(name: str, args: tuple[Expr, ...], dtype: DType) -> Expr:
    """The node that is written `name(args)`."""
    arity = {"cast": 1, "min": 2, "max": 2, "select": 3, "where": 3}.get(name)
    if arity is not None and len(args) != arity:
        raise IRError(f"{name} takes {arity} arguments, got {len(args)}")
    match name:
        case "cast":
            return Cast(args[0], dtype)
        case "min" | "max":
            return Binary(BinaryOp(name), *args)
        case "select":
            return Select(*args)
        case "where":
            return Where(*args)
        case _:
            row = INTRINSICS.get(name)
            if row is None or not args:
                raise IRError(f"unknown function {name}" if row is None else f"{name} of nothing")
            results = {"bool": bool_, "same": args[0].dtype, "given": dtype}
            return Call(name, args, results[row.result])
