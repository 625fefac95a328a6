"""The hint `prefetch`: vectors that a loop reads also ask for a line further on."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.harness import Kernel
from tensorc.ir.parser import parse

ROWS = """program main(A: in float32[6, {columns}], w: in float32[32], B: out float32[6, 32]):
  for i in range(6):
    alloc t: float32[32] local
      for j in range(4) {{prefetch: {ahead}}}:
        for l in vectorized(8):
          t[j * 8 + l] = A[i, j * 8 + l] * w[j * 8 + l]
      for k in range(4):
        for m in vectorized(8):
          B[i, k * 8 + m] = t[k * 8 + m] + A[i, k * 8 + m]
"""


@pytest.mark.parametrize("ahead", [128, -128, 4096])
def test_only_what_may_lie_in_the_buffer_is_asked_for(ahead: int) -> None:
    kernel = Kernel(parse(ROWS.format(columns=32, ahead=ahead)))
    asked = [x for x in kernel.text.splitlines() if "call void @llvm.prefetch" in x]
    assert len(asked) == (1 if abs(ahead) < 6 * 32 * 4 else 0)  # Never `w`, of 128 bytes.
    far = [x for x in kernel.text.splitlines() if "getelementptr i8, ptr" in x and str(ahead) in x]
    assert len(far) == len(asked)


def test_what_is_asked_for_changes_no_result() -> None:
    kernel = Kernel(parse(ROWS.format(columns=40, ahead=160)))
    a = np.arange(240, dtype=np.float32).reshape(6, 40)
    w, out = np.arange(32, dtype=np.float32), np.zeros((6, 32), np.float32)
    code, _ = kernel({"A": a, "w": w, "B": out})
    assert code == 0
    assert np.array_equal(out, a[:, :32] * w + a[:, :32])
