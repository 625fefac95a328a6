"""Correct kernels: how to launch each, and what NumPy says the answer is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from emulator.harness import Tensor2D, Unset, built, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.emulator import EmulatedModule, LaunchOptions, LaunchResult

Array: TypeAlias = np.ndarray[Any, Any]
Outcome: TypeAlias = "tuple[LaunchResult, float]"

KERNELS = Path(__file__).resolve().parent / "kernels"
UNIT = 2.0**-24  # Rounding of float32.


@dataclass(frozen=True)
class Case:
    """A kernel at one size. `run` gives what the launch said, and the largest error."""

    file: str
    launch: Callable[..., tuple[LaunchResult, float]]
    tolerance: float
    arch: str = "compute_80"
    shared: int = 0

    @property
    def source(self) -> str:
        return (KERNELS / self.file).read_text()

    def run(self, options: LaunchOptions, source: str = "", **changes: Any) -> Outcome:
        """Launch it, or an edited `source` of it."""
        checked = options.checked or options.profile
        module = built(source or self.source, self.arch, checked=checked)
        return self.launch(module, **{"shared": self.shared, "options": options, **changes})


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def unset(*shape: int) -> Unset:
    return Unset(np.full(shape, np.nan, np.float32))


def to_bf16(values: Array) -> Array:
    """Round float32 to bfloat16, held in uint16."""
    bits = values.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def from_bf16(values: Array) -> Array:
    return (values.astype(np.uint32) << 16).view(np.float32)


def error(actual: Unset, expected: Array) -> float:
    """NaN where the kernel left or made one."""
    return float(np.abs(actual.array.astype(np.float64) - expected).max())


def sgemm(module: EmulatedModule, **how: Any) -> Outcome:
    n = 128
    a, b, c = normal(n, n), normal(n, n, seed=1), unset(n, n)
    result = run(
        module, "sgemm_128x128x8", (1, 1), (256,), a, b, c, np.int32(n), np.int32(n), **how
    )
    return result, error(c, a.astype(np.float64) @ b)


def softmax(module: EmulatedModule, **how: Any) -> Outcome:
    x, y = 3 * normal(6, 1000), unset(6, 1000)
    result = run(module, "softmax_rows", (6,), (256,), x, y, np.int32(1000), **how)
    exps = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    return result, error(y, exps / exps.sum(axis=1, keepdims=True))


def vector_add(module: EmulatedModule, **how: Any) -> Outcome:
    n = 5003
    x, y, z = normal(n), normal(n, seed=1), unset(n)
    result = run(module, "vector_add4", (5,), (256,), x, y, z, np.int32(n), **how)
    return result, error(z, x + y)


def transpose(module: EmulatedModule, **how: Any) -> Outcome:
    n = 64
    x, y = normal(n, n), unset(n, n)
    result = run(module, "transpose32", (2, 2), (256,), x, y, np.int32(n), **how)
    return result, error(y, x.T)


def sum_squares(module: EmulatedModule, **how: Any) -> Outcome:
    n = 5000
    x, out = normal(n), np.zeros(1, np.float32)
    result = run(module, "sum_squares", (4,), (128,), x, out, np.int32(n), **how)
    return result, error(Unset(out), np.square(x, dtype=np.float64).sum())


def gemm_mma(module: EmulatedModule, **how: Any) -> Outcome:
    m, n, k = 128, 128, 160
    a, b, c = to_bf16(normal(m, k)), to_bf16(normal(k, n, seed=1)), unset(m, n)
    result = run(module, "gemm_bf16_mma", (1, 1), (256,), a, b, c, np.int32(n), np.int32(k), **how)
    return result, error(c, from_bf16(a).astype(np.float64) @ from_bf16(b))


def gemm_tf32(module: EmulatedModule, **how: Any) -> Outcome:
    k = 64
    a, b, c = normal(16, k), normal(k, 8, seed=1), unset(16, 8)
    result = run(module, "gemm_tf32_16x8", (1,), (32,), a, b, c, np.int32(k), **how)
    return result, error(c, a.astype(np.float64) @ b)


def gemm_wgmma(module: EmulatedModule, **how: Any) -> Outcome:
    m, n, k = 64, 128, 192
    a, b, c = to_bf16(normal(m, k)), to_bf16(normal(n, k, seed=1)), unset(m, n)
    maps = [Tensor2D(array, (64, 64)) for array in (a, b)]
    sizes = (np.int32(n), np.int32(k))
    result = run(module, "gemm_bf16_wgmma", (n // 64, 1), (128,), *maps, c, *sizes, **how)
    return result, error(c, from_bf16(a).astype(np.float64) @ from_bf16(b).T)


def gemm_pipeline(module: EmulatedModule, **how: Any) -> Outcome:
    m, n, k = 64, 32, 320
    a, b, c = to_bf16(normal(m, k)), to_bf16(normal(n, k, seed=1)), unset(m, n)
    maps = [Tensor2D(a, (64, 64)), Tensor2D(b, (16, 64))]
    sizes = (np.int32(n), np.int32(k))
    result = run(module, "gemm_pipeline", (n // 16, 1), (256,), *maps, c, *sizes, **how)
    return result, error(c, from_bf16(a).astype(np.float64) @ from_bf16(b).T)


def histogram(module: EmulatedModule, **how: Any) -> Outcome:
    x = np.random.default_rng(0).integers(0, 256, 3000).astype(np.uint8)
    counts = np.zeros(256, np.int32)
    result = run(module, "histogram", (3,), (128,), x, counts, np.int32(len(x)), **how)
    return result, error(Unset(counts), np.bincount(x, minlength=256))


def relay(module: EmulatedModule, **how: Any) -> Outcome:
    x, y = normal(320), unset(320)
    result = run(module, "relay", (1,), (128,), x, y, np.int32(5), **how)
    return result, error(y, x.reshape(5, 64)[:, ::-1].ravel())


def stage_out(module: EmulatedModule, **how: Any) -> Outcome:
    x, y = normal(512), unset(512)
    result = run(module, "stage_out", (1,), (128,), x, y, np.int32(512), **how)
    return result, error(y, 2 * x)


# A sum of k products of normal numbers is below 6 k in size, and each addition rounds once; the
# product of two numbers of 11 bits rounds each by 2**-11.
CASES = {
    "sgemm": Case("sgemm.cu", sgemm, 6 * 128 * UNIT),
    "softmax": Case("softmax.cu", softmax, 64 * UNIT),
    "vector_add": Case("vector_add.cu", vector_add, 0.0),
    "transpose": Case("transpose.cu", transpose, 0.0),
    "sum_squares": Case("reduce.cu", sum_squares, 5000 * 5000 * UNIT / 50, shared=512),
    "gemm_mma": Case("gemm_mma.cu", gemm_mma, 6 * 160 * UNIT, shared=3 * 2 * 128 * 32 * 2),
    "gemm_tf32": Case("gemm_mma.cu", gemm_tf32, 64 * 2 * 2**-11),
    "gemm_wgmma": Case("gemm_wgmma.cu", gemm_wgmma, 6 * 192 * UNIT, "compute_90a", 2 * 64 * 64 * 2),
    "gemm_pipeline": Case(
        "gemm_pipeline.cu", gemm_pipeline, 6 * 320 * UNIT, "compute_90a", 2 * (8192 + 2048)
    ),
    "histogram": Case("histogram.cu", histogram, 0.0),
    "relay": Case("relay.cu", relay, 0.0),
    "stage_out": Case("stage_out.cu", stage_out, 0.0, "compute_90"),
}
