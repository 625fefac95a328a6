"""Random programs: machine code against the interpreter, schedules against the plain program."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz
from codegen.programs import check
from ir.programs import programs
from tensorc.ir.expr import const_int
from tensorc.ir.parser import parse
from tensorc.ir.stmt import Allocate
from tensorc.ir.walk import walk_stmts
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.schedule import Schedule
from tensorc.target import Target

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program

PAIRS = 1000
PARTS = 20


def has_a_stack(program: Program) -> bool:
    """Whether every buffer on the stack has a constant size: others are refused, in words."""
    return all(
        stmt.buffer.scope != "local" or all(const_int(n) is not None for n in stmt.buffer.shape)
        for stmt in walk_stmts(program.body)
        if isinstance(stmt, Allocate)
    )


runnable = programs().filter(has_a_stack)


def sizes(program: Program, n: int) -> dict[str, Any]:
    return {d.name: max(n, d.lower) for d in program.dims}


@settings(max_examples=25)
@given(program=runnable, n=st.integers(0, 9))
def test_generated_programs_run_as_in_the_interpreter(program: Program, n: int) -> None:
    check(program, **sizes(program, n))


@settings(max_examples=25)
@given(program=runnable, n=st.integers(0, 40))
def test_automatic_schedules_of_generated_programs_run_as_the_plain_ones(
    program: Program, n: int
) -> None:
    """Both against the interpreter: reductions of integers are exact, those of floats reordered."""
    s = auto_schedule(program, Target())
    check(s.program, threads=2, **sizes(program, n))


@pytest.mark.parametrize("part", range(PARTS))
def test_random_schedules_keep_the_results(part: int) -> None:
    """Interpreted and compiled; `make fuzz` runs more, and makes what it finds small."""
    for number in range(part, PAIRS, PARTS):
        failure = fuzz.pair(0, number)
        if failure is not None:
            failure = fuzz.minimal(failure)
            pytest.fail(f"{failure.problem}\n\n{failure.case.python()}")


def test_a_vector_loop_around_threads_keeps_one_copy_of_its_buffers() -> None:
    plain = parse(
        """program main(A: in float32[9, 9], B: out float32[9, 9]):
  for i in range(9):
    alloc T: float32[9]
      for j in range(9):
        T[j] = A[i, j]
      for k in range(9):
        B[i, k] = T[k] + T[8 - k]
"""
    )
    s = Schedule(plain)
    s.parallel(s["B"].loop("k"))
    s.vectorize(s["B"].loop("i"), 3)
    check(s.program, threads=2)


def test_a_thread_sees_after_a_barrier_what_another_one_wrote() -> None:
    """Else LLVM keeps `S[0]` in a register of the thread that does not write it."""
    check(
        """program main(S: inout float32[1], B: inout float32[8]):
  for t in range(4):
    for i in parallel(8):
      B[i] = B[i] + S[0]
    S[0] = S[0] + B[3]
""",
        threads=2,
    )


@pytest.mark.parametrize("low", [-9.0, -2.0])
def test_all_threads_leave_at_the_second_check_that_fails(low: float) -> None:
    program = parse(
        f"""program main(A: in float32[n], B: out float32[n]) dims(n >= 0):
  for i in range(n // 4):
    check A[i] > -9.0, "one"
  for j in range(n // 4, n):
    check A[j] > {low}, "two"
  for k in parallel(n):
    B[k] = A[k]
"""
    )
    arrays = {"A": np.full(8, -4.0, np.float32), "B": np.zeros(8, np.float32)}
    code, _ = fuzz.kernel_of(program, 3)(arrays, threads=2)
    assert (code == 0) == (low < -4.0)
