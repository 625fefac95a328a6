"""Operations and their gradients against torch, in float64. Skipped where torch is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from tensorc import ops
from tensorc.te.tensor import Tensor, placeholder

torch = pytest.importorskip("torch", reason="torch is not installed: make test-peers")
F = torch.nn.functional

if TYPE_CHECKING:
    from collections.abc import Callable

Shapes = list[tuple[int, ...]]
Case = tuple[Shapes, "Callable[..., Tensor]", "Callable[..., Any]"]
I2, W2 = (2, 4, 7, 6), (6, 2, 3, 2)
MASK = np.tril(np.ones((5, 6), bool), 1)


def channels_last(x: Any) -> Any:
    return x.permute(0, 3, 1, 2)


CASES: dict[str, Case] = {
    "matmul": ([(2, 3, 4), (4, 5)], ops.matmul, torch.matmul),
    "einsum": (
        [(2, 3, 4), (4, 5), (5,)],
        lambda *x: ops.einsum("bij,jk,k->bi", *x),
        lambda *x: torch.einsum("bij,jk,k->bi", *x),
    ),
    "conv1d": (
        [(2, 3, 9), (4, 3, 3)],
        lambda x, w: ops.conv1d(x, w, 2, 1),
        lambda x, w: F.conv1d(x, w, stride=2, padding=1),
    ),
    "conv2d": (
        [(2, 2, 7, 6), W2],
        lambda x, w: ops.conv2d(x, w, padding=1),
        lambda x, w: F.conv2d(x, w, padding=1),
    ),
    "conv2d of groups": (
        [I2, W2],
        lambda x, w: ops.conv2d(x, w, (2, 1), (1, 2), (2, 1), 2),
        lambda x, w: F.conv2d(x, w, None, (2, 1), (1, 2), (2, 1), 2),
    ),
    "conv2d channels last": (
        [(2, 7, 6, 3), (3, 2, 3, 4)],
        lambda x, w: ops.conv2d(x, w, 2, 1, layout="NHWC"),
        lambda x, w: F.conv2d(channels_last(x), w.permute(3, 2, 0, 1), None, 2, 1).permute(
            0, 2, 3, 1
        ),
    ),
    "conv2d same": (
        [(2, 2, 7, 6), (4, 2, 3, 5)],
        lambda x, w: ops.conv2d(x, w, padding="same"),
        lambda x, w: F.conv2d(x, w, padding="same"),
    ),
    "conv_transpose1d": (
        [(2, 4, 5), (4, 3, 4)],
        lambda x, w: ops.conv_transpose1d(x, w, 3, 1, 2),
        lambda x, w: F.conv_transpose1d(x, w, None, 3, 1, 2),
    ),
    "conv_transpose2d": (
        [(2, 4, 4, 3), (4, 3, 3, 2)],
        lambda x, w: ops.conv_transpose2d(x, w, 2, 1, (1, 0), (1, 2), 2),
        lambda x, w: F.conv_transpose2d(x, w, None, 2, 1, (1, 0), 2, (1, 2)),
    ),
    "max_pool1d": (
        [(2, 3, 9)],
        lambda x: ops.max_pool1d(x, 3, 2, 1),
        lambda x: F.max_pool1d(x, 3, 2, 1),
    ),
    "max_pool2d": (
        [I2],
        lambda x: ops.max_pool2d(x, (3, 2), (1, 2), 1, (2, 1)),
        lambda x: F.max_pool2d(x, (3, 2), (1, 2), 1, (2, 1)),
    ),
    "avg_pool1d": (
        [(2, 3, 9)],
        lambda x: ops.avg_pool1d(x, 3, 2, 1),
        lambda x: F.avg_pool1d(x, 3, 2, 1),
    ),
    "avg_pool2d": (
        [I2],
        lambda x: ops.avg_pool2d(x, 3, 2, 1, count_padding=False),
        lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    ),
    "upsample": (
        [I2],
        lambda x: ops.upsample(x, (2, 3)),
        lambda x: F.interpolate(x, scale_factor=(2, 3), mode="nearest"),
    ),
    "upsample linear": (
        [(2, 3, 5)],
        lambda x: ops.upsample(x, 3, "linear"),
        lambda x: F.interpolate(x, scale_factor=3, mode="linear"),
    ),
    "upsample bilinear": (
        [I2],
        lambda x: ops.upsample(x, (2, 3), "linear"),
        lambda x: F.interpolate(x, scale_factor=(2, 3), mode="bilinear"),
    ),
    "pad reflect": (
        [(2, 3, 5)],
        lambda x: ops.pad(x, ((0, 0), (0, 0), (2, 1)), "reflect"),
        lambda x: F.pad(x, (2, 1), "reflect"),
    ),
    "pad wrap": (
        [(2, 3, 5)],
        lambda x: ops.pad(x, ((0, 0), (0, 0), (2, 1)), "wrap"),
        lambda x: F.pad(x, (2, 1), "circular"),
    ),
    "pad edge": (
        [(2, 3, 5)],
        lambda x: ops.pad(x, ((0, 0), (0, 0), (2, 1)), "edge"),
        lambda x: F.pad(x, (2, 1), "replicate"),
    ),
    "layer_norm": (
        [(3, 4, 5), (4, 5), (4, 5)],
        lambda x, w, b: ops.layer_norm(x, w, b, (1, 2)),
        lambda x, w, b: F.layer_norm(x, (4, 5), w, b),
    ),
    "rms_norm": (
        [(3, 5), (5,)],
        lambda x, w: ops.rms_norm(x, w, eps=1e-5),
        lambda x, w: F.rms_norm(x, (5,), w, 1e-5),
    ),
    "batch_norm": (
        [I2, (4,), (4,)],
        lambda x, w, b: ops.batch_norm(x, *ops.batch_moments(x), w, b),
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True),
    ),
    "attention": (
        [(2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 2)],
        ops.attention,
        F.scaled_dot_product_attention,
    ),
    "causal attention": (
        [(2, 5, 4), (2, 6, 4), (2, 6, 2)],
        lambda q, k, v: ops.attention(q, k, v, causal=True),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    ),
    "masked attention": (
        [(2, 5, 4), (2, 6, 4), (2, 6, 2)],
        lambda q, k, v: ops.attention(q, k, v, ops.tril(ops.full((5, 6), True), 1)),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.from_numpy(MASK)),
    ),
    "softmax": ([(3, 5)], ops.softmax, lambda x: F.softmax(x, -1)),
    "log_softmax": ([(3, 5)], lambda x: ops.log_softmax(x, 0), lambda x: F.log_softmax(x, 0)),
    "logsumexp": ([(3, 5)], lambda x: ops.logsumexp(x, 1), lambda x: torch.logsumexp(x, 1)),
    "gelu": ([(3, 5)], ops.gelu, F.gelu),
    "gelu tanh": ([(3, 5)], lambda x: ops.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "silu": ([(3, 5)], ops.silu, F.silu),
    "softplus": ([(3, 5)], ops.softplus, F.softplus),
    "elu": ([(3, 5)], lambda x: ops.elu(x, 0.7), lambda x: F.elu(x, 0.7)),
    "leaky_relu": ([(3, 5)], lambda x: ops.leaky_relu(x, 0.2), lambda x: F.leaky_relu(x, 0.2)),
    "sigmoid": ([(3, 5)], ops.sigmoid, torch.sigmoid),
    "tanh": ([(3, 5)], ops.tanh, torch.tanh),
    "prod": ([(3, 5)], lambda x: ops.prod(x, 1), lambda x: torch.prod(x, 1)),
    "var": ([(3, 5)], lambda x: ops.var(x, 1, ddof=1), lambda x: torch.var(x, 1)),
    "mse": ([(3, 5), (3, 5)], ops.mse, F.mse_loss),
    "huber": (
        [(3, 5), (3, 5)],
        lambda x, y: ops.huber(x, y, 0.6),
        lambda x, y: F.huber_loss(x, y, delta=0.6),
    ),
    "bce_with_logits": (
        [(3, 5), (3, 5)],
        lambda x, y: ops.bce_with_logits(x, ops.sigmoid(y)),
        lambda x, y: F.binary_cross_entropy_with_logits(x, torch.sigmoid(y)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_torchs(name: str) -> None:
    shapes, ours, theirs = CASES[name]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in shapes]
    leaves = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = theirs(*leaves)
    seed = rng.normal(size=tuple(expected.shape))
    gradients = torch.autograd.grad(expected, leaves, torch.tensor(seed))
    inputs = [placeholder(shape, "float64", name=f"x{k}") for k, shape in enumerate(shapes)]
    y = ours(*inputs)
    cotangent = placeholder(y.shape, "float64", name="dy")
    wanted = [y, *tc.grad(y, inputs, cotangent)]
    found = tc.compile(wanted, inputs=[*inputs, cotangent])(*arrays, seed)
    for a, b in zip(found, (expected, *gradients), strict=True):
        b = b.detach().numpy()
        assert a.shape == b.shape
        # Both sum at most a hundred products of size 1 in float64, in another order.
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_torchs(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    leaf = torch.tensor(z, requires_grad=True)
    expected = F.cross_entropy(leaf, torch.tensor(labels), label_smoothing=smoothing)
    expected.backward()
    x, y = placeholder((6, 5), "float64", name="x"), placeholder(6, "int64", name="y")
    loss = ops.cross_entropy(x, y, smoothing)
    value, slope = tc.compile([loss, tc.grad(loss, x)], inputs=[x, y])(z, labels)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(slope, leaf.grad.numpy(), rtol=1e-11, atol=1e-13)


def test_equal_elements_of_a_window_share_what_torch_gives_to_the_first() -> None:
    values = np.array([[[2.0, 2.0, 1.0, 0.0, 3.0, 3.0]]])
    leaf = torch.tensor(values, requires_grad=True)
    F.max_pool1d(leaf, 3, 1).sum().backward()
    x = placeholder(values.shape, "float64", name="x")
    y = ops.sum(ops.max_pool1d(x, 3, 1))
    shared, first = tc.grad(y, x), tc.grad(y, x, ties="first")
    found = tc.compile([shared, first], inputs=[x])(values)
    np.testing.assert_array_equal(found[0], [[[0.5, 1.5, 0, 0, 1.5, 0.5]]])
    np.testing.assert_array_equal(found[1], leaf.grad.numpy())
