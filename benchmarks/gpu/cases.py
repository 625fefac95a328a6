"""What is timed: products, operations that memory bounds, a convolution, attention.

Each case has a size for a device and a small one, at which the emulator checks our side of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np

import tensorc as tc
from benchmarks import models
from benchmarks.cases import Array, dot_error_bound
from benchmarks.gpu import hopper

Exact: TypeAlias = Callable[..., tuple[Array, Array | float]]
Rivals: TypeAlias = Callable[[Any], dict[str, Callable[..., Any]]]


@dataclass(frozen=True)
class Case:
    """An operation: how we write it, what it should give, who else does it.

    Attributes:
        shapes: of the inputs, from a size.
        sizes: on a device; `small` in the emulator.
        build: from placeholders to the result, or to a schedule of it.
        exact: from float64 inputs to the result in float64, and the largest error.
        rivals: from torch to functions of tensors, by name.
        work: FLOP, and bytes that must be read or written, from a size.
        arch: of the devices that it is for; empty for all.
    """

    name: str
    shapes: Callable[[Any], Sequence[tuple[int, ...]]]
    sizes: Sequence[Any]
    small: Any
    build: Callable[..., Any]
    exact: Exact
    rivals: Rivals
    work: Callable[[Any], tuple[float, float]]
    dtype: str = "float32"
    arch: str = ""

    def inputs(self, size: Any) -> list[Array]:
        """Standard normal numbers."""
        rng = np.random.default_rng(0)
        wanted = ml_dtypes.bfloat16 if self.dtype == "bfloat16" else np.dtype(self.dtype)
        return [rng.standard_normal(s, np.float32).astype(wanted) for s in self.shapes(size)]


def _product(
    a: Array, b: Array, result_roundoff: float = 0.0, operand_roundoff: float = 0.0
) -> tuple[Array, Array]:
    exact = a @ b
    # Rivals may sum in any order too. A narrow result is rounded once more; narrow operands before.
    bound = 2 * dot_error_bound(a, b) + result_roundoff * np.abs(exact)
    if operand_roundoff:
        bound += (2 + operand_roundoff) * operand_roundoff * (np.abs(a) @ np.abs(b))
    return exact, bound


def _square(size: int) -> Sequence[tuple[int, ...]]:
    return [(size, size), (size, size)]


def _cube(size: int) -> tuple[float, float]:
    return 2.0 * size**3, 0.0


def _products(torch: Any, precision: str) -> dict[str, Callable[..., Any]]:
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    found = {"cublas": torch.matmul, "torch.compile": torch.compile(torch.matmul)}
    kernels = _triton()
    return found | ({"triton": partial(kernels.matmul, precision=precision)} if kernels else {})


def _product_of_rows(a: Array, b: Array) -> tuple[Array, Array]:
    return _product(a, b.T, result_roundoff=2.0**-8)


def _products_of_rows(torch: Any) -> dict[str, Callable[..., Any]]:
    def plain(a: Any, b: Any) -> Any:
        return a @ b.T

    return {"cublas": plain, "torch.compile": torch.compile(plain)}


def _triton() -> Any:
    try:
        # Optional, and only where there is a device.
        from benchmarks.gpu import triton_kernels  # noqa: PLC0415
    except ImportError:
        return None
    return triton_kernels


def _softmax(x: Array) -> tuple[Array, Array | float]:
    powers = np.exp(x - x.max(-1, keepdims=True))
    exact = powers / powers.sum(-1, keepdims=True)
    # A shifted number is rounded, which exp makes relative; then exp, the sum, the division.
    shifted = np.abs(x - x.max(-1, keepdims=True))
    return exact, 2.0**-24 * exact * (shifted + x.shape[-1] + 16)


def _softmax_rivals(torch: Any) -> dict[str, Callable[..., Any]]:
    plain = partial(torch.softmax, dim=-1)
    kernels = _triton()
    found = {"torch": plain, "torch.compile": torch.compile(lambda x: torch.softmax(x, -1))}
    return found | ({"triton": kernels.softmax} if kernels else {})


def _layer_norm(x: Array, scale: Array, shift: Array) -> tuple[Array, Array | float]:
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    n = x.shape[-1]
    bound = 2.0**-24 * (2 * n + 16) * (np.abs(x).max(-1, keepdims=True) / deviation + 1)
    return centred / deviation * scale + shift, bound * (np.abs(scale) + np.abs(shift))


def _layer_norm_rivals(torch: Any) -> dict[str, Callable[..., Any]]:
    def plain(x: Any, scale: Any, shift: Any) -> Any:
        return torch.nn.functional.layer_norm(x, x.shape[-1:], scale, shift)

    return {"torch": plain, "torch.compile": torch.compile(plain)}


def _bias_relu(x: Array, b: Array) -> tuple[Array, Array | float]:
    return np.maximum(x + b, 0), 2.0**-23 * np.abs(x + b)


def _bias_relu_rivals(torch: Any) -> dict[str, Callable[..., Any]]:
    def plain(x: Any, b: Any) -> Any:
        return torch.relu(x + b)

    kernels = _triton()
    found = {"torch": plain, "torch.compile": torch.compile(plain)}
    return found | ({"triton": kernels.bias_relu} if kernels else {})


def _sum(axis: int | None, x: Array) -> tuple[Array, Array | float]:
    count = x.size if axis is None else x.shape[axis]
    return x.sum(axis), 2.0**-24 * count * np.abs(x).sum(axis)


def _sum_rivals(axis: int | None, torch: Any) -> dict[str, Callable[..., Any]]:
    def plain(x: Any) -> Any:
        return x.sum() if axis is None else x.sum(axis)

    return {"torch": plain, "torch.compile": torch.compile(plain)}


def _conv_shapes(size: tuple[int, int, int]) -> Sequence[tuple[int, ...]]:
    batch, channels, side = size
    return [(batch, channels, side, side), (channels, channels, 3, 3)]


def _conv(x: Array, w: Array) -> tuple[Array, Array | float]:
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    # Twice: a rival may transform what it multiplies (Winograd).
    steps = 2 * 2.0**-24 * w[0].size
    exact = np.einsum("bcijyx,ocyx->boij", windows, w, optimize=True)
    return exact, steps * np.einsum("bcijyx,ocyx->boij", abs(windows), abs(w), optimize=True)


def _conv_rivals(torch: Any) -> dict[str, Callable[..., Any]]:
    torch.backends.cudnn.allow_tf32 = False
    plain = partial(torch.nn.functional.conv2d, padding=1)
    return {"cudnn": plain, "torch.compile": torch.compile(lambda x, w: plain(x, w))}


def _attention(q: Array, k: Array, v: Array) -> tuple[Array, Array | float]:
    depth = q.shape[-1]
    scores = q @ k.swapaxes(1, 2) * depth**-0.5
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    slack = float(dot_error_bound(q, k.swapaxes(1, 2)).max()) * depth**-0.5 + 32 * 2.0**-24
    return weights @ v, (2 * slack + 2 * k.shape[1] * 2.0**-24) * (weights @ np.abs(v))


def _attention_rivals(torch: Any) -> dict[str, Callable[..., Any]]:
    torch.backends.cuda.matmul.allow_tf32 = False
    plain = torch.nn.functional.scaled_dot_product_attention

    def written_out(q: Any, k: Any, v: Any) -> Any:
        return (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1) @ v

    return {"torch": plain, "torch.compile": torch.compile(written_out)}


def _two(size: tuple[int, int]) -> tuple[float, float]:
    return 0.0, 8.0 * size[0] * size[1]


def _one(size: tuple[int, int]) -> tuple[float, float]:
    return 0.0, 4.0 * size[0] * size[1]


_LARGE, _TINY = (8192, 8192), (6, 70)
CASES: Sequence[Case] = (
    Case(
        "matmul float32",
        _square,
        (1024, 2048, 4096, 8192),
        70,
        tc.ops.matmul,
        _product,
        partial(_products, precision="ieee"),
        _cube,
    ),
    Case(
        "matmul bfloat16",
        _square,
        (4096, 8192),
        64,
        tc.ops.matmul,
        partial(_product, result_roundoff=2.0**-8),
        partial(_products, precision="tf32"),
        _cube,
        "bfloat16",
    ),
    Case(
        "matmul bfloat16, sm_90a",
        _square,
        (4096, 8192),
        256,
        tc.ops.matmul,
        partial(_product, result_roundoff=2.0**-8),
        partial(_products, precision="tf32"),
        _cube,
        "bfloat16",
        hopper.ARCH,
    ),
    Case(
        "matmul tf32, sm_90a",
        _square,
        (4096, 8192),
        256,
        lambda a, b: tc.ops.matmul(tc.tf32(a), tc.tf32(b)),
        partial(_product, operand_roundoff=2.0**-10),
        partial(_products, precision="tf32"),
        _cube,
        "float32",
        hopper.ARCH,
    ),
    Case(
        "matmul bfloat16, warp groups",
        _square,
        (4096, 8192),
        256,
        hopper.product_schedule,
        _product_of_rows,
        _products_of_rows,
        _cube,
        "bfloat16",
        hopper.ARCH,
    ),
    Case("softmax", lambda s: [s], ((4096, 1000), _LARGE), _TINY, tc.ops.softmax, _softmax,
         _softmax_rivals, _two),
    Case("layernorm", lambda s: [s, s[1:], s[1:]], (_LARGE,), _TINY, models.layer_norm,
         _layer_norm, _layer_norm_rivals, _two),
    Case("bias + ReLU", lambda s: [s, s[1:]], (_LARGE,), _TINY,
         lambda x, b: tc.ops.relu(x + b), _bias_relu,
         _bias_relu_rivals, _two),
    *(
        Case(f"sum, axis {axis}" if axis is not None else "sum of all", lambda s: [s], (_LARGE,),
             _TINY, partial(tc.ops.sum, axis=axis), partial(_sum, axis), partial(_sum_rivals, axis),
             _one)
        for axis in (0, 1, None)
    ),
    Case("conv2d 3x3", _conv_shapes, ((32, 64, 56),), (1, 4, 6),
         lambda x, w: models.conv2d(x, w, padding=1), _conv, _conv_rivals,
         lambda s: (2.0 * s[0] * s[1] ** 2 * 9 * s[2] ** 2, 0.0)),
    Case("attention", lambda s: [s, s, s], ((64, 1024, 64),), (2, 20, 8), models.attention,
         _attention, _attention_rivals, lambda s: (4.0 * s[0] * s[1] ** 2 * s[2], 0.0)),
)  # fmt: skip
