"""Attention against float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ops.run import Array, backends, normal, run
from tensorc import ops
from tensorc.errors import ShapeError
from tensorc.te.tensor import dim, placeholder

RTOL, ATOL = 1e-5, 1e-5  # Sums of at most 8 products of size 1, then a softmax.


def attention(q: Array, k: Array, v: Array, more: Array | float, scale: float) -> Array:
    scores = q.astype(np.float64) @ np.swapaxes(k.astype(np.float64), -1, -2) * scale + more
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True) @ v)


@backends
@pytest.mark.parametrize("kind", ["plain", "causal", "bool", "float"])
def test_attention_is_its_formula(kind: str, backend: str) -> None:
    q, k, v = normal((2, 3, 5, 4), 1), normal((2, 3, 6, 4), 2), normal((3, 6, 2), 3)
    s, t, u = placeholder((dim("b"), *q.shape[1:])), placeholder(k.shape), placeholder(v.shape)
    feeds = {s: q, t: k, u: v}
    more: Array | float = 0.0
    mask = None
    if kind == "causal":
        more = np.where(np.tri(5, 6, dtype=bool), 0, -np.inf)
    elif kind == "bool":
        seen = normal((5, 6), 4, "bool") | np.eye(5, 6, dtype=bool)
        mask, more = placeholder((5, 6), "bool"), np.where(seen, 0, -np.inf)
        feeds[mask] = seen
    elif kind == "float":
        mask, more = placeholder((3, 1, 6)), normal((3, 1, 6), 4)
        feeds[mask] = more
    s, t = (placeholder(a.shape) for a in (q, k))
    feeds = {s: q, t: k} | {a: b for a, b in feeds.items() if a is u or a is mask}
    (found,) = run([ops.attention(s, t, u, mask, causal=kind == "causal")], feeds, backend)
    np.testing.assert_allclose(found, attention(q, k, v, more, 0.5), RTOL, ATOL)


@backends
def test_the_number_of_queries_and_keys_may_be_symbols(backend: str) -> None:
    n, m = dim("n"), dim("m", lower=1)
    q, k, v = normal((3, 4), 1), normal((5, 4), 2), normal((5, 4), 3)
    s, t, u = placeholder((n, 4)), placeholder((m, 4)), placeholder((m, 4))
    (found,) = run([ops.attention(s, t, u, scale=1.0)], {s: q, t: k, u: v}, backend)
    np.testing.assert_allclose(found, attention(q, k, v, 0.0, 1.0), RTOL, ATOL)


D = dim("d")


@pytest.mark.parametrize(
    ("shapes", "mask", "message"),
    [
        (
            ((4,), (5, 4), (5, 2)),
            None,
            "attention: query, key and value need 2 dimensions, got (4,), (5, 4), (5, 2)",
        ),
        (
            ((3, 4), (5, 3), (5, 2)),
            None,
            "attention: shapes (3, 4), (5, 3), (5, 2) of query, key and value do not fit "
            "(..., n, depth), (..., m, depth), (..., m, width)",
        ),
        (
            ((3, D), (5, D), (5, 2)),
            None,
            "attention: give scale=, the depth d is not known",
        ),
        (
            ((1, 4), (5, 4), (5, 2)),
            (3, 5),
            "attention: mask of shape (3, 5) does not broadcast to the scores, (1, 5)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: Any, mask: Any, message: str) -> None:
    q, k, v = (placeholder(shape) for shape in shapes)
    with pytest.raises(ShapeError) as e:
        ops.attention(q, k, v, None if mask is None else placeholder(mask))
    assert str(e.value) == message
