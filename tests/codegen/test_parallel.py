"""Programs run by several threads."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.harness import Kernel
from codegen.programs import check
from tensorc.codegen.llvm import openmp_runtime
from tensorc.ir.parser import parse

threaded = pytest.mark.skipif(openmp_runtime() is None, reason="there is no OpenMP runtime here")


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("n", [0, 1, 5, 64])
def test_iterations_are_divided_among_threads(n: int, threads: int) -> None:
    text = """
program scale(A: in float32[n], B: out float32[n]) dims(n >= 0):
  for i in parallel(n):
    B[i] = A[i] + 1.0
"""
    check(text, n=n, threads=threads)


CHAIN = """
program chain(A: in float32[n, 8], S: out float32[], C: out float32[n, 8]) dims(n >= 0):
  alloc T: float32[n, 8]
    for i in parallel(n):
      for j in vectorized(8):
        T[i, j] = A[i, j] * 2.0
    S[] = 0.0
    for i in range(n):
      for j in range(8):
        S[] += T[i, j]
    alloc U: float32[n, 8]
      for i in parallel(n):
        for j in vectorized(8):
          U[i, j] = T[n - 1 - i, j] + S[]
      for i in parallel(n):
        for j in vectorized(8):
          C[i, j] = U[n - 1 - i, j] - S[]
"""


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_statements_see_what_other_threads_wrote(threads: int) -> None:
    for n in (1, 7, 200):
        kernel = check(CHAIN, n=n, threads=threads, rtol=1e-4)
    # Before the sum, before what reads it, and before what reads U: no more.
    assert kernel.text.count("call void @GOMP_barrier()") == 3


@pytest.mark.parametrize("threads", [1, 4])
def test_a_serial_loop_around_parallel_ones_is_walked_by_all_threads(threads: int) -> None:
    text = """
program jacobi(A: inout float32[66], B: inout float32[66]):
  for t in range(10):
    for i in parallel(64):
      B[i + 1] = (A[i] + A[i + 2]) * 0.5
    for i in parallel(64):
      A[i + 1] = (B[i] + B[i + 2]) * 0.5
"""
    check(text, threads=threads)


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_agree_on_conditions(threads: int) -> None:
    text = """
program cond(A: in float32[n], B: inout float32[n]) dims(n >= 1):
  if A[0] > 0.0:
    for i in parallel(n):
      B[i] = A[i]
  else:
    B[0] = 3.0
  for i in parallel(n):
    B[i] = B[i] * 2.0
"""
    for first in (1.0, -1.0):
        a = np.full(50, first, np.float32)
        check(text, {"A": a, "B": np.ones(50, np.float32)}, threads=threads)


@pytest.mark.parametrize("threads", [1, 4])
def test_storage_allocated_in_a_parallel_loop_is_each_threads_own(threads: int) -> None:
    text = """
program rows(A: in float32[n, 32], B: out float32[n, 32]) dims(n >= 0):
  for i in parallel(n):
    alloc T: float32[32]
      for j in range(32):
        T[j] = A[i, j]
      for j in range(32):
        B[i, j] = T[31 - j]
"""
    kernel = check(text, n=300, threads=threads)
    arrays = {"A": np.zeros((300, 32)), "B": np.zeros((300, 32))}
    assert kernel.workspace_bytes(arrays, threads) == 128 * threads


@pytest.mark.parametrize("threads", [1, 4])
def test_a_check_between_parallel_loops_stops_all_threads(threads: int) -> None:
    kernel = Kernel(
        parse("""
program f(A: in float32[n], T: inout float32[n], B: out float32[n]) dims(n >= 0):
  for i in parallel(n):
    T[i] = A[i] * 2.0
  for i in range(n):
    check T[i] < 10.0, "too large at {0}", (i)
  for i in parallel(n):
    check T[i] > -10.0, "too small at {0}", (i)
  for i in parallel(n):
    B[i] = T[i]
""")
    )
    a = np.zeros(100, np.float32)
    arrays = {"A": a, "T": np.zeros_like(a), "B": np.zeros_like(a)}
    assert kernel(arrays, threads)[0] == 0
    a[[40, 70]] = 6.0
    b = np.full(100, 5, np.float32)
    code, info = kernel(arrays | {"B": b}, threads)
    assert (code, info[:2]) == (10, [0, 40])
    assert (b == 5).all()
    assert arrays["T"][70] == 12
    a[:] = -6.0
    code, info = kernel(arrays | {"B": b}, threads)
    assert (code, info[:2]) == (10, [1, 0])


def test_checks_of_arguments_run_before_anything_is_written() -> None:
    kernel = Kernel(
        parse("""
program f(I: in int64[n], B: inout float32[n]) dims(n >= 0):
  for i in range(n):
    check I[i] < n, "index {0}", (I[i])
  for i in parallel(n):
    B[i] = 1.0
""")
    )
    for threads in (1, 4):
        b = np.zeros(4, np.float32)
        assert kernel({"I": np.array([0, 1, 9, 2]), "B": b}, threads) == (10, [0, 9, -9, -9])
        assert not b.any()


@threaded
def test_the_parallel_region_is_entered_once() -> None:
    kernel = Kernel(parse(CHAIN))
    assert kernel.text.count("call void @GOMP_parallel(") == 1


@pytest.mark.parametrize("threads", [1, 4])
def test_a_local_buffer_that_threads_share_lies_in_the_workspace(threads: int) -> None:
    text = """
program f(A: in float32[64], B: out float32[64]):
  alloc T: float32[64] local
    for i in parallel(64):
      T[i] = A[i] + 1.0
    for i in parallel(64):
      B[i] = T[63 - i]
"""
    check(text, threads=threads)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_every_iteration_runs_once_however_threads_race(threads: int) -> None:
    # Nothing makes a thread wait between two loops: some are in the tenth while others start.
    names = [f"A{k}" for k in range(20)]
    nests = "".join(
        f"  for i{k} in parallel(n + {k % 3}):\n    {name}[i{k}] += 1\n"
        for k, name in enumerate(names)
    )
    params = ", ".join(f"{name}: inout int64[n + 2]" for name in names)
    kernel = Kernel(parse(f"program count({params}, S: in int8[n]) dims(n >= 0):\n{nests}"))
    assert "GOMP_barrier()" not in kernel.text
    for n in (0, 1, 5, 33, 200, 1000):
        for _ in range(30):
            arrays = {name: np.zeros(n + 2, np.int64) for name in names}
            kernel.run(threads=threads, S=np.zeros(n, np.int8), **arrays)
            for k, name in enumerate(names):
                assert arrays[name].tolist() == [1] * (n + k % 3) + [0] * (2 - k % 3)
