"""Parts of networks beyond a product: convolution and attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.cases import Array, dot_error_bound, make_case, normal
from benchmarks.harness import Case, bench
from benchmarks.models import attention as our_attention
from benchmarks.models import conv2d as our_conv2d


@bench(sizes=["1x64x56x56, 64 filters 3x3"])
def conv2d(_size: str) -> Case:
    """Convolution, stride 1 and padding 1; NumPy gathers windows and multiplies matrices."""
    channels, side = 64, 56
    x, w = normal(1, channels, side, side), normal(channels, channels, 3, 3, seed=1)

    def windows(a: Array) -> Array:
        padded = np.pad(a[0], ((0, 0), (1, 1), (1, 1)))
        parts = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return parts.transpose(0, 3, 4, 1, 2).reshape(channels * 9, side * side)

    def by_numpy(a: Array, f: Array, out: Array) -> None:
        np.matmul(f.reshape(channels, -1), windows(a), out=out.reshape(channels, -1))

    def by_torch(torch: Any) -> Any:
        return lambda a, f: torch.nn.functional.conv2d(a, f, padding=1)

    def by_jax(jax: Any) -> Any:
        return lambda a, f: jax.lax.conv_general_dilated(a, f, (1, 1), "SAME")

    flat, gathered = w.reshape(channels, -1), windows(x)
    exact = (flat.astype(np.float64) @ gathered.astype(np.float64)).reshape(x.shape)
    # Twice: a rival may transform what it multiplies (Winograd).
    bound = 2 * dot_error_bound(flat, gathered).reshape(x.shape)
    return make_case(
        lambda a, f: our_conv2d(a, f, padding=1),
        [x, w],
        exact,
        bound,
        {
            "numpy": by_numpy,
            "torch_eager": by_torch,
            "torch_compiled": by_torch,
            "jax_function": by_jax,
        },
        flop=2.0 * channels * channels * 9 * side * side,
    )


@bench(sizes=["8 heads x 512 x 64"])
def attention(_size: str) -> Case:
    """softmax(q k^T / 8) v for each head; torch has it as one function."""
    heads, length, depth = 8, 512, 64
    q, k, v = (normal(heads, length, depth, seed=n) for n in range(3))

    def by_numpy(a: Array, b: Array, c: Array, out: Array) -> None:
        scores = a @ b.swapaxes(1, 2)
        scores *= np.float32(depth**-0.5)
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        np.matmul(scores, c, out=out)
        out /= scores.sum(axis=-1, keepdims=True)

    def by_torch(torch: Any) -> Any:
        return torch.nn.functional.scaled_dot_product_attention

    def compiled(_torch: Any) -> Any:
        return lambda a, b, c: (a @ b.transpose(1, 2) * depth**-0.5).softmax(-1) @ c

    def by_jax(jax: Any) -> Any:
        return lambda a, b, c: jax.nn.softmax(a @ b.swapaxes(1, 2) * depth**-0.5) @ c

    wide = [x.astype(np.float64) for x in (q, k, v)]
    scores = wide[0] @ wide[1].swapaxes(1, 2) * depth**-0.5
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    # An error of a score is relative in exp: that of its dot product, at most, and of the shift.
    slack = float(dot_error_bound(q, k.swapaxes(1, 2)).max()) * depth**-0.5 + 32 * 2.0**-24
    bound = (2 * slack + 2 * length * 2.0**-24) * (weights @ np.abs(wide[2]))
    return make_case(
        our_attention,
        [q, k, v],
        weights @ wide[2],
        bound,
        {
            "numpy": by_numpy,
            "torch_eager": by_torch,
            "torch_compiled": compiled,
            "jax_function": by_jax,
        },
        flop=4.0 * heads * length * length * depth,
    )
