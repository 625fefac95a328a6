"""Element-wise operations against NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.run import Array, Sizes, backends, normal, run, shapes
from tensorc import ops
from tensorc.errors import DTypeError, ShapeError
from tensorc.te.tensor import Tensor, dim, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable

# The interpreter evaluates in float64 and rounds once; a compiled function states 2 ulp or less.
RTOL = 4 * 2.0**-24

UNARY: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "trunc": np.trunc,
    "abs": np.abs,
    "sign": np.sign,
    "negative": np.negative,
    "square": np.square,
    "reciprocal": np.reciprocal,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "isnan": np.isnan,
    "isinf": np.isinf,
    "isfinite": np.isfinite,
    "logical_not": np.logical_not,
    "stop_gradient": lambda x: x,
}
BINARY = [
    "add", "subtract", "multiply", "divide", "minimum", "maximum", "power", "equal", "not_equal",
    "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or", "logical_xor",
]  # fmt: skip
INTEGER = ["add", "subtract", "multiply", "floor_divide", "mod", "minimum", "maximum"]


def check(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected.astype(found.dtype), rtol=RTOL, atol=1e-30)


@backends
@pytest.mark.parametrize("name", UNARY)
@settings(max_examples=4)
@given(shape=shapes, symbolic=st.booleans())
def test_a_function_of_one_tensor_is_numpys(
    name: str, backend: str, shape: tuple[int, ...], symbolic: bool
) -> None:
    x = normal(shape)
    if name in ("log", "log2", "sqrt", "rsqrt", "log1p"):
        x = np.abs(x) + np.float32(0.1)
    t = Sizes(symbolic).like(x)
    (found,) = run([getattr(ops, name)(t)], {t: x}, backend)
    check(found, UNARY[name](x.astype(np.float64)))


@backends
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "relu", "sqrt", "erf", "gelu"])
def test_a_function_keeps_nan_and_infinities(name: str, backend: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
    expected = {
        "exp": [np.nan, np.inf, 0, 1],
        "log": [np.nan, np.inf, np.nan, -np.inf],
        "tanh": [np.nan, 1, -1, 0],
        "sigmoid": [np.nan, 1, 0, 0.5],
        "relu": [np.nan, np.inf, 0, 0],
        "sqrt": [np.nan, np.inf, np.nan, 0],
        "erf": [np.nan, 1, -1, 0],
        "gelu": [np.nan, np.inf, np.nan, 0],
    }[name]
    t = placeholder(4)
    (found,) = run([getattr(ops, name)(t)], {t: x}, backend)
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


@backends
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_quotients_and_remainders_of_floats_are_numpys(dtype: str, backend: str) -> None:
    x = np.array([0.7, 0.6, 1.0, -0.7, 7.5, -7.5, 0.0, 300.0], dtype)
    y = np.array([0.1, 0.2, 0.1, 0.1, -2.0, 2.0, 3.0, 0.7], dtype)
    s, t = placeholder(8, dtype), placeholder(8, dtype)
    results = [ops.floor_divide(s, t), ops.mod(s, t), ops.mod(s, 0.1), ops.mod(s, 0.25)]
    found = run(results, {s: x, t: y}, backend)
    divisors = (y, y, np.array(0.1, dtype), np.array(0.25, dtype))
    np.testing.assert_array_equal(found[0], x // y)
    for got, by in zip(found[1:], divisors[1:], strict=True):
        np.testing.assert_array_equal(got, x % by)


@backends
def test_powers_of_integers_wrap_as_numpys(backend: str) -> None:
    x = np.array([-3, 0, 1, 7, 2**31 - 1], np.int32)
    t = placeholder(5, "int32")
    found = run([ops.power(t, n) for n in (0, 1, 2, 5)], {t: x}, backend)
    for got, n in zip(found, (0, 1, 2, 5), strict=True):
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, x**n)


@st.composite
def broadcast_pairs(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    full = draw(shapes)
    pair = []
    for _ in range(2):
        shape = tuple(draw(st.sampled_from([n, 1])) for n in full)
        pair.append(shape[draw(st.integers(0, len(shape))) :])
    return pair[0], pair[1]


@backends
@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=5)
@given(pair=broadcast_pairs(), symbolic=st.booleans())
def test_operands_broadcast_as_in_numpy(
    name: str,
    backend: str,
    pair: tuple[tuple[int, ...], tuple[int, ...]],
    symbolic: bool,
) -> None:
    a, b = normal(pair[0], 1), normal(pair[1], 2)
    a = np.abs(a) if name == "power" else np.round(a)
    sizes = Sizes(symbolic)
    s, t = sizes.like(a), sizes.like(b)
    (found,) = run([getattr(ops, name)(s, t)], {s: a, t: b}, backend)
    with np.errstate(all="ignore"):
        check(found, getattr(np, name)(a, b))


@backends
@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8"])
@pytest.mark.parametrize("name", INTEGER)
def test_integers_are_numpys(name: str, dtype: str, backend: str) -> None:
    a = np.arange(-8, 8).astype(dtype)
    b = np.array([1, 3, -2, 7] * 4).astype(dtype)
    s, t = placeholder(16, dtype), placeholder(16, dtype)
    (found,) = run([getattr(ops, name)(s, t)], {s: a, t: b}, backend)
    expected = getattr(np, name)(a, b)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@backends
def test_integer_division_by_zero_gives_zero(backend: str) -> None:
    s, t = placeholder(2, "int32"), placeholder(2, "int32")
    feeds = {s: np.array([7, -7], np.int32), t: np.zeros(2, np.int32)}
    for found in run([ops.floor_divide(s, t), ops.mod(s, t)], feeds, backend):
        np.testing.assert_array_equal(found, [0, 0])


@backends
@settings(max_examples=10)
@given(shape=shapes, symbolic=st.booleans())
def test_where_and_clip_are_numpys(shape: tuple[int, ...], symbolic: bool, backend: str) -> None:
    x, y = normal(shape, 1), normal(shape, 2)
    sizes = Sizes(symbolic)
    s, t = sizes.like(x), sizes.like(y)
    found = run([ops.where(s > 0, s, t), ops.clip(s, -0.5, t)], {s: x, t: y}, backend)
    np.testing.assert_array_equal(found[0], np.where(x > 0, x, y))
    np.testing.assert_array_equal(found[1], np.minimum(np.maximum(x, np.float32(-0.5)), y))


@backends
def test_operators_of_tensors_are_the_operations(backend: str) -> None:
    x, y = normal((3, 2), 1), normal((2,), 2)
    s, t = placeholder((3, 2)), placeholder(2)
    outs = [2 - s, s / t, -s, abs(s), np.float32(2) * s, s > t, 1.0 / (s * s + 1)]
    expected = [2 - x, x / y, -x, abs(x), 2 * x, x > y, 1 / (x * x + 1)]
    for found, want in zip(run(outs, {s: x, t: y}, backend), expected, strict=True):
        check(found, np.asarray(want))


@backends
@pytest.mark.parametrize("source", ["float32", "int32", "bool", "float64"])
@pytest.mark.parametrize("target", ["float16", "bfloat16", "float64", "int8", "int64", "bool"])
def test_a_cast_is_numpys(source: str, target: str, backend: str) -> None:
    x = normal((7,), 3, source)
    t = placeholder(7, source)
    (found,) = run([t.astype(target)], {t: x}, backend)
    np.testing.assert_array_equal(found, x.astype(found.dtype))


def test_shapes_that_do_not_broadcast_are_refused_with_both() -> None:
    n = dim("n")
    with pytest.raises(ShapeError) as e:
        ops.add(placeholder((2, 3)), placeholder((2, n)))
    assert str(e.value) == "cannot broadcast shapes (2, 3), (2, n): 3 and n in dimension -1"


def test_a_condition_that_is_no_bool_is_refused() -> None:
    x: Tensor = placeholder(3, name="x")
    with pytest.raises(DTypeError) as e:
        ops.where(x, x, 0)
    assert str(e.value) == "where: the condition x: float32[3] must be bool, as in x != 0"
