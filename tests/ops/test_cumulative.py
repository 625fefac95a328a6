"""Running sums and products against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from ops.run import backends, gamma, normal, run
from tensorc import ops
from tensorc.autodiff import check_grad
from tensorc.errors import ShapeError
from tensorc.te.tensor import dim, placeholder


@backends
@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_running_folds_are_numpys(axis: int | None, backend: str) -> None:
    x = normal((4, 3, 5), 1)
    t = placeholder((dim("n"), 3, 5))
    found = run([ops.cumsum(t, axis), ops.cumprod(t, axis)], {t: x}, backend)
    wide = x.astype(np.float64)
    size = np.cumsum(abs(wide), axis)
    assert found[0].shape == size.shape
    assert np.all(abs(found[0] - np.cumsum(wide, axis)) <= gamma(60) * size)
    exact = np.cumprod(wide, axis)
    assert np.all(abs(found[1] - exact) <= gamma(60) * abs(exact))


@backends
def test_dtypes_are_numpys(backend: str) -> None:
    for dtype in ("int32", "uint8", "bool"):
        x = normal((6,), 2, dtype)
        t = placeholder(6, dtype)
        (found,) = run([ops.cumsum(t, 0)], {t: x}, backend)
        np.testing.assert_array_equal(found, np.cumsum(x, 0), strict=True)
    half = np.full(3000, 1.0, np.float16)
    t = placeholder(3000, "float16")
    (found,) = run([ops.cumsum(t, 0)], {t: half}, backend)
    # In float16 the sum would stop at 2048.
    np.testing.assert_array_equal(found, np.arange(1, 3001).astype(np.float16), strict=True)


def test_running_folds_have_gradients() -> None:
    t = placeholder((3, 4), "float64", name="x")
    feeds = {t: np.random.default_rng(0).uniform(0.5, 2, (3, 4))}
    for y in (ops.cumsum(t * t, 1), ops.cumprod(t, 0), ops.cumsum(t * t)):
        check_grad(y, t, feeds)


def test_an_axis_that_is_none_is_refused() -> None:
    with pytest.raises(ShapeError, match="axis 2 is out of bounds for a tensor of 2 dimensions"):
        ops.cumsum(placeholder((2, 3)), 2)
