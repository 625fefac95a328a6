"""Every operation on every dtype, scalar and in vectors, against the interpreter."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import tensorc as tc
from codegen.harness import Array, Kernel
from codegen.programs import check
from tensorc.dtypes import ALL_DTYPES, DType, float32, float64, int32, int64
from tensorc.ir.parser import parse
from tensorc.target import Target

NUMBERS = [d for d in ALL_DTYPES if not d.is_bool]
FLOATS = [d for d in ALL_DTYPES if d.is_float]
INTS = [d for d in ALL_DTYPES if d.is_int]
BASELINE = Target(cpu="x86-64")


def edge_values(dtype: DType) -> list[float]:
    if dtype.is_float:
        return [0.0, -0.0, 1.0, -1.5, 3.0, np.inf, -np.inf, np.nan, 1e-3, 100.25, 2.0**-15, 65000.0]
    low, high = int(dtype.min_value), int(dtype.max_value)
    return [0, 1, 2, 3, 7, high, high - 1, low, low + 1, 5, high // 2, low // 2 - (low < 0)]


def pairs(dtype: DType) -> tuple[Array, Array]:
    edges = np.array([np.array(v).astype(dtype.numpy) for v in edge_values(dtype)])
    if dtype.kind == "i":
        edges = np.concatenate([edges, np.array([-1, -2, -7, -3], dtype.numpy)])
    else:
        edges = np.concatenate([edges, edges[:4]])
    a, b = np.meshgrid(edges, edges)
    return np.ascontiguousarray(a.ravel()), np.ascontiguousarray(b.ravel())


def both_ways(dtype: DType, exprs: list[str], result: str, target: Target | None = None) -> None:
    """Every expression on every pair of edge values, in scalar code and in vectors of 8."""
    a, b = pairs(dtype)
    outs: dict[str, Array] = {}
    lines = {"i": "", "o * 8 + i": ""}
    for at in lines:
        for k, expr in enumerate(exprs):
            name = f"{'S' if at == 'i' else 'V'}{k}"
            outs[name] = np.zeros(256, _numpy(result))
            indent = "    " if at == "i" else "      "
            lines[at] += f"{indent}{name}[{at}] = {expr.replace('@', at)}\n"
    params = ", ".join(f"{name}: out {result}[256]" for name in outs)
    text = (
        f"program f(A: in {dtype}[256], B: in {dtype}[256], {params}):\n"
        f"  for i in range(256):\n{lines['i']}"
        f"  for o in range(32):\n    for i in vectorized(8):\n{lines['o * 8 + i']}"
    )
    check(text, {"A": a, "B": b} | outs, target=target)


def _numpy(name: str) -> np.dtype[np.generic]:
    return next(d.numpy for d in ALL_DTYPES if d.name == name)


@pytest.mark.parametrize("lanes", [1, 2, 3, 8, 12, 32])
def test_a_table_is_read_in_any_number_of_lanes(lanes: int) -> None:
    given = np.arange(-48, 48, dtype=np.int32) * 12345
    text = (
        f"program f(A: in int32[96], B: out int32[96]):\n  for o in range({96 // lanes}):\n"
        f"    for i in vectorized({lanes}):\n"
        f"      B[o * {lanes} + i] = eighths(A[o * {lanes} + i]) + eighths(A[o])\n"
    )
    check(text, {"A": given, "B": np.zeros(96, np.int32)}, target=Target(cpu="haswell"))


def test_wide_registers_read_a_table_in_one_instruction() -> None:
    x = tc.placeholder((64,), name="x")
    wide = Target(cpu="znver4", features="+avx512f,+avx2,+avx,+fma", triple="x86_64-linux-gnu")
    text = tc.compile(tc.exp(x), target=wide).inspect("asm")
    assert "vpermd\t%zmm" in text or "vpermps\t%zmm" in text
    assert "vextracti" not in text


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_ring_operations_and_extremes(dtype: DType) -> None:
    both_ways(
        dtype,
        [
            "A[@] + B[@]",
            "A[@] - B[@]",
            "A[@] * B[@]",
            "-A[@]",
            "min(A[@], B[@])",
            "max(A[@], B[@])",
        ],
        dtype.name,
    )


@pytest.mark.parametrize("dtype", NUMBERS, ids=str)
def test_comparisons(dtype: DType) -> None:
    operators = ["==", "!=", "<", "<=", ">", ">="]
    both_ways(dtype, [f"A[@] {op} B[@]" for op in operators], "bool")


@pytest.mark.parametrize("dtype", INTS, ids=str)
def test_integer_operations_never_trap(dtype: DType) -> None:
    operators = ["//", "%", "<<", ">>", "&", "|", "^"]
    both_ways(dtype, [f"A[@] {op} B[@]" for op in operators] + ["~A[@]"], dtype.name)


def test_division_by_constants() -> None:
    divisors = [1, 2, 3, 7, 8]
    both_ways(int64, [f"A[@] {op} {d}" for op in ("//", "%") for d in divisors], "int64")
    both_ways(int32, [f"A[@] {op} int32({d})" for op in ("//", "%") for d in divisors], "int32")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("target", [None, BASELINE], ids=["native", "baseline"])
def test_float_division_roots_and_rounding(dtype: DType, target: Target | None) -> None:
    names = ["floor", "ceil", "round", "trunc", "sign", "abs"]
    exprs = [f"{n}(A[@])" for n in names] + [f"{n}(A[@] * {dtype}(0.25))" for n in names]
    both_ways(dtype, [*exprs, "A[@] / B[@]", "sqrt(A[@])"], dtype.name, target)


@pytest.mark.parametrize("target", [None, BASELINE], ids=["native", "baseline"])
def test_rounding_to_tf32(target: Target | None) -> None:
    both_ways(float32, ["tf32(A[@])", "tf32(A[@] * B[@])"], "float32", target)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_classification(dtype: DType) -> None:
    both_ways(dtype, ["isnan(A[@])", "isinf(A[@])", "isfinite(A[@])"], "bool")


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_the_bits_of_floats(dtype: DType) -> None:
    ints = f"int{dtype.bits}"
    both_ways(dtype, [f"bitcast({ints}, A[@])"], ints)


@pytest.mark.parametrize("target", [None, BASELINE], ids=["native", "baseline"])
@pytest.mark.parametrize("source", ALL_DTYPES, ids=str)
def test_conversions_to_every_dtype(source: DType, target: Target | None) -> None:
    rng = np.random.default_rng(0)
    raw = rng.integers(0, 2 if source.is_bool else 100, 64)
    a = raw.astype(source.numpy) if not source.is_float else (raw / 7).astype(source.numpy)
    outs = [d for d in ALL_DTYPES if d != source]
    params = ", ".join(f"O{d}: out {d}[64]" for d in outs)
    lines = "".join(f"      O{d}[o * 8 + i] = {d}(A[o * 8 + i])\n" for d in outs)
    text = (
        f"program f(A: in {source}[64], {params}):\n"
        f"  for o in range(8):\n    for i in vectorized(8):\n{lines}"
    )
    arrays = {"A": a} | {f"O{d}": np.zeros(64, d.numpy) for d in outs}
    check(text, arrays, target=target)


def test_a_bfloat16_is_rounded_when_computed_and_not_again_when_stored() -> None:
    text = """
