"""The expansions of transcendental functions: their error bounds and their exceptional values."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import mpmath
import numpy as np
import pytest

from codegen.harness import Array, Kernel
from codegen.programs import check
from tensorc.dtypes import DType, bfloat16, float16, float32, float64
from tensorc.ir.expr import Call
from tensorc.ir.parser import parse
from tensorc.ir.verify import verify
from tensorc.ir.walk import walk
from tensorc.lower.math import EXPANSIONS, ULP_BOUND, ULP_BOUND_UNFUSED
from tensorc.lower.pipeline import lower
from tensorc.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

NATIVE, BASELINE = Target(), Target(cpu="x86-64")
NAMES = sorted(EXPANSIONS)
LARGEST_ANGLE = 2.0**20


def sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


WIDE: dict[str, Callable[..., Array]] = {
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "pow": np.power,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sigmoid": sigmoid,
}
EXACT: dict[str, Callable[..., Any]] = {
    "exp2": lambda x: mpmath.power(2, x),
    "log2": lambda x: mpmath.log(x) / mpmath.log(2),
    "pow": mpmath.power,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
}


def compiled(name: str, dtype: DType, target: Target) -> Callable[..., Array]:
    second = f"Y: in {dtype}[n], " if name == "pow" else ""
    args = "X[o * 8 + i], Y[o * 8 + i]" if second else "X[o * 8 + i]"
    program = lower(
        parse(f"""
