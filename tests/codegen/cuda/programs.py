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
