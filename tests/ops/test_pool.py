"""Pools against NumPy's sliding windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.run import Array, backends, gamma, normal, run
from tensorc import ops
from tensorc.autodiff import grad
from tensorc.errors import ShapeError
from tensorc.te.tensor import dim, placeholder

Numbers = tuple[int, ...]


def pooled(
    x: Array, size: Numbers, stride: Numbers, pads: list[Numbers], dilation: Numbers, fill: float
) -> Array:
    """(batch, channels, windows..., elements of a window...)."""
    n = len(size)
    x = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=fill)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, tuple(range(2, 2 + n)))
    at = [slice(None), slice(None), *(slice(None, None, s) for s in stride)]
    return seen[(*at, *(slice(None, None, d) for d in dilation))]


@st.composite
def problems(draw: Any) -> dict[str, Any]:
    n = draw(st.sampled_from([1, 2, 2]))
    size, stride, dilation = (
        tuple(draw(st.integers(1, high)) for _ in range(n)) for high in (3, 3, 2)
    )
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True)]
    pads = [(draw(st.integers(0, k // 2)), draw(st.integers(0, k // 2))) for k in size]
    inner = [r + draw(st.integers(0, 3)) for r in reach]
    return {
        "x": (2, draw(st.integers(1, 2)), *inner),
        "size": size,
        "stride": stride,
        "pads": pads,
        "dilation": dilation,
    }


@backends
@settings(max_examples=12)
@given(p=problems(), channels_last=st.booleans())
def test_pools_are_numpys(p: dict[str, Any], channels_last: bool, backend: str) -> None:
    x = normal(p["x"], 1)
    n, inner = len(p["size"]), tuple(range(-len(p["size"]), 0))
    size, stride, pads, dilation = (p[k] for k in ("size", "stride", "pads", "dilation"))
    ones, count = (1,) * n, float(np.prod(size))
    wide = x.astype(np.float64)
    zeros = pooled(wide, size, stride, pads, ones, 0)
    there = pooled(np.ones(x.shape), size, stride, pads, ones, 0).sum(inner)
    want = [
        pooled(wide, size, stride, pads, dilation, -np.inf).max(inner),
        zeros.sum(inner) / count,
        zeros.sum(inner) / there,
    ]
    if channels_last:
        x, want = np.moveaxis(x, 1, -1).copy(), [np.moveaxis(a, 1, -1) for a in want]
    t = placeholder((dim("batch"), *x.shape[1:]))
    layout = "NHWC" if channels_last else "NCHW"
    greatest = ops.max_pool1d if n == 1 else ops.max_pool2d
    mean = ops.avg_pool1d if n == 1 else ops.avg_pool2d
    outs = [
        greatest(t, size, stride, pads, dilation, layout),  # type: ignore[arg-type]
        mean(t, size, stride, pads, True, layout),  # type: ignore[arg-type]
        mean(t, size, stride, pads, False, layout),  # type: ignore[arg-type]
    ]
    found = run(outs, {t: x}, backend)
    np.testing.assert_array_equal(found[0], want[0])
    # A mean rounds its sum and its quotient; all values are of size 1.
    for a, b in zip(found[1:], want[1:], strict=True):
        assert a.shape == b.shape
        assert np.all(abs(a - b) <= gamma(int(count) + 1) * 5)


@backends
def test_a_maximum_over_negative_numbers_is_none_of_the_padding(backend: str) -> None:
    x = -np.ones((1, 1, 2, 2), np.float32)
    t = placeholder(x.shape)
    (found,) = run([ops.max_pool2d(t, 3, 1, 1)], {t: x}, backend)
    np.testing.assert_array_equal(found, x)


@backends
def test_windows_that_overlap_share_their_elements_gradient(backend: str) -> None:
    x = np.array([[[1, 5, 2, 5, 5, 0]]], np.float32)
    t, g = placeholder(x.shape), placeholder((1, 1, 4))
    seed = np.array([[[1, 10, 100, 1000]]], np.float32)
    by_max = grad(ops.max_pool1d(t, 3, 1), t, g)
    by_mean = grad(ops.avg_pool1d(t, 3, 1), t, g)
    most, mean = run([by_max, by_mean], {t: x, g: seed}, backend)
    # Of equal elements each gets the same part: windows 1 to 3 have two 5s.
    np.testing.assert_array_equal(most, [[[0, 1 + 5, 0, 5 + 50 + 500, 50 + 500, 0]]])
    np.testing.assert_allclose(mean * 3, [[[1, 11, 111, 1110, 1100, 1000]]], rtol=1e-6)


@backends
def test_a_mean_of_integers_is_float32(backend: str) -> None:
    x = np.arange(8, dtype=np.int32).reshape(1, 1, 8)
    t = placeholder(x.shape, "int32")
    (found,) = run([ops.avg_pool1d(t, 4)], {t: x}, backend)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[[1.5, 5.5]]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x: ops.max_pool2d(x, 3, padding=2),
            "max_pool2d: a padding of 2 + 2 is more than half of the 3 elements that a window "
            "reaches",
        ),
        (
            lambda x: ops.avg_pool2d(x, (2, 9)),
            "avg_pool2d: a window of 9 elements does not fit into dimension 3 of x, 8 with a "
            "padding of 0 + 0",
        ),
        (
            lambda x: ops.max_pool1d(x, 2),
            "max_pool1d: x must have dimensions (batch, channels, length), got x of shape "
            "(1, 2, 8, 8)",
        ),
        (
            lambda x: ops.max_pool2d(x, 2.5),  # type: ignore[arg-type]
            "max_pool2d: window must be an integer of at least 1, or 2 of them, got 2.5",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ShapeError) as e:
        make(placeholder((1, 2, 8, 8), name="x"))
    assert str(e.value) == message
