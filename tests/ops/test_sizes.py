"""Each family of operations compiled once, with symbolic sizes, and called with many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

import tensorc as tc
from ops.run import gamma
from tensorc.driver import compile
from tensorc.te.tensor import compute

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray[Any, Any]
o = tc.ops
n, m = tc.dim("n"), tc.dim("m")
X, Y = tc.placeholder((n, m), name="X"), tc.placeholder((m, n), name="Y")
V, S = tc.placeholder((m,), name="V"), tc.placeholder((), name="S")
ROWS, COLUMNS = (0, 1, 2, 13, 64, 101), (0, 1, 3, 17, 32)
Case = tuple[Any, "Callable[..., Any]"]

# Nothing is rounded, or once as NumPy rounds it.
EXACT: dict[str, Case] = {
    "add": (o.add(X, V), lambda f: f.x + f.v),
    "scalar": (X - S, lambda f: f.x - f.s),
    "outer": (o.outer(V, V), lambda f: np.outer(f.v, f.v)),
    "max": (o.max(o.pad(X, ((0, 0), (0, 1))), 1), lambda f: np.pad(f.x, ((0, 0), (0, 1))).max(1)),
    "all": (o.all(X > 0, 1), lambda f: (f.x > 0).all(1)),
    "any": (o.any(X > 0, 0), lambda f: (f.x > 0).any(0)),
    "transpose": (o.transpose(X), lambda f: f.x.T),
    "reshape": (o.reshape(X, (-1,)), lambda f: f.x.reshape(-1)),
    "flip": (o.flip(X), lambda f: np.flip(f.x)),
    "slice": (o.slice(X, np.s_[::2, 1:]), lambda f: f.x[::2, 1:]),
    "join": (
        o.concatenate([X, o.transpose(Y)], 1),
        lambda f: np.concatenate([f.x, f.y.T], 1),
    ),
    "stack": (o.stack([X, X * 2.0]), lambda f: np.stack([f.x, f.x * 2])),
    "pad": (
        o.pad(X, ((1, 2), (0, 3)), constant_values=7),
        lambda f: np.pad(f.x, ((1, 2), (0, 3)), constant_values=7),
    ),
    "tile": (o.tile(X, (2, 3)), lambda f: np.tile(f.x, (2, 3))),
    "repeat": (o.repeat(X, 3, 0), lambda f: np.repeat(f.x, 3, 0)),
    "tril": (o.tril(X), lambda f: np.tril(f.x)),
    "broadcast": (o.broadcast_to(V, (3, m)), lambda f: np.broadcast_to(f.v, (3, len(f.v)))),
    "expand": (o.expand_dims(X, 1), lambda f: f.x[:, None]),
    "where": (o.where(X > 0, X, V), lambda f: np.where(f.x > 0, f.x, f.v)),
    "clip": (o.clip(X, -0.5, 0.5), lambda f: np.clip(f.x, -0.5, 0.5)),
    "eye": (o.eye(n, m), lambda f: np.eye(*f.x.shape)),
    "arange": (o.arange(n), lambda f: np.arange(len(f.x))),
}
# A float32 sum: the exact value, and the sum of the magnitudes that were added.
SUMS: dict[str, Case] = {
    "matmul": (o.matmul(X, Y), lambda f: (f.x @ f.y, abs(f.x) @ abs(f.y))),
    "matvec": (o.matmul(X, V), lambda f: (f.x @ f.v, abs(f.x) @ abs(f.v))),
    "dot": (o.dot(V, V), lambda f: (f.v @ f.v, f.v @ f.v)),
    "sum": (o.sum(X), lambda f: (f.x.sum(), abs(f.x).sum())),
    "sum0": (o.sum(X, 0), lambda f: (f.x.sum(0), abs(f.x).sum(0))),
    "sum1": (
        o.sum(X, 1, keepdims=True),
        lambda f: (f.x.sum(1, keepdims=True), abs(f.x).sum(1, keepdims=True)),
    ),
}


class Feeds(NamedTuple):
    x: Array
    y: Array
    v: Array
    s: Array


def feeds(rows: int, columns: int) -> Feeds:
    rng = np.random.default_rng([rows, columns])
    shapes = ((rows, columns), (columns, rows), (columns,), ())
    return Feeds(*(np.asarray(rng.standard_normal(shape), np.float32) for shape in shapes))


@pytest.fixture(scope="module")
def function() -> tc.CompiledFunction:
    cases = EXACT | SUMS
    named = [
        compute(t.shape, lambda *i, t=t: t[i], name=f"R_{name}") for name, (t, _) in cases.items()
    ]
    return compile(named, inputs=[X, Y, V, S], name="sizes")


@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("columns", COLUMNS)
def test_one_compiled_function_is_numpys_at_every_size(
    function: tc.CompiledFunction, rows: int, columns: int
) -> None:
    arrays = feeds(rows, columns)
    results = dict(zip([*EXACT, *SUMS], function(*arrays), strict=True))
    for name, (_, reference) in EXACT.items():
        np.testing.assert_array_equal(results[name], reference(arrays), name)
    wide = Feeds(*(a.astype(np.float64) for a in arrays))
    for name, (_, reference) in SUMS.items():
        exact, magnitude = reference(wide)
        assert np.shape(results[name]) == np.shape(exact)
        # Every sum here has at most so many terms (Higham, 3.1).
        bound = gamma((rows + 1) * (columns + 1)) * magnitude
        assert np.all(abs(results[name] - exact) <= bound), name
