"""Normalizations against float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ops.run import Array, backends, normal, run
from tensorc import ops
from tensorc.errors import ShapeError
from tensorc.te.tensor import dim, placeholder

# Sums of at most 60 values of size 1 to 10, then a few operations.
RTOL, ATOL = 1e-5, 2e-5


def moments(x: Array, axis: Any) -> tuple[Array, Array]:
    return x.mean(axis, keepdims=True), x.var(axis, keepdims=True)


@backends
@pytest.mark.parametrize("axis", [-1, (1, 2), 0])
def test_layer_norm_is_its_formula(axis: Any, backend: str) -> None:
    x = normal((3, 4, 5), 1) * 3 + 7
    shape = tuple(np.array(x.shape)[np.atleast_1d(axis)])
    w, b = normal(shape, 2), normal(shape, 3)
    s, t, u = placeholder(x.shape), placeholder(shape), placeholder(shape)
    outs = [ops.layer_norm(s, t, u, axis, eps=1e-3), ops.layer_norm(s, axis=axis)]
    scaled, plain = run(outs, {s: x, t: w, u: b}, backend)
    wide = x.astype(np.float64)
    mean, var = moments(wide, axis)
    spread = [n if d in {a % 3 for a in np.atleast_1d(axis)} else 1 for d, n in enumerate(x.shape)]
    exact = (wide - mean) / np.sqrt(var + 1e-3) * w.reshape(spread) + b.reshape(spread)
    np.testing.assert_allclose(scaled, exact, RTOL, ATOL)
    np.testing.assert_allclose(plain, (wide - mean) / np.sqrt(var + 1e-5), RTOL, ATOL)


@backends
def test_rms_norm_is_its_formula(backend: str) -> None:
    x, w = normal((4, 6), 1), normal((6,), 2)
    s, t = placeholder((dim("n"), 6)), placeholder(6)
    (found,) = run([ops.rms_norm(s, t)], {s: x, t: w}, backend)
    wide = x.astype(np.float64)
    exact = wide / np.sqrt((wide**2).mean(-1, keepdims=True) + 1e-6) * w
    np.testing.assert_allclose(found, exact, RTOL, ATOL)


@backends
@pytest.mark.parametrize("axis", [1, -1])
def test_batch_norm_is_its_formula(axis: int, backend: str) -> None:
    x = normal((3, 4, 5, 4), 1) * 2 + 5
    w, b = normal((4,), 2), normal((4,), 3)
    s, t, u = placeholder(x.shape), placeholder(4), placeholder(4)
    mean, var = ops.batch_moments(s, axis)
    outs = [ops.batch_norm(s, mean, var, t, u, axis), mean, var]
    found = run(outs, {s: x, t: w, u: b}, backend)
    wide = np.moveaxis(x.astype(np.float64), axis, -1)
    m, v = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    exact = np.moveaxis((wide - m) / np.sqrt(v + 1e-5) * w + b, -1, axis)
    for a, e in zip(found, (exact, m, v), strict=True):
        np.testing.assert_allclose(a, e, RTOL, ATOL)


@backends
def test_half_precision_is_normalized_in_float32(backend: str) -> None:
    x = (normal((3, 64), 1) * 100 + 1000).astype(np.float16)
    s = placeholder(x.shape, "float16")
    layer, rms = run([ops.layer_norm(s), ops.rms_norm(s)], {s: x}, backend)
    wide = x.astype(np.float64)
    mean, var = moments(wide, -1)
    assert layer.dtype == rms.dtype == np.float16
    np.testing.assert_allclose(layer, (wide - mean) / np.sqrt(var), rtol=2**-10, atol=2**-10)
    np.testing.assert_allclose(rms, wide / np.sqrt((wide**2).mean(-1, keepdims=True)), rtol=2**-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x: ops.layer_norm(x, placeholder(3)),
            "layer_norm: weight must be of shape (4,), the sizes of dimensions (1,) of x, got (3,)",
        ),
        (
            lambda x: ops.layer_norm(x, None, placeholder((3, 1)), axis=(0, 1)),
            "layer_norm: bias must be of shape (3, 4), the sizes of dimensions (0, 1) of x, got "
            "(3, 1)",
        ),
        (
            lambda x: ops.batch_norm(x, placeholder(3), placeholder(3)),
            "batch_norm: mean must be of shape (4,), the sizes of dimensions (1,) of x, got (3,)",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ShapeError) as e:
        make(placeholder((3, 4), name="x"))
    assert str(e.value) == message