program f(X: in {dtype}[n], {second}Z: out {dtype}[n]) dims(n >= 0):
  for o in range(n // 8):
    for i in vectorized(8):
      Z[o * 8 + i] = {name}({args})
"""),
        target,
    )
    verify(program)
    assert not any(isinstance(n, Call) and n.name in EXPANSIONS for n in walk(program.body))
    kernel = Kernel(program, target)

    def run(*arrays: Array) -> Array:
        return kernel.run(1, **dict(zip("XY", arrays, strict=False)))["Z"]

    return run


def arguments(name: str, dtype: DType, count: int) -> list[Array]:
    """Half random bit patterns, half numbers of every usual magnitude, and the special ones."""
    rng = np.random.default_rng(7)
    half = count // 2
    unsigned = np.dtype(f"u{dtype.bytes}")
    bits = rng.integers(0, 2**dtype.bits, half, dtype=np.uint64).astype(unsigned)
    usual = rng.standard_normal(half) * np.exp2(rng.integers(-30, 8, half))
    x = np.concatenate([bits.view(dtype.numpy), usual.astype(dtype.numpy)])
    if name == "pow":
        y = (rng.standard_normal(count) * np.exp2(rng.integers(-10, 8, count))).astype(dtype.numpy)
        y[::7] = np.round(y[::7])
        x[half:] = np.abs(x[half:])
        return [x, y]
    if name in ("sin", "cos"):
        far = np.abs(x) > LARGEST_ANGLE
        x[far] = rng.uniform(-LARGEST_ANGLE, LARGEST_ANGLE, int(far.sum()))
    return [x]


def special_arguments(name: str, dtype: DType) -> list[Array]:
    tiny = float(np.finfo(dtype.numpy).smallest_subnormal)
    values = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5,
              1e30, -1e30, tiny, -tiny, 88.5, 89.5, -88.0, -103.5, -105.0, 127.9, 128.0, -149.0,
              -150.5, 709.5, 710.0, -745.0, -746.5, 16777217.0, 4503599627370497.0]  # fmt: skip
    if name in ("sin", "cos"):
        values = [v for v in values if not abs(v) > LARGEST_ANGLE or math.isinf(v)]
        values += [0.0] * (-len(values) % 8)
    if name == "pow":
        a, b = zip(*itertools.product(values, values), strict=True)
        return [np.array(a, dtype.numpy), np.array(b, dtype.numpy)]
    return [np.array(values, dtype.numpy)]


def errors_in_ulp(got: Array, want: Array) -> Array:
    """The distance from float64 values, in units of the last place of `got`'s dtype."""
    with np.errstate(all="ignore"):
        near = want.astype(got.dtype)
    usual = np.isfinite(near) & np.isfinite(want)
    unit = np.spacing(np.abs(np.where(usual, near, 1))).astype(np.float64)
    with np.errstate(all="ignore"):
        wrong = np.where(usual, np.abs(got.astype(np.float64) - want) / unit, 0)
    both_nan = np.isnan(got) & np.isnan(near)
    lost = ~usual & ~both_nan & (got != near)
    flipped = ~both_nan & (near == 0) & (np.signbit(got) != np.signbit(near))
    wrong = np.where(np.isnan(wrong) | lost | flipped, np.inf, wrong)
    # The largest finite number may be one rounding away from infinity.
    most = float(np.finfo(got.dtype).max)
    edge = np.isinf(near) & (np.abs(got) == most) & (np.abs(want) / 2 < most * 0.5000001)
    return np.where(edge, 1.0, wrong)


def assert_within(name: str, args: list[Array], got: Array, want: Array, bound: float) -> None:
    wrong = errors_in_ulp(got, want)
    at = int(np.argmax(wrong))
    seen = [repr(a[at]) for a in args]
    assert wrong[at] <= bound, f"{name}{seen} = {got[at]!r}, not {want[at]!r}: {wrong[at]} ulp"


@pytest.mark.parametrize("target", [NATIVE, BASELINE], ids=["native", "baseline"])
@pytest.mark.parametrize("name", NAMES)
def test_float32_keeps_its_bound_over_the_whole_range(name: str, target: Target) -> None:
    run = compiled(name, float32, target)
    wide = WIDE.get(name) or getattr(np, name)
    bounds = ULP_BOUND if target is NATIVE else ULP_BOUND_UNFUSED
    for args in (arguments(name, float32, 2**16 if name == "erf" else 2**19),
                 special_arguments(name, float32)):  # fmt: skip
        with np.errstate(all="ignore"):
            want = wide(*(a.astype(np.float64) for a in args))
        assert_within(name, args, run(*args), want, bounds[name, float32])


@pytest.mark.parametrize("target", [NATIVE, BASELINE], ids=["native", "baseline"])
@pytest.mark.parametrize("name", NAMES)
def test_float64_keeps_its_bound_over_the_whole_range(name: str, target: Target) -> None:
    run = compiled(name, float64, target)
    args = arguments(name, float64, 1024)
    bounds = ULP_BOUND if target is NATIVE else ULP_BOUND_UNFUSED
    got = run(*args)
    exact = EXACT.get(name) or getattr(mpmath, name)
    worst, at = 0.0, 0
    with mpmath.workprec(240):
        for i, row in enumerate(zip(*args, strict=True)):
            if not all(math.isfinite(v) for v in row) or not math.isfinite(got[i]):
                continue
            try:
                want = exact(*(mpmath.mpf(float(v)) for v in row))
            except (ValueError, ZeroDivisionError):
                continue
            if not isinstance(want, mpmath.mpf) or float(want) == 0:
                continue
            wrong = float(
                abs(want - mpmath.mpf(float(got[i]))) / float(np.spacing(abs(float(want))))
            )
            worst, at = max((worst, at), (wrong, i))
    assert worst <= bounds[name, float64], (name, [a[at] for a in args], got[at], worst)


@pytest.mark.parametrize("name", NAMES)
def test_float64_at_exceptional_values(name: str) -> None:
    args = special_arguments(name, float64)
    if name == "sigmoid":  # The reference itself underflows too early.
        args = [np.where(args[0] < -744, -np.inf, args[0])]
    wide = WIDE.get(name) or getattr(np, name)
    with np.errstate(all="ignore"):
        want = wide(*args)
    got = compiled(name, float64, NATIVE)(*args)
    assert_within(name, args, got, want, ULP_BOUND[name, float64] + 1)


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
@pytest.mark.parametrize("name", [n for n in NAMES if n != "pow"])
def test_narrow_floats_are_those_of_float32_rounded(name: str, dtype: DType) -> None:
    bits = np.arange(65536, dtype=np.uint16)
    x = bits.view(dtype.numpy)
    if name in ("sin", "cos"):
        x = np.where(np.abs(x.astype(np.float32)) > LARGEST_ANGLE, dtype.numpy.type(1), x)
    got = compiled(name, dtype, NATIVE)(x).astype(np.float32)
    single = compiled(name, float32, NATIVE)(x.astype(np.float32))
    with np.errstate(all="ignore"):
        want = single.astype(dtype.numpy).astype(np.float32)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_huge_angles_stay_in_range(name: str, dtype: DType) -> None:
    x = np.array([1e7, 1e12, -1e20, 3e38, -3e38, 1e30, 2.0**60, 2.0**100], dtype.numpy)
    got = compiled(name, dtype, NATIVE)(x)
    assert (np.abs(got) <= 1).all()


def test_intrinsics_in_a_users_reducer_are_written_out_too() -> None:
    check(
        """reducer lse(a: float32, b: float32) identity (float32(-inf)) = (log(exp(a) + exp(b)))
program main(X: in float32[3, 5], Y: out float32[3]):
  for i in range(3):
    Y[i] = float32(-inf)
    for k in range(5):
      Y[i] lse= X[i, k]
""",
        rtol=1e-6,
    )
