"""Programs that are no kernels are refused, in the user's words and with the numbers."""

from __future__ import annotations

import pytest

from codegen.cuda.programs import emitted
from tensorc.errors import CompileError

REFUSED = {
    "a loop around blocks": (
        """program p(B: inout float32[4, 32]):
  for k in range(4):
    for i in block.x(32):
      B[k, i] += 1.0
""",
        "loop k is a serial loop around loops that are bound to blocks, i; a kernel's block loops "
        "stand outside of all others: reorder them, or bind that loop to blocks too",
    ),
    "two loops on one axis": (
        """program p(B: out float32[4, 32]):
  for k in block.x(4):
    for i in block.x(32):
      B[k, i] = 1.0
""",
        "loops k and i are both bound to block.x in one nest; bind one of them to another axis",
    ),
    "blocks beside each other": (
        """program p(B: out float32[4, 32], C: out float32[4, 32]):
  for k in block.y(4):
    for i in block.x(32):
      B[k, i] = 1.0
    for i in block.x(32):
      C[k, i] = 1.0
""",
        "loops bound to blocks, i, i, stand beside other statements inside of one nest; fission "
        "the loops around them, so that each is a kernel",
    ),
    "a grid that is no box": (
        """program p(B: inout float32[4, 32]):
  for k in block.y(4):
    for i in block.x(k):
      B[k, i] = 1.0
""",
        "loop i is bound to block.x, and its range depends on k, which is bound too; a grid is a "
        "box: guard the body instead",
    ),
    "too many threads": (
        """program p(B: out float32[64, 32]):
  for y in thread.y(64):
    for x in thread.x(32):
      B[y, x] = 1.0
""",
        "kernel of B: 2048 threads in a block, at most 1024 are allowed (x on thread.x: 32, y on "
        "thread.y: 64); split a thread loop and bind the outer part to blocks",
    ),
    "too many blocks": (
        """program p(B: out float32[70000]):
  for i in block.y(70000):
    B[i] = 1.0
""",
        "kernel of B: loop i makes 70000 blocks on block.y, at most 65535 are allowed; bind it to "
        "another axis, or split it",
    ),
    "threads of a size that comes with the call": (
        """program p(B: out float32[n]) dims(n >= 0):
  for i in thread.x(n):
    B[i] = 1.0
""",
        "loop i is bound to thread.x, and its extent n is not a constant; split it, and bind the "
        "inner loop",
    ),
    "global memory of a block's own": (
        """program p(B: out float32[4]):
  for i in block.x(4):
    alloc T: float32[8]
      T[0] = 1.0
      B[i] = T[0]
""",
        "buffer T is allocated inside of a kernel, of scope 'global', which blocks and threads "
        "cannot have of their own; set_scope it to 'shared' or 'local'",
    ),
    "too much shared memory": (
        """program p(B: out float32[4]):
  for i in block.x(4):
    alloc T: float32[50000] shared
      T[0] = 1.0
      B[i] = T[0]
""",
        "kernel p_B: 200000 bytes of shared memory, and a block of sm_80 has at most 166912 (T "
        "200000); tile the loops that fill them smaller, or use fewer stages",
    ),
    "a register that another thread reads": (
        """program p(A: in float32[32], B: out float32[32]):
  for i in block.x(1):
    alloc T: float32[32] local
      for t in thread.x(32):
        T[t] = A[t]
      for t in thread.x(32):
        B[t] = T[31 - t]
""",
        "local buffer T: T[t] and T[31 - t] divide it among the threads in different ways; bind "
        "the same parts of its index to the same threads, or set_scope it to 'shared'",
    ),
    "a register that all threads read": (
        """program p(A: in float32[32], B: out float32[32]):
  for i in block.x(1):
    alloc T: float32[32] local
      for t in thread.x(32):
        T[t] = A[t]
      for t in thread.x(32):
        B[t] = T[0]
""",
        "local buffer T: T[0]: its index does not tell the 32 threads of this phase apart (thread "
        "loops: t); each element must belong to one thread alone, the same in all phases: split "
        "and bind its index so, or set_scope it to 'shared'",
    ),
    "more blocks than a multiprocessor holds": (
        """program p(A: in float32[1024], B: out float32[1024]):
  for i in block.x(2) {min_blocks: 5}:
    for t in thread.x(512):
      B[i * 512 + t] = A[i * 512 + t]
""",
        "kernel p_B: loop i has the hint min_blocks: 5; of 512 threads a multiprocessor of sm_80 "
        "holds at most 4 blocks",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_kernel_is_refused(name: str) -> None:
    text, message = REFUSED[name]
    with pytest.raises(CompileError) as error:
        emitted(text)
    assert str(error.value) == message
