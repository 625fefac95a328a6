from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ir.programs import assert_round_trip, constants, expressions, programs
from tensorc.dtypes import ALL_DTYPES, DType
from tensorc.errors import ParseError
from tensorc.ir.expr import Buffer, Cast, Const, Expr, Load, Unary, UnaryOp, Var
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.stmt import Block, For, Param, Program, Role, Stmt, Store
from tensorc.ir.walk import free_vars, same, substitute

EVERY_STATEMENT = """\
reducer lse(a: float32, b: float32) identity (float32(-inf)) noncommutative = (max(a, b))
reducer mean(s: float32, c: int64, t: float32, d: int64) identity (0.0, 0) nonempty = (s + t, c + d)
program p(A: in float32[n, 16], B: out float32[n, 16], I: inout int64[n], P: inout int64[n, 16]) \
dims(n >= 0, m: int32 >= 1):
  check I[0] < n, "row \\"{0}\\" of {1}\\n", (I[0], n)
  check n > 0, "nothing"
  alloc T.local: float32[16] local
  alloc V: bool[] shared
    for i.outer in range(n):
      for j in vectorized(16):
        T.local[j] = A[i.outer, j] * 2.0
      for j in parallel(2, 16):
        B[i.outer, j] = -0.0
        B[i.outer, j] += T.local[j] * A[i.outer, j]
        B[i.outer, j] *= 2.0
        B[i.outer, j] max= 0.0
        B[i.outer, j] min= 1.0
        B[i.outer, j] lse= let v = A[i.outer, j] in v * v - (v - 1.0)
        (B[i.outer, j], P[i.outer, j]) argmax= (T.local[j], j)
        (B[i.outer, j], P[i.outer, j]) mean= (T.local[j], 1)
      for j: int32 in unrolled(m, int32(16)):
        if i.outer < 3 and not j == int32(2) or False:
          pass
        else:
          V[] and= isnan(A[0, j])
          V[] or= True
  for i in range(n):
    for j in range(i, i + 3):
      I[i] = j"""


def test_every_statement_parses_back() -> None:
    program = parse(EVERY_STATEMENT)
    assert show(program) == EVERY_STATEMENT
    assert_round_trip(program)


@given(programs())
@settings(max_examples=40)
def test_generated_programs_parse_back(program: Program) -> None:
    assert_round_trip(program)


def program_of(value: Expr) -> Program:
    """A program that stores `value`: its free integers are loops, the rest parameters."""
    free = free_vars(value)
    loops = [v for v in free if v.dtype.is_int]
    inputs = {v: Buffer(v.name, (), v.dtype) for v in free if not v.dtype.is_int}
    out = Buffer("out", (), value.dtype)
    body: Stmt = Store(out, (), substitute(value, {v: Load(b, ()) for v, b in inputs.items()}))
    for var in loops:
        body = For(var, Const(0, var.dtype), Const(1, var.dtype), body)
    params = [Param(out, Role.OUT), *(Param(b, Role.IN) for b in inputs.values())]
    return Program("p", tuple(params), (), body)


@given(st.sampled_from(ALL_DTYPES).flatmap(lambda d: expressions(d, depth=4)))
@settings(max_examples=100)
def test_generated_expressions_parse_back(expr: Expr) -> None:
    assert_round_trip(program_of(expr))


@given(st.sampled_from(ALL_DTYPES).flatmap(constants))
@settings(max_examples=200)
def test_constants_of_every_dtype_parse_back(value: Const) -> None:
    assert_round_trip(program_of(value))


@pytest.mark.parametrize("source", ALL_DTYPES)
@pytest.mark.parametrize("target", ALL_DTYPES)
def test_a_cast_of_a_constant_is_no_constant(source: DType, target: DType) -> None:
    program = program_of(Cast(Const(1, source), target))
    assert_round_trip(program)
    assert not same(program, program_of(Const(1, target)))


def test_a_negated_constant_is_no_negative_constant() -> None:
    negated = program_of(Unary(UnaryOp.NEG, Const(4, Var("i").dtype)))
    assert_round_trip(negated)
    assert not same(negated, program_of(Const(-4, Var("i").dtype)))


def test_comments_blank_lines_and_common_indentation_are_ignored() -> None:
    text = """
        # A program.
        program p(A: out int64[4]):  # Its head.

          for i in range(4):
              # Deeper than the rest.
              A[i] = i  # Its body.
    """
    assert show(parse(text)) == ("program p(A: out int64[4]):\n  for i in range(4):\n    A[i] = i")


def test_a_range_of_two_constants_is_a_constant_extent() -> None:
    program = parse("program p():\n  for i in range(2, 5):\n    pass")
    assert isinstance(program.body, For)
    assert isinstance(program.body.extent, Const)
    assert program.body.extent.value == 3
    assert isinstance(program.body.body, Block)


def test_hints_and_axes_of_a_loop_parse_back() -> None:
    text = """program p(A: out int64[64]):
  for i in block.x(2) {a: 3, b: "x \\"y\\" {", c: True, d: -4}:
    for j in thread.y(8, 40) {wide: False}:
      A[i * 32 + j - 8] = j"""
    assert show(parse(text)) == text
    assert same(parse(text), parse(text))
    assert not same(parse(text), parse(text.replace("a: 3", "a: 4")))
    assert not same(parse(text), parse(text.replace("a: 3", "a: True")))
    assert not same(parse(text), parse(text.replace("thread.y", "thread.z")))


