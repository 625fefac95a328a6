"""Tensors that several benchmarks are about, written with the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorc as tc

if TYPE_CHECKING:
    from tensorc import Tensor


def conv2d(x: Tensor, w: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolution as networks use it, unflipped: x (n, c, h, w), w (o, c, kh, kw)."""
    batch, channels, height, width = (int(str(size)) for size in x.shape)
    filters, _, kh, kw = (int(str(size)) for size in w.shape)
    c, ky, kx = (
        tc.reduce_axis(size, name=name) for size, name in ((channels, "c"), (kh, "ky"), (kw, "kx"))
    )
    out_height = (height + 2 * padding - kh) // stride + 1
    out_width = (width + 2 * padding - kw) // stride + 1

    def element(b: tc.Expr, o: tc.Expr, i: tc.Expr, j: tc.Expr) -> tc.Expr:
        y, z = i * stride + ky - padding, j * stride + kx - padding
        value = x[b, c, y, z]
        if padding:
            inside = (y >= 0) & (y < height) & (z >= 0) & (z < width)
            value = tc.where(inside, value, 0.0)
        return tc.sum(value * w[o, c, ky, kx], axis=(c, ky, kx))

    return tc.compute((batch, filters, out_height, out_width), element, name="conv")


def layer_norm(x: Tensor, scale: Tensor, shift: Tensor, eps: float = 1e-5) -> Tensor:
    """Each row of `x` less its mean, over its standard deviation; then scaled and shifted."""
    centred = x - tc.ops.mean(x, axis=-1, keepdims=True)
    variance = tc.ops.mean(centred * centred, axis=-1, keepdims=True)
    return centred * tc.ops.rsqrt(variance + eps) * scale + shift


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax(q k^T / sqrt(d)) v for each head; all (heads, length, d)."""
    heads, length, depth = (int(str(size)) for size in q.shape)
    d, t = tc.reduce_axis(depth, name="d"), tc.reduce_axis(length, name="t")
    scores = tc.compute(
        (heads, length, length),
        lambda h, i, j: tc.sum(q[h, i, d] * k[h, j, d], axis=d) * depth**-0.5,
        name="scores",
    )
    weights = tc.ops.softmax(scores, axis=-1)
    return tc.compute(
        (heads, length, depth),
        lambda h, i, c: tc.sum(weights[h, i, t] * v[h, t, c], axis=t),
        name="attended",
    )
