"""Adjoints of access maps: a gather must give what scattering every point gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tensorc.autodiff import grad
from tensorc.dtypes import float64
from tensorc.ir.expr import Const, Expr, Reduce, where
from tensorc.ir.interp import evaluate as value_at
from tensorc.ir.walk import substitute
from tensorc.te import reduce as te
from tensorc.te.axis import IterVar
from tensorc.te.reduce import reduce_axis
from tensorc.te.reference import evaluate
from tensorc.te.tensor import Tensor, compute, dim, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable


def index_values(
    index: Expr, axes: tuple[IterVar, ...], extents: list[int]
) -> np.ndarray[Any, Any]:
    points = np.ndindex(*extents)
    values = [int(value_at(index, dict(zip(axes, p, strict=True)))) for p in points]
    return np.array(values, dtype=np.int64).reshape(extents)


@st.composite
def index_expr(draw: st.DrawFn, variables: list[Expr]) -> Expr:
    """Sums of variables with small coefficients, and divisions and remainders of them."""
    total: Expr = Const(draw(st.integers(-3, 3)))
    for v in variables:
        total = total + v * draw(st.sampled_from([0, 1, 1, 1, -1, 2, 3, -2]))
    match draw(st.sampled_from(["plain", "plain", "div", "mod", "both"])):
        case "div":
            return total // draw(st.integers(1, 4))
        case "mod":
            return total % draw(st.integers(1, 5))
        case "both":
            inner = total // draw(st.integers(2, 3))
            return inner * draw(st.integers(1, 2)) + variables[0] % draw(st.integers(1, 3))
        case _:
            return total


@settings(max_examples=80)
@given(data=st.data())
def test_a_gather_equals_a_scatter_for_any_quasi_affine_map(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 2), "rank of Y")
    extents = [data.draw(st.integers(0, 5), "extent") for _ in range(rank)]
    window = data.draw(st.integers(1, 4), "window")
    r = reduce_axis(window, "r")
    axes = tuple(IterVar(f"i{d}", extent=Const(e)) for d, e in enumerate(extents))
    indices = [
        data.draw(index_expr([*axes, r]), "index") for _ in range(data.draw(st.integers(1, 2)))
    ]
    spread = [index_values(e, (*axes, r), [*extents, window]) for e in indices]
    assume(all(v.size == 0 or v.max() - v.min() < 40 for v in spread))
    lows = [int(v.min()) if v.size else 0 for v in spread]
    sizes = [
        int(v.max()) - low + 1 + data.draw(st.integers(0, 2)) if v.size else 2
        for v, low in zip(spread, lows, strict=True)
    ]
    a, w = placeholder(sizes, float64, name="A"), placeholder((window,), float64, name="w")
    from_zero = [e - low for e, low in zip(indices, lows, strict=True)]
    rng = np.random.default_rng(0)
    weights = rng.integers(-4, 5, window).astype(np.float64)

    def body(*i: IterVar) -> Expr:
        moved = tuple(substitute(e, dict(zip(axes, i, strict=True))) for e in from_zero)
        return te.sum(a[moved] * w[r], r)

    y = compute(extents, body, name="Y")
    seed = placeholder(y.shape, float64, name="dY")
    cotangent = rng.integers(-4, 5, extents).astype(np.float64)
    (found,) = evaluate([grad(y, a, seed)], {seed: cotangent, w: weights})
    expected = np.zeros(sizes)
    at = tuple(v - low for v, low in zip(spread, lows, strict=True))
    np.add.at(expected, at, cotangent[..., None] * weights)
    np.testing.assert_array_equal(found, expected)


CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], Callable[..., Any]]] = {
    "diagonal": ((6,), (6, 6), lambda i: (i, i)),
    "transpose": ((3, 4), (4, 3), lambda i, j: (j, i)),
    "stride": ((5,), (11,), lambda i: (2 * i + 1,)),
    "reversed": ((6,), (6,), lambda i: (5 - i,)),
    "reversed stride": ((4,), (9,), lambda i: (8 - 2 * i,)),
    "broadcast": ((4, 3), (3,), lambda _, j: (j,)),
    "constant": ((4,), (3,), lambda _: (1,)),
    "upsampling": ((7,), (4,), lambda i: (i // 2,)),
    "circular": ((11,), (4,), lambda i: (i % 4,)),
    "rotation": ((5,), (5,), lambda i: ((i + 3) % 5,)),
    "square": ((4,), (10,), lambda i: (i * i,)),
    "skewed": ((4, 3), (6, 3), lambda i, j: (i + j, j)),
    "flat": ((4, 3), (12,), lambda i, j: (i * 3 + j,)),
    "unflat": ((12,), (4, 3), lambda i: (i // 3, i % 3)),
    "no common unit": ((4, 3), (14,), lambda i, j: (2 * i + 3 * j,)),
    "even only": ((4, 3), (15,), lambda i, j: (2 * i + 4 * j,)),
    "empty": ((0,), (3,), lambda i: (i,)),
    "from empty": ((0,), (0,), lambda i: (i,)),
    "one": ((1,), (1,), lambda i: (i,)),
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_maps_that_others_got_wrong(name: str) -> None:
    shape, size, access = CASES[name]
    a = placeholder(size, float64, name="A")
    y = compute(shape, _access(a, access, len(shape)), name="Y")
    seed = placeholder(shape, float64, name="dY")
    cotangent = np.arange(1.0, 1 + np.prod(shape)).reshape(shape)
    expected = np.zeros(size)
    for point in np.ndindex(*shape):
        expected[access(*point)] += cotangent[point]
    (found,) = evaluate([grad(y, a, seed)], {seed: cotangent})
    np.testing.assert_array_equal(found, expected)


def _access(a: Tensor, access: Any, rank: int) -> Any:
    bodies = {1: lambda i: a[access(i)], 2: lambda i, j: a[access(i, j)]}
    return bodies[rank]


@settings(max_examples=30)
@given(n=st.integers(0, 5), m=st.integers(0, 5))
def test_symbolic_sizes_give_one_adjoint_for_all(n: int, m: int) -> None:
    rows, columns = dim("n"), dim("m")
    a = placeholder((rows * columns,), float64, name="A")
    y = compute((rows, columns), lambda i, j: a[i * columns + j], name="Y")
    seed = placeholder(y.shape, float64, name="dY")
    cotangent = np.arange(1.0 * n * m).reshape(n, m)
    (found,) = evaluate([grad(y, a, seed)], {seed: cotangent}, {rows: n, columns: m})
    np.testing.assert_array_equal(found, cotangent.reshape(-1))


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), max_size=8))
def test_reads_by_data_add_up_where_they_meet(where_to: list[int]) -> None:
    a, idx = (
        placeholder((5,), float64, name="A"),
        placeholder((len(where_to),), "int32", name="idx"),
    )
    y = compute(idx.shape, lambda i: a[idx[i]] * a[4 - idx[i]], name="Y")
    seed = placeholder(y.shape, float64, name="dY")
    values, cotangent = np.arange(2.0, 7.0), np.arange(1.0, 1 + len(where_to))
    index = np.array(where_to, dtype=np.int32)
    feeds = {a: values, idx: index, seed: cotangent}
    (found,) = evaluate([grad(y, a, seed)], feeds)
    expected = np.zeros(5)
    np.add.at(expected, index, cotangent * values[4 - index])
    np.add.at(expected, 4 - index, cotangent * values[index])
    np.testing.assert_array_equal(found, expected)


def test_a_guarded_index_by_data_stays_guarded() -> None:
    a, idx = placeholder((5,), float64, name="A"), placeholder((4,), "int64", name="idx")
    y = compute((4,), lambda i: where((idx[i] >= 0) & (idx[i] < 5), a[idx[i]], 0.0), name="Y")
    seed = placeholder((4,), float64, name="dY")
    feeds = {a: np.zeros(5), idx: np.array([-1, 4, 7, 4]), seed: np.array([1.0, 2.0, 4.0, 8.0])}
    (found,) = evaluate([grad(y, a, seed)], feeds)
    np.testing.assert_array_equal(found, [0, 0, 0, 0, 10])


def test_a_stride_wider_than_its_window_makes_no_reduction() -> None:
    a, r = placeholder((20,), float64, name="A"), reduce_axis(3, "r")
    y = compute((5,), lambda i: te.sum(a[i * 4 + r], r), name="Y")
    gradient = grad(y, a, placeholder((5,), float64, name="dY"))
    assert not isinstance(gradient.body, Reduce)
