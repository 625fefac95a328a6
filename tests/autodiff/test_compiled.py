"""Gradients of gradients, through the compiler."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc as tc


@pytest.mark.parametrize("size", [1, 7, 33])
def test_a_product_with_the_hessian_is_compiled(size: int) -> None:
    k = tc.dim("k", lower=1)
    a = tc.placeholder((k, k), "float64", name="A")
    x, v = (tc.placeholder((k,), "float64", name=name) for name in "xv")
    energy = tc.ops.sum(tc.ops.log1p(tc.exp(tc.ops.matmul(a, x))))
    (slope,) = tc.grad(energy, [x])
    (product,) = tc.grad(tc.ops.sum(slope * v), [x])
    f = tc.compile([slope, product], inputs=[a, x, v], name="hvp")
    rng = np.random.default_rng(size)
    av, xv, vv = rng.standard_normal((size, size)), *rng.standard_normal((2, size))
    s = 1 / (1 + np.exp(-av @ xv))
    # Sums of `size` terms, twice over, of numbers of order 1; exp and log1p within a few ulp.
    tolerance = {"rtol": 0, "atol": 64 * size**2 * 2.0**-53 * np.abs(av).max() ** 2}
    got = f(av, xv, vv)
    np.testing.assert_allclose(got[0], av.T @ s, **tolerance)
    np.testing.assert_allclose(got[1], av.T @ (s * (1 - s) * (av @ vv)), **tolerance)


def test_a_third_derivative_is_compiled() -> None:
    y = tc.placeholder((), "float64", name="y")
    value = y**4.0
    for _ in range(3):
        (value,) = tc.grad(value, [y])
    assert tc.compile(value)(2.0) == 48.0
