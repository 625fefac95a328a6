from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ir.programs import arrays_for, assert_same_bits, programs, results
from tensorc.dtypes import DType, bfloat16, float16, float32, float64, int8, int32, int64, uint8
from tensorc.errors import CheckFailed
from tensorc.ir import scalars
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Call,
    Cast,
    Const,
    Let,
    Load,
    Reduce,
    Select,
    Unary,
    UnaryOp,
    Var,
    const,
    where,
)
from tensorc.ir.interp import evaluate, run
from tensorc.ir.intrinsics import INTRINSICS
from tensorc.ir.parser import parse
from tensorc.ir.reducers import builtin

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.ir.stmt import Program

X, Y = Var("x", float32), Var("y", float32)

MATMUL = parse("""
    program mm(A: in float32[n, k], B: in float32[k, 3], C: out float32[n, 3]) dims(n >= 0, k >= 0):
      for i in parallel(n):
        for j in range(3):
          C[i, j] = 0.0
          for r in range(k):
            C[i, j] += A[i, r] * B[r, j]
""")


@given(n=st.integers(0, 4), k=st.integers(0, 5), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_matmul_is_numpys(n: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n, k)).astype("f"), rng.normal(size=(k, 3)).astype("f")
    c = np.full((n, 3), np.nan, "f")
    run(MATMUL, {"A": a, "B": b, "C": c})
    wide = a.astype(float) @ b.astype(float)
    bound = (k + 1) * 2.0**-24 * (abs(a).astype(float) @ abs(b).astype(float))
    assert (abs(c - wide) <= bound).all()


