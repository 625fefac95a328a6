"""Matrix products against the BLAS that NumPy calls."""

from __future__ import annotations

import numpy as np

import tensorc as tc
from benchmarks.harness import Case, bench

SHAPES = [(256, 256, 256), (512, 512, 512), (1024, 1024, 1024), (128, 784, 512), (784, 128, 512)]


@bench(sizes=SHAPES)
def matmul_float32(shape: tuple[int, int, int]) -> Case:
    """Product of (m, k) and (k, n), against the BLAS that NumPy calls."""
    m, k, n = shape
    rng = np.random.default_rng(0)
    a = rng.normal(size=(m, k)).astype(np.float32)
    b = rng.normal(size=(k, n)).astype(np.float32)
    out, theirs = np.empty((m, n), np.float32), np.empty((m, n), np.float32)
    left, right = tc.placeholder((m, k), name="A"), tc.placeholder((k, n), name="B")
    kernel = tc.compile([tc.ops.matmul(left, right)], inputs=[left, right]).bind(a, b, out=out)

    def check() -> None:
        kernel()
        exact = a.astype(np.float64) @ b.astype(np.float64)
        # |fl(x.y) - x.y| <= k u / (1 - k u) |x|.|y|: Higham, "Accuracy and Stability of Numerical
        # Algorithms", 2nd ed., section 3.1.
        bound = k * 2.0**-24 / (1 - k * 2.0**-24) * (np.abs(a).astype(np.float64) @ np.abs(b))
        assert np.all(np.abs(out - exact) <= bound), "matmul: beyond the rounding error bound"

    return Case(kernel, check, {"numpy": lambda: np.matmul(a, b, out=theirs)}, flop=2.0 * m * n * k)
