"""Accumulators kept in local buffers while a reduction runs."""

from __future__ import annotations

from textwrap import dedent

import pytest

from codegen.programs import check
from tensorc.codegen.llvm import assembly
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.verify import verify
from tensorc.lower.promote import promote_accumulators
from tensorc.target import Target


def promoted(text: str) -> str:
    program = promote_accumulators(parse(text))
    verify(program)
    return show(program).strip()


MATMUL = """
program mm(A: in float32[4, k], B: in float32[k, 8], C: inout float32[4, 8]) dims(k >= 0):
  for i in range(4):
    for p in range(k):
      for j in vectorized(8):
        C[i, j] += A[i, p] * B[p, j]
"""


def test_a_row_of_accumulators_becomes_local() -> None:
    expected = """
        program mm(A: in float32[4, k], B: in float32[k, 8], C: inout float32[4, 8]) dims(k >= 0):
          for i in range(4):
            alloc C.acc: float32[8] local
              for j in vectorized(8):
                C.acc[j] = C[i, j]
              for p in range(k):
                for j in vectorized(8):
                  C.acc[j] += A[i, p] * B[p, j]
              for j in vectorized(8):
                C[i, j] = C.acc[j]
    """
    assert promoted(MATMUL) == dedent(expected).strip()


@pytest.mark.parametrize("k", [0, 1, 6])
def test_promotion_keeps_meaning(k: int) -> None:
    check(MATMUL, k=k)


def test_two_reduction_loops_share_one_accumulator() -> None:
    text = """
program sum2(A: in float32[4, n, n], S: inout float32[4]) dims(n >= 0):
  for i in range(4):
    for p in range(n):
      for q in range(n):
        S[i] += A[i, p, q]
"""
    assert "alloc S.acc: float32[] local" in promoted(text)
    assert promoted(text).count("S.acc[] += ") == 1
    check(text, n=3)


@pytest.mark.parametrize(
    "line",
    [
        "C[i, p] += A[i, p]",  # depends on the reduction loop
        "C[i, 0] += C[i, 1]",  # the loop reads the buffer
        "C[i, I[i]] += A[i, p]",  # an index that is loaded
    ],
)
def test_an_accumulation_that_is_not_fixed_stays(line: str) -> None:
    text = f"""
program f(A: in float32[4, 8], I: in int64[4], C: inout float32[4, 8]):
  for i in range(4):
    for p in range(8):
      {line}
"""
    assert promoted(text) == show(parse(text)).strip()


def test_a_guard_on_the_lane_guards_the_copies_too() -> None:
    text = """
program f(A: in float32[k, n], C: inout float32[n]) dims(k >= 0, n >= 0):
  for p in range(k):
    for j in vectorized(8):
      if j < n:
        C[j] += A[p, j]
"""
    assert promoted(text).count("if j < n") == 3
    for n in (0, 3, 8):
        check(text, k=4, n=n)


def test_the_loop_of_a_register_tile_touches_no_stack() -> None:
    kernel = check(
        """
program mm(A: in float32[12, p], B: in float32[p, 32], C: out float32[12, 32]) dims(p >= 0):
  for i in range(2):
    for j in range(2):
      for a in unrolled(6):
        for b in vectorized(16):
          C[i * 6 + a, j * 16 + b] = 0.0
      for k in range(p):
        for a in unrolled(6):
          for b in vectorized(16):
            C[i * 6 + a, j * 16 + b] += A[i * 6 + a, k] * B[k, j * 16 + b]
""",
        rtol=1e-5,
        target=Target(),
        p=7,
    )
    haswell = Target(cpu="haswell", features="+avx2,+fma", triple="x86_64-unknown-linux-gnu")
    lines = assembly(kernel.text, haswell).splitlines()
    fused = [i for i, line in enumerate(lines) if "vfmadd" in line]
    assert fused
    inner = lines[fused[0] : fused[0] + 20]
    assert not any("(%rsp)" in line for line in inner)
