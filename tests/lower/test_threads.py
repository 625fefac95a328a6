"""Thread loops are brought to their phases, and mean the same there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tensorc.errors import CompileError
from tensorc.ir import interp
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.verify import verify
from tensorc.lower.cooperative import split_cooperative
from tensorc.lower.threads import spread_threads

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program


def assert_same(before: Program, after: Program) -> None:
    """Both give the same whole numbers, whichever way bound loops run."""
    verify(after)
    results = []
    for program, order in ((before, "forward"), (after, "forward"), (after, "reverse")):
        rng = np.random.default_rng(0)
        arrays = {
            p.buffer.name: rng.integers(-4, 5, [int(str(s)) for s in p.buffer.shape]).astype(
                p.buffer.dtype.numpy
            )
            for p in program.params
        }
        interp.run(program, arrays, order=order)  # type: ignore[arg-type]
        results.append(arrays)
    for other in results[1:]:
        for name, array in results[0].items():
            np.testing.assert_array_equal(other[name], array, err_msg=name)


def body(program: Program) -> str:
    return show(program).split(":\n", 1)[1].rstrip()


def test_each_phase_gets_the_thread_loops_around_it() -> None:
    program = parse(
        """program p(A: in float32[8, 4, 32], B: inout float32[8, 4, 32]):
  for ty in thread.y(4):
    alloc S: float32[32] shared
      for k in range(8):
        if ty < 3:
          for tx in thread.x(32):
            S[tx] = A[k, ty, tx]
          for tx in thread.x(32):
            B[k, ty, tx] += S[31 - tx]
"""
    )
    after = spread_threads(program)
    assert_same(program, after)
    assert body(after) == (
        """  alloc S: float32[4, 32] shared
    for k in range(8):
      for ty in thread.y(4):
        for tx in thread.x(32):
          if ty < 3:
            S[ty, tx] = A[k, ty, tx]
      for ty in thread.y(4):
        for tx in thread.x(32):
          if ty < 3:
            B[k, ty, tx] += S[ty, 31 - tx]"""
    )


def test_a_loop_around_phases_may_not_depend_on_the_thread() -> None:
    program = parse(
        """program p(B: inout float32[4, 32]):
  for ty in thread.y(4):
    for k in range(ty):
      for tx in thread.x(32):
        B[ty, tx] += 1.0
"""
    )
    with pytest.raises(CompileError) as error:
        spread_threads(program)
    assert str(error.value) == (
        "loop k: its range ty depends on the thread (ty), and thread loops inside of it would not "
        "all run; bind the loops inside, or none"
    )


def test_a_condition_around_phases_may_not_change_between_them() -> None:
    program = parse(
        """program p(F: inout float32[4], B: inout float32[4, 32]):
  for ty in thread.y(4):
    if F[ty] > 0.0:
      for tx in thread.x(32):
        B[ty, tx] += 1.0
      F[ty] = 0.0
"""
    )
    with pytest.raises(CompileError) as error:
        spread_threads(program)
    assert str(error.value) == (
        "if F[ty] > 0.0: what it guards writes 'F', which it reads; compute the condition into a "
        "buffer of its own first"
    )


def test_threads_that_fold_get_a_part_each() -> None:
    program = parse(
        """program p(A: in float32[3, 20], C: inout float32[3]):
  for i in block.x(3):
    for k in range(3):
      for t in thread.x(8):
        if k * 8 + t < 20:
          C[i] += A[i, k * 8 + t]
"""
    )
    after = split_cooperative(program)
    assert_same(program, after)
    assert body(after) == (
        """  for i in block.x(3):
    alloc C.part: float32[8] local
      for t in thread.x(8):
        C.part[t] = 0.0
      for k in range(3):
        for t in thread.x(8):
          if k * 8 + t < 20:
            C.part[t] += A[i, k * 8 + t]
      for t in thread.x(8):
        C[i] += C.part[t]"""
    )
    assert split_cooperative(after) is not None
    assert body(split_cooperative(after)) == body(after)


def test_rows_and_columns_of_threads_keep_what_tells_elements_apart() -> None:
    program = parse(
        """program p(A: in int32[12, 6, 5], C: inout int32[6, 5]):
  for y in thread.y(4):
    for x in thread.x(6):
      for j in range(5):
        for k in range(3):
          if x < 5:
            C[x, j] += A[k * 4 + y, x, j]
"""
    )
    after = split_cooperative(program)
    assert_same(program, after)
    assert "alloc C.part: int32[4, 6, 5] local" in show(after)
    assert "if x < 5:\n            C[x, j] += C.part[y, x, j]" in show(after)


def test_a_fold_beside_other_work_gets_a_phase_of_its_own() -> None:
    program = parse(
        """program p(A: in float32[8], B: out float32[8], C: inout float32[]):
  for t in thread.x(8):
    B[t] = A[t] * 2.0
    C[] += A[t]
"""
    )
    after = split_cooperative(program)
    assert_same(program, after)
    assert body(after).count("for t in thread.x(8)") == 2
