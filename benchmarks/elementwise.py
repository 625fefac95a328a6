"""Work that is bound by memory or by transcendental functions, against NumPy."""

from __future__ import annotations

import numpy as np

import tensorc as tc
from benchmarks.harness import Case, bench


@bench(sizes=[10_000, 1_000_000])
def fused_float32(n: int) -> Case:
    """max(a * b + c, 0) in one pass, against NumPy's three."""
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=n).astype(np.float32) for _ in range(3))
    out, theirs = np.empty(n, np.float32), np.empty(n, np.float32)
    x, y, z = (tc.placeholder(n, name=name) for name in "xyz")
    kernel = tc.compile([tc.ops.maximum(x * y + z, 0.0)], inputs=[x, y, z]).bind(a, b, c, out=out)

    def rival() -> None:
        np.multiply(a, b, out=theirs)
        np.add(theirs, c, out=theirs)
        np.maximum(theirs, 0, out=theirs)

    def check() -> None:
        kernel()
        rival()
        np.testing.assert_array_equal(out, theirs)

    return Case(kernel, check, {"numpy": rival}, bytes=16.0 * n)


@bench(sizes=[1_000_000])
def exp_float32(n: int) -> Case:
    """exp(x), against NumPy's own vector code."""
    x = np.random.default_rng(0).normal(size=n).astype(np.float32)
    out, theirs = np.empty(n, np.float32), np.empty(n, np.float32)
    a = tc.placeholder(n, name="x")
    kernel = tc.compile([tc.ops.exp(a)], inputs=[a]).bind(x, out=out)

    def check() -> None:
        kernel()
        exact = np.exp(x.astype(np.float64))
        assert np.all(np.abs(out - exact) <= 4 * 2.0**-23 * exact), "exp: more than 4 ulp off"

    return Case(kernel, check, {"numpy": lambda: np.exp(x, out=theirs)}, bytes=8.0 * n)


@bench(sizes=[(1024, 1024)])
def softmax_float32(shape: tuple[int, int]) -> Case:
    """Softmax of each row, against NumPy's passes over temporaries."""
    z = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    out, theirs = np.empty(shape, np.float32), np.empty(shape, np.float32)
    a = tc.placeholder(shape, name="x")
    kernel = tc.compile([tc.ops.softmax(a, axis=-1)], inputs=[a]).bind(z, out=out)

    def rival() -> None:
        e = np.exp(z - z.max(axis=1, keepdims=True))
        np.divide(e, e.sum(axis=1, keepdims=True), out=theirs)

    def check() -> None:
        kernel()
        wide = z.astype(np.float64)
        exact = np.exp(wide - wide.max(axis=1, keepdims=True))
        exact /= exact.sum(axis=1, keepdims=True)
        # The shift rounds once, by half an ulp of at most 16; exp and the sum add a few ulp each,
        # the sum of n positive terms at most n u.
        rounding = 16 * 2.0**-24 + shape[1] * 2.0**-24 + 8 * 2.0**-24
        assert np.all(np.abs(out - exact) <= rounding * exact), "softmax: beyond the bound"

    return Case(kernel, check, {"numpy": rival}, bytes=8.0 * z.size)
