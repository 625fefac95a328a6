"""Kernels do what the interpreter does: every construct, in three orders of threads, checked."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, Emulated, check
from codegen.cuda.programs import ROW_SUMS, emitted, gemm
from tensorc.codegen.cuda import compile_cuda, disassemble, instructions
from tensorc.errors import CompileError

# A sum of n float32 terms, folded in another order: n * 2**-24 of the sum of magnitudes.
UNIT = 2.0**-24


def test_a_tiled_product_is_the_interpreters_bit_for_bit() -> None:
    check(gemm(n=64, tile=64, depth=8))


@pytest.mark.parametrize("barrier", [0, 1])
def test_each_barrier_of_a_tiled_product_is_needed(barrier: int) -> None:
    emulated = Emulated(gemm(n=64, tile=64, depth=8), drop=barrier)
    arrays = {k: np.ones((64, 64), np.float32) for k in "ABC"}
    found = [str(f) for options in ORDERS for f in emulated.run(arrays, options).findings]
    assert any("race" in f for f in found), found


def test_a_row_sum_folds_over_warps() -> None:
    check(ROW_SUMS, bound=1000 * UNIT * 1000**0.5)


def test_the_barrier_of_a_row_sum_is_needed() -> None:
    emulated = Emulated(ROW_SUMS, drop=0)
    arrays = {"A": np.ones((100, 1000), np.float32), "S": np.zeros(100, np.float32)}
    found = [str(f) for options in ORDERS for f in emulated.run(arrays, options).findings]
    assert any("race" in f for f in found), found


def folds(width: int, name: str, dtype: str, kind: str = "=") -> str:
    unit = {"+": "0", "*": "1", "max": "-inf", "min": "inf"}[name]
    unit = unit if dtype == "float32" and "inf" in unit else f"cast({dtype}, {unit})"
    if "int" in dtype and name in ("max", "min"):
        unit = f"{dtype}({np.iinfo(dtype).min if name == 'max' else np.iinfo(dtype).max})"
    return f"""program p(A: in {dtype}[3, {width}], S: out {dtype}[3]):
  for i in block.x(3):
    S[i] = {unit}
    for t in thread.x({width}):
      S[i] {name}{kind} A[i, t]
"""


@pytest.mark.parametrize("width", [2, 7, 32, 33, 64, 100, 250, 1024])
def test_threads_of_any_number_fold_into_one_element(width: int) -> None:
    check(folds(width, "+", "int64"), orders=ORDERS[:1])


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64", "int8", "uint16"])
@pytest.mark.parametrize("name", ["+", "*", "max", "min"])
def test_every_reducer_folds(name: str, dtype: str) -> None:
    if dtype in ("float32", "float64"):
        if dtype == "float64" and name in ("max", "min"):
            return
        check(folds(40, name, dtype), orders=ORDERS[:1], bound=40 * UNIT * 40)
    else:
        check(folds(40, name, dtype), orders=ORDERS[:1])


def test_a_maximum_with_its_place_folds_and_a_nan_wins() -> None:
    text = """program p(A: in float32[4, 77], M: out float32[4], I: out int64[4]):
  for i in block.x(4):
    M[i] = -inf
    I[i] = 9223372036854775807
    for t in thread.x(77):
      (M[i], I[i]) argmax= (A[i, t], t)
"""
    a = np.random.default_rng(0).integers(-5, 6, (4, 77)).astype(np.float32)
    a[2, 50] = np.nan
    a[3] = 1.0
    check(text, {"A": a, "M": np.zeros(4, np.float32), "I": np.zeros(4, np.int64)})


def test_groups_of_a_warp_and_columns_fold_each_for_itself() -> None:
    groups = """program p(A: in int32[64, 8], S: out int32[64]):
  for b in block.x(4):
    for y in thread.y(16):
      S[b*16 + y] = int32(0)
    for y in thread.y(16):
      for x in thread.x(8):
        S[b*16 + y] += A[b*16 + y, x]
"""
    columns = """program p(A: in int32[64, 40], S: out int32[40]):
  for j in block.x(2):
    for x in thread.x(20):
      S[j*20 + x] = int32(0)
    for y in thread.y(8):
      for x in thread.x(20):
        for k in range(8):
          S[j*20 + x] += A[k*8 + y, j*20 + x]
"""
    warps = """program p(A: in int32[6, 64], S: out int32[6]):
  for b in block.x(2):
    for y in thread.y(3):
      S[b*3 + y] = int32(0)
    for y in thread.y(3):
      for x in thread.x(64):
        S[b*3 + y] += A[b*3 + y, x]
