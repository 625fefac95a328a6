"""Derivatives of recurrences, of folds by reducers of the user's own, and of scatters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from autodiff.directions import Array, assert_derivatives
from tensorc.ir.stmt import Accumulate
from tensorc.schedule.tree import sites
from tensorc.te.build import build
from tensorc.te.reference import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.te.tensor import Tensor


def inputs(n: int = 5, m: int = 3) -> tuple[Tensor, Tensor, dict[Tensor, Array]]:
    a, x = (tc.placeholder((n, m), "float64", name=name) for name in "ax")
    rng = np.random.default_rng(5)
    return a, x, {a: rng.uniform(0.3, 1.2, (n, m)), x: rng.uniform(0.3, 1.2, (n, m))}


def linear(a: Tensor, x: Tensor) -> Tensor:
    return tc.scan(x.shape, lambda s, t, j: a[t, j] * s + x[t, j], dtype="float64", name="S")


def along_rows(a: Tensor, x: Tensor) -> Tensor:
    return tc.scan(
        x.shape, lambda s, i, t: a[i, t] * s + x[i, t], axis=1, reverse=True, dtype="float64"
    )


def bent(a: Tensor, x: Tensor) -> Tensor:
    return tc.scan(
        x.shape, lambda s, t, j: tc.tanh(a[t, j] * s + x[t, j] * s * s), lambda j: x[0, j] * 2.0
    )


def coupled(a: Tensor, x: Tensor) -> Tensor:
    p, v = tc.scan(
        x.shape,
        lambda s, t, j: (s[0] + 0.1 * s[1], s[1] - 0.1 * a[t, j] * tc.sin(s[0]) + x[t, j]),
        init=(0.5, 0.0),
        dtype="float64",
    )
    return p * v


def one_of_two(a: Tensor, x: Tensor) -> Tensor:
    _, v = tc.scan(
        x.shape,
        lambda s, t, j: (s[0] * a[t, j] + s[1], s[0] * x[t, j]),
        init=(1.0, 0.5),
        dtype="float64",
    )
    return v


def neighbours(a: Tensor, x: Tensor) -> Tensor:
    rows = x.shape[0]
    return tc.scan(
        x.shape,
        lambda s, t, j: s * a[t, j] + tc.where(t + 1 < rows, x[tc.minimum(t + 1, 4), j], 0.0),
        dtype="float64",
    )


def weighted(a: Tensor, x: Tensor) -> Tensor:
    k = tc.reduce_axis(x.shape[1], "k")
    return tc.scan(
        (x.shape[0],), lambda s, t: s * 0.5 + tc.sum(a[t, k] * x[t, k], axis=k), dtype="float64"
    )


STEPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": linear,
    "along rows": along_rows,
    "not linear, first value read": bent,
    "two states": coupled,
    "one of two states": one_of_two,
    "a step that looks ahead": neighbours,
    "a step with a sum": weighted,
    "a sum of a running sum": lambda a, x: tc.cumsum(tc.cumsum(a * x, 0), 1, reverse=True),
}


@pytest.mark.parametrize("name", list(STEPS))
def test_a_recurrence_has_the_derivatives_of_its_values(name: str) -> None:
    a, x, feeds = inputs()
    assert_derivatives(STEPS[name](a, x), [a, x], feeds)


def test_the_gradient_of_a_recurrence_takes_as_many_steps() -> None:
    a, x, feeds = inputs()
    y, seed = linear(a, x), tc.placeholder((5, 3), "float64", name="seed")
    gradients = tc.grad(y, [a, x], seed)
    work = sum(
        int(np.prod([int(str(loop.extent)) for loop in site.loops]))
        for site in sites(build(gradients).body)
    )
    assert work <= 4 * 15  # Forward, backward, and a pass for each gradient.
    weights = np.random.default_rng(0).standard_normal((5, 3))
    f = tc.compile(gradients, inputs=[a, x, seed])
    expected = evaluate(gradients, {**feeds, seed: weights})
    for found, wanted in zip(f(feeds[a], feeds[x], weights), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-14)


def test_a_symbolic_line_has_a_gradient() -> None:
    n = tc.dim("n")
    x, seed = (tc.placeholder((n,), "float64", name=name) for name in ("x", "seed"))
    f = tc.compile([tc.grad(tc.cumsum(x), x, seed)], inputs=[seed])
    for size in (0, 1, 6):
        given = np.arange(1.0, size + 1)
        np.testing.assert_array_equal(f(given), np.cumsum(given[::-1])[::-1])


def hypotenuse(a: Any, b: Any) -> Any:
    return tc.sqrt(a * a + b * b)


def log_add(a: Any, b: Any) -> Any:
    top = tc.maximum(a, b)
    return top + tc.log1p(tc.exp(tc.minimum(a, b) - top))


FOLDS: dict[str, Callable[..., Any]] = {
    "hypotenuse": tc.reducer(hypotenuse, 1e-300, "float64", name="hypot"),
    "log of a sum": tc.reducer(log_add, -1e300, "float64", name="logaddexp"),
    "mixed": tc.reducer(lambda a, b: a * b + a + b, 0.0, "float64", name="mix"),
    "in order": tc.reducer(
        lambda a, b: a * 0.5 + b, 0.0, "float64", name="decay", associative=False, commutative=False
    ),
}


@pytest.mark.parametrize("name", list(FOLDS))
def test_a_reducer_of_the_users_own_is_differentiated(name: str) -> None:
    a, x, feeds = inputs()
    i, k = tc.reduce_axis(5, "i"), tc.reduce_axis((1, 3), "k")
    fold = FOLDS[name]
    y = tc.compute(
        (2,), lambda p: fold(a[i, k] * x[i, k - p], axis=(i, k), where=i + k > p + 1), name="Y"
    )
    assert_derivatives(y, [a, x], feeds)


def test_a_reducer_of_pairs_is_differentiated() -> None:
    """The product of quaternions, of which two components are kept at 0: complex numbers."""
    times: Callable[..., Any] = tc.reducer(
        lambda a, b: (a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]),
        (1.0, 0.0),
        "float64",
        name="times",
    )
    a, x, feeds = inputs()
    k = tc.reduce_axis(5, "k")
    re, im = tc.computes((3,), lambda j: times((a[k, j], x[k, j]), axis=k), names=("re", "im"))
    assert_derivatives(re * im, [a, x], feeds)


def test_the_value_beside_an_argmax_has_both_modes() -> None:
    a, x, feeds = inputs()
    k = tc.reduce_axis(5, "k")
    best, at = tc.computes((3,), lambda j: tc.max_with_index(a[k, j] * x[k, j], k))
    assert_derivatives(best * (at + 1.0), [a, x], feeds)


def test_a_fold_of_nothing_has_no_gradient() -> None:
    n = tc.dim("n")
    x, k = tc.placeholder((n,), "float64", name="x"), tc.reduce_axis(n, "k")
    y = tc.compute((), lambda: tc.prod(x[k], axis=k), name="Y")
    f = tc.compile([y, tc.grad(y, x)], inputs=[x])
    value, slope = f(np.zeros(0))
    assert value == 1.0
    assert slope.shape == (0,)
    value, slope = f(np.array([2.0, 3.0, 4.0]))
    np.testing.assert_array_equal(slope, [12.0, 8.0, 6.0])


# --- scatters ---------------------------------------------------------------------------------


def looked_up(rows: int = 5, points: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    table = tc.placeholder((rows, 3), "float64", name="table")
    idx = tc.placeholder((points,), "int32", name="idx")
    y = tc.compute((points, 3), lambda i, j: tc.exp(table[idx[i], j]), name="Y")
    return table, idx, y


def test_a_gather_by_data_has_every_derivative() -> None:
    table, idx, y = looked_up()
    where_to = np.array([4, 0, 4, 1, 1, 4, 2], np.int32)
    feeds: dict[Tensor, Array] = {
        table: np.random.default_rng(0).standard_normal((5, 3)),
        idx: where_to,
    }
    assert_derivatives(y, [table], feeds)


def test_the_adjoint_of_a_gather_by_data_costs_its_reads() -> None:
    table, idx, y = looked_up(rows=1000, points=7)
    seed = tc.placeholder((7, 3), "float64", name="seed")
    gradient = tc.grad(y, table, seed)
    updates = [s for s in sites(build([gradient]).body) if isinstance(s.leaf, Accumulate)]
    assert [[str(x.extent) for x in s.loops] for s in updates] == [["7", "3"]]
    f = tc.compile([gradient], inputs=[table, idx, seed])
    rng = np.random.default_rng(0)
    where_to, weights = rng.integers(0, 1000, 7).astype(np.int32), rng.integers(-4, 5, (7, 3)) * 1.0
    found = f(np.zeros((1000, 3)), where_to, weights)
    expected = np.zeros((1000, 3))
    np.add.at(expected, where_to, weights)
    np.testing.assert_array_equal(found, expected)


def test_an_update_of_an_embedding_runs_in_place() -> None:
    table, idx, y = looked_up()
    loss = tc.ops.sum(y)
    f = tc.compile(
        [loss], inputs=[table, idx], updates=[(table, table - 0.5 * tc.grad(loss, table))]
    )
    rng = np.random.default_rng(0)
    values, where_to = rng.standard_normal((5, 3)), np.array([4, 0, 4, 1, 1, 4, 2], np.int32)
    counts = np.bincount(where_to, minlength=5)[:, None]
    expected = values - 0.5 * counts * np.exp(values)
    f(values, where_to)
    # Three equal terms, each a few ulp off: exp is within 2 ulp.
    np.testing.assert_allclose(values, expected, rtol=0, atol=64 * 2.0**-53 * np.exp(3))
