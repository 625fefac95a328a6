"""The gradient of each operation of networks, and its gradient, against central differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import tensorc as tc
from tensorc import ops
from tensorc.autodiff import check_grad, grad
from tensorc.dtypes import float64
from tensorc.te.tensor import Tensor, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable

Shapes = list[tuple[int, ...]]
CASES: dict[str, tuple[Shapes, Callable[..., Tensor]]] = {
    "conv1d": ([(2, 2, 6), (3, 2, 3)], lambda x, w: ops.conv1d(x, w, 2, 1)),
    "conv2d": ([(1, 2, 4, 5), (2, 2, 3, 2)], lambda x, w: ops.conv2d(x, w, padding=1)),
    "conv2d of groups": (
        [(1, 4, 5, 4), (4, 2, 2, 3)],
        lambda x, w: ops.conv2d(x, w, (2, 1), ((1, 0), (0, 1)), (2, 1), groups=2),
    ),
    "conv2d channels last": (
        [(1, 4, 4, 2), (3, 2, 2, 2)],
        lambda x, w: ops.conv2d(x, w, 2, 1, layout="NHWC"),
    ),
    "conv2d of single channels": (
        [(1, 4, 4, 3), (2, 2, 1, 3)],
        lambda x, w: ops.conv2d(x, w, groups=3, layout="NHWC"),
    ),
    "conv_transpose2d": (
        [(1, 2, 3, 2), (2, 2, 3, 2)],
        lambda x, w: ops.conv_transpose2d(x, w, 2, 1, 1),
    ),
    "conv_transpose1d dilated": (
        [(1, 4, 3), (4, 1, 3)],
        lambda x, w: ops.conv_transpose1d(x, w, 3, 1, 0, 2, 2),
    ),
    "max_pool2d": ([(1, 2, 5, 4)], lambda x: ops.max_pool2d(x, (3, 2), (2, 1), 1)),
    "avg_pool2d": (
        [(1, 2, 5, 4)],
        lambda x: ops.avg_pool2d(x * x, 3, 2, 1, count_padding=False),
    ),
    "upsample": ([(1, 2, 3, 2)], lambda x: ops.upsample(x * x, (2, 3))),
    "upsample linear": ([(1, 1, 3, 2)], lambda x: ops.upsample(x * x, 2, "linear")),
    "pad edge": ([(3, 4)], lambda x: ops.pad(x * x, ((1, 2), (2, 0)), "edge")),
    "pad reflect": ([(3, 4)], lambda x: ops.pad(x * x, ((1, 2), (2, 1)), "reflect")),
    "pad wrap": ([(3, 4)], lambda x: ops.pad(x * x, ((1, 2), (2, 0)), "wrap")),
    "einsum": (
        [(2, 2, 3), (3, 2), (2, 2)],
        lambda x, y, z: ops.einsum("bij,jk,kk->bi", x, y, z),
    ),
    "layer_norm": ([(2, 4), (4,), (4,)], ops.layer_norm),
    "rms_norm": ([(2, 4), (4,)], ops.rms_norm),
    "batch_norm": (
        [(3, 2, 2), (2,), (2,)],
        lambda x, w, b: ops.batch_norm(x, *ops.batch_moments(x), w, b),
    ),
    "attention": (
        [(2, 2, 3), (2, 3, 3), (2, 3, 2)],
        lambda q, k, v: ops.attention(q, k, v, causal=True),
    ),
    "activations": (
        [(3, 4)],
        lambda x: ops.stack(
            [f(x) for f in (ops.gelu, ops.silu, ops.elu, ops.leaky_relu, ops.softplus)]
            + [ops.gelu(x, "tanh")]
        ),
    ),
    "dropout": ([(4, 4)], lambda x: ops.dropout(x * x, 0.4, 3, 1)),
    "huber": ([(3, 4), (3, 4)], lambda x, y: ops.huber(x, y, 0.7)),
    "bce_with_logits": (
        [(3, 4), (3, 4)],
        lambda x, y: ops.bce_with_logits(x, ops.sigmoid(y)),
    ),
}


def feeds_of(shapes: Shapes) -> dict[Tensor, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        placeholder(shape, float64, name=f"x{k}"): rng.normal(size=shape)
        for k, shape in enumerate(shapes)
    }


@pytest.mark.parametrize("name", CASES)
def test_an_operation_has_the_gradient_of_its_values(name: str) -> None:
    shapes, build = CASES[name]
    feeds = feeds_of(shapes)
    check_grad(build(*feeds), list(feeds), feeds)


@pytest.mark.parametrize("name", CASES)
def test_its_gradient_has_a_gradient(name: str) -> None:
    shapes, build = CASES[name]
    feeds = feeds_of(shapes)
    inputs = list(feeds)
    y = build(*inputs)
    seed = placeholder(y.shape, float64, name="dy")
    feeds[seed] = np.random.default_rng(1).normal(size=[int(str(n)) for n in y.shape])
    check_grad(grad(y, inputs[0], seed), [*inputs, seed], feeds)


@pytest.mark.parametrize("name", CASES)
def test_no_gradient_scatters(name: str) -> None:
    shapes, build = CASES[name]
    inputs = list(feeds_of(shapes))
    y = build(*inputs)
    labels = tc.explain_grad(y, inputs, placeholder(y.shape, float64, name="dy")).labels
    assert labels
    assert "scatter" not in {label.kind for label in labels}


def test_smoothed_labels_have_a_gradient() -> None:
    x, y = placeholder((3, 4), float64, name="x"), placeholder(3, "int64", name="y")
    feeds = {x: np.random.default_rng(0).normal(size=(3, 4)), y: np.array([0, 3, 1])}
    check_grad(ops.softmax_cross_entropy(x, y, 0.2), x, feeds)
