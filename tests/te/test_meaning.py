"""Built programs mean what the definitions say: interpreter against reference evaluator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.run import normal, run
from tensorc.ir.expr import Let, Var, call, maximum, where
from tensorc.te import reduce as te
from tensorc.te.reduce import reduce_axis
from tensorc.te.tensor import Tensor, compute, dim, placeholder


def normalized(a: Tensor, n: Any, m: Any) -> Tensor:
    k = reduce_axis(m, "k")

    def body(i: Var, j: Var) -> Any:
        mean = te.sum(a[i, k], k) / m
        return (a[i, j] - mean) * call("rsqrt", te.sum((a[i, k] - mean) * (a[i, k] - mean), k) + 1)

    return compute((n, m), body, name="C")


def prefix_sums(a: Tensor, n: Any, m: Any) -> Tensor:
    return compute(
        (n, m), lambda i, j: 2.0 * te.sum(a[i, (k := reduce_axis(j + 1, "k"))], k), name="C"
    )


def of_neighbours(a: Tensor, n: Any, m: Any) -> Tensor:
    k = reduce_axis(m, "k")
    return compute(
        (n,), lambda i: where(i > 0, te.sum(a[i - 1, k], k), 0.0) + te.sum(a[i, k], k), name="C"
    )


def with_let(a: Tensor, n: Any, m: Any) -> Tensor:
    k = reduce_axis(m, "k")

    def body(i: Var) -> Any:
        v = Var("v", a.dtype)
        return Let(v, te.sum(a[i, k], k), te.prod(a[i, k] * v, k) + v)

    return compute((n,), body, name="C")


def nested(a: Tensor, n: Any, m: Any) -> Tensor:
    k = reduce_axis(m, "k")
    i = reduce_axis((1, maximum(n, 1)), "i", where=lambda i: i % 2 == 1)
    return compute((2,), lambda s: te.sum(te.sum(a[i, k], k) * (s + 1), i), name="C")


def best_rows(a: Tensor, n: Any, m: Any) -> Tensor:
    i = reduce_axis(n, "i")
    return compute((m,), lambda j: a[te.argmax(a[i, j], i), j] + 1.0, name="C")


MAKERS = [normalized, prefix_sums, of_neighbours, with_let, nested, best_rows]


@pytest.mark.parametrize("make", MAKERS)
@settings(max_examples=8)
@given(n=st.integers(1, 5), m=st.integers(0, 4), symbolic=st.booleans())
def test_a_built_program_computes_its_definition(make: Any, n: int, m: int, symbolic: bool) -> None:
    x = normal((n, m))
    rows, columns = (dim("n", lower=1), dim("m")) if symbolic else (n, m)
    a = placeholder((rows, columns), name="A")
    (found,) = run([make(a, rows, columns)], {a: x})
    assert found.dtype == np.float32
