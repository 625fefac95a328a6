"""fission and fuse_with: text, meaning, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.nests import assert_same_results, assert_text, matmul, two_stages
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace

PAIR = """program main(A: in float32[6], B: out float32[6], C: out float32[6]):
  for i in range(6):
    B[i] = A[i] * 2.0
    C[i] = B[{index}] + 1.0
"""
CHAIN = """program main(A: in float32[{n}], B: out float32[{n}], C: out float32[{n}]){dims}:
  for i in range({n}):
    B[i] = A[i] * 2.0
  for j in range({n}):
    C[j] = B[j] + 1.0
"""
SHIFTED = """program main(A: in float32[8], B: out float32[8], C: out float32[7]):
  for i in range(7):
    B[i + {ahead}] = A[i]
  B[{rest}] = 0.0
  for j in range(7):
    C[j] = B[j + 1]
"""


def chain(n: int | str) -> str:
    return CHAIN.format(n=n, dims=f" dims({n} >= 0)" if isinstance(n, str) else "")


# --- fission -------------------------------------------------------------------------------------


def test_fission_runs_the_parts_of_a_body_in_two_loops() -> None:
    plain = parse(PAIR.format(index="i"))
    s = Schedule(plain)
    first, second = s.fission(s["B"].loop("i"), after="B")
    assert (first.stage, first.name) == ("B", "i")
    assert (second.stage, second.name) == ("C", "i.rest")
    assert_text(
        s,
        """
        for i in range(6):
          B[i] = A[i] * 2.0
        for i.rest in range(6):
          C[i.rest] = B[i.rest] + 1.0
        """,
    )
    assert_same_results(plain, s.program)


def test_fission_cuts_off_an_initialisation_by_number() -> None:
    s = Schedule(matmul())
    i, j, _ = s.loops("C")
    s.fission(j, after=1)
    s.fission(i, after=1)
    assert_text(
        s,
        """
        for i in range(8):
          for j in range(10):
            C[i, j] = 0.0
        for i.rest in range(8):
          for j.rest in range(10):
            for k in range(6):
              C[i.rest, j.rest] += A[i.rest, k] * B[k, j.rest]
        """,
    )
    assert_same_results(matmul(), s.program)


def test_fission_keeps_a_guard_and_an_allocation_with_the_part_that_needs_them() -> None:
    plain = parse(
        """program main(A: in float32[6], B: out float32[6], C: inout float32[6]):
  for i in range(6):
    B[i] = A[i]
  for x in range(8):
    alloc T: float32[1] local
      if x < 6:
        B[x] = A[x] * 3.0
        T[0] = B[x] * 2.0
        C[x] = T[0]
"""
    )
    s = Schedule(plain)
    s.fission(s["C"].loop("x"), after=1)
    assert show(s.program).split("\n")[3:] == [
        "  for x in range(8):",
        "    if x < 6:",
        "      B[x] = A[x] * 3.0",
        "  for x.rest in range(8):",
        "    alloc T: float32[1] local",
        "      if x.rest < 6:",
        "        T[0] = B[x.rest] * 2.0",
        "        C[x.rest] = T[0]",
    ]
    assert_same_results(plain, s.program)


def test_fission_refuses_when_the_second_part_feeds_the_first() -> None:
    plain = parse(
        """program main(A: in float32[6], B: inout float32[7], C: out float32[6]):
  for i in range(6):
    C[i] = B[i] + A[i]
    B[i + 1] = C[i] * 0.5
"""
    )
    s = Schedule(plain)
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.fission(s["C"].loop("i"), after="C")
    first, *rest = str(error.value).split("\n")
    assert first.startswith("fission(i, after='C'): in 'C', iteration i=")
    assert rest == [
        "  B[i + 1] = C[i] * 0.5: the second reads what the first writes to B",
        "  C[i] = B[i] + A[i]: the second",
        "  loops, outermost first: i; i must run both parts together",
    ]
    assert show(s.program) == before
    assert len(s.trace) == 0


def test_fission_refuses_to_share_a_buffer_of_an_iteration() -> None:
    s = Schedule(
        parse(
            """program main(A: in float32[6], C: out float32[6]):
  for i in range(6):
    alloc T: float32[1] local
      T[0] = A[i] * 2.0
      C[i] = T[0]
