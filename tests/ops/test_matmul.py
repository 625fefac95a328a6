"""Products against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.run import Array, Sizes, backends, gamma, normal, run, sizes
from tensorc import ops
from tensorc.errors import DTypeError, ShapeError
from tensorc.te.tensor import dim, placeholder


@st.composite
def factors(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    m, k, n = (draw(sizes) for _ in range(3))
    batch = draw(st.lists(st.sampled_from([1, 2, 3]), max_size=2))
    left = [draw(st.sampled_from([s, 1])) for s in batch]
    right = [draw(st.sampled_from([s, 1])) for s in batch][draw(st.integers(0, len(batch))) :]
    a = draw(st.sampled_from([(k,), (*left, m, k)]))
    b = draw(st.sampled_from([(k,), (*right, k, n)]))
    return tuple(a), tuple(b)


def check_product(found: Array, a: Array, b: Array, product: Any) -> None:
    wide = product(a.astype(np.float64), b.astype(np.float64))
    bound = gamma(a.shape[-1] + 1) * product(abs(a).astype(np.float64), abs(b).astype(np.float64))
    assert found.shape == np.shape(wide)
    assert np.all(abs(found - wide) <= bound)


@backends
@settings(max_examples=25)
@given(pair=factors(), symbolic=st.booleans())
def test_matmul_is_numpys_within_the_rounding_bound(
    pair: tuple[tuple[int, ...], tuple[int, ...]], symbolic: bool, backend: str
) -> None:
    a, b = normal(pair[0], 1), normal(pair[1], 2)
    known = Sizes(symbolic)
    s, t = known.like(a), known.like(b)
    (found,) = run([ops.matmul(s, t)], {s: a, t: b}, backend)
    check_product(found, a, b, np.matmul)


@backends
@pytest.mark.parametrize(
    ("left", "right"), [((3,), (3,)), ((2, 3), (3,)), ((3,), (4, 3, 2)), ((5, 2, 3), (4, 3, 2))]
)
def test_dot_is_numpys(left: tuple[int, ...], right: tuple[int, ...], backend: str) -> None:
    a, b = normal(left, 1), normal(right, 2)
    s, t = placeholder(left), placeholder(right)
    (found,) = run([ops.dot(s, t)], {s: a, t: b}, backend)
    check_product(found, a, b, np.dot)


@backends
def test_the_operators_of_a_tensor_are_numpys(backend: str) -> None:
    a, b, v = normal((2, 3, 4), 1), normal((4, 5), 2), normal((5,), 3)
    s, t, u = placeholder(a.shape), placeholder(b.shape), placeholder(5)
    product, column, turned = run([s @ t, t @ u, s.T], {s: a, t: b, u: v}, backend)
    check_product(product, a, b, np.matmul)
    check_product(column, b, v, np.matmul)
    np.testing.assert_array_equal(turned, a.T)


@pytest.mark.parametrize("other", [2.0, [1, 2]])
def test_a_product_with_what_is_no_tensor_is_refused(other: Any) -> None:
    with pytest.raises(TypeError, match="unsupported operand type"):
        _ = placeholder((2, 2)) @ other


@backends
def test_outer_is_numpys(backend: str) -> None:
    a, b = normal((3,), 1), normal((4,), 2)
    s, t = placeholder(3), placeholder(4)
    (found,) = run([ops.outer(s, t)], {s: a, t: b}, backend)
    np.testing.assert_array_equal(found, np.outer(a, b))


@backends
def test_half_precision_products_are_summed_in_float32(backend: str) -> None:
    a, b = normal((4, 64), 1, "float16"), normal((64, 3), 2, "float16")
    s, t = placeholder(a.shape, "float16"), placeholder(b.shape, "float16")
    (found,) = run([ops.matmul(s, t)], {s: a, t: b}, backend)
    wide = a.astype(np.float64) @ b.astype(np.float64)
    bound = gamma(65) * (abs(a).astype(np.float64) @ abs(b)) + abs(wide) * 2.0**-11
    assert found.dtype == np.float16
    assert np.all(abs(found - wide) <= bound)


@backends
def test_products_of_integers_are_exact(backend: str) -> None:
    a, b = normal((3, 5), 1, "int8"), normal((5, 2), 2, "int8")
    s, t = placeholder(a.shape, "int8"), placeholder(b.shape, "int8")
    (found,) = run([ops.matmul(s, t)], {s: a, t: b}, backend)
    np.testing.assert_array_equal(found, a.astype(np.int32) @ b.astype(np.int32))
    assert found.dtype == np.int32


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ((2, 3), (4, 5), "matmul: shapes (2, 3) and (4, 5) do not fit: 3 columns meet 4 rows"),
        ((3,), (2,), "matmul: shapes (3,) and (2,) do not fit: 3 columns meet 2 rows"),
        (
            (),
            (2,),
            "matmul: x: float32[] and x: float32[2] must have dimensions; use * for scalars",
        ),
        ((2, 3, 4), (3, 4, 5), "cannot broadcast shapes (2), (3): 2 and 3 in dimension -1"),
    ],
)
def test_factors_that_do_not_fit_are_refused(
    left: tuple[int, ...], right: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ShapeError) as e:
        ops.matmul(placeholder(left), placeholder(right))
    assert str(e.value) == message


def test_two_symbols_are_two_sizes() -> None:
    m, n = dim("m"), dim("n")
    with pytest.raises(ShapeError, match=r"shapes \(m, n\) and \(m, n\) do not fit"):
        ops.matmul(placeholder((m, n)), placeholder((m, n)))


def test_a_product_without_a_common_dtype_is_refused() -> None:
    with pytest.raises(DTypeError) as e:
        ops.matmul(placeholder((2, 2), "uint64"), placeholder((2, 2), "int8"))
    assert str(e.value) == "no integer type holds both uint64 and int8: cast one of them"


@backends
def test_a_product_of_bools_counts(backend: str) -> None:
    a, b = normal((3, 5), 1, "bool"), normal((5, 2), 2, "bool")
    s, t = placeholder(a.shape, "bool"), placeholder(b.shape, "bool")
    (found,) = run([ops.matmul(s, t)], {s: a, t: b}, backend)
    np.testing.assert_array_equal(found, a.astype(np.int32) @ b.astype(np.int32))
