"""Definitions: what `compute` and `reduce_axis` refuse, and what reductions mean."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorc.errors import CheckFailed, DTypeError, IRError, ShapeError, TensorcError
from tensorc.te import reduce as te
from tensorc.te.reduce import reduce_axis
from tensorc.te.reference import evaluate
from tensorc.te.tensor import Tensor, compute, computes, dim, placeholder, same_size

A = placeholder((3, 4), name="A")
V = placeholder((4,), name="V")


def fold(make: Any, values: Any, dtype: str = "float32") -> Any:
    """The reduction that `make(element, axis)` builds, of a vector."""
    array = np.asarray(values, dtype)
    t = placeholder(array.shape, dtype)
    k = reduce_axis(array.size, "k")
    return evaluate([compute((), lambda: make(t[k], k))], {t: array})[0]


@settings(max_examples=20)
@given(values=st.lists(st.integers(-5, 5), max_size=7))
def test_reducers_fold_as_numpy_does(values: list[int]) -> None:
    assert fold(te.sum, values) == sum(values)
    assert fold(te.prod, values, "int64") == np.prod(values, dtype=np.int64)
    assert fold(lambda x, k: te.all(x, k), values) == all(values)
    assert fold(lambda x, k: te.any(x, k), values) == any(values)
    if values:
        assert fold(te.max, values) == max(values)
        assert fold(te.min, values, "int8") == min(values)
        assert fold(te.argmax, values) == np.argmax(values)
        assert fold(te.argmin, values) == np.argmin(values)


def test_a_condition_limits_what_is_folded() -> None:
    assert fold(lambda x, k: te.sum(x, k, where=k % 2 == 0), [1, 2, 4, 8, 16]) == 21
    assert fold(lambda x, k: te.max(x, k, where=x < 5), [1, 9, 4, 8]) == 4


def test_small_integers_are_summed_in_32_bits() -> None:
    total = fold(te.sum, [100, 100, 100], "int8")
    assert (total, total.dtype) == (300, np.int32)


def test_a_users_reducer_folds_from_its_identity() -> None:
    hypot = te.reducer(lambda a, b: (a * a + b * b) ** 0.5, 0.0, name="hypot")
    assert fold(lambda x, k: hypot(x, axis=k), [3, 4]) == 5
    assert fold(lambda x, k: hypot(x, axis=k), []) == 0


def test_a_users_reducer_of_pairs_folds_both() -> None:
    def welford(a: Any, b: Any) -> Any:
        return a[0] + b[0], a[1] + b[1]

    pair: Any = te.reducer(welford, (0.0, 0.0), name="moments")
    k = reduce_axis(4, "k")
    both = computes((), lambda: pair((V[k], V[k] * V[k]), axis=k), names=["first", "second"])
    values = np.array([1, 2, 3, 4], np.float32)
    assert [float(x) for x in evaluate(both, {V: values})] == [10, 30]


def test_a_maximum_of_nothing_is_refused_by_the_evaluator() -> None:
    n = dim("n")
    t = placeholder((n,))
    k = reduce_axis(n, "k")
    with pytest.raises(CheckFailed, match="an empty domain has no max"):
        evaluate([compute((), lambda: te.max(t[k], k))], {t: np.zeros(0, np.float32)})


def test_the_evaluator_refuses_feeds_that_do_not_fit() -> None:
    with pytest.raises(ShapeError) as e:
        evaluate([V + 1.0], {V: np.zeros(3, np.float32)})
    assert str(e.value) == "V: expected float32[4], got float32[3]"
    with pytest.raises(ShapeError, match="V: expected float32\\[4\\], got nothing"):
        evaluate([V + 1.0], {})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: compute((3, 4), lambda i: A[i, 0]),
            ShapeError,
            "compute: shape (3, 4) has 2 dimensions, but the body takes 1 indices (i)",
        ),
        (
            lambda: compute((3,), lambda i: A[i]),
            ShapeError,
            "A: a tensor is indexed with one integer for each of its 2 dimensions; use "
            "tc.ops.slice for parts",
        ),
        (lambda: A[0.5, 1], ShapeError, "A: index 0.5 of dimension 0 is not an integer"),
        (
            lambda: A[cast("Any", np.s_[0:1, 1])],
            ShapeError,
            "A: a tensor is indexed with one integer for each of its 2 dimensions; use "
            "tc.ops.slice for parts",
        ),
        (lambda: compute((3,), lambda _: ()), IRError, "compute: the body returned an empty tuple"),
        (
            lambda: computes((3,), lambda i: (i, i), names=["P"]),
            IRError,
            "compute: 2 outputs but 1 names: P",
        ),
        (
            lambda: compute((3,), lambda i: A[i, reduce_axis(4, "k")]),
            IRError,
            "reduce axis k is used outside its scope in A[i, k]: reduce over it, as in "
            "tc.sum(..., axis=...)",
        ),
        (
            lambda: reduce_axis((3, 1), "k"),
            ShapeError,
            "reduce_axis k: range (3, 1) ends before it starts",
        ),
        (
            lambda: compute((), lambda: te.sum(V[0], ())),
            IRError,
            "a reduction needs at least one axis",
        ),
        (
            lambda: te.sum(V[0], [(k := reduce_axis(2, "k")), k]),
            IRError,
            "a reduction lists an axis twice: k, k",
        ),
        (
            lambda: te.max(V[(k := reduce_axis(0, "k"))], k),
            ShapeError,
            "max over axis k: an empty domain has no max",
        ),
        (
            lambda: te.sum(V[0], axis=cast("Any", V)),
            IRError,
            "axis must be made by tc.reduce_axis, got V: float32[4]",
        ),
        (lambda: placeholder((2, -1)), ShapeError, "negative size -1 in shape (2, -1)"),
        (lambda: placeholder(2, "complex64"), DTypeError, None),
        (lambda: bool(V), IRError, "V: a tensor has no truth value while it is built"),
        (lambda: len(V), ShapeError, "V: use V.shape[0], a tensor is no sequence"),
        (lambda: iter(V), ShapeError, "V: a tensor cannot be iterated over; index it"),
        (lambda: dim("n", -1), ShapeError, None),
        (lambda: V.body, IRError, "V is a placeholder: it has no definition"),
    ],
)
def test_a_wrong_definition_is_refused(
    make: Any, error: type[TensorcError], message: str | None
) -> None:
    with pytest.raises(error) as e:
        make()
    if message is not None:
        assert str(e.value) == message


def test_a_range_read_from_a_tensor_is_refused() -> None:
    ends = placeholder((3,), "int64", name="ends")
    with pytest.raises(IRError, match="the range of a reduce axis is read from a tensor: ends"):
        compute((3,), lambda i: te.sum(A[i, (k := reduce_axis(ends[i], "k"))], k))


def test_sizes_are_equal_where_their_expressions_are() -> None:
    n, m = dim("n"), dim("m")
    assert same_size(n + 1, 1 + n)
    assert same_size(n * m, n * m)
    assert not same_size(n, m)
    assert not same_size(n, dim("n"))


def test_numpy_scalars_leave_arithmetic_to_tensors() -> None:
    assert isinstance(np.float64(2) * V, Tensor)
    assert isinstance(2 // V, Tensor)