@given(program=programs(), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_parallel_loops_of_generated_programs_have_no_race(program: Program, seed: int) -> None:
    arrays = arrays_for(program, 3, seed)
    forward, backward = results(program, arrays), results(program, arrays, order="reverse")
    for name, array in forward.items():
        assert_same_bits(array, backward[name], name)


def one(text: str, *arrays: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Run a program of parameters A, B... and return the last of them."""
    program = parse(text)
    run(program, {p.buffer.name: a for p, a in zip(program.params, arrays, strict=True)})
    return arrays[-1]


def test_a_race_shows_when_parallel_loops_run_backwards() -> None:
    program = parse("""
        program p(A: inout int64[4]):
          for i in parallel(1, 4):
            A[i] = A[i - 1]
    """)
    start = {"A": np.arange(4)}
    assert results(program, start)["A"].tolist() == [0, 0, 0, 0]
    assert results(program, start, order="reverse")["A"].tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("A[4] = 1", "store A[4] is outside its shape [4]"),
        ("A[0 - 1] = 1", "store A[-1] is outside its shape [4]"),
        ("A[0] = A[0] + 1", "load A[0]: it was never written"),
        ("A[0] += 1", "load A[0]: it was never written"),
        ("A[0] = select(True, 1, B[2])", "load B[2] is outside its shape [2]"),
        ("pass", "out parameter A[0] was never written"),
        ("for i in range(3):\n    A[i] = 1", "out parameter A[3] was never written"),
        ("alloc T: int64[2]\n    A[0] = T[1] + 1", "load T[1]: it was never written"),
        ("alloc T: int64[2]\n    A[0] = T[1]", "out parameter A[0] was never written"),
    ],
)
def test_a_wrong_access_fails(body: str, message: str) -> None:
    program = parse(f"program p(A: out int64[4], B: in int64[2]):\n  {body}")
    with pytest.raises(AssertionError) as caught:
        run(program, {"A": np.zeros(4, np.int64), "B": np.zeros(2, np.int64)})
    assert str(caught.value) == message


def test_an_allocation_is_fresh_each_time() -> None:
    program = """
        program p(A: out int64[2]):
          for i in range(2):
            alloc T: int64[1]
              if i == 0:
                T[0] = 7
              A[i] = T[0]
    """
    with pytest.raises(AssertionError, match="never written"):
        one(program, np.zeros(2, np.int64))


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(AssertionError, match=r"^A: expected int64\[4\], got int32\[4\]$"):
        one("program p(A: inout int64[4]):\n  pass", np.zeros(4, np.int32))
    with pytest.raises(AssertionError, match=r"^n is 1, below 2$"):
        one("program p(A: inout int64[n]) dims(n >= 2):\n  pass", np.zeros(1, np.int64))
    with pytest.raises(AssertionError, match=r"^program p: no array for parameter A$"):
        run(parse("program p(A: inout int64[4]):\n  pass"), {})
    with pytest.raises(AssertionError, match=r"^program p: no array's shape gives n$"):
        run(parse("program p() dims(n >= 0):\n  pass"), {})


def test_sizes_can_be_given() -> None:
    program = parse("program p(A: out int64[n * 2]) dims(n >= 0):\n"
                    "  for i in range(n * 2):\n    A[i] = n")  # fmt: skip
    array = np.zeros(6, np.int64)
    run(program, {"A": array}, dims={"n": 3})
    assert array.tolist() == [3] * 6


def test_a_failed_check_ends_the_call_with_its_message() -> None:
    program = parse("""
        program p(A: inout int64[4]):
          A[0] = 1
          check A[1] < 4, "A[1] is {0}, not below {1} {braces}", (A[1], 4)
          A[0] = 2
    """)
    array = np.array([0, 9, 0, 0])
    with pytest.raises(CheckFailed) as caught:
        run(program, {"A": array})
    assert str(caught.value) == "A[1] is 9, not below 4 {braces}"
    assert array[0] == 1


def test_where_is_lazy_so_that_it_guards_an_access() -> None:
    text = """
        program p(A: in int64[2], B: out int64[4]):
          for i in range(4):
            B[i] = where(i < 2, A[i], -1)
    """
    assert one(text, np.array([5, 6]), np.zeros(4, np.int64)).tolist() == [5, 6, -1, -1]


@pytest.mark.parametrize(
    ("op", "a", "b", "dtype", "expected"),
    [
        (BinaryOp.ADD, 127, 1, int8, -128),
        (BinaryOp.MUL, 2**62, 2, int64, -(2**63)),
        (BinaryOp.SUB, 0, 1, uint8, 255),
        (BinaryOp.FLOORDIV, -7, 2, int32, -4),
        (BinaryOp.MOD, -7, 2, int32, 1),
        (BinaryOp.MOD, 7, -2, int32, -1),
        (BinaryOp.FLOORDIV, 7, 0, int32, 0),
        (BinaryOp.MOD, 7, 0, int32, 0),
        (BinaryOp.FLOORDIV, -128, -1, int8, -128),
        (BinaryOp.MOD, -(2**63), -1, int64, 0),
        (BinaryOp.SHL, 1, 31, int32, -(2**31)),
        (BinaryOp.SHL, 1, 32, int32, 0),
        (BinaryOp.SHR, -8, 1, int32, -4),
        (BinaryOp.SHR, -8, 32, int32, -1),
        (BinaryOp.SHR, 200, 8, uint8, 0),
        (BinaryOp.DIV, 1.0, 0.0, float32, np.inf),
        (BinaryOp.DIV, 0.0, 0.0, float32, np.nan),
        (BinaryOp.MIN, 1.0, np.nan, float32, np.nan),
        (BinaryOp.MAX, np.nan, 1.0, float64, np.nan),
        (BinaryOp.ADD, 2.0**24, 1.0, float32, 2.0**24),
        (BinaryOp.ADD, 2048.0, 1.0, float16, 2048.0),
        (BinaryOp.ADD, 256.0, 1.0, bfloat16, 256.0),
        (BinaryOp.MUL, 1e30, 1e30, float32, np.inf),
    ],
)
def test_arithmetic_has_the_rules_of_the_dtype(
    op: BinaryOp, a: float, b: float, dtype: DType, expected: float
) -> None:
    value = evaluate(Binary(op, Const(a, dtype), Const(b, dtype)), {})
    assert value.dtype == dtype.numpy
    assert_same_bits(value, np.asarray(expected, dtype.numpy), f"{a} {op.value} {b}")


@pytest.mark.parametrize("dtype", [int8, int32, int64])
def test_the_least_integer_is_its_own_negative_and_magnitude(dtype: DType) -> None:
    least = Const(int(dtype.min_value), dtype)
    assert evaluate(Unary(UnaryOp.NEG, least), {}) == dtype.min_value
    assert evaluate(Call("abs", (least,), dtype), {}) == dtype.min_value


REFERENCE: dict[str, Callable[[float], Any]] = {
    "exp": math.exp,
    "exp2": lambda x: 2.0**x,
    "expm1": math.expm1,
    "log": math.log,
    "log2": math.log2,
    "log1p": math.log1p,
    "sqrt": math.sqrt,
    "rsqrt": lambda x: 1 / math.sqrt(x),
    "sin": math.sin,
    "cos": math.cos,
    "tanh": math.tanh,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "erf": math.erf,
    "abs": abs,
    "sign": lambda x: math.copysign(1, x),
    "floor": math.floor,
    "ceil": math.ceil,
    "round": round,
    "trunc": math.trunc,
    "isnan": math.isnan,
    "isinf": math.isinf,
    "isfinite": math.isfinite,
    "stop_gradient": lambda x: x,
}


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32, float64])
@pytest.mark.parametrize("name", REFERENCE)
def test_an_intrinsic_is_its_function_rounded_once(name: str, dtype: DType) -> None:
    row = INTRINSICS[name]
    for x in (0.5, 2.5, 0.15625):
        given_bool = row.result == "bool"
        result = dtype if not given_bool else (const(True, "bool")).dtype
        value = evaluate(Call(name, (Const(x, dtype),), result), {})
        assert value.dtype == result.numpy
        wide = np.asarray(REFERENCE[name](x))
        # A unit of the last place of float64 is all that two libraries may differ by.
        near = [np.nextafter(float(wide), end) for end in (-np.inf, np.inf)]
        assert value in [np.asarray(w).astype(result.numpy) for w in (wide, *near)]


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (1.0, 1.0),
        (1 + 2.0**-11, 1 + 2.0**-10),  # A tie: away from zero.
        (-1 - 2.0**-11, -1 - 2.0**-10),
        (1 + 2.0**-11 - 2.0**-23, 1.0),
        (2049.0, 2050.0),
        (2047.0, 2047.0),
        (0.1, 0.0999755859375),
        (2.0**-149, 0.0),
        (-0.0, -0.0),
        (3.4028235e38, np.inf),
        (-np.inf, -np.inf),
        (np.nan, np.nan),
    ],
)
def test_tf32_keeps_ten_bits_of_fraction(value: float, rounded: float) -> None:
    found = evaluate(Call("tf32", (Const(value, float32),), float32), {})
    assert found.tobytes() == np.float32(rounded).tobytes()


def test_every_intrinsic_has_a_value() -> None:
    others = {"pow", "fma", "bitcast", "tf32", "eighths"}
    assert set(INTRINSICS) == set(REFERENCE) | others
    assert evaluate(Call("pow", (Const(2.0, float32), Const(10.0, float32)), float32), {}) == 1024
    assert evaluate(Call("pow", (Const(np.nan, float32), Const(0.0, float32)), float32), {}) == 1
    assert evaluate(Call("bitcast", (Const(1.0, float32),), int32), {}) == 0x3F800000
    for n in range(-20, 20):
        bits = evaluate(Call("eighths", (Const(n, int32),), int32), {}) + np.int32(n << 20)
        assert bits.view(np.float32) == np.float32(2.0 ** (n / 8))


@given(st.tuples(*[st.floats(-1e3, 1e3, width=32)] * 3))
@settings(max_examples=200)
def test_a_float32_fma_rounds_once(operands: tuple[float, float, float]) -> None:
    a, b, c = (np.float32(v) for v in operands)
    total = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    value = Fraction(float(scalars.fma(a, b, c)))
    gap = abs(value - total)
    for end in (-np.inf, np.inf):
        assert gap <= abs(Fraction(float(np.nextafter(np.float32(value), np.float32(end)))) - total)


def test_an_fma_keeps_what_two_roundings_lose() -> None:
    tie = np.float32(1 + 2.0**-12), np.float32(1 - 2.0**-12), np.float32(2.0**-60)
    assert scalars.fma(*tie) == np.float32(1 - 2.0**-24)
    a = np.float64(1 + 2.0**-30)
    assert scalars.fma(a, a, np.float64(-1 - 2.0**-29)) == 2.0**-60
    halfway = np.float32(2.0**24), np.float32(1.0), np.float32(1.0)
    assert scalars.fma(*halfway) == 2.0**24
    above = np.float32(2.0**24 + 2), np.float32(1 + 2.0**-23), np.float32(-1.0)
    exact = Fraction(2**24 + 2) * (1 + Fraction(1, 2**23)) - 1
    assert abs(Fraction(float(scalars.fma(*above))) - exact) <= 1
    for bad in (np.nan, np.inf):
        assert not np.isfinite(scalars.fma(np.float64(bad), np.float64(1), np.float64(1)))
    with scalars.exact():
        big = np.float64(1e200)
        assert scalars.fma(big, big, np.float64(0)) == np.inf
        assert scalars.fma(big, -big, np.float64(0)) == -np.inf


def test_a_sum_of_products_is_fused_and_a_stored_one_is_not() -> None:
    head = "program p(A: in float32[2], B: inout float32[1]):\n"
    a = np.array([1 + 2.0**-12, 1 + 2.0**-12], "f")
    b = np.array([-1.0], "f")
    fused = one(head + "  B[0] += A[0] * A[1]", a, b.copy())
    plain = one(head + "  B[0] = B[0] + A[0] * A[1]", a, b.copy())
    assert fused[0] == 2.0**-11 + 2.0**-24
    assert plain[0] == 2.0**-11


def test_a_let_is_evaluated_once_and_seen_inside() -> None:
    assert evaluate(Let(X, Y + 1.0, X * X), {Y: np.float32(2)}) == 9


def test_casts_wrap_and_truncate() -> None:
    assert evaluate(Cast(const(300), uint8), {}) == 44
    assert evaluate(Cast(Const(-2.7, float32), int32), {}) == -2
    assert evaluate(Cast(Const(np.nan, float32), const(True, "bool").dtype), {})


def test_evaluate_takes_loads_and_reductions_from_its_caller() -> None:
    buffer = Buffer("A", (const(4),), float32)
    k = Var("k")
    total = Reduce(builtin("sum", float32), (k,), (Load(buffer, (k,)),))

    def read(_: Buffer, index: tuple[int, ...]) -> np.float32:
        return np.float32(index[0])

    def fold(node: Reduce, env: Any) -> Any:
        terms = [evaluate(node.values[0], {**env, k: np.int64(i)}, read) for i in range(4)]
        return sum(terms)

    assert evaluate(total + 1.0, {}, read, fold) == 7
    with pytest.raises(AssertionError, match=r"sum\(A\[k\], axis=k\)$"):
        evaluate(total, {}, read)


def test_select_takes_a_side() -> None:
    for x, expected in ((1.0, 1.0), (-1.0, 0.0)):
        cond = X > 0.0
        for choice in (Select(cond, X, const(0.0, float32)), where(cond, X, 0.0)):
            assert evaluate(choice, {X: np.float32(x)}) == expected
