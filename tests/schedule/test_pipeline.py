"""double_buffer and pipeline: text, meaning, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.nests import assert_same_results, assert_text, matmul, scale
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace


def buffered(n: int | str, factor: int) -> Schedule:
    s = Schedule(scale(n))
    outer, _ = s.split(s["B"].loop("i"), factor)
    s.cache_read("A", outer)
    return s


def test_double_buffer_fills_one_iteration_ahead() -> None:
    s = buffered("n", 4)
    s.double_buffer("A.local", s["B"].loop("i.outer"))
    assert_text(
        s,
        """
        alloc A.local: float32[2, 4]
          for i.outer.ahead in range(1):
            if i.outer.ahead < (n + 3) // 4:
              for A.in0.ahead in range(4):
                if i.outer.ahead * 4 + A.in0.ahead < n:
                  A.local[i.outer.ahead % 2, A.in0.ahead] = A[i.outer.ahead * 4 + A.in0.ahead]
          for i.outer in range((n + 3) // 4):
            if i.outer + 1 < (n + 3) // 4:
              for A.in0 in range(4):
                if (i.outer + 1) * 4 + A.in0 < n:
                  A.local[(i.outer + 1) % 2, A.in0] = A[(i.outer + 1) * 4 + A.in0]
            for i.inner in range(4):
              if i.outer * 4 + i.inner < n:
                B[i.outer * 4 + i.inner] = A.local[i.outer % 2, i.inner] * 2.0
        """,
    )
    for n in (0, 1, 4, 11):
        assert_same_results(scale("n"), s.program, n=n)
    again = Schedule(scale("n"))
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)


def test_pipeline_fills_every_copy_of_the_loop() -> None:
    plain = matmul(4, 6, 5)
    s = Schedule(plain)
    i, j, k = s.loops("C")
    s.reorder(k, i, j)
    s.cache_read("B", k)
    s.cache_read("A", k)
    s.pipeline(k, 3)
    assert_text(
        s,
        """
        for i.init in range(4):
          for j.init in range(5):
            C[i.init, j.init] = 0.0
        alloc A.local: float32[3, 4, 1]
          for k.ahead in range(2):
            for A.in0.ahead in range(4):
              for A.in1.ahead in range(1):
                A.local[k.ahead % 3, A.in0.ahead, A.in1.ahead] = A[A.in0.ahead, k.ahead + A.in1.ahead]
          alloc B.local: float32[3, 1, 5]
            for k.ahead_1 in range(2):
              for B.in0.ahead in range(1):
                for B.in1.ahead in range(5):
                  B.local[k.ahead_1 % 3, B.in0.ahead, B.in1.ahead] = B[k.ahead_1 + B.in0.ahead, B.in1.ahead]
            for k in range(6):
              if k + 2 < 6:
                for B.in0 in range(1):
                  for B.in1 in range(5):
                    B.local[(k + 2) % 3, B.in0, B.in1] = B[k + 2 + B.in0, B.in1]
              if k + 2 < 6:
                for A.in0 in range(4):
                  for A.in1 in range(1):
                    A.local[(k + 2) % 3, A.in0, A.in1] = A[A.in0, k + 2 + A.in1]
              for i in range(4):
                for j in range(5):
                  C[i, j] += A.local[k % 3, i, 0] * B.local[k % 3, 0, j]
        """,  # noqa: E501
    )
    assert_same_results(plain, s.program)
    again = Schedule(plain)
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 20), factor=st.integers(1, 6), stages=st.integers(2, 6))
def test_pipeline_keeps_meaning(n: int, factor: int, stages: int) -> None:
    s = buffered("n", factor)
    s.pipeline(s["B"].loop("i.outer"), stages)
    assert_same_results(scale("n"), s.program, n=n)


BEHIND = """program main(A: inout float32[12], B: out float32[12]):
  for i in range(2, {stop}):
    alloc T: float32[1]
      T[0] = A[i]
      B[i] = T[0] * 2.0
      A[i {shift}] = 5.0
  B[0] = 0.0
  B[1] = 0.0
  for j in range({stop}, 12):
    B[j] = 0.0
"""


@settings(max_examples=20, deadline=None)
@given(stages=st.integers(2, 4), behind=st.integers(0, 2))
def test_a_loop_that_writes_behind_its_copy_may_fetch_ahead(stages: int, behind: int) -> None:
    plain = parse(BEHIND.format(stop=12, shift=f"- {behind}" if behind else ""))
    s = Schedule(plain)
    s.pipeline(s["T"].loop("i"), stages)
    assert_same_results(plain, s.program)


def test_a_copy_may_overtake_a_write_to_a_later_iteration_only_so_far() -> None:
    plain = parse(BEHIND.format(stop=9, shift="+ 3"))
    s = Schedule(plain)
    s.pipeline(s["T"].loop("i"), 3)
    assert_same_results(plain, s.program)
    s = Schedule(plain)
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.pipeline(s["T"].loop("i"), 4)
    assert str(error.value) == (
        "pipeline(i, 4): in 'T', iteration i=2 must run before iteration i=5, and would run after "
        "it or at the same time\n"
        "  A[i + 3] = 5.0: the second reads what the first writes to A\n"
        "  T[0] = A[i]: the second\n"
        "  loops, outermost first: i; 'T' must be filled where it is used"
    )
    assert show(s.program) == before
    assert len(s.trace) == 0


def test_a_reduction_is_no_copy_to_fetch_ahead() -> None:
    s = Schedule(matmul(4, 6, 5))
    i = s["C"].loop("i")
    s.cache_write("C", i)
    with pytest.raises(ScheduleError) as error:
        s.double_buffer("C.local", i)
    assert str(error.value) == (
        "double_buffer(C.local, i): 'C.local' is not filled by one nest of stores\n"
        "  C.local[0, j] = 0.0\n"
        "  C.local[0, j] += A[i, k] * B[k, j]"
    )
    with pytest.raises(ScheduleError) as error:
        s.pipeline(i, 2)
    assert str(error.value) == (
        "pipeline(i, 2): no buffer that each iteration of i allocates is filled by one nest of "
        "stores; cache_read makes one"
    )


def test_pipeline_refuses_fewer_than_two_stages_and_loops_that_are_not_serial() -> None:
    s = buffered(8, 4)
    outer = s["B"].loop("i.outer")
    with pytest.raises(ScheduleError) as error:
        s.pipeline(outer, 1)
    assert str(error.value) == (
        "pipeline(i.outer, 1): two stages or more, one to copy and one to compute"
    )
    s.parallel(outer)
    with pytest.raises(ScheduleError) as error:
        s.pipeline(outer, 2)
    assert str(error.value) == (
        "pipeline(i.outer, 2): loop i.outer is parallel already; restructure loops first, then say "
        "how they run"
    )


def test_double_buffer_refuses_what_the_loop_does_not_allocate() -> None:
    s = buffered(8, 4)
    with pytest.raises(ScheduleError) as error:
        s.double_buffer("A", s["B"].loop("i.outer"))
    assert str(error.value) == (
        "double_buffer(A, i.outer): 'A' is no buffer that each iteration of i.outer allocates; "
        "there are: A.local"
    )


def test_a_copy_does_not_overtake_a_check() -> None:
    plain = parse(
        """program main(A: in float32[8], I: in int64[6], B: out float32[6]):
  for i in range(6):
    check 0 <= I[i] and I[i] < 8, "bad"
    alloc T: float32[1]
      T[0] = A[I[i]]
      B[i] = T[0]
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.pipeline(s["T"].loop("i"), 2)
    assert str(error.value) == (
        "pipeline(i, 2): the copy would overtake a check that it may rely on\n"
        '  check 0 <= I[i] and I[i] < 8, "bad"'
    )


def test_the_slots_need_one_size() -> None:
    plain = parse(
        """program main(A: in float32[6, 6], B: out float32[6, 6]):
  for i in range(6):
    for j in range(6):
      B[i, j] = 0.0
    alloc T: float32[i + 1]
      for j in range(i + 1):
        T[j] = A[i, j]
      for k in range(i + 1):
        B[i, k] = T[k]
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.pipeline(s["T"].loop("i"), 2)
    assert str(error.value) == (
        "pipeline(i, 2): the size of 'T' depends on i, so its slots have no one size"
    )
