from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from tensorc.dtypes import (
    ALL_DTYPES,
    DType,
    accumulator,
    as_dtype,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    promote,
    uint8,
    uint16,
    uint32,
    uint64,
)
from tensorc.errors import DTypeError


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_a_dtype_is_numpys_of_that_name(dtype: DType) -> None:
    assert as_dtype(dtype) is dtype
    assert as_dtype(dtype.name) == dtype
    assert as_dtype(dtype.numpy) == dtype
    assert dtype.numpy.itemsize == dtype.bytes
    assert str(dtype) == dtype.name
    if dtype.is_int:
        info = np.iinfo(dtype.numpy)
        assert (dtype.min_value, dtype.max_value) == (info.min, info.max)


def test_python_and_numpy_types_name_a_dtype() -> None:
    assert as_dtype(np.float32) == float32
    assert as_dtype(float) == float64
    assert as_dtype(int) == int64
    assert as_dtype(bool) == bool_
    assert as_dtype(ml_dtypes.bfloat16) == bfloat16


@pytest.mark.parametrize("value", ["complex64", np.complex128, object, "str", "nonsense"])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(DTypeError, match=r"^dtype \S+ is not supported; there are bool, int8, "):
        as_dtype(value)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (int64, float32, float32),
        (int64, float16, float16),
        (uint64, bfloat16, bfloat16),
        (float32, float64, float64),
        (float16, bfloat16, float32),
        (float16, float32, float32),
        (bool_, int8, int8),
        (bool_, float16, float16),
        (int8, int32, int32),
        (uint8, uint32, uint32),
        (int8, uint8, int16),
        (int16, uint8, int16),
        (int32, uint32, int64),
        (int64, uint32, int64),
        (uint16, int8, int32),
    ],
)
def test_promotion_follows_the_stated_rule(a: DType, b: DType, expected: DType) -> None:
    assert promote(a, b) == promote(b, a) == expected


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_promotion_keeps_one_type(dtype: DType) -> None:
    assert promote(dtype, dtype) == dtype
    assert promote(dtype, bool_) == dtype


@pytest.mark.parametrize("signed", [int8, int64])
def test_no_integer_holds_both_of_uint64_and_a_signed_one(signed: DType) -> None:
    with pytest.raises(DTypeError) as caught:
        promote(uint64, signed)
    assert str(caught.value) == (
        f"no integer type holds both uint64 and {signed.name}: cast one of them"
    )


def test_narrow_types_accumulate_in_wider_ones() -> None:
    assert [accumulator(d) for d in (float16, bfloat16, float32, float64)] == [
        float32,
        float32,
        float32,
        float64,
    ]
    assert [accumulator(d) for d in (bool_, int8, int32, int64)] == [int32, int32, int32, int64]
    assert [accumulator(d) for d in (uint8, uint16, uint64)] == [uint32, uint32, uint64]
