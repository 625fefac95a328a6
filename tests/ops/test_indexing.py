"""Elements chosen by index tensors, and tensors without inputs, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.run import Sizes, backends, filled_shapes, normal, run, shapes
from tensorc import ops
from tensorc.errors import CheckFailed, DTypeError, ShapeError
from tensorc.te.tensor import dim, placeholder


@backends
@settings(max_examples=15)
@given(data=st.data(), shape=filled_shapes.filter(len), chosen=shapes, symbolic=st.booleans())
def test_take_is_numpys(
    data: Any, shape: tuple[int, ...], chosen: tuple[int, ...], symbolic: bool, backend: str
) -> None:
    axis = data.draw(st.sampled_from([None, *range(-len(shape), len(shape))]))
    limit = int(np.prod(shape)) if axis is None else shape[axis]
    x, at = normal(shape), np.random.default_rng(1).integers(0, limit, chosen).astype("int32")
    known = Sizes(symbolic)
    t, i = known.like(x), known.like(at)
    (found,) = run([ops.take(t, i, axis)], {t: x, i: at}, backend)
    np.testing.assert_array_equal(found, np.take(x, at, axis))


@backends
@settings(max_examples=10)
@given(data=st.data(), shape=filled_shapes.filter(len))
def test_take_along_axis_is_numpys(data: Any, shape: tuple[int, ...], backend: str) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    own = list(shape)
    own[axis] = data.draw(st.integers(0, 4))
    x, at = normal(shape), np.random.default_rng(1).integers(0, shape[axis], own)
    t, i = placeholder(shape), placeholder(own, "int64")
    (found,) = run([ops.take_along_axis(t, i, axis)], {t: x, i: at}, backend)
    np.testing.assert_array_equal(found, np.take_along_axis(x, at, axis))


@pytest.mark.parametrize("wrong", [3, -1])
def test_an_index_from_data_that_leaves_is_refused_before_anything_is_written(wrong: int) -> None:
    t, i = placeholder((3, 2), name="table"), placeholder(2, "int32", name="rows")
    feeds = {t: normal((3, 2)), i: np.array([0, wrong], np.int32)}
    with pytest.raises(CheckFailed) as e:
        run([ops.take(t, i, 0)], feeds)
    message = f"take: index rows[1] is {wrong}, and must be at least 0 and below 3 ("
    assert str(e.value).startswith(message)


@backends
def test_one_hot_is_an_indexed_identity(backend: str) -> None:
    labels = np.array([[2, 0], [1, 2]], np.int32)
    t = placeholder((2, 2), "int32")
    (found,) = run([ops.one_hot(t, 3)], {t: labels}, backend)
    np.testing.assert_array_equal(found, np.eye(3, dtype=np.float32)[labels])


@backends
def test_tensors_without_inputs_are_numpys(backend: str) -> None:
    outs = [
        ops.zeros((2, 3)),
        ops.ones(4, "int8"),
        ops.full((), 7),
        ops.full(2, 0.5, "float64"),
        ops.full(2, True),
        ops.eye(3, 4, 1),
        ops.arange(5),
        ops.arange(7, 0, -2),
        ops.arange(0.0, 1.0, 0.25),
        ops.arange(2, 6, dtype="float32"),
    ]
    want = [
        np.zeros((2, 3), np.float32),
        np.ones(4, np.int8),
        np.int64(7),
        np.full(2, 0.5),
        np.full(2, True),
        np.eye(3, 4, 1, dtype=np.float32),
        np.arange(5),
        np.arange(7, 0, -2),
        np.arange(0, 1, 0.25, dtype=np.float32),
        np.arange(2, 6, dtype=np.float32),
    ]
    for found, expected in zip(run(outs, {}, backend), want, strict=True):
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.asarray(expected).dtype


@backends
def test_triangles_and_likes_are_numpys(backend: str) -> None:
    x = normal((2, 3, 4))
    t = placeholder((2, 3, 4))
    outs = [ops.tril(t), ops.triu(t, 1), ops.zeros_like(t), ops.ones_like(t)]
    want = [np.tril(x), np.triu(x, 1), np.zeros_like(x), np.ones_like(x)]
    found = run(outs[:2], {t: x}, backend) + run(outs[2:], {}, backend)
    for values, expected in zip(found, want, strict=True):
        np.testing.assert_array_equal(values, expected)


@backends
def test_a_range_up_to_a_size_is_numpys(backend: str) -> None:
    n = dim("n")
    t = placeholder((n,))
    x = normal((5,))
    (found,) = run([t + ops.arange(n)], {t: x}, backend)
    np.testing.assert_array_equal(found, x + np.arange(5, dtype=np.float32))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda x: ops.take(x, x, 0),
            DTypeError,
            "take: indices must be integers, got x: float32[2, 3]",
        ),
        (
            lambda x: ops.take_along_axis(x, placeholder((3, 3), "int32"), 1),
            ShapeError,
            "take_along_axis along axis 1: shapes (2, 3) and (3, 3) must agree in every other "
            "dimension",
        ),
        (lambda _: ops.arange(3, step=0), ShapeError, "arange: step 0"),
        (
            lambda _: ops.tril(placeholder(3, name="x")),
            ShapeError,
            "a triangle needs two dimensions, got x: float32[3]",
        ),
    ],
)
def test_wrong_indices_are_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as e:
        make(placeholder((2, 3), name="x"))
    assert str(e.value) == message
