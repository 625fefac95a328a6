"""Every operation on every dtype, on pairs of edge values, against the interpreter, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, check
from codegen.cuda.programs import emitted
from codegen.test_arithmetic import FLOATS, INTS, NUMBERS, pairs
from tensorc.dtypes import ALL_DTYPES, DType, float32, float64

if TYPE_CHECKING:
    from codegen.harness import Array

FUNCTIONS = (
    *("exp", "exp2", "expm1", "log", "log2", "log1p", "tanh", "sigmoid", "erf", "sin", "cos"),
    "rsqrt",
)


def on_pairs(dtype: DType, exprs: list[tuple[str, str]]) -> None:
    """Each (expression, its dtype) on every pair of edge values."""
    a, b = pairs(dtype)
    outs: dict[str, Array] = {}
    lines = ""
    for k, (expr, result) in enumerate(exprs):
        kind = next(d for d in ALL_DTYPES if d.name == result).numpy
        outs[f"O{k}"] = np.zeros(256, kind)
        lines += f"      O{k}[i * 32 + t] = {expr.replace('@', 'i * 32 + t')}\n"
    params = ", ".join(f"{name}: out {r}[256]" for name, (_, r) in zip(outs, exprs, strict=True))
    text = (
        f"program f(A: in {dtype}[256], B: in {dtype}[256], {params}):\n"
        f"  for i in block.x(8):\n    for t in thread.x(32):\n{lines}"
    )
    check(text, {"A": a, "B": b} | outs, orders=ORDERS[:1])


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_numbers(dtype: DType) -> None:
    name = dtype.name
    ring = ["A[@] + B[@]", "A[@] - B[@]", "A[@] * B[@]", "-A[@]", "min(A[@], B[@])"]
    ring += ["max(A[@], B[@])", "abs(A[@])", "sign(A[@])", "select(A[@] < B[@], A[@], B[@])"]
    exprs = [(e, name) for e in ring]
    exprs += [(f"A[@] {op} B[@]", "bool") for op in ("==", "!=", "<", "<=", ">", ">=")]
    on_pairs(dtype, exprs)


@pytest.mark.parametrize("dtype", INTS, ids=str)
def test_integers(dtype: DType) -> None:
    operators = ["//", "%", "<<", ">>", "&", "|", "^"]
    exprs = [(f"A[@] {op} B[@]", dtype.name) for op in operators]
    exprs += [(f"A[@] {op} {dtype}({d})", dtype.name) for op in ("//", "%", ">>") for d in (1, 3)]
    on_pairs(dtype, [*exprs, ("~A[@]", dtype.name)])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats(dtype: DType) -> None:
    names = ["floor", "ceil", "round", "trunc"]
    exprs = [(f"{n}(A[@] * {dtype}(0.25))", dtype.name) for n in names]
    exprs += [("A[@] / B[@]", dtype.name), ("sqrt(A[@])", dtype.name)]
    exprs += [(f"{n}(A[@])", "bool") for n in ("isnan", "isinf", "isfinite")]
    if dtype == float32:
        exprs += [("tf32(A[@])", "float32"), ("tf32(A[@] * B[@])", "float32")]
    if dtype.bits >= 32:
        exprs += [("fma(A[@], B[@], A[@])", dtype.name)]
        exprs += [(f"bitcast(int{dtype.bits}, A[@])", f"int{dtype.bits}")]
    on_pairs(dtype, exprs)


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_functions_give_the_bits_of_every_other_backend(dtype: DType) -> None:
    on_pairs(dtype, [(f"{n}(A[@])", dtype.name) for n in FUNCTIONS])


def test_powers_and_booleans() -> None:
    on_pairs(float32, [("pow(A[@], B[@])", "float32"), ("A[@] < 1.0 and not B[@] > 2.0", "bool")])
    on_pairs(
        float32, [("A[@] < 1.0 or B[@] > 2.0", "bool"), ("(A[@] < 1.0) ^ (B[@] < 1.0)", "bool")]
    )


@pytest.mark.parametrize("source", ALL_DTYPES, ids=str)
def test_conversions_to_every_dtype(source: DType) -> None:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 2 if source.is_bool else 100, 64)
    a = raw.astype(source.numpy) if not source.is_float else (raw / 7).astype(source.numpy)
    outs = [d for d in ALL_DTYPES if d != source]
    params = ", ".join(f"O{d}: out {d}[64]" for d in outs)
    lines = "".join(f"    O{d}[t] = {d}(A[t])\n" for d in outs)
    text = f"program f(A: in {source}[64], {params}):\n  for t in thread.x(64):\n{lines}"
    arrays = {"A": a} | {f"O{d}": np.zeros(64, d.numpy) for d in outs}
    check(text, arrays, orders=ORDERS[:1])


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_narrow_floats_round_as_numpy_does(name: str) -> None:
    rng = np.random.default_rng(1)
    near = np.arange(65536, dtype=np.uint32) << 16 | rng.integers(0, 3, 65536, dtype=np.uint32)
    a = near.view(np.float32)
    wide = rng.standard_normal(65536) * 2.0 ** rng.integers(-26, 17, 65536)
    text = f"""program f(A: in float32[65536], D: in float64[65536], B: out {name}[65536], C: out {name}[65536], E: out float32[65536]):
  for b in block.x(256):
    for t in thread.x(256):
      B[b*256 + t] = {name}(A[b*256 + t])
      C[b*256 + t] = {name}(D[b*256 + t])
      E[b*256 + t] = float32({name}(A[b*256 + t]) * {name}(A[65535 - b*256 - t]))