"""
        )
    )
    with pytest.raises(ScheduleError) as error:
        s.fission(s["C"].loop("i"), after="T")
    assert str(error.value) == (
        "fission(i, after='T'): both parts use T, which each iteration of i allocates for itself"
    )


def test_fission_refuses_a_guard_that_the_first_part_changes() -> None:
    s = Schedule(
        parse(
            """program main(X: inout float32[6], C: inout float32[6]):
  for i in range(6):
    if X[i] > 0.0:
      X[i] = 0.0 - X[i]
      C[i] = 1.0
"""
        )
    )
    with pytest.raises(ScheduleError) as error:
        s.fission(s["C"].loop("i"), after=1)
    assert str(error.value) == (
        "fission(i, after=1): X[i] > 0.0 reads X, which the loop writes, so it cannot be "
        "evaluated again after the first part"
    )


def test_a_guard_that_reads_what_another_iteration_writes_is_a_dependence() -> None:
    s = Schedule(
        parse(
            """program main(X: inout float32[7]):
  for i in range(6):
    if X[i + 1] > 0.0:
      X[i] = 0.0
"""
        )
    )
    with pytest.raises(ScheduleError, match=r"the second writes what the first reads from X"):
        s.parallel(s["X"].loop("i"))


def test_fission_says_which_statements_there_are() -> None:
    s = Schedule(parse(PAIR.format(index="i")))
    shown = "; the statements of i are\n  1: B[i] = A[i] * 2.0\n  2: C[i] = B[i] + 1.0"
    i = s["B"].loop("i")
    with pytest.raises(ScheduleError) as error:
        s.fission(i, after="D")
    assert str(error.value) == f"fission(i, after='D'): nothing in loop i writes 'D'{shown}"
    with pytest.raises(ScheduleError) as error:
        s.fission(i, after="C")
    assert str(error.value) == f"fission(i, after='C'): both parts need a statement{shown}"
    s = Schedule(matmul())
    with pytest.raises(ScheduleError) as error:
        s.fission(s["C"].loop("i"), after=1)
    assert str(error.value) == (
        "fission(i, after=1): the body of i is one statement; name a loop that runs several\n"
        "  for j in range(10):"
    )


# --- fuse_with -----------------------------------------------------------------------------------


def test_fuse_with_makes_one_loop_of_two() -> None:
    plain = parse(chain(6))
    s = Schedule(plain)
    j = s["C"].loop("j")
    s.fuse_with(s["B"].loop("i"), j)
    assert_text(
        s,
        """
        for i in range(6):
          B[i] = A[i] * 2.0
          C[i] = B[i] + 1.0
        """,
    )
    assert_same_results(plain, s.program)
    with pytest.raises(ScheduleError) as error:
        s.parallel(j)
    assert str(error.value) == "loop j of 'C' was fused with i"


def test_fuse_with_undoes_fission() -> None:
    s = Schedule(matmul())
    first, second = s.fission(s["C"].loop("j"), after=1)
    s.fuse_with(first, second)
    assert show(s.program) == show(matmul())


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 9), symbolic=st.booleans(), parallel=st.booleans())
def test_fuse_with_keeps_meaning(n: int, symbolic: bool, parallel: bool) -> None:
    plain = parse(chain("n" if symbolic else n))
    s = Schedule(plain)
    fused = s.fuse_with(s["B"].loop("i"), s["C"].loop("j"))
    if parallel:
        s.parallel(fused)
    assert_same_results(plain, s.program, **({"n": n} if symbolic else {}))


def test_fuse_with_moves_what_stands_between_to_the_side_where_that_is_legal() -> None:
    plain = parse(SHIFTED.format(ahead=1, rest=0))
    s = Schedule(plain)
    s.fuse_with(s["B"].loop("i"), s["C"].loop("j"))
    assert_text(
        s,
        """
        for i in range(7):
          B[i + 1] = A[i]
          C[i] = B[i + 1]
        B[0] = 0.0
        """,
    )
    assert_same_results(plain, s.program)


def test_fuse_with_parts_what_stands_between_where_some_must_come_first() -> None:
    plain = parse(
        """program m(A: in float32[5], B: inout float32[1], C: out float32[1], D: out float32[1]):
  for i in range(5):
    B[0] += A[i]
  C[0] = B[0] * 2.0
  D[0] = 0.0
  for j in range(5):
    D[0] += A[j] * A[j]
