"""Softmax, its logarithms and the losses against float64 references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.run import Array, Sizes, backends, filled_shapes, normal, run
from tensorc import ops
from tensorc.errors import ArgumentError, CheckFailed, DTypeError, ShapeError
from tensorc.te.tensor import dim, placeholder

# exp, log and the sum each err by a few ulp; the values below are of size 1 to 100.
RTOL, ATOL = 1e-5, 1e-5


def softmax(x: Array, axis: Any) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


@backends
@settings(max_examples=12)
@given(data=st.data(), shape=filled_shapes.filter(len), symbolic=st.booleans())
def test_softmax_is_its_formula(
    data: Any, shape: tuple[int, ...], symbolic: bool, backend: str
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = normal(shape) * np.float32(10)
    t = Sizes(symbolic).like(x)
    outs = [
        ops.softmax(t, axis),
        ops.log_softmax(t, axis),
        ops.logsumexp(t, axis),
        ops.logsumexp(t, keepdims=True),
    ]
    wide = x.astype(np.float64)
    want = [
        softmax(wide, axis),
        np.log(softmax(wide, axis)),
        np.log(np.exp(wide).sum(axis)),
        np.log(np.exp(wide).sum(keepdims=True)),
    ]
    for found, expected in zip(run(outs, {t: x}, backend), want, strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, RTOL, ATOL)


@backends
def test_logits_of_ten_thousand_do_not_overflow(backend: str) -> None:
    x = np.array([[1e4, 1e4, -1e4], [1e4, 9990, 0]], np.float32)
    labels = np.array([1, 2], np.int64)
    t, y = placeholder((2, 3)), placeholder(2, "int64")
    outs = [ops.softmax(t), ops.log_softmax(t), ops.logsumexp(t, 1)]
    soft, log, total = run(outs, {t: x}, backend)
    wide = x.astype(np.float64)
    near = wide - 1e4
    exact = np.log(np.exp(near).sum(1))
    np.testing.assert_allclose(soft, softmax(wide, 1), RTOL, ATOL)
    np.testing.assert_allclose(log, near - exact[:, None], RTOL, ATOL)
    np.testing.assert_allclose(total, exact + 1e4, RTOL)
    (loss,) = run([ops.softmax_cross_entropy(t, y)], {t: x, y: labels}, backend)
    np.testing.assert_allclose(loss, exact - near[[0, 1], labels], RTOL, ATOL)


@backends
def test_logsumexp_of_infinities_is_scipys(backend: str) -> None:
    inf = np.inf
    x = np.array([[inf, 1], [-inf, -inf], [-inf, 2], [np.nan, 1]], np.float32)
    t = placeholder((4, 2))
    (found,) = run([ops.logsumexp(t, 1)], {t: x}, backend)
    np.testing.assert_array_equal(found, np.array([inf, -inf, 2, np.nan], np.float32))


@backends
@settings(max_examples=8)
@given(rows=st.integers(1, 5), classes=st.integers(1, 5), symbolic=st.booleans())
def test_cross_entropy_is_the_mean_negative_log_probability(
    rows: int, classes: int, symbolic: bool, backend: str
) -> None:
    x = normal((rows, classes)) * np.float32(5)
    labels = np.random.default_rng(0).integers(0, classes, rows).astype(np.int32)
    known = Sizes(symbolic)
    t, y = known.like(x), known.like(labels)
    (found,) = run([ops.cross_entropy(t, y)], {t: x, y: labels}, backend)
    p = softmax(x.astype(np.float64), 1)[np.arange(rows), labels]
    np.testing.assert_allclose(found, -np.log(p).mean(), RTOL, ATOL)


@backends
def test_mse_is_the_mean_square(backend: str) -> None:
    a, b = normal((3, 4), 1), normal((3, 4), 2)
    s, t = placeholder((3, 4)), placeholder((3, 4))
    (found,) = run([ops.mse(s, t)], {s: a, t: b}, backend)
    np.testing.assert_allclose(found, ((a - b).astype(np.float64) ** 2).mean(), RTOL)


@backends
@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_smoothing_gives_every_class_a_part(smoothing: float, backend: str) -> None:
    x, labels = normal((4, 5)) * np.float32(5), np.array([0, 4, 2, 2], np.int32)
    t, y = placeholder(x.shape), placeholder(4, "int32")
    (found,) = run([ops.cross_entropy(t, y, smoothing)], {t: x, y: labels}, backend)
    target = np.eye(5)[labels] * (1 - smoothing) + smoothing / 5
    exact = -(target * np.log(softmax(x.astype(np.float64), 1))).sum(1).mean()
    np.testing.assert_allclose(found, exact, RTOL, ATOL)


@backends
def test_losses_of_numbers_are_their_formulas(backend: str) -> None:
    a, b = normal((3, 4), 1) * np.float32(4), normal((3, 4), 2)
    s, t = placeholder((3, 4)), placeholder((3, 4))
    kinds = placeholder((3, 4), "bool")
    outs = [
        ops.huber(s, t, 1.5),
        ops.bce_with_logits(s, ops.sigmoid(t)),
        ops.bce_with_logits(s * 100.0, kinds),
    ]
    feeds = {s: a, t: b, kinds: b > 0}
    found = run(outs, feeds, backend)
    x, y = a.astype(np.float64), b.astype(np.float64)
    d, p = abs(x - y), 1 / (1 + np.exp(-y))
    exact = [
        np.where(d <= 1.5, d**2 / 2, 1.5 * (d - 0.75)).mean(),
        (np.logaddexp(0, x) - x * p).mean(),
        (np.logaddexp(0, 100 * x) - 100 * x * (y > 0)).mean(),
    ]
    np.testing.assert_allclose(found, exact, RTOL, ATOL)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_out_of_range_is_refused_at_the_call(label: int) -> None:
    t, y = placeholder((2, 3)), placeholder(2, "int32", name="labels")
    feeds = {t: normal((2, 3)), y: np.array([0, label], np.int32)}
    with pytest.raises(CheckFailed) as e:
        run([ops.cross_entropy(t, y)], feeds)
    start = (
        f"softmax_cross_entropy: label labels[1] is {label}, and must be at least 0 and below 3 ("
    )
    assert str(e.value).startswith(start)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: ops.cross_entropy(placeholder((2, 3)), placeholder(2, name="y")),
            DTypeError,
            "labels must be integers, got y: float32[2]; see mse for real targets",
        ),
        (
            lambda: ops.cross_entropy(placeholder((dim("n"), 3)), placeholder(2, "int32")),
            ShapeError,
            "softmax_cross_entropy: labels (2,) must have the shape of logits (n, 3) without the "
            "last dimension",
        ),
        (
            lambda: ops.mse(placeholder((2, 3)), placeholder((2, 1))),
            ShapeError,
            "mse: shapes (2, 3) and (2, 1) differ",
        ),
        (
            lambda: ops.bce_with_logits(placeholder((2, 3)), placeholder((2, 1))),
            ShapeError,
            "bce_with_logits: shapes (2, 3) and (2, 1) differ",
        ),
        (
            lambda: ops.huber(placeholder(2), placeholder(2), 0.0),
            ArgumentError,
            "huber: delta must be above 0, got 0.0",
        ),
        (
            lambda: ops.cross_entropy(placeholder((2, 3)), placeholder(2, "int32"), 1.5),
            ArgumentError,
            "softmax_cross_entropy: smoothing must be from 0 to 1, got 1.5",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as e:
        make()
    assert str(e.value) == message