"""  # noqa: E501
    dtype = next(d for d in ALL_DTYPES if d.name == name)
    outs = {"B": np.zeros(65536, dtype.numpy), "C": np.zeros(65536, dtype.numpy)}
    arrays = {"A": a, "D": wide, **outs, "E": np.zeros(65536, np.float32)}
    check(text, arrays, orders=ORDERS[:1])


@pytest.mark.parametrize("dtype", ALL_DTYPES, ids=str)
def test_vectors_of_every_dtype(dtype: DType) -> None:
    lanes = max(2, 16 // dtype.bytes)
    n = 4 * 32 * lanes
    double = f"{dtype}(2) * " if not dtype.is_bool else "not "
    at = f"b * {32 * lanes} + t * {lanes} + v"
    text = f"""program f(A: in {dtype}[{n}], B: out {dtype}[{n}], C: out {dtype}[{n}]):
  for b in block.x(4):
    for t in thread.x(32):
      for v in vectorized({lanes}):
        B[{at}] = A[{at}]
        C[{at}] = {double}A[{at}]
"""
    check(text, orders=ORDERS[:1])
    assert f"copy{lanes * dtype.bytes}(" in emitted(text).source


def test_an_access_of_unknown_alignment_is_not_widened() -> None:
    text = """program f(A: in float32[130], B: out float32[128], C: out float32[128]):
  for t in thread.x(32):
    for v in vectorized(4):
      B[t * 4 + v] = A[t * 4 + v + 1]
      C[t * 4 + v] = A[t * 4 + v + 2] + A[t * 4 + v]
"""
    check(text)
    source = emitted(text).source
    assert "B_lanes[v] = A[tid * 4 + v + 1];" in source
    assert "copy8(&A_lanes[0], &A[tid * 4 + 2]);" in source
    assert "copy16(&A_lanes_1[0], &A[tid * 4]);" in source


def test_a_symbolic_row_length_keeps_lanes_apart() -> None:
    text = """program f(A: in float32[m, n], B: out float32[m, n]) dims(m >= 0, n >= 4):
  for i in block.x(m):
    for t in thread.x(1):
      for v in vectorized(4):
        B[i, v] = A[i, v]
      for j in range(4, n):
        B[i, j] = 0.0
"""
    assert "copy16" not in emitted(text).source
    check(text, m=3, n=7)
