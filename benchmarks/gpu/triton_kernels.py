"""The rivals in Triton: matrix product, row softmax, bias with ReLU."""
# ruff: noqa: N803 (Triton's own dialect: constants are in capitals, nothing has a type)
# mypy: ignore-errors

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.autotune(
    configs=[
        triton.Config({"BM": m, "BN": n, "BK": k, "GROUP": 8}, num_warps=w, num_stages=s)
        for m, n, k, w, s in (
            (128, 128, 32, 8, 3),
            (128, 256, 32, 8, 3),
            (128, 256, 64, 8, 3),
            (64, 128, 32, 4, 4),
            (64, 64, 32, 4, 4),
        )
    ],
    key=["M", "N", "K"],
)
@triton.jit
def _matmul(
    a, b, c, M, N, K,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, GROUP: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    number = tl.program_id(0)
    rows, columns = tl.cdiv(M, BM), tl.cdiv(N, BN)
    first = number // (GROUP * columns) * GROUP
    height = min(rows - first, GROUP)
    row = first + number % (GROUP * columns) % height
    column = number % (GROUP * columns) // height
    i = (row * BM + tl.arange(0, BM)) % M
    j = (column * BN + tl.arange(0, BN)) % N
    k = tl.arange(0, BK)
    total = tl.zeros((BM, BN), tl.float32)
    for step in range(0, tl.cdiv(K, BK)):
        left = K - step * BK
        x = tl.load(a + i[:, None] * K + (step * BK + k)[None, :], k[None, :] < left, 0.0)
        y = tl.load(b + (step * BK + k)[:, None] * N + j[None, :], k[:, None] < left, 0.0)
        total = tl.dot(x, y, total, input_precision=PRECISION)
    i = row * BM + tl.arange(0, BM)
    j = column * BN + tl.arange(0, BN)
    inside = (i[:, None] < M) & (j[None, :] < N)
    tl.store(c + i[:, None] * N + j[None, :], total.to(c.dtype.element_ty), inside)


def matmul(a, b, precision="ieee"):
    """`a @ b` of contiguous matrices; `precision` of float32 products: "ieee" or "tf32"."""
    m, k = a.shape
    _, n = b.shape
    c = torch.empty((m, n), dtype=a.dtype, device=a.device)
    _matmul[lambda meta: (triton.cdiv(m, meta["BM"]) * triton.cdiv(n, meta["BN"]),)](
        a, b, c, m, n, k, PRECISION=precision
    )
    return c


@triton.jit
def _softmax(x, y, N, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * N
    j = tl.arange(0, BLOCK)
    values = tl.load(x + row + j, j < N, -float("inf"))
    powers = tl.exp(values - tl.max(values, 0))
    tl.store(y + row + j, powers / tl.sum(powers, 0), j < N)


def softmax(x):
    """The softmax of each row of a contiguous matrix."""
    rows, columns = x.shape
    y = torch.empty_like(x)
    _softmax[(rows,)](x, y, columns, BLOCK=triton.next_power_of_2(columns), num_warps=8)
    return y


@triton.jit
def _bias_relu(x, b, y, SIZE, N, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(x + i, i < SIZE) + tl.load(b + i % N, i < SIZE)
    tl.store(y + i, tl.maximum(values, 0.0), i < SIZE)


def bias_relu(x, b):
    """`max(x + b, 0)` of a contiguous matrix and a row."""
    y = torch.empty_like(x)
    size = x.numel()
    _bias_relu[(triton.cdiv(size, 1024),)](x, b, y, size, x.shape[1], BLOCK=1024)
    return y