"""
    for text in (groups, columns, warps):
        check(text)


def test_a_softmax_of_rows_goes_through_shared_memory() -> None:
    text = """program softmax(A: in float32[5, 100], B: out float32[5, 100]):
  for i in block.x(5):
    alloc m: float32[] shared
      alloc s: float32[] shared
        m[] = -inf
        for t in thread.x(100):
          m[] max= A[i, t]
        s[] = 0.0
        for t in thread.x(100):
          s[] += exp(A[i, t] - m[])
        for t in thread.x(100):
          B[i, t] = exp(A[i, t] - m[]) / s[]
"""
    module = emitted(text)
    count = len(module.barriers["softmax_B"])
    check(text, bound=100 * UNIT)
    arrays = {"A": np.ones((5, 100), np.float32), "B": np.zeros((5, 100), np.float32)}
    for barrier in range(count):
        emulated = Emulated(text, drop=barrier)
        found = [str(f) for options in ORDERS for f in emulated.run(arrays, options).findings]
        assert any("race" in f for f in found), (barrier, module.barriers)


def test_sizes_come_with_the_call_and_leftovers_run_on_one_thread() -> None:
    text = """program f(A: in float32[n], B: out float32[n], s: out float32[]) dims(n >= 0):
  alloc T: float32[n]
    for i in block.x((n + 31) // 32):
      for t in thread.x(32):
        if i * 32 + t < n:
          T[i * 32 + t] = A[i * 32 + t] * 2.0
    s[] = 0.0
    for i in range(n):
      s[] += T[i]
    for i in block.x((n + 31) // 32):
      for t in thread.x(32):
        if i * 32 + t < n:
          B[i * 32 + t] = exp(T[i * 32 + t]) + s[]
"""
    for n in (0, 1, 70):
        check(text, n=n)


def test_a_failed_check_is_reported_once_and_stops_what_follows() -> None:
    text = """program f(I: in int64[n], B: out int64[n]) dims(n >= 0):
  for i in block.x((n + 31) // 32):
    for t in thread.x(32):
      if i * 32 + t < n:
        check I[i * 32 + t] < 10, "index {0} of {1}", (I[i * 32 + t], n)
  for i in block.x((n + 31) // 32):
    for t in thread.x(32):
      if i * 32 + t < n:
        B[i * 32 + t] = I[i * 32 + t] + 1
"""
    check(text, {"I": np.arange(10), "B": np.zeros(10, np.int64)}, n=10)
    emulated = Emulated(text)
    given = {"I": np.array([1, 2, 77, 3]), "B": np.full(4, -1)}
    run = emulated.run(given, n=4)
    assert run.status[0] == 1
    assert run.status.view(np.int64)[1:3].tolist() == [77, 4]
    assert run.results["B"].tolist() == [-1] * 4
    assert emulated.module.plan.checks == ("index {0} of {1}",)


def test_a_failed_check_ends_the_block_whose_threads_wait_for_each_other() -> None:
    text = """program p(A: in int64[96], B: out float32[96]):
  for i in block.x(3):
    alloc T: float32[32] shared
      for k in range(2):
        for t in thread.x(32):
          for h in unrolled(2):
            check A[i * 32 + t] < 9 + h * k, "row {0}", (A[i * 32 + t])
            T[t] = float32(A[i * 32 + t]) + float32(h)
        for t in thread.x(64):
          if t < 32:
            B[i * 32 + t] = T[31 - t]
"""
    good = np.arange(96) % 9
    emulated = check(text, {"A": good, "B": np.zeros(96, np.float32)})
    assert emulated.module.source.count("if (__syncthreads_or(failed)) return;") == 1
    bad = good.copy()
    bad[40] = 77
    for options in ORDERS:
        run = emulated.run({"A": bad, "B": np.full(96, -1, np.float32)}, options)
        assert not run.findings, [str(f) for f in run.findings]
        assert run.status[0] == 1
        assert run.status.view(np.int64)[1] == 77
        assert np.all(run.results["B"][32:64] == -1)  # Its block wrote nothing.


def test_a_check_beside_a_fold_lets_no_thread_leave_alone() -> None:
    text = """program p(A: in int64[64], S: out int64[2]):
  for i in block.x(2):
    alloc T: int64[32] local
      S[i] = 0
      for t in thread.x(32):
        check A[i * 32 + t] < 9, "row {0}", (A[i * 32 + t])
        T[t] = A[i * 32 + t]
      for t in thread.x(32):
        S[i] += T[t]
"""
    good = np.arange(64) % 9
    emulated = check(text, {"A": good, "S": np.zeros(2, np.int64)})
    bad = good.copy()
    bad[3] = 10
    for options in ORDERS:
        run = emulated.run({"A": bad, "S": np.zeros(2, np.int64)}, options)
        assert run.status.view(np.int64)[1] == 10
        assert run.results["S"][0] == 0


def test_thread_loops_around_several_phases_are_given_to_each() -> None:
    text = """program p(A: in float32[8, 4, 32], B: inout float32[8, 4, 32]):
  for b in block.x(1):
    alloc S: float32[4, 32] shared
      for ty in thread.y(4):
        for k in range(8):
          for tx in thread.x(32):
            S[ty, tx] = A[k, ty, tx]
          for tx in thread.x(32):
            B[k, ty, tx] += S[ty, 31 - tx]
"""
    emulated = check(text)
    (barriers,) = emulated.module.barriers.values()
    assert [b.warp for b in barriers] == [True, True]


def test_a_pipelined_copy_runs_ahead() -> None:
    text = """program p(A: in float32[8, 64], B: out float32[8, 64]):
  for b in block.x(1):
    alloc S: float32[3, 64] shared
      for i in range(2):
        for t in thread.x(64):
          S[i, t] = A[i, t]
      for i in range(8):
        if i + 2 < 8:
          for t in thread.x(64):
            S[(i + 2) % 3, t] = A[i + 2, t]
        for t in thread.x(64):
          B[i, t] = S[i % 3, 63 - t]
"""
    emulated = check(text)
    (barriers,) = emulated.module.barriers.values()
    assert len(barriers) == 1


def test_lazy_choices_read_only_what_is_taken() -> None:
    text = """program p(A: in float32[n], B: out float32[n]) dims(n >= 1):
  for i in block.x((n + 15) // 16):
    for t in thread.x(16):
      if i * 16 + t < n:
        B[i * 16 + t] = where(i * 16 + t > 0, A[i * 16 + t - 1], 0.0) + where(i * 16 + t + 1 < n, exp(A[i * 16 + t + 1]), 1.0)
"""  # noqa: E501
    for n in (1, 17):
        check(text, n=n)


def test_large_shared_buffers_are_asked_for_at_launch() -> None:
    text = """program p(A: in float32[16384], B: out float32[16384]):
  for b in block.x(1):
    alloc S: float32[16384] shared
      for t in thread.x(256):
        for i in range(64):
          S[i*256 + t] = A[i*256 + t]
      for t in thread.x(256):
        for i in range(64):
          B[i*256 + t] = S[16383 - i*256 - t]
"""
    emulated = check(text, orders=ORDERS[:1])
    (launch,) = emulated.module.plan.launches
    assert launch.shared == 65536
    assert emulated.module.static_shared == {"p_B": 0}


def test_wide_accesses_are_made_in_machine_code() -> None:
    names = instructions(disassemble(compile_cuda(emitted(gemm()).source, "sm_80").cubin))["gemm_C"]
    wide = {n for n in names if ".128" in n}
    assert {n.split(".")[0] for n in wide} == {"LDG", "LDS", "STS", "STG"}
    assert not any(n.startswith(("LDL", "STL")) for n in names)


def test_a_loop_around_may_decide_where_thread_loops_start() -> None:
    check(
        """program main(A: in float32[9, 9], B: inout float32[9, 9]):
  for b in block.x(9):
    for i in range(4):
      for t in thread.x(i, i + 5):
        B[b, t] = B[b, t] + A[i, t]
"""
    )


def test_a_thread_looks_again_at_what_another_one_wrote_before_a_barrier() -> None:
    """Behind `__restrict__` NVRTC would keep `T[i % 2]` in a register."""
    emulated = check(
        """program main(A: in int32[9], B: out int32[8, 5], T: inout int32[2]):
  for i in range(8):
    T[(i + 1) % 2] = A[i + 1]
    for j in thread.x(5):
      B[i, j] = T[i % 2]
"""
    )
    assert "int* T" in emulated.module.source
    assert "int* __restrict__ B" in emulated.module.source


def test_a_loop_around_several_phases_is_counted_in_each_by_its_own_threads() -> None:
    check(
        """program main(A: in float32[5, 3], B: in float32[3, 6], C: out float32[5, 6]):
  for i in block.x(5):
    for j in thread.y(6):
      C[i, j] = 0.0
      for k in thread.x(3):
        C[i, j] += A[i, k] * B[k, j]
""",
        bound=1e-6,
    )


def test_threads_that_scatter_into_one_element_are_refused() -> None:
    text = """program p(I: in int64[32], W: inout float32[8]):
  for t in thread.x(32):
    W[abs(I[t]) % 8] += 1.0
"""
    with pytest.raises(CompileError) as error:
        emitted(text)
    assert str(error.value) == (
        "W[abs(I[t]) % 8] += 1.0: several of the threads (t) may fold into one element, and which "
        "ones is not known before; bind other loops, or rfactor the reduction"
    )


def test_odd_shared_buffers_are_not_read_past_their_end() -> None:
    text = """program p(A: in float32[3, 7], B: out float32[3, 7]):
  for i in block.x(3):
    alloc S: float32[7] shared
      for t in thread.x(7):
        S[t] = A[i, t]
      for t in thread.x(1):
        for j in range(7):
          B[i, j] = S[6 - j]
"""
    check(text)
