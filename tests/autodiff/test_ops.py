"""The gradient of every differentiable named operation against central differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from autodiff.texts import line
from tensorc import ops
from tensorc.autodiff import check_grad, grad
from tensorc.dtypes import float64
from tensorc.te.tensor import Tensor, dim, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable

OPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "arithmetic": lambda a, b: (a + b) * a / (b - 3.0),
    "power": lambda a, b: a**b,
    "matmul": lambda a, b: ops.matmul(a, ops.transpose(b)),
    "softmax": lambda a, b: ops.softmax(a) * b,
    "log_softmax": lambda a, b: ops.log_softmax(a * b, axis=0),
    "logsumexp": lambda a, b: ops.logsumexp(a * b),
    "mean": lambda a, b: ops.mean(a * b, axis=1, keepdims=True) * a,
    "prod": lambda a, b: ops.prod(a * b, axis=0),
    "max": lambda a, b: ops.max(a, axis=1) + ops.min(b, axis=1),
    "var": lambda a, b: ops.var(a * b, axis=1),
    "reshape": lambda a, b: ops.reshape(a, (4, 3)) * ops.reshape(b, (4, 3)),
    "transpose": lambda a, b: ops.matmul(ops.transpose(a), b),
    "concatenate": lambda a, b: ops.concatenate([a, b, a], axis=1),
    "stack": lambda a, b: ops.stack([a, b]),
    "flip": lambda a, b: ops.flip(a, 0) * b,
    "tile": lambda a, b: ops.tile(a * b, (2, 2)),
    "repeat": lambda a, b: ops.repeat(a, 3, 1) * ops.repeat(b, 3, 1),
    "pad": lambda a, b: ops.pad(a * b, ((1, 2), (0, 1))),
    "where": lambda a, b: ops.where(a > b, a * a, b),
    "clip": lambda a, b: ops.clip(a, 0.75, 1.25) * b,
    "gelu": lambda a, b: ops.gelu(a) + ops.silu(b),
    "tril": lambda a, b: ops.tril(ops.matmul(a, ops.transpose(b))),
    "mse": lambda a, b: ops.mse(a, b),
}


@pytest.mark.parametrize("name", list(OPS))
def test_an_operation_has_the_gradient_of_its_values(name: str) -> None:
    a, b = placeholder((3, 4), float64, name="a"), placeholder((3, 4), float64, name="b")
    rng = np.random.default_rng(0)
    feeds = {t: rng.uniform(0.5, 2.0, (3, 4)) for t in (a, b)}
    check_grad(OPS[name](a, b), [a, b], feeds)


@pytest.mark.parametrize("keepdims", [True, False])
def test_the_gradient_of_a_variance_sees_no_mean_and_has_a_gradient(keepdims: bool) -> None:
    a, s = placeholder((3, 4), float64, name="a"), placeholder((3, 1), float64, name="s")
    y = ops.var(a, axis=1, ddof=1, keepdims=keepdims)
    seed = s if keepdims else ops.squeeze(s, 1)
    by_a = grad(y, a, seed)
    assert line(by_a).endswith(" * (a[i0, i1] - mean[i0, 0])")
    rng = np.random.default_rng(0)
    feeds = {a: rng.uniform(0.5, 2.0, (3, 4)), s: rng.uniform(0.5, 2.0, (3, 1))}
    check_grad(y, a, feeds)
    check_grad(by_a, [a, s], feeds)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_operations_on_symbolic_sizes_have_gradients(rows: int) -> None:
    n = dim("n")
    a = placeholder((n, 4), float64, name="a")
    feeds = {a: np.random.default_rng(0).uniform(0.5, 2.0, (rows, 4))}
    for y in (ops.softmax(a) * a, ops.reshape(a, (n * 4,)) * 2.0, ops.concatenate([a, a * a], 1)):
        check_grad(y, a, feeds)


def test_what_undoes_itself_leaves_no_trace() -> None:
    a = placeholder((3, 4), name="a")
    n = dim("n")
    b = placeholder((n, 4), name="b")
    assert line(grad(ops.sum(ops.concatenate([a, a], 0)), a)) == "d.a[i0, i1] = 2.0"
    assert line(grad(ops.sum(ops.reshape(b, (n * 4,)) * 2.0), b)) == "d.b[i0, i1] = 2.0"


def test_the_gradient_of_a_layer_reads_as_written_by_hand() -> None:
    x, w, b = placeholder((8, 5), name="x"), placeholder((5, 3), name="w"), placeholder(3, name="b")
    y = ops.relu(ops.matmul(x, w) + b)
    by_w, by_b = grad(y, [w, b], placeholder((8, 3), name="g"))
    assert line(by_w) == "d.w[k, i1] = sum(x[i0, k] * d.add[i0, i1], axis=i0)"
    assert line(by_b) == "d.b[i1] = sum(d.add[i0, i1], axis=i0)"
    assert line(by_b.op.inputs[0]) == "d.add[i0, i1] = where(relu[i0, i1] > 0.0, g[i0, i1], 0.0)"  # type: ignore[union-attr]
