"""Rearranged, cut and joined tensors against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.run import Sizes, backends, filled_shapes, normal, run, shapes
from tensorc import ops
from tensorc.errors import BoundsError, ShapeError
from tensorc.ir.printer import show
from tensorc.te.build import build
from tensorc.te.tensor import dim, placeholder


@backends
@settings(max_examples=20)
@given(data=st.data(), shape=shapes, symbolic=st.booleans())
def test_dimensions_are_moved_as_in_numpy(
    data: Any, shape: tuple[int, ...], symbolic: bool, backend: str
) -> None:
    x = normal(shape)
    t = Sizes(symbolic).like(x)
    order = data.draw(st.permutations(range(len(shape))))
    place = data.draw(st.integers(-len(shape) - 1, len(shape)))
    outs = [ops.transpose(t), ops.transpose(t, order), ops.expand_dims(t, place), ops.squeeze(t)]
    outs += [ops.flip(t)]
    want = [x.T, x.transpose(order), np.expand_dims(x, place), np.squeeze(x), np.flip(x)]
    if shape:
        a, b = (data.draw(st.integers(0, len(shape) - 1)) for _ in range(2))
        outs += [ops.swapaxes(t, a, b), ops.moveaxis(t, a, b)]
        want += [np.swapaxes(x, a, b), np.moveaxis(x, a, b)]
    for found, expected in zip(run(outs, {t: x}, backend), want, strict=True):
        np.testing.assert_array_equal(found, expected)


@backends
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((6,), (2, 3)),
        ((2, 3, 4), (4, 6)),
        ((2, 3, 4), (24,)),
        ((4, 6), (2, 2, -1)),
        ((2, 1, 3), (3, 2)),
        ((1,), ()),
        ((), (1, 1)),
        ((0, 3), (3, 0)),
        ((0, 3), (5, 0)),
        ((3, 4), (4, 3)),
    ],
)
def test_reshape_is_numpys(old: tuple[int, ...], new: tuple[int, ...], backend: str) -> None:
    x = normal(old)
    t = placeholder(old)
    (found,) = run([ops.reshape(t, new)], {t: x}, backend)
    np.testing.assert_array_equal(found, x.reshape(new))


@backends
@settings(max_examples=8)
@given(n=st.integers(0, 3), m=st.integers(0, 3))
def test_reshape_of_symbolic_sizes_is_numpys(n: int, m: int, backend: str) -> None:
    sn, sm = dim("n"), dim("m")
    x = normal((n, m, 2, 3))
    t = placeholder((sn, sm, 2, 3))
    outs = [
        ops.reshape(t, (sn, sm * 6)),
        ops.reshape(t, (sn * sm * 6,)),
        ops.reshape(t, (-1, 6)),
        ops.reshape(t, (sn, 2, sm, 3)),
        ops.reshape(ops.reshape(t, -1), (sn, sm, 3, 2)),
    ]
    want = [(n, m * 6), (n * m * 6,), (n * m, 6), (n, 2, m, 3), (n, m, 3, 2)]
    for found, shape in zip(run(outs, {t: x}, backend), want, strict=True):
        np.testing.assert_array_equal(found, x.reshape(shape))


def test_reshape_of_symbolic_sizes_needs_no_check() -> None:
    n, m = dim("n"), dim("m")
    t = placeholder((n, m, 4))
    flat = ops.reshape(t, (n * m * 4,))
    assert "check" not in show(build([flat, ops.reshape(flat, (n, m, 4))]))


BOUND = st.one_of(st.none(), st.integers(-7, 7))
RANGE = st.builds(slice, BOUND, BOUND, st.sampled_from([None, 1, 2, 3, -1, -2]))


@backends
@settings(max_examples=40)
@given(data=st.data(), shape=shapes, symbolic=st.booleans())
def test_slice_is_numpys_basic_indexing(
    data: Any, shape: tuple[int, ...], symbolic: bool, backend: str
) -> None:
    index: list[Any] = []
    for n in shape:
        kinds: list[Any] = [RANGE]
        if n and not symbolic:
            kinds.append(st.integers(-n, n - 1))
        index.append(data.draw(st.one_of(kinds)))
    for _ in range(data.draw(st.integers(0, 1))):
        index.insert(data.draw(st.integers(0, len(index))), None)
    if data.draw(st.booleans()):
        index[data.draw(st.integers(0, len(index))) :] = [...]
    x = normal(shape)
    t = Sizes(symbolic).like(x)
    (found,) = run([ops.slice(t, tuple(index))], {t: x}, backend)
    np.testing.assert_array_equal(found, x[tuple(index)])


def test_an_integer_index_out_of_bounds_is_refused() -> None:
    x = placeholder((3, 4), name="x")
    with pytest.raises(
        BoundsError, match=r"x\[3, i0\] leaves x: .*dimension 0 is 3, and its size is 3"
    ):
        ops.slice(x, 3)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (np.s_[1, 2, 3], "slice: 3 indices and 0 '...' for the 2 dimensions of x: float32[3, 4]"),
        (np.s_[::0], "slice: step 0 must be an integer other than 0"),
    ],
)
def test_a_wrong_slice_is_refused(index: Any, message: str) -> None:
    with pytest.raises(ShapeError) as e:
        ops.slice(placeholder((3, 4), name="x"), index)
    assert str(e.value) == message


@backends
@settings(max_examples=15)
@given(data=st.data(), shape=shapes.filter(len), symbolic=st.booleans())
def test_joined_tensors_are_numpys(
    data: Any, shape: tuple[int, ...], symbolic: bool, backend: str
) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    arrays, known = [], Sizes(symbolic)
    for k in range(data.draw(st.integers(1, 3))):
        own = list(shape)
        own[axis] = data.draw(st.integers(0, 3))
        arrays.append(normal(own, k))
    tensors = [known.like(a) for a in arrays]
    feeds = dict(zip(tensors, arrays, strict=True))
    (found,) = run([ops.concatenate(tensors, axis)], feeds, backend)
    np.testing.assert_array_equal(found, np.concatenate(arrays, axis))


@backends
@settings(max_examples=10)
@given(data=st.data(), shape=shapes, symbolic=st.booleans())
def test_stacked_tensors_are_numpys(
    data: Any, shape: tuple[int, ...], symbolic: bool, backend: str
) -> None:
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    arrays = [normal(shape, k) for k in range(data.draw(st.integers(1, 3)))]
    known = Sizes(symbolic)
    tensors = [known.like(a) for a in arrays]
    feeds = dict(zip(tensors, arrays, strict=True))
    (found,) = run([ops.stack(tensors, axis)], feeds, backend)
    np.testing.assert_array_equal(found, np.stack(arrays, axis))


@backends
@settings(max_examples=25)
@given(
    data=st.data(),
    shape=filled_shapes,
    mode=st.sampled_from(["constant", "edge", "reflect", "wrap"]),
    symbolic=st.booleans(),
)
def test_padding_is_numpys(
    data: Any, shape: tuple[int, ...], mode: Any, symbolic: bool, backend: str
) -> None:
    widths = [(data.draw(st.integers(0, 6)), data.draw(st.integers(0, 6))) for _ in shape]
    x = normal(shape)
    t = Sizes(symbolic).like(x)
    (found,) = run([ops.pad(t, widths, mode)], {t: x}, backend)
    np.testing.assert_array_equal(found, np.pad(x, widths, mode) if shape else x)


@backends
def test_bools_are_padded_with_bools(backend: str) -> None:
    x = np.array([True, False])
    t = placeholder(x.shape, dtype="bool")
    (found,) = run([ops.pad(t, 1, constant_values=True)], {t: x}, backend)
    np.testing.assert_array_equal(found, np.pad(x, 1, constant_values=True))


@backends
@settings(max_examples=15)
@given(data=st.data(), shape=shapes, symbolic=st.booleans())
def test_repeated_tensors_are_numpys(
    data: Any, shape: tuple[int, ...], symbolic: bool, backend: str
) -> None:
    x = normal(shape)
    t = Sizes(symbolic).like(x)
    reps = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    outs, want = [ops.tile(t, reps)], [np.tile(x, reps)]
    if shape:
        axis, times = data.draw(st.integers(0, len(shape) - 1)), data.draw(st.integers(0, 3))
        outs.append(ops.repeat(t, times, axis))
        want.append(np.repeat(x, times, axis))
    for found, expected in zip(run(outs, {t: x}, backend), want, strict=True):
        np.testing.assert_array_equal(found, expected)


@backends
def test_broadcast_to_is_numpys(backend: str) -> None:
    n = dim("n")
    x, y = normal((3, 1)), normal((4, 2), 1)
    s, t = placeholder((3, 1)), placeholder((n, 2))
    (found,) = run([ops.broadcast_to(s, (2, 3, 5))], {s: x}, backend)
    np.testing.assert_array_equal(found, np.broadcast_to(x, (2, 3, 5)))
    (found,) = run([ops.broadcast_to(t, (3, n, 2))], {t: y}, backend)
    np.testing.assert_array_equal(found, np.broadcast_to(y, (3, 4, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x: ops.reshape(x, (5,)),
            "cannot reshape x: float32[2, 3] of shape (2, 3) into shape (5)",
        ),
        (lambda x: ops.reshape(x, (-1, -1)), "reshape: only one size can be -1, got (-1, -1)"),
        (
            lambda x: ops.reshape(x, (-1, 4)),
            "cannot reshape x: float32[2, 3] of shape (2, 3) into shape (-1, 4)",
        ),
        (
            lambda x: ops.broadcast_to(x, (2, 4)),
            "cannot broadcast shapes (2, 4), (2, 3): 4 and 3 in dimension -1",
        ),
        (lambda x: ops.broadcast_to(x, (3,)), "broadcast_to: shape (2, 3) does not fit (3)"),
        (
            lambda x: ops.transpose(x, (0, 0)),
            "transpose: axes (0, 0) do not permute 2 dimensions",
        ),
        (
            lambda x: ops.squeeze(x, 0),
            "squeeze: dimension 0 of x: float32[2, 3] has size 2, not 1",
        ),
        (
            lambda x: ops.concatenate([x, ops.transpose(x)]),
            "concatenate along axis 0: shapes (2, 3) and (3, 2) must agree in every other "
            "dimension",
        ),
        (
            lambda x: ops.stack([x, ops.transpose(x)]),
            "stack: shapes (2, 3) and (3, 2) differ",
        ),
        (
            lambda x: ops.pad(x, [(1, 1), (0, -1)]),
            "pad: widths [(1, 1), (0, -1)] do not fit x: float32[2, 3]: one pair of numbers >= 0 "
            "a dimension",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ShapeError) as e:
        make(placeholder((2, 3), name="x"))
    assert str(e.value) == message