"""
    )
    s = Schedule(plain)
    s.fuse_with(s["B"].loop("i"), s["D"].loop("j"))
    assert_text(
        s,
        """
        D[0] = 0.0
        for i in range(5):
          B[0] += A[i]
          D[0] += A[i] * A[i]
        C[0] = B[0] * 2.0
        """,
    )
    assert_same_results(plain, s.program)


def test_fuse_with_reaches_into_allocations() -> None:
    plain = parse(
        """program main(A: in float32[5], C: out float32[5], D: out float32[5]):
  alloc T: float32[5]
    for i in range(5):
      T[i] = A[i] * 2.0
    for j in range(5):
      C[j] = T[j] + 1.0
  for k in range(5):
    D[k] = C[k] * 3.0
"""
    )
    s = Schedule(plain)
    i = s["T"].loop("i")
    s.fuse_with(i, s["C"].loop("j"))
    s.fuse_with(i, s["D"].loop("k"))
    assert_text(
        s,
        """
        alloc T: float32[5]
          for i in range(5):
            T[i] = A[i] * 2.0
            C[i] = T[i] + 1.0
            D[i] = C[i] * 3.0
        """,
    )
    assert_same_results(plain, s.program)


def test_fuse_with_refuses_a_value_that_comes_too_late() -> None:
    s = Schedule(parse(SHIFTED.format(ahead=0, rest=7)))
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.fuse_with(s["B"].loop("i"), s["C"].loop("j"))
    head, *rest = str(error.value).split("\n")
    assert head.startswith("fuse_with(i, j): in 'C', iteration i=")
    assert rest == [
        "  B[i + 0] = A[i]: the second reads what the first writes to B",
        "  C[j] = B[j + 1]: the second",
        "  loops, outermost first: i, j; i must end before j begins",
    ]
    assert show(s.program) == before


def test_fuse_with_refuses_another_range() -> None:
    s = Schedule(two_stages())
    with pytest.raises(ScheduleError) as error:
        s.fuse_with(s["B"].loop("i"), s["C"].loop("j"))
    assert str(error.value) == (
        "fuse_with(i, j): i runs over 0 <= i < 10 and j over 0 <= j < 9, "
        "which is not proved to be the same"
    )


def test_fuse_with_refuses_loops_in_the_wrong_order_or_place() -> None:
    s = Schedule(parse(chain(6)))
    with pytest.raises(ScheduleError) as error:
        s.fuse_with(s["C"].loop("j"), s["B"].loop("i"))
    assert str(error.value) == (
        "fuse_with(j, i): i must follow j in the same block; fuse the loops around them first"
    )
    s = Schedule(matmul())
    i, j, _ = s.loops("C")
    with pytest.raises(ScheduleError, match="j must follow i in the same block"):
        s.fuse_with(i, j)


def test_a_buffer_that_is_used_where_it_is_computed_is_placed_already() -> None:
    plain = parse(
        """program main(A: in float32[6], C: out float32[6]):
  alloc T: float32[6]
    for i in range(6):
      T[i] = A[i] * 2.0
    for j in range(6):
      C[j] = T[j]
"""
    )
    s = Schedule(plain)
    s.fuse_with(s["T"].loop("i"), s["C"].loop("j"))
    with pytest.raises(ScheduleError) as error:
        s.inline("T")
    assert str(error.value) == (
        "inline(T): 'T' is computed and used in the same nest already\n  for i in range(6):"
    )


def test_fusions_replay_from_their_trace() -> None:
    s = Schedule(parse(chain(6)))
    s.fuse_with(s["B"].loop("i"), s["C"].loop("j"))
    s.fission(s["B"].loop("i"), after="B")
    again = Schedule(parse(chain(6)))
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)
    assert str(s.trace) == (
        's.fuse_with(s["B"].loop("i"), s["C"].loop("j"))\ns.fission(s["B"].loop("i"), \'B\')'
    )
