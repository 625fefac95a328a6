"""Parts of networks beyond a product: convolution, its gradients, and attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import tensorc as tc
from benchmarks.cases import Array, dot_error_bound, make_case, normal, verify
from benchmarks.harness import Case, bench
from benchmarks.models import attention as our_attention
from benchmarks.models import conv2d as our_conv2d
from benchmarks.peers import rivals

if TYPE_CHECKING:
    from collections.abc import Sequence


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


CHANNELS, SIDE, REACH = 64, 56, 3


@bench(sizes=[f"{layout}, stride {s}" for layout in ("NCHW", "NHWC") for s in (1, 2)])
def conv2d_backward(which: str) -> Case:
    """Both gradients of a convolution of 1x64x56x56 with 64 filters 3x3, padding 1."""
    layout: Literal["NCHW", "NHWC"] = "NCHW" if which.startswith("NCHW") else "NHWC"
    first, stride = layout == "NCHW", int(which[-1])
    side = (SIDE - 1) // stride + 1
    x, w = normal(1, CHANNELS, SIDE, SIDE), normal(CHANNELS, CHANNELS, REACH, REACH, seed=1)
    g = normal(1, CHANNELS, side, side, seed=2)
    given = [x, w, g]
    if not first:
        orders = ((0, 2, 3, 1), (2, 3, 1, 0), (0, 2, 3, 1))
        given = [np.ascontiguousarray(a.transpose(o)) for a, o in zip(given, orders, strict=True)]
    holders = [tc.placeholder(a.shape, name=name) for a, name in zip(given, "xwg", strict=True)]
    y = tc.ops.conv2d(holders[0], holders[1], stride, 1, layout=layout)
    kernel = tc.compile(tc.grad(y, holders[:2], holders[2]), inputs=holders)
    outs = tuple(np.zeros_like(a) for a in given[:2])
    ours = kernel.bind(*given, out=outs)

    def in_torch(*tensors: Any) -> list[Any]:
        if first:
            return list(tensors)
        orders = ((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))
        return [t.permute(o) for t, o in zip(tensors, orders, strict=True)]

    def by_torch(torch: Any) -> Any:
        def both(*tensors: Any) -> Any:
            a, f, d = in_torch(*tensors)
            backward = torch.ops.aten.convolution_backward
            steps = [stride, stride], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
            return backward(d, a, f, None, *steps)[:2]

        return both

    def by_jax(jax: Any) -> Any:
        names = ("NCHW", "OIHW", "NCHW") if first else ("NHWC", "HWIO", "NHWC")

        def forward(a: Any, f: Any) -> Any:
            pads = [(1, 1), (1, 1)]
            return jax.lax.conv_general_dilated(
                a, f, (stride, stride), pads, dimension_numbers=names
            )

        return lambda a, f, d: jax.vjp(forward, a, f)[1](d)

    exact = _gradients(x, w, g, stride)
    # Twice: a rival may transform what it multiplies. Sums of so many products, each off by u.
    sizes = _gradients(abs(x), abs(w), abs(g), stride)
    counts = CHANNELS * REACH**2, side**2
    bounds = [2 * n * 2.0**-24 * s for n, s in zip(counts, sizes, strict=True)]
    others = rivals([given], torch_eager=by_torch, torch_compiled=by_torch, jax_function=by_jax)

    def straight(got: Sequence[Any], torch_like: bool) -> list[Array]:
        dx, dw = (np.asarray(a) for a in got)
        return (
            [dx, dw]
            if first or torch_like
            else [dx.transpose(0, 3, 1, 2), dw.transpose(3, 2, 0, 1)]
        )

    def check() -> None:
        ours()
        answers = {"tensorc": straight(outs, torch_like=False)}
        for name, action in others.items():
            answers[name] = straight(action(), torch_like=name.startswith("torch"))
        for name, found in answers.items():
            for got, want, bound in zip(found, exact, bounds, strict=True):
                verify(name, got, want, bound)

    return Case(ours, check, others, flop=4.0 * CHANNELS**2 * REACH**2 * side**2)


def _gradients(x: Array, w: Array, g: Array, stride: int) -> list[Array]:
    """Both gradients of a convolution with padding 1, in float64, an element of w at a time."""
    wide = np.pad(x[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    filters, cotangent = w.astype(np.float64), g[0].astype(np.float64)
    side = g.shape[-1]
    flat = cotangent.reshape(CHANNELS, -1)
    by_x, by_w = np.zeros_like(wide), np.zeros_like(filters)
    for u, v in np.ndindex(REACH, REACH):
        rows, columns = (slice(d, d + stride * (side - 1) + 1, stride) for d in (u, v))
        part = filters[:, :, u, v].T @ flat
        by_x[:, rows, columns] += part.reshape(CHANNELS, side, side)
        by_w[:, :, u, v] = flat @ wide[:, rows, columns].reshape(CHANNELS, -1).T
    return [by_x[None, :, 1:-1, 1:-1], by_w]


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
