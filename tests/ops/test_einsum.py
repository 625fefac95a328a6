"""Einstein's convention against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ops.run import backends, gamma, normal, run
from tensorc import ops
from tensorc.errors import DTypeError, ShapeError
from tensorc.te.tensor import dim, placeholder

CASES = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("ji,jk", [(3, 2), (3, 4)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 2)]),
    ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
    ("i,i->", [(4,), (4,)]),
    ("i,j->ji", [(2,), (3,)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("ijk->kj", [(2, 3, 4)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 2)]),
    ("...i,i", [(2, 3, 4), (4,)]),
    ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
    ("ij,ij,ij->j", [(2, 3), (2, 3), (2, 3)]),
    ("ij,jk->ik", [(2, 3), (1, 4)]),
    (" i j , j -> i ", [(0, 3), (3,)]),
]


@backends
@pytest.mark.parametrize(("subscripts", "given"), CASES)
def test_einsum_is_numpys(subscripts: str, given: list[Any], backend: str) -> None:
    arrays = [normal(shape, k) for k, shape in enumerate(given)]
    tensors = [placeholder(shape) for shape in given]
    feeds = dict(zip(tensors, arrays, strict=True))
    (found,) = run([ops.einsum(subscripts, *tensors)], feeds, backend)
    exact = np.einsum(subscripts, *(a.astype(np.float64) for a in arrays))
    size = np.einsum(subscripts, *(abs(a).astype(np.float64) for a in arrays))
    assert found.shape == exact.shape
    assert np.all(abs(found - exact) <= gamma(30) * size)


def test_sizes_may_be_symbols() -> None:
    n, m = dim("n"), dim("m")
    y = ops.einsum("ij,kj->ik", placeholder((n, m)), placeholder((3, m)))
    assert str(y) == "einsum: float32[n, 3]"


X, Y = placeholder((2, 3), name="x"), placeholder((3, 4), name="y")


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ops.einsum("i1->i", X), ShapeError, "'i1->i' is not of the form 'ij,jk->ik'"),
        (
            lambda: ops.einsum("ij,jk->ik", X),
            ShapeError,
            "'ij,jk->ik' names 2 operands, and 1 are given",
        ),
        (
            lambda: ops.einsum("ijk->i", X),
            ShapeError,
            "'ijk' in 'ijk->i' does not fit the dimensions of x, of shape (2, 3)",
        ),
        (
            lambda: ops.einsum("ij,ij->i", X, Y),
            ShapeError,
            "'i' of 'ij,ij->i' is 2 and, in y of shape (3, 4), 3",
        ),
        (
            lambda: ops.einsum("ij->ik", X),
            ShapeError,
            "'k' must be in the result of 'ij->ik' once, and in an operand",
        ),
        (
            lambda: ops.einsum("...j->j", X),
            ShapeError,
            "the result of '...j->j' must hold the '...' of the operands",
        ),
        (
            lambda: ops.einsum("ij,j->i", X, [1, 2, 3]),  # type: ignore[arg-type]
            DTypeError,
            "operand 1 must be a tensor, got [1, 2, 3]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as e:
        make()
    assert str(e.value) == f"einsum: {message}"
