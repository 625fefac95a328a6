from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ir.programs import (
    arrays_for,
    assert_round_trip,
    assert_same_bits,
    assert_same_results,
    environment,
    expressions,
    programs,
    results,
)
from tensorc.dtypes import ALL_DTYPES, float32, float64, int8, int32, int64, uint8
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Call,
    Cast,
    Const,
    Expr,
    Let,
    Load,
    Reduce,
    Select,
    Unary,
    UnaryOp,
    Var,
    as_expr,
    call,
    const,
    maximum,
    minimum,
    where,
)
from tensorc.ir.interp import evaluate
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.reducers import builtin
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Program
from tensorc.ir.verify import verify

I, J, K, N = Var("i"), Var("j"), Var("k"), Var("n")  # noqa: E741
X, Y, B, U, D = (
    Var("x", float32),
    Var("y"),
    Var("b", const(True, "bool").dtype),
    Var("u", uint8),
    (Var("d", float64)),
)
P = I < J
A = Buffer("A", (as_expr(4),), float32)
INF, NAN = Const(np.inf, float32), Const(np.nan, float32)


def raw(op: BinaryOp, a: Expr, b: Expr) -> Expr:
    return Binary(op, a, b)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        # Sums of multiples.
        (I + 0, "i"),
        (I * 1 + J * 0, "i"),
        (I + 4 + 3, "i + 7"),
        (I + 4 - 4, "i"),
        (I - 4 + 4 + J, "i + j"),
        (I * 4 + I, "i * 5"),
        (I * 4 * 2, "i * 8"),
        (I - I, "0"),
        ((I + J) - (J + I), "0"),
        (I * N - N * I, "i * n - n * i"),
        (I * N * 2 - I * N, "i * n"),
        ((I * 4 + J) - I * 4, "j"),
        (-(I - J), "j - i"),
        (-(-I), "i"),  # noqa: B002
        (J - I - J, "-i"),
        (I * (2**62) * 4, "0"),
        (U + 255 + 1, "u"),
        (I + J, "i + j"),
        (4 + I, "4 + i"),
        (2 * (I + 3), "2 * (i + 3)"),
        # Other integer rules.
        (I // 1, "i"),
        (I // 0, "0"),
        (I // 4 // 2, "i // 8"),
        (I // (2**40) // (2**40), "i // 1099511627776 // 1099511627776"),
        (I % 4 // 4, "0"),
        (I % 8 % 4, "i % 4"),
        (I % 4 % 8, "i % 4"),
        (I % 1, "0"),
        ((I * 8 + J) % 4, "j % 4"),
        ((I * 6 + J) % 3, "(i * 6 + j) % 3"),
        ((I * 4 + 6) % 4, "2"),
        (minimum(I, I), "i"),
        (minimum(minimum(I, 4), 3), "min(i, 3)"),
        (maximum(U, 0), "u"),
        (minimum(U, 0), "uint8(0)"),
        (I & -1, "i"),
        (I | -1, "-1"),
        (U & 255, "u"),
        (I ^ I, "0"),
        (I << 0, "i"),
        # Floats: only what keeps every bit.
        (X * 1.0, "x"),
        (X / 1.0, "x"),
        (X - 0.0, "x"),
        (X + -0.0, "x"),
        (X + 0.0, "x + 0.0"),
        (X - -0.0, "x - -0.0"),
        (X * 0.0, "x * 0.0"),
        (X - X, "x - x"),
        (X + 1.0 + 2.0, "x + 1.0 + 2.0"),
        (-(-X), "x"),  # noqa: B002
        (maximum(X, X), "x"),
        (minimum(X, INF), "x"),
        (minimum(X, -INF), "min(x, float32(-inf))"),
        # Comparisons and choices.
        ((I + 1).__eq__(I), "False"),
        ((I + 1) != I, "True"),
        (I + 1 < I, "i + 1 < i"),
        (I + J <= J + I, "i + j <= j + i"),
        (I < I, "False"),
        (I >= I, "True"),
        (U >= 0, "True"),
        (const(0, "uint8") > U, "False"),
        (B == True, "b"),  # noqa: E712
        (B != True, "not b"),  # noqa: E712
        (X == X, "x == x"),
        (~(I < J), "i >= j"),
        (~(X < 1.0), "not x < 1.0"),
        (~(X == 1.0), "x != 1.0"),
        (P & True, "i < j"),
        (P | True, "True"),
        (P ^ P, "False"),
        (where(P, X, X), "x"),
        (where(~B, X, 0.0), "where(b, 0.0, x)"),
        (where(const(True, "bool"), X, 0.0), "x"),
        (Select(P, const(True, "bool"), const(False, "bool")), "i < j"),
        # Casts, calls, lets.
        (Cast(Cast(U, int64), uint8), "u"),
        (Cast(Cast(X, float64), float32), "x"),
        (Cast(Cast(D, float32), float64), "float64(float32(d))"),
        (Cast(Cast(I, int32), int64), "int64(int32(i))"),
        (Cast(Cast(I, int32), int8), "int8(int32(i))"),
        (Cast(Cast(U, int32), float32), "float32(u)"),
        (Cast(Const(300, int64), uint8), "uint8(44)"),
        (Cast(Const(1e30, float32), int32), "cast(int32, 1e+30)"),
        (Cast(NAN, int32), "cast(int32, float32(nan))"),
        (call("abs", call("abs", X)), "abs(x)"),
        (call("abs", -X), "abs(x)"),
        (call("floor", call("ceil", X)), "ceil(x)"),
        (call("pow", X, 1.0), "x"),
        (call("sqrt", 4.0), "2.0"),
        (call("exp", 0.0), "exp(0.0)"),
        (call("stop_gradient", X), "stop_gradient(x)"),
        (Let(Y, I, Y + Y - I), "i"),
        (Let(Y, I + J, Y), "i + j"),
        (Let(Y, I + J, X), "x"),
        (Let(Y, I + J, Y * Y), "let y = i + j in y * y"),
        # Inside loads and reductions.
        (Load(A, (I + 0,)), "A[i]"),
        (Reduce(builtin("sum", float32), (K,), (X * 1.0,), (I < J) & True),
         "sum(x, axis=k, where=i < j)"),
        # Constants.
        (raw(BinaryOp.ADD, const(127, "int8"), const(1, "int8")), "int8(-128)"),
        (raw(BinaryOp.FLOORDIV, const(-7), const(2)), "-4"),
        (raw(BinaryOp.ADD, const(0.1, float32), const(0.2, float32)), "0.3"),
        (raw(BinaryOp.MIN, NAN, const(1.0, float32)), "float32(nan)"),
        (Unary(UnaryOp.NEG, const(0.0, float32)), "-0.0"),
        (Unary(UnaryOp.NOT, const(0)), "-1"),
    ],
)  # fmt: skip
def test_a_rule_gives_this_text(expr: Expr, text: str) -> None:
    assert str(simplify(expr)) == text


@given(
    expr=st.sampled_from(ALL_DTYPES).flatmap(lambda d: expressions(d, depth=4)),
    seed=st.integers(0, 999),
)
@settings(max_examples=400)
def test_simplified_expressions_have_the_same_bits(expr: Expr, seed: int) -> None:
    env = environment(expr, seed)
    simple = simplify(expr)
    message = f"{expr}\n{simple}\n{ {v.name: value for v, value in env.items()} }"
    assert simple.dtype == expr.dtype, message
    assert_same_bits(evaluate(expr, env), evaluate(simple, env), message)


def test_the_absolute_value_of_a_wrapped_negative_stays() -> None:
    assert str(simplify(call("abs", -Var("x", uint8)))) == "abs(-x)"


@given(expr=expressions(int64, depth=5, calls=()))
@settings(max_examples=100)
def test_simplifying_twice_changes_no_more(expr: Expr) -> None:
    once = simplify(expr)
    assert str(simplify(once)) == str(once)


def simplified(program: Program) -> Program:
    return Program(program.name, program.params, program.dims, simplify(program.body))


@given(program=programs(), n=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_simplified_programs_have_the_same_results(program: Program, n: int, seed: int) -> None:
    simple = simplified(program)
    verify(simple)
    assert_round_trip(simple)
    assert_same_results(program, simple, n, seed)


def text_of(body: str) -> str:
    head = "program p(A: inout float32[4], n: in int64[4]) dims(m >= 0):\n"
    lines = "".join(f"  {line}\n" for line in body.split("\n"))
    return show(simplified(parse(head + lines)).body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("for i in range(1):\n  A[i * 4 + i] = A[i] * 1.0", "A[0] = A[0]"),
        ("for i in range(m, m + 1):\n  for j in range(i, i + 1):\n    A[j] = 1.0", "A[m] = 1.0"),
        (
            "for i in range(1) {k: True, n: 1}:\n  for j in range(4) {n: 2}:\n    A[j] = 1.0",
            "for j in range(4) {k: True, n: 2}:\n  A[j] = 1.0",
        ),
        ("for i in range(0):\n  A[i] = 1.0", "pass"),
        ("for i in range(m):\n  pass", "pass"),
        ("if m < m:\n  A[0] = 1.0\nelse:\n  A[1] = 1.0", "A[1] = 1.0"),
        ("if m == m:\n  A[0] = 1.0\nelse:\n  A[1] = 1.0", "A[0] = 1.0"),
        ("if m < m:\n  A[0] = 1.0", "pass"),
        ("if m < 2:\n  A[0] = 1.0\nelse:\n  pass", "if m < 2:\n  A[0] = 1.0"),
        ("if m < 2:\n  pass\nelse:\n  A[0] = 1.0", "if m >= 2:\n  A[0] = 1.0"),
        ("if m < 2:\n  pass", "pass"),
        ("check m >= m, \"never\"\nA[0] = 1.0", "A[0] = 1.0"),
        ("check m < m, \"always\"", 'check False, "always"'),
        ("alloc T: float32[4]\n  pass", "pass"),
        ("A[0] = 1.0\nfor i in range(0):\n  pass\nA[1] = 1.0", "A[0] = 1.0\nA[1] = 1.0"),
        ("A[0] += A[1] * 1.0", "A[0] += A[1]"),
        # A product is added in one rounding, so none may come or go.
        ("A[0] += where(True, A[1] * A[2], 0.0)", "A[0] += where(True, A[1] * A[2], 0.0)"),
        ("A[0] += 0.1 * 0.3", "A[0] += 0.1 * 0.3"),
        ("A[0] max= where(True, A[1] * A[2], 0.0)", "A[0] max= A[1] * A[2]"),
    ],
)  # fmt: skip
def test_statements_simplify_to_this_text(body: str, expected: str) -> None:
    assert text_of(body) == expected


def test_what_is_simple_is_returned_itself() -> None:
    body = parse("""
        program p(A: inout float32[n]) dims(n >= 0):
          for i in range(n):
            if i * 4 + 1 < n:
              A[i] += A[i * 2 % n] * 2.0
    """).body
    assert simplify(body) is body


def test_sharing_keeps_the_time_linear() -> None:
    total: Expr = I
    for _ in range(60):
        total = total * total + J
    begin = time.perf_counter()
    simplify(total + 0)
    assert time.perf_counter() - begin < 1.0


def test_a_long_sum_is_collected() -> None:
    total: Expr = I
    for _ in range(300):
        total = total + 1
    assert str(simplify(total)) == "i + 300"


def test_a_call_of_several_operands_is_left() -> None:
    expr = Call("fma", (X, X, X * 1.0), float32)
    assert str(simplify(expr)) == "fma(x, x, x)"


def test_results_do_not_touch_their_inputs() -> None:
    program = parse("program p(A: inout int64[2]):\n  A[0] = 1 + 2")
    arrays = arrays_for(program)
    before = arrays["A"].copy()
    results(simplified(program), arrays)
    assert (arrays["A"] == before).all()
