"""Stores that go around the caches: where a loop says so, and what it stores to is aligned."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.harness import Kernel
from tensorc.codegen.llvm import emit_module
from tensorc.ir.parser import parse
from tensorc.lower.memory import plan_memory
from tensorc.target import Target

X86 = Target(cpu="haswell", features="+avx2,+avx,+fma", triple="x86_64-unknown-linux-gnu")
ARM = Target(cpu="generic", features="", triple="aarch64-unknown-linux-gnu")
ROWS = """program main(A: in float32[6, {columns}], B: out float32[6, {columns}]):
  for i in range(6):
    for j in range({count}) {{nontemporal: True}}:
      for l in vectorized(8):
        {guard}B[i, j * 8 + l{shift}] = A[i, j * 8 + l] + 1.0
"""
GUARD = "if A[i, l] < 9.0:\n          "


def kernel(columns: int = 32, count: int = 4, guard: str = "", shift: str = "") -> Kernel:
    text = ROWS.format(columns=columns, count=count, guard=guard, shift=shift)
    return Kernel(parse(text), X86)


def placed(count: int, offset: int) -> np.ndarray:
    """`count` float32 numbers that begin `offset` bytes after a multiple of 64."""
    raw = np.empty(count * 4 + 128, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    return raw[start : start + count * 4].view(np.float32)


@pytest.mark.parametrize("offset", [0, 4, 8, 16, 32, 60])
def test_every_alignment_computes_the_same(offset: int) -> None:
    a = np.arange(192, dtype=np.float32).reshape(6, 32)
    out = placed(192, offset).reshape(6, 32)
    code, _ = kernel()({"A": a, "B": out})
    assert code == 0
    assert np.array_equal(out, a + 1)


def test_aligned_stores_bypass_the_caches_before_a_fence() -> None:
    text = kernel().text
    assert text.count("!nontemporal") == 1
    assert "align 16" in next(line for line in text.splitlines() if "!nontemporal" in line)
    assert text.count("call void @llvm.x86.sse.sfence()") == 1


@pytest.mark.parametrize(
    "rows",
    [{"columns": 33}, {"shift": " - 1", "count": 3}, {"guard": GUARD}],
    ids=["odd rows", "odd start", "masked"],
)
def test_stores_whose_alignment_is_not_known_stay_plain(rows: dict[str, object]) -> None:
    assert "!nontemporal" not in kernel(**rows).text  # type: ignore[arg-type]


def test_other_processors_need_no_fence() -> None:
    text = ROWS.format(columns=32, count=4, guard="", shift="")
    assert "sfence" not in emit(text, ARM)


def emit(text: str, target: Target) -> str:
    program = parse(text)
    return emit_module(program, target, plan_memory(program)).whole
