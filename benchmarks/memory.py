"""Operations that memory limits, or their transcendental functions."""

from __future__ import annotations

from typing import Any

import numpy as np

import tensorc as tc
from benchmarks.cases import Array, make_case, normal
from benchmarks.harness import Case, bench
from benchmarks.models import layer_norm

U = 2.0**-24  # The unit roundoff of float32.


@bench(sizes=[(4096, 1000), (64, 10)])
def softmax(shape: tuple[int, int]) -> Case:
    """Softmax of each row."""
    z = normal(*shape)

    def by_numpy(x: Array, out: Array) -> None:
        e = np.exp(x - x.max(axis=1, keepdims=True))
        np.divide(e, e.sum(axis=1, keepdims=True), out=out)

    exact = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    # The shift rounds by half an ulp of at most 16; exp and the quotient add a few ulp each, the
    # sum of n positive terms at most n u.
    bound = (16 + shape[1] + 16) * U * exact
    return make_case(
        lambda a: tc.ops.softmax(a, axis=-1),
        [z],
        exact,
        bound,
        {
            "numpy": by_numpy,
            "torch_eager": lambda _: lambda x: x.softmax(-1),
            "torch_compiled": lambda _: lambda x: x.softmax(-1),
            "jax_function": lambda jax: jax.nn.softmax,
        },
        memory=shape[0] > 64,
    )


@bench(sizes=[(4096, 1000), (64, 10)])
def cross_entropy(shape: tuple[int, int]) -> Case:
    """The mean cross-entropy of the rows' softmax with integer labels."""
    z = normal(*shape)
    labels = np.random.default_rng(1).integers(0, shape[1], shape[0]).astype(np.int32)
    rows = np.arange(shape[0])

    def by_numpy(x: Array, y: Array, out: Array) -> None:
        near = x - x.max(axis=1, keepdims=True)
        picked = near[rows, y]
        np.exp(near, out=near)
        np.mean(np.log(near.sum(axis=1)) - picked, out=out)

    def by_torch(torch: Any) -> Any:
        return lambda x, y: torch.nn.functional.cross_entropy(x, y.long())

    def by_jax(jax: Any) -> Any:
        def loss(x: Any, y: Any) -> Any:
            logs = jax.nn.log_softmax(x)
            return -jax.numpy.take_along_axis(logs, y[:, None], axis=1).mean()

        return loss

    wide = z.astype(np.float64)
    total = np.log(np.exp(wide).sum(axis=1))
    exact = np.mean(total - wide[rows, labels])
    # Each row: numbers up to 32 round once in the shift, the sum of n terms by n u, relatively.
    bound = (64 + shape[1] + shape[0] * float(exact)) * U
    return make_case(
        tc.ops.cross_entropy,
        [z, labels],
        np.asarray(exact),
        bound,
        {
            "numpy": by_numpy,
            "torch_eager": by_torch,
            "torch_compiled": by_torch,
            "jax_function": by_jax,
        },
        memory=shape[0] > 64,
        writes=False,
    )


@bench(sizes=[(4096, 1024)])
def layernorm(shape: tuple[int, int]) -> Case:
    """Layer normalization of each row, scaled and shifted."""
    x, scale, shift = normal(*shape), normal(shape[1], seed=1), normal(shape[1], seed=2)

    def by_numpy(a: Array, w: Array, b: Array, out: Array) -> None:
        np.subtract(a, a.mean(axis=1, keepdims=True), out=out)
        variance = np.mean(out * out, axis=1, keepdims=True)
        np.divide(out, np.sqrt(variance + np.float32(1e-5)), out=out)
        np.multiply(out, w, out=out)
        np.add(out, b, out=out)

    def by_torch(torch: Any) -> Any:
        return lambda a, w, b: torch.nn.functional.layer_norm(a, (shape[1],), w, b)

    def by_jax(jax: Any) -> Any:
        def norm(a: Any, w: Any, b: Any) -> Any:
            centred = a - a.mean(axis=1, keepdims=True)
            variance = (centred**2).mean(axis=1, keepdims=True)
            return centred * jax.lax.rsqrt(variance + 1e-5) * w + b

        return norm

    wide = x.astype(np.float64)
    centred = wide - wide.mean(axis=1, keepdims=True)
    exact = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5) * scale + shift
    # Both means are sums of n terms, each off by n u at most relatively to the sum of sizes.
    bound = (2 * shape[1] + 16) * U * (np.abs(exact) + np.abs(scale) + np.abs(shift))
    return make_case(
        layer_norm,
        [x, scale, shift],
        exact,
        bound,
        {
            "numpy": by_numpy,
            "torch_eager": by_torch,
            "torch_compiled": by_torch,
            "jax_function": by_jax,
        },
        memory=True,
    )


@bench(sizes=["axis 0", "axis 1", "all"])
def sums(which: str) -> Case:
    """Sums of 4096 x 4096 numbers: of columns, of rows, of all."""
    x = normal(4096, 4096)
    axis = {"axis 0": 0, "axis 1": 1, "all": None}[which]

    def by_torch(a: Any) -> Any:
        return a.sum() if axis is None else a.sum(axis)

    wide = x.astype(np.float64)
    # A sum of n numbers is off by (n - 1) u times the sum of their sizes; that of all is taken for
    # a sum of rows' sums.
    count = 2 * 4096 if axis is None else 4096
    bound = count * U / (1 - count * U) * np.abs(wide).sum(axis=axis)
    return make_case(
        lambda a: tc.ops.sum(a, axis=axis),
        [x],
        np.asarray(wide.sum(axis=axis)),
        bound,
        {
            "numpy": lambda a, out: np.sum(a, axis=axis, out=out),
            "torch_eager": lambda _: by_torch,
            "torch_compiled": lambda _: by_torch,
            "jax_function": lambda _: lambda a: a.sum(axis=axis),
        },
        memory=True,
        writes=False,
    )


@bench(sizes=["kept", "fresh"])
def bias_relu(result: str) -> Case:
    """max(x + b, 0) of 4096 x 4096 numbers, into kept storage or into a fresh array each time."""
    x, b = normal(4096, 4096), normal(4096, seed=1)
    kept = result == "kept"

    def by_numpy(a: Array, c: Array, out: Array | None = None) -> Array:
        out = np.add(a, c, out=out)
        return np.maximum(out, 0, out=out)

    def eager(torch: Any) -> Any:
        return lambda a, c, out=None: torch.add(a, c, out=out).relu_()

    def compiled(a: Any, c: Any, out: Any = None) -> Any:
        value = (a + c).relu()
        return value if out is None else out.copy_(value)

    return make_case(
        lambda a, c: tc.ops.relu(a + c),
        [x, b],
        np.maximum(x.astype(np.float64) + b, 0),
        U * (np.abs(x.astype(np.float64)) + np.abs(b)),
        {
            "numpy": by_numpy,
            "torch_eager": eager,
            "torch_compiled": lambda _: compiled,
            "jax_function": lambda jax: lambda a, c: jax.numpy.maximum(a + c, 0),
        },
        memory=True,
        fresh=not kept,
        kept=kept,
    )