program f(A: in bfloat16[8], B: out bfloat16[8], C: out bfloat16[8]):
  for i in vectorized(8):
    B[i] = A[i] * A[i]
    C[i] = A[i]
"""
    assert check(text).text.count("fcmp uno") == 1


@pytest.mark.parametrize("target", [None, BASELINE], ids=["native", "baseline"])
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_narrow_floats_round_as_numpy_does(name: str, target: Target | None) -> None:
    rng = np.random.default_rng(1)
    bits = rng.integers(0, 2**32, 4096, dtype=np.uint64).astype(np.uint32)
    near = np.arange(65536, dtype=np.uint32) << 16 | rng.integers(0, 3, 65536, dtype=np.uint32)
    half = rng.uniform(-7e4, 7e4, 4096).astype(np.float32) * np.float32(2.0) ** rng.integers(
        -30, 1, 4096
    ).astype(np.float32)
    a = np.concatenate([bits.view(np.float32), near.view(np.float32), half])
    a = np.where(np.isnan(a), np.float32(np.nan), a)
    dtype = next(d for d in ALL_DTYPES if d.name == name)
    text = f"""
program f(A: in float32[{len(a)}], B: out {name}[{len(a)}], C: out float32[{len(a)}]):
  for i in range({len(a) // 8}):
    for j in vectorized(8):
      B[i * 8 + j] = {name}(A[i * 8 + j])
      C[i * 8 + j] = float32({name}(A[i * 8 + j]))
"""

    got = Kernel(parse(text), target).run(A=a)
    with np.errstate(all="ignore"):
        want = a.astype(dtype.numpy)
    np.testing.assert_array_equal(got["B"].astype(np.float32), want.astype(np.float32))
    np.testing.assert_array_equal(got["C"], want.astype(np.float32))


@pytest.mark.parametrize("target", [None, BASELINE], ids=["native", "baseline"])
def test_an_explicit_fma_rounds_once_with_or_without_the_instruction(target: Target | None) -> None:
    rng = np.random.default_rng(3)
    text = """
program f(A: in D[64], B: in D[64], C: in D[64], R: out D[64]):
  for o in range(8):
    for i in vectorized(8):
      R[o * 8 + i] = fma(A[o * 8 + i], B[o * 8 + i], C[o * 8 + i])
"""
    for dtype in (float64, float32):
        a, b = rng.standard_normal((2, 64)).astype(dtype.numpy)
        c = np.where(np.arange(64) % 2, -(a * b), a * b * dtype.numpy.type(1e9)).astype(dtype.numpy)
        arrays = {"A": a, "B": b, "C": c, "R": np.zeros(64, dtype.numpy)}
        kernel = Kernel(parse(text.replace("D[", f"{dtype}[")), target)
        got = kernel.run(1, **{k: arrays[k] for k in "ABC"})["R"]
        exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
                 for x, y, z in zip(a, b, arrays["C"], strict=True)]  # fmt: skip
        np.testing.assert_array_equal(
            got, np.array([_nearest(v, dtype) for v in exact], dtype.numpy)
        )


def _nearest(value: Fraction, dtype: DType) -> float:
    """The float of `dtype` nearest to an exact value."""
    guess = dtype.numpy.type(float(value))
    around = [np.nextafter(guess, dtype.numpy.type(s)) for s in (-np.inf, np.inf)]
    return float(min([guess, *around], key=lambda v: abs(Fraction(float(v)) - value)))
