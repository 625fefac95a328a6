"""Programs bound to grids, as text, and how they are emitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.cuda import CudaModule, emit_cuda
from tensorc.ir.parser import parse
from tensorc.ir.verify import verify
from tensorc.lower.memory import plan_arena
from tensorc.lower.pipeline import lower
from tensorc.target import Target

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program

ARCHS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_90a")


def lowered(text: str | Program, target: Target) -> Program:
    program = parse(text) if isinstance(text, str) else text
    verify(program)
    ready = lower(program, target)
    verify(ready)
    return ready


def emitted(text: str | Program, arch: str = "sm_80", drop: int | None = None) -> CudaModule:
    target = Target("cuda", arch=arch)
    ready = lowered(text, target)
    return emit_cuda(ready, target, plan_arena(ready), drop_barrier=drop)


def gemm(n: int = 1024, tile: int = 128, depth: int = 16) -> str:
    """A tiled product of float32: shared tiles of A and B, 8x8 results in registers."""
    side, blocks = tile // 8, n // tile
    threads = side * side
    each = tile * depth // threads
    return f"""program gemm(A: in float32[{n}, {n}], B: in float32[{n}, {n}], C: out float32[{n}, {n}]):
  for bi in block.y({blocks}):
    for bj in block.x({blocks}):
      alloc acc: float32[{tile}, {tile}] local
        alloc As: float32[{depth}, {tile}] shared
          alloc Bs: float32[{depth}, {tile}] shared
            for ty in thread.y({side}):
              for tx in thread.x({side}):
                for i in range(8):
                  for j in range(8):
                    acc[ty*8 + i, tx*8 + j] = 0.0
            for ko in range({n // depth}):
              for t in thread.x({threads}):
                for v in vectorized({each}):
                  As[t % {depth // each} * {each} + v, t // {depth // each}] = A[bi*{tile} + t // {depth // each}, ko*{depth} + t % {depth // each} * {each} + v]
              for t in thread.x({threads}):
                for v in vectorized({each}):
                  Bs[t // {tile // each}, t % {tile // each} * {each} + v] = B[ko*{depth} + t // {tile // each}, bj*{tile} + t % {tile // each} * {each} + v]
              for ty in thread.y({side}):
                for tx in thread.x({side}):
                  for k in range({depth}):
                    for i in range(8):
                      for j in range(8):
                        acc[ty*8 + i, tx*8 + j] += As[k, ty*8 + i] * Bs[k, tx*8 + j]
            for ty in thread.y({side}):
              for tx in thread.x({side}):
                for i in range(8):
                  for j in vectorized(8):
                    C[bi*{tile} + ty*8 + i, bj*{tile} + tx*8 + j] = acc[ty*8 + i, tx*8 + j]
"""  # noqa: E501


ROW_SUMS = """program rows(A: in float32[100, 1000], S: out float32[100]):
  for i in block.x(100):
    S[i] = 0.0
    for k in range(4):
      for t in thread.x(256):
        if k * 256 + t < 1000:
          S[i] += A[i, k*256 + t]
"""


def tensor_gemm(
    n: int = 64, dtype: str = "bfloat16", *, k_rows: bool = False, n_rows: bool = False
) -> str:
    """A product by tensor cores: 4 warps of 32x32 results, shared tiles one product deep, padded.

    With `k_rows` the tile of A has the sum along its rows' numbers, with `n_rows` that of B has the
    sum along its rows: the other ways to store them. Of float32 operands are rounded to tf32.
    """
    form = {"bfloat16": "m16n8k16.bf16", "float16": "m16n8k16.f16", "float32": "m16n8k8.tf32"}[
        dtype
    ]
    deep, lanes, read = (8, 4, "tf32") if dtype == "float32" else (16, 8, "float32")
    narrow, wide = f"64, {deep + lanes}", f"{deep}, 72"
    a_shape, b_shape = wide if k_rows else narrow, narrow if n_rows else wide
    across = 64 // lanes

    def a_at(r: str, k: str) -> str:
        return f"{k}, {r}" if k_rows else f"{r}, {k}"

    def b_at(k: str, c: str) -> str:
        return f"{c}, {k}" if n_rows else f"{k}, {c}"

    row, column = "wm*32 + mi*16 + (lane // 4 + h*8)", "wn*32 + ni*8 + (lane % 4 * 2 + c)"
    blocks = n // 64
    return f"""program gemm(A: in {dtype}[{n}, {n}], B: in {dtype}[{n}, {n}], C: out float32[{n}, {n}]):
  for bi in block.y({blocks}):
    for bj in block.x({blocks}):
      alloc acc: float32[64, 64] local
        alloc As: {dtype}[{a_shape}] shared
          alloc Bs: {dtype}[{b_shape}] shared
            for wm in thread.z(2):
              for wn in thread.y(2):
                for mi in range(2):
                  for ni in range(4):
                    for lane in thread.x(32):
                      for h in unrolled(2):
                        for c in unrolled(2):
                          acc[{row}, {column}] = 0.0
            for ko in range({n // deep}):
              for t in thread.x(128):
                for v in vectorized({lanes}):
                  As[{a_at("t // 2", f"t % 2 * {lanes} + v")}] = A[bi*64 + t // 2, ko*{deep} + t % 2 * {lanes} + v]
              for t in thread.x(128):
                for v in vectorized({lanes}):
                  Bs[{b_at(f"t // {across}", f"t % {across} * {lanes} + v")}] = B[ko*{deep} + t // {across}, bj*64 + t % {across} * {lanes} + v]
              for wm in thread.z(2):
                for wn in thread.y(2):
                  for mi in range(2):
                    for ni in range(4):
                      for lane in thread.x(32) {{intrinsic: "mma.{form}"}}:
                        for h in unrolled(2):
                          for c in unrolled(2):
                            for k in range({deep}):
                              acc[{row}, {column}] += {read}(As[{a_at("wm*32 + mi*16 + (lane // 4 + h*8)", "k")}]) * {read}(Bs[{b_at("k", "wn*32 + ni*8 + (lane % 4 * 2 + c)")}])
            for wm in thread.z(2):
              for wn in thread.y(2):
                for mi in range(2):
                  for ni in range(4):
                    for lane in thread.x(32):
                      for h in unrolled(2):
                        for c in vectorized(2):
                          C[bi*64 + {row}, bj*64 + {column}] = acc[{row}, {column}]
"""  # noqa: E501


def pipelined(stages: int = 3, hint: str = " {async: True}", lanes: int = 4) -> str:
    """Rows that go through shared memory, fetched `stages - 1` iterations ahead by 64 threads."""
    width, ahead = 64 * lanes, stages - 1
    prologue = f"""      for a in range({ahead}):
        for t in thread.x(64){hint}:
          for v in vectorized({lanes}):
            S[a, t * {lanes} + v] = A[a, t * {lanes} + v]
"""
    return f"""program p(A: in float32[8, {width}], B: out float32[8, {width}]):
  for b in block.x(1):
    alloc S: float32[{stages}, {width}] shared
{prologue if ahead else ""}      for i in range(8):
        if i + {ahead} < 8:
          for t in thread.x(64){hint}:
            for v in vectorized({lanes}):
              S[(i + {ahead}) % {stages}, t * {lanes} + v] = A[i + {ahead}, t * {lanes} + v]
        for t in thread.x(64):
          for v in vectorized({lanes}):
            B[i, t * {lanes} + v] = S[i % {stages}, {width - lanes} - t * {lanes} + v]
"""
