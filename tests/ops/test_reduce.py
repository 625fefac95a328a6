"""Reductions against NumPy."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.run import Sizes, backends, filled_shapes, gamma, normal, run, shapes
from tensorc import ops
from tensorc.errors import CheckFailed, ShapeError
from tensorc.te.tensor import dim, placeholder


@st.composite
def reductions(draw: Any, of: Any = shapes) -> tuple[tuple[int, ...], Any]:
    shape = draw(of)
    kinds: list[Any] = [st.none()]
    if shape:
        one = st.integers(-len(shape), len(shape) - 1)
        kinds += [one, st.sets(st.integers(0, len(shape) - 1)).map(tuple)]
    return shape, draw(st.one_of(kinds))


@backends
@pytest.mark.parametrize("name", ["sum", "prod", "mean"])
@settings(max_examples=12)
@given(case=reductions(), keepdims=st.booleans(), symbolic=st.booleans())
def test_a_sum_is_numpys_within_the_rounding_bound(
    name: str, backend: str, case: Any, keepdims: bool, symbolic: bool
) -> None:
    shape, axis = case
    x = normal(shape)
    t = Sizes(symbolic).like(x)
    (found,) = run([getattr(ops, name)(t, axis, keepdims)], {t: x}, backend)
    wide = x.astype(np.float64)
    fold = np.prod if name == "prod" else np.sum
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # A mean of nothing.
        expected = np.asarray(getattr(np, name)(wide, axis=axis, keepdims=keepdims))
    bound = np.asarray(gamma(x.size + 1) * fold(abs(wide), axis=axis, keepdims=keepdims))
    assert found.shape == expected.shape
    finite = np.isfinite(expected)
    assert np.array_equal(finite, np.isfinite(found))
    assert np.all(abs(found - expected)[finite] <= bound[finite])


@backends
@pytest.mark.parametrize("name", ["max", "min"])
@settings(max_examples=10)
@given(case=reductions(filled_shapes), keepdims=st.booleans(), symbolic=st.booleans())
def test_an_extreme_is_numpys(
    name: str, backend: str, case: Any, keepdims: bool, symbolic: bool
) -> None:
    shape, axis = case
    x = np.round(normal(shape))
    t = Sizes(symbolic).like(x)
    (found,) = run([getattr(ops, name)(t, axis, keepdims)], {t: x}, backend)
    np.testing.assert_array_equal(found, getattr(np, name)(x, axis=axis, keepdims=keepdims))


@backends
@pytest.mark.parametrize("name", ["all", "any"])
@settings(max_examples=8)
@given(
    case=reductions(), keepdims=st.booleans(), dtype=st.sampled_from(["bool", "float32", "int8"])
)
def test_all_and_any_are_numpys(
    name: str, backend: str, case: Any, keepdims: bool, dtype: str
) -> None:
    shape, axis = case
    x = normal(shape, 1, dtype)
    t = placeholder(shape, dtype)
    (found,) = run([getattr(ops, name)(t, axis, keepdims)], {t: x}, backend)
    expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


@backends
@pytest.mark.parametrize("name", ["argmax", "argmin"])
@settings(max_examples=10)
@given(
    data=st.data(),
    shape=filled_shapes.filter(len),
    keepdims=st.booleans(),
    symbolic=st.booleans(),
)
def test_an_index_of_an_extreme_is_numpys(
    name: str, backend: str, data: Any, shape: tuple[int, ...], keepdims: bool, symbolic: bool
) -> None:
    axis = data.draw(st.sampled_from([None, *range(len(shape))]))
    dtype = data.draw(st.sampled_from(["float32", "int32", "bool"]))
    x = np.round(normal(shape, 4, dtype))  # Rounded, so that there are equals.
    t = Sizes(symbolic).like(x)
    (found,) = run([getattr(ops, name)(t, axis, keepdims)], {t: x}, backend)
    np.testing.assert_array_equal(found, getattr(np, name)(x, axis=axis, keepdims=keepdims))


@backends
def test_the_first_nan_is_the_greatest_and_the_least(backend: str) -> None:
    x = np.array([[1, np.nan, 3, np.nan], [np.inf, 2, np.inf, -np.inf]], np.float32)
    t = placeholder((2, 4))
    names = ["max", "min", "argmax", "argmin"]
    found = run([getattr(ops, n)(t, 1) for n in names], {t: x}, backend)
    for name, values in zip(names, found, strict=True):
        np.testing.assert_array_equal(values, getattr(np, name)(x, axis=1))


@backends
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "bool"])
def test_sums_of_integers_have_numpys_dtypes(dtype: str, backend: str) -> None:
    x = normal((3, 40), 5, dtype)
    t = placeholder((3, 40), dtype)
    found = run([ops.sum(t, 1), ops.prod(t, 1), ops.mean(t)], {t: x}, backend)
    for values, expected in zip(found[:2], (x.sum(1), x.prod(1)), strict=True):
        np.testing.assert_array_equal(values, expected)
        assert values.dtype == expected.dtype
    assert found[2].dtype == np.float32
    np.testing.assert_allclose(found[2], x.mean(), rtol=gamma(121))


@backends
def test_half_precision_is_summed_in_float32(backend: str) -> None:
    x = np.full(4096, 0.1, np.float16)
    t = placeholder(4096, "float16")
    total, mean = run([ops.sum(t), ops.mean(t)], {t: x}, backend)
    assert total == np.float16(x.astype(np.float64).sum())
    assert mean == x[0]


@backends
@settings(max_examples=10)
@given(case=reductions(filled_shapes), keepdims=st.booleans(), ddof=st.integers(0, 1))
def test_variance_is_numpys(case: Any, keepdims: bool, ddof: int, backend: str) -> None:
    shape, axis = case
    x = normal(shape)
    t = placeholder(shape)
    outs = [ops.var(t, axis, ddof, keepdims), ops.std(t, axis, ddof, keepdims)]
    var, std = run(outs, {t: x}, backend)
    wide = x.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # One element less one leaves none.
        expected = np.asarray(wide.var(axis=axis, ddof=ddof, keepdims=keepdims))
    # Each difference from the mean errs by gamma times the values, and is squared and summed.
    slack = 8 * gamma(x.size + 2) * max(1.0, float(np.max(wide**2, initial=0)))
    np.testing.assert_allclose(var, expected, atol=slack)
    np.testing.assert_allclose(std**2, expected, atol=2 * slack)


def test_a_maximum_of_an_axis_of_size_0_is_refused() -> None:
    with pytest.raises(ShapeError) as e:
        ops.max(placeholder((2, 0)), axis=1)
    assert str(e.value) == "max over axis r1: an empty domain has no max"


@pytest.mark.parametrize("name", ["max", "argmin"])
def test_a_maximum_of_a_symbolic_axis_of_size_0_is_refused_at_the_call(name: str) -> None:
    t = placeholder((dim("n"),))
    with pytest.raises(CheckFailed, match=f"an empty domain has no {name}"):
        run([getattr(ops, name)(t)], {t: np.zeros(0, np.float32)})


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (2, "axis 2 is out of bounds for a tensor of 2 dimensions"),
        ((0, -2), "axis (0, -2) names a dimension twice"),
    ],
)
def test_a_wrong_axis_is_refused(axis: Any, message: str) -> None:
    with pytest.raises(ShapeError) as e:
        ops.sum(placeholder((2, 3)), axis)
    assert str(e.value) == message
