"""Upsampling against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ops.run import Array, backends, normal, run
from tensorc import ops
from tensorc.errors import ShapeError
from tensorc.te.tensor import placeholder


def linear(x: Array, scale: int, axis: int) -> Array:
    n = x.shape[axis]
    at = np.clip((np.arange(n * scale) + 0.5) / scale - 0.5, 0, n - 1)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, n - 1)
    shape = [1] * x.ndim
    shape[axis] = -1
    part = (at - low).reshape(shape)
    return np.asarray(x.take(low, axis) * (1 - part) + x.take(high, axis) * part)


@backends
@pytest.mark.parametrize("scale", [(1, 2), (3, 1), (2, 4)])
def test_upsampling_repeats_or_interpolates(scale: tuple[int, int], backend: str) -> None:
    x = normal((2, 2, 3, 1), 1)
    s, t = placeholder(x.shape), placeholder((2, 3, 1, 2))
    y = np.moveaxis(x, 1, -1).copy()
    outs = [
        ops.upsample(s, scale),
        ops.upsample(s, scale, "linear"),
        ops.upsample(t, scale, "linear", "NHWC"),
    ]
    near, between, channels_last = run(outs, {s: x, t: y}, backend)
    np.testing.assert_array_equal(near, x.repeat(scale[0], 2).repeat(scale[1], 3))
    exact = linear(linear(x.astype(np.float64), scale[0], 2), scale[1], 3)
    np.testing.assert_allclose(between, exact, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(channels_last, np.moveaxis(between, 1, -1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ops.upsample(placeholder((2, 3, 4)), 2, "cubic"),  # type: ignore[arg-type]
            "upsample: mode is 'nearest' or 'linear' and layout 'NCHW' or 'NHWC', got 'cubic' and "
            "'NCHW'",
        ),
        (
            lambda: ops.upsample(placeholder((3, 4), name="x"), 2),
            "upsample: x has batch, channels and more, got x of shape (3, 4)",
        ),
        (
            lambda: ops.upsample(placeholder((2, 3, 4)), 0),
            "upsample: scale must be an integer of at least 1, or 1 of them, got 0",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ShapeError) as e:
        make()
    assert str(e.value) == message