HEAD = "program p(A: inout float32[4], I: in int64[4]) dims(n >= 0):\n"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("A[0] = 1.0 +", "line 2, column 15: expected an expression, at end of line"),
        ("A[0] = x", "line 2, column 10: unknown variable, at 'x'"),
        (
            "for i in range(4) {a: 1.5}: pass",
            "line 2, column 25: expected an integer, True, False or a text in double quotes, "
            "at '1.5'",
        ),
        ("C[0] = 1.0", "line 2, column 3: unknown buffer, at 'C'"),
        ("A[0] = 1", "line 2, column 3: store to A: float32 buffer, int64 value 1, at 'A'"),
        (
            "A[0, 1] = 1.0",
            "line 2, column 3: A has 1 dimensions, but is indexed with 2: A[0, 1], at 'A'",
        ),
        (
            "A[0] = A[0] + I[0]",
            "line 2, column 15: +: operands must have one dtype, got float32 and int64 in "
            "A[0] + I[0], at '+'",
        ),
        ("A[0] = 1.0 $ 2", "line 2, column 14: this is no part of the language, at '$ 2'"),
        ("A[0] ?= 1.0", "line 2, column 8: this is no part of the language, at '?= 1.0'"),
        ("A[0] foo= 1.0", "line 2, column 8: unknown reducer, at 'foo'"),
        ("A[0] = frob(1.0)", "line 2, column 10: unknown function frob, at 'frob'"),
        ("A[0] = exp(1.0, 2.0)", "line 2, column 10: exp takes 1 arguments, got 2, at 'exp'"),
        ("for i in range(4)", "line 2, column 20: expected ':', at end of line"),
        ("for i in range(4):", "line 3, column 1: expected an indented block, at indentation"),
        ("for i in range():\n    pass", "line 2, column 17: expected one bound or two, at '('"),
        ("for i in walk(4):\n    pass", "line 2, column 12: expected range, parallel, vectorized, "
         "unrolled, at 'walk'"),
        ("for n in range(4):\n    pass", "line 2, column 7: this name is in scope already, at 'n'"),
        ("if n:\n    pass", "line 2, column 3: If: cond must be bool, got int64 in n, at 'if'"),
        ("if n < 1 < 2:\n    pass", "line 2, column 12: a comparison does not chain: write "
         "(a < b) and (b < c), at '<'"),
        ("if n and n:\n    pass", "line 2, column 8: 'and' takes bools, got int64, at 'and'"),
        ("if not n:\n    pass", "line 2, column 6: 'not' takes a bool, got int64, at 'not'"),
        ("check n < 1", "line 2, column 14: expected ',', at end of line"),
        ("check n < 1, name", "line 2, column 16: expected a message in double quotes, at 'name'"),
        ("alloc A: float32[4]\n    pass", "line 2, column 9: this name is in scope already, at "
         "'A'"),
        ("alloc T: float99[4]\n    pass", "line 2, column 12: expected a dtype, at 'float99'"),
        ("alloc T: float32[-4]\n    pass", "line 2, column 12: T: negative size -4 in shape, at "
         "'float32'"),
        ("A[0] = float32(1e999999)\n  A[99999999999999999999] = 1.0",
         "line 3, column 5: 99999999999999999999 does not fit int64 (-9223372036854775808 to "
         "9223372036854775807), at '99999999999999999999'"),
        ("(A[0], I[1]) argmax= (1.0, 2)", "line 2, column 3: the components of one reduction have "
         "the same indices, at '('"),
        ("pass\n    pass", "line 3, column 5: this is indented more than the line above, at "
         "'pass'"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_with_its_place(body: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(HEAD + textwrap.indent(body, "  ", lambda line: line is not None and line[0] != " "))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 2, column 1: expected 'program', at end of text"),
        ("program", "line 1, column 8: expected a program name, at end of line"),
        ("program p(", "line 1, column 11: expected ')', at end of line"),
        ("program p(A: near float32[4]):\n  pass", "line 1, column 14: expected in, out or inout, "
         "at 'near'"),
        ("program p() dims(n >= 0.5):\n  pass", "line 1, column 18: expected an integer lower "
         "bound, at 'n'"),
        ("program p():\n  pass\n pass", "line 3, column 2: this indentation matches no line above, "
         "at 'pass'"),
        ("program p():\n  pass\nprogram q():\n  pass", "line 3, column 1: expected the end of the "
         "text, at 'program'"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_frame_is_shown_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_text_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ParseError, match=r"^line 2, column \d+: this is nested too deeply to be"):
        parse(HEAD + "  A[0] = " + "(" * 5000)


@given(st.data())
@settings(max_examples=150)
def test_mangled_text_gives_a_parse_error_or_a_program(data: st.DataObject) -> None:
    text = EVERY_STATEMENT
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 6))
    insert = data.draw(st.text('()[]:,.=+-*<>0e9 \n"#iAnot', max_size=3))
    try:
        program = parse(text[:at] + insert + text[at + length :])
    except ParseError as error:
        assert str(error).startswith("line ")  # noqa: PT017
    else:
        assert isinstance(program, Program)
