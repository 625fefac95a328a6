from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from tensorc.dtypes import bfloat16, bool_, float16, float32, float64, int8, int32, int64, uint64
from tensorc.ir.expr import (
    Buffer,
    Call,
    Cast,
    Const,
    Dim,
    Expr,
    Let,
    Load,
    Reduce,
    Reducer,
    Select,
    Var,
    as_expr,
    call,
    const,
    maximum,
    minimum,
    where,
)
from tensorc.ir.parser import parse
from tensorc.ir.printer import builtin_name, show
from tensorc.ir.reducers import builtin
from tensorc.ir.stmt import Accumulate, Block, For, Param, Program, Role, Store, block, loop

I, J, K, X = Var("i"), Var("j"), Var("k"), Var("x", float32)  # noqa: E741
P, Q = I < J, J < K
A = Buffer("A", (as_expr(4), as_expr(4)), float32)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (I - J - K, "i - j - k"),
        (I - (J - K), "i - (j - k)"),
        ((I + J) * K, "(i + j) * k"),
        (I + J * K, "i + j * k"),
        (I * (J // K), "i * (j // k)"),
        (I * J // K, "i * j // k"),
        (I * J % K, "i * j % k"),
        (-(I * J), "-(i * j)"),
        (-I * J, "-i * j"),
        (-(-I), "--i"),  # noqa: B002
        (-const(4), "-(4)"),
        (-const(-4), "--4"),
        (I - -4, "i - -4"),
        (const(-4) * I, "-4 * i"),
        (~(I & J), "~(i & j)"),
        (I & J | K ^ I, "i & j | k ^ i"),
        (I << (J + 1), "i << j + 1"),
        ((I << J) + 1, "(i << j) + 1"),
        (P & Q, "i < j and j < k"),
        (P & Q | P, "i < j and j < k or i < j"),
        (P & (Q | P), "i < j and (j < k or i < j)"),
        (P & (Q & P), "i < j and (j < k and i < j)"),
        (P ^ Q, "(i < j) ^ (j < k)"),
        (~P & Q, "not i < j and j < k"),
        (~(P & Q), "not (i < j and j < k)"),
        (~(~P), "not not i < j"),
        ((~P) == Q, "(not i < j) == (j < k)"),
        (minimum(I, J) + maximum(J, K), "min(i, j) + max(j, k)"),
        (where(P, X, 0.0), "where(i < j, x, 0.0)"),
        (Select(P, X, X), "select(i < j, x, x)"),
        (Let(K, I + 1, K * K) + 1, "(let k = i + 1 in k * k) + 1"),
        (Let(K, I + 1, K * K), "let k = i + 1 in k * k"),
        (Load(A, (I, J + 1)), "A[i, j + 1]"),
        (Load(Buffer("loss", (), float32), ()), "loss[]"),
        (I.astype("float32"), "float32(i)"),
        (Cast(const(2), float32), "cast(float32, 2)"),
        (Cast(-const(2), float32), "float32(-(2))"),
        (call("pow", X, 2.0), "pow(x, 2.0)"),
        (Call("bitcast", (X,), int32), "bitcast(int32, x)"),
        (call("isnan", X), "isnan(x)"),
    ],
)
def test_operators_print_with_the_fewest_parentheses(expr: Expr, text: str) -> None:
    assert str(expr) == text


@pytest.mark.parametrize(
    ("value", "dtype", "text"),
    [
        (4, int64, "4"),
        (-(2**63), int64, "-9223372036854775808"),
        (4, int32, "int32(4)"),
        (-128, int8, "int8(-128)"),
        (2**64 - 1, uint64, "uint64(18446744073709551615)"),
        (True, bool_, "True"),
        (2.0, float32, "2.0"),
        (0.1, float32, "0.1"),
        (-0.0, float32, "-0.0"),
        (1e30, float32, "1e+30"),
        (np.inf, float32, "float32(inf)"),
        (-np.inf, float64, "float64(-inf)"),
        (np.nan, float32, "float32(nan)"),
        (0.1, float64, "float64(0.1)"),
        (0.1, float16, "float16(0.1)"),
        (1.5, bfloat16, "bfloat16(1.5)"),
    ],
)
def test_constants_print_with_what_their_dtype_needs(value: float, dtype: type, text: str) -> None:
    assert str(Const(value, dtype)) == text  # type: ignore[arg-type]


def test_a_reduction_prints_its_axes_and_its_guard() -> None:
    product = Load(A, (I, K)) * Load(A, (K, J))
    assert str(Reduce(builtin("sum", float32), (K,), (product,))) == (
        "sum(A[i, k] * A[k, j], axis=k)"
    )
    guarded = Reduce(builtin("max", float32), (J, K), (product,), K < 3)
    assert str(guarded) == "max(A[i, k] * A[k, j], axis=(j, k), where=k < 3)"
    pair = Reduce(builtin("argmax", float32), (K,), (Load(A, (I, K)), K), index=1)
    assert str(pair) == "argmax(A[i, k], k, axis=k)[1]"


def test_nested_variables_of_one_name_are_told_apart() -> None:
    outer, inner = Var("i"), Var("i")
    store = Store(A, (outer, inner), X)
    nest = loop(outer, as_expr(4), loop(inner, as_expr(4), store))
    assert show(nest).splitlines() == [
        "for i in range(4):",
        "  for i_1 in range(4):",
        "    A[i, i_1] = x",
    ]


def test_a_name_that_is_a_word_of_the_language_gets_a_suffix() -> None:
    assert str(Var("if") + Var("inf")) == "if_1 + inf_1"


def test_a_chain_of_a_thousand_sums_prints() -> None:
    total: Expr = I
    for _ in range(5000):
        total = total + J
    assert str(total) == "i" + " + j" * 5000


def test_marked_statements_get_a_gutter() -> None:
    first, second = Store(A, (I, J), X), Store(A, (J, I), X)
    nest = loop(J, as_expr(4), block([first, second]))
    assert show(nest, mark=frozenset([id(second)])).splitlines() == [
        "  for j in range(4):",
        "  " + "  A[i, j] = x",
        "> " + "  A[j, i] = x",
    ]


def test_an_empty_block_prints_as_pass() -> None:
    assert show(loop(I, as_expr(4), Block(()))) == "for i in range(4):\n  pass"


def test_a_program_prints_its_sizes_roles_and_reducers() -> None:
    n = Dim("n", lower=1)
    source, out = Buffer("A", (n,), float32), Buffer("B", (), float32)
    a, b = Var("a", float32), Var("b", float32)
    hypot = Reducer(
        "hypot", (a,), (b,), (const(0.0, float32),), (call("sqrt", a * a + b * b),), empty=False
    )
    body = block(
        [
            Store(out, (), const(0.0, float32)),
            loop(I, n, Accumulate(hypot, (out,), (), (Load(source, (I,)),))),
        ]
    )
    program = Program("norm", (Param(source, Role.IN), Param(out, Role.OUT)), (n,), body)
    assert show(program).splitlines() == [
        "reducer hypot(a: float32, b: float32) identity (0.0) nonempty = (sqrt(a * a + b * b))",
        "program norm(A: in float32[n], B: out float32[]) dims(n >= 1):",
        "  B[] = 0.0",
        "  for i in range(n):",
        "    B[] hypot= A[i]",
    ]


def test_a_loop_that_does_not_start_at_zero_prints_both_ends() -> None:
    body = Block(())
    assert show(For(I, const(2), const(3), body)).startswith("for i in range(2, 5):")
    assert show(For(I, J, const(3), body)).startswith("for i in range(j, j + 3):")
    assert show(For(I, J, K - J, body)).startswith("for i in range(j, k):")


def test_builtin_reducers_are_known_by_structure() -> None:
    assert builtin_name(builtin("sum", float32, int64)) == "sum"
    a, b = Var("a", float32), Var("b", float32)
    impostor = Reducer("sum", (a,), (b,), (const(0.0, float32),), (a - b,))
    assert builtin_name(impostor) is None


TEXT = """\
program p(A: in float32[n, m], B: out float32[n, m]) dims(n >= 0, m >= 0):
  alloc T: float32[m] local
    for i in parallel(n):
      for j in range(m):
        T[j] = A[i, j] * 2.0
      for j in range(m):
        B[i, j] = T[j] + A[i, j]"""


def test_the_text_does_not_depend_on_the_hash_seed() -> None:
    code = (
        "import sys; from tensorc.ir.parser import parse; from tensorc.ir.printer import show;"
        "from tensorc.ir.simplify import simplify; p = parse(sys.stdin.read());"
        "print(show(p)); print(show(simplify(p.body)))"
    )
    texts = []
    for seed in "01":
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=TEXT,
            capture_output=True,
            text=True,
            check=True,
            env=env,
        )
        texts.append(done.stdout)
    assert texts[0] == texts[1]
    assert texts[0].startswith(TEXT)
    assert show(parse(TEXT)) == TEXT
