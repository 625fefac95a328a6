from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorc.dtypes import DType, bfloat16, bool_, float16, float32, float64, int8, int64, uint8
from tensorc.errors import DTypeError
from tensorc.ir import scalars
from tensorc.ir.interp import evaluate
from tensorc.ir.reducers import builtin

if TYPE_CHECKING:
    from tensorc.ir.expr import Reducer

FLOATS = st.sampled_from([0.0, -0.0, 1.0, -2.0, 3.5, np.inf, -np.inf, np.nan])


def fold(reducer: Reducer, rows: list[tuple[Any, ...]]) -> list[Any]:
    """The components after folding `rows`, first to last."""
    total = [evaluate(unit, {}) for unit in reducer.identity]
    for row in rows:
        env = dict(zip((*reducer.lhs, *reducer.rhs), (*total, *row), strict=True))
        total = [evaluate(part, env) for part in reducer.result]
    return total


def pairs(values: np.ndarray[Any, Any]) -> list[tuple[Any, Any]]:
    return [(v, np.int64(i)) for i, v in enumerate(values)]


@given(st.lists(FLOATS, min_size=1, max_size=6))
@settings(max_examples=200)
def test_argmax_and_argmin_are_numpys_with_ties_and_nan(values: list[float]) -> None:
    array = np.array(values, "f")
    for name, numpys in (("argmax", np.argmax), ("argmin", np.argmin)):
        best, index = fold(builtin(name, float32), pairs(array))
        assert index == numpys(array)
        np.testing.assert_array_equal(best, array[index])


@given(st.lists(FLOATS, min_size=1, max_size=6), st.randoms())
@settings(max_examples=100)
def test_argmax_does_not_depend_on_the_order_of_folding(values: list[float], rng: Any) -> None:
    rows = pairs(np.array(values, "f"))
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert (
        fold(builtin("argmax", float32), rows)[1] == fold(builtin("argmax", float32), shuffled)[1]
    )


def test_argmax_of_infinities_finds_an_index_that_exists() -> None:
    lowest = np.array([-np.inf, -np.inf], "f")
    assert fold(builtin("argmax", float32), pairs(lowest))[1] == 0
    least = np.array([-128, -128], np.int8)
    assert fold(builtin("argmax", int8), pairs(least))[1] == 0


@given(st.lists(FLOATS, min_size=1, max_size=5))
@settings(max_examples=100)
def test_max_and_min_are_numpys_with_nan(values: list[float]) -> None:
    array = np.array(values, "f")
    rows = [(v,) for v in array]
    np.testing.assert_array_equal(fold(builtin("max", float32), rows)[0], array.max())
    np.testing.assert_array_equal(fold(builtin("min", float32), rows)[0], array.min())


@given(st.lists(st.integers(0, 255), max_size=6))
@settings(max_examples=50)
def test_integer_sums_and_products_wrap_as_numpys(values: list[int]) -> None:
    array = np.array(values, np.uint8)
    rows = [(v,) for v in array]
    assert fold(builtin("sum", uint8), rows)[0] == array.sum(dtype=np.uint8)
    assert fold(builtin("prod", uint8), rows)[0] == array.prod(dtype=np.uint8)


@given(st.lists(st.booleans(), max_size=4))
@settings(max_examples=30)
def test_all_and_any_are_pythons(values: list[bool]) -> None:
    rows = [(np.bool_(v),) for v in values]
    assert fold(builtin("all", bool_), rows) == [all(values)]
    assert fold(builtin("any", bool_), rows) == [any(values)]


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32, float64, int8, int64, uint8])
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min"])
def test_the_identity_changes_nothing(name: str, dtype: DType) -> None:
    value = scalars.scalar(3, dtype)
    assert fold(builtin(name, dtype), [(value,)]) == [value]


def test_only_a_sum_may_be_empty() -> None:
    empty = {n: builtin(n, float32).empty for n in ("sum", "prod", "max", "min", "argmax")}
    assert empty == {"sum": True, "prod": True, "max": False, "min": False, "argmax": False}


@pytest.mark.parametrize(
    ("name", "dtype", "message"),
    [
        ("sum", bool_, "reducer sum is not defined for bool; cast to an integer first"),
        ("max", bool_, "reducer max is not defined for bool; cast to an integer first"),
        ("all", float32, "reducer all is not defined for float32; compare with 0 first"),
        ("any", int64, "reducer any is not defined for int64; compare with 0 first"),
    ],
)
def test_a_reducer_refuses_what_it_does_not_fold(name: str, dtype: DType, message: str) -> None:
    with pytest.raises(DTypeError) as caught:
        builtin(name, dtype)
    assert str(caught.value) == message
