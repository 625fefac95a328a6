"""rfactor, decompose_reduction and strict schedules: text, meaning, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.nests import assert_same_results, assert_text, matmul
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program


def row_sums(n: int | str = 6, m: int | str = 10, op: str = "+=", unit: str = "0.0") -> Program:
    names = [x for x in dict.fromkeys((n, m)) if isinstance(x, str)]
    dims = f" dims({', '.join(f'{x} >= 0' for x in names)})" if names else ""
    return parse(
        f"""program main(A: in float32[{n}, {m}], C: out float32[{n}]){dims}:
  for i in range({n}):
    C[i] = {unit}
    for k in range({m}):
      C[i] {op} A[i, k]
"""
    )


ARGMAX = """program p(X: in float32[n, m], V: out float32[n], I: out int64[n]) dims(n >= 0, m >= 0):
  for i in range(n):
    V[i] = float32(-inf)
    I[i] = 9223372036854775807
    for k in range(m):
      if k <= i:
        (V[i], I[i]) argmax= (X[i, k], k)
"""
USER = """reducer hyp(a: int32, b: int32) identity (int32(0)) {flag}= (a * b + a + b)
program main(X: in int32[11], V: out int32[1]):
  V[0] = int32(3)
  for k in range(11):
    V[0] hyp= X[k]
"""


def test_rfactor_gives_each_lane_a_partial_result() -> None:
    s = Schedule(row_sums())
    _, ki = s.split(s["C"].loop("k"), 4)
    partial = s.rfactor(ki)
    s.vectorize(ki)
    assert partial.name == "C.rf"
    assert_text(
        s,
        """
        for i in range(6):
          C[i] = 0.0
          alloc C.rf: float32[4] local
            for k.inner.init in range(4):
              C.rf[k.inner.init] = 0.0
            for k.outer in range(3):
              for k.inner in vectorized(4):
                if k.outer * 4 + k.inner < 10:
                  C.rf[k.inner] += A[i, k.outer * 4 + k.inner]
            for k.inner.fold in range(4):
              C[i] += C.rf[k.inner.fold]
        """,
    )
    assert_same_results(row_sums(), s.program)


def test_rfactor_can_have_the_partial_results_of_an_element_side_by_side() -> None:
    s = Schedule(row_sums())
    i, k = s.loops("C")
    _, row = s.split(i, 3)
    ko, ki = s.split(k, 5)
    s.reorder(ko, row, ki)
    s.rfactor(ki, last=True)
    assert_text(
        s,
        """
        for i.outer in range(2):
          for i.inner.init in range(3):
            C[i.outer * 3 + i.inner.init] = 0.0
          alloc C.rf: float32[3, 5] local
            for i.inner.init_1 in range(3):
              for k.inner.init in range(5):
                C.rf[i.inner.init_1, k.inner.init] = 0.0
            for k.outer in range(2):
              for i.inner in range(3):
                for k.inner in range(5):
                  C.rf[i.inner, k.inner] += A[i.outer * 3 + i.inner, k.outer * 5 + k.inner]
            for i.inner.fold in range(3):
              for k.inner.fold in range(5):
                C[i.outer * 3 + i.inner.fold] += C.rf[i.inner.fold, k.inner.fold]
        """,
    )
    assert_same_results(row_sums(), s.program)
    again = Schedule(row_sums())
    again.replay(s.trace)
    assert str(again) == str(s)


def test_rfactor_of_an_outer_loop_keeps_the_loops_inside_as_dimensions() -> None:
    s = Schedule(matmul(4, 6, 5))
    i, j, k = s.loops("C")
    ko, ki = s.split(k, 3)
    s.reorder(ko, i, j, ki)
    s.rfactor(ko)
    s.parallel(ko)
    assert_text(
        s,
        """
        for i.init in range(4):
          for j.init in range(5):
            C[i.init, j.init] = 0.0
        alloc C.rf: float32[2, 4, 5] local
          for k.outer.init in range(2):
            for i.init_1 in range(4):
              for j.init_1 in range(5):
                C.rf[k.outer.init, i.init_1, j.init_1] = 0.0
          for k.outer in parallel(2):
            for i in range(4):
              for j in range(5):
                for k.inner in range(3):
                  C.rf[k.outer, i, j] += A[i, k.outer * 3 + k.inner] * B[k.outer * 3 + k.inner, j]
          for k.outer.fold in range(2):
            for i.fold in range(4):
              for j.fold in range(5):
                C[i.fold, j.fold] += C.rf[k.outer.fold, i.fold, j.fold]
        """,
    )
    assert_same_results(matmul(4, 6, 5), s.program)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 5),
    m=st.integers(0, 13),
    factor=st.integers(1, 6),
    outer=st.booleans(),
    how=st.sampled_from([("+=", "1.0"), ("*=", "2.0"), ("max=", "-3.0"), ("min=", "float32(inf)")]),
)
def test_rfactor_keeps_meaning(
    n: int, m: int, factor: int, outer: bool, how: tuple[str, str]
) -> None:
    plain = row_sums("n", "m", *how)
    s = Schedule(plain)
    ko, ki = s.split(s["C"].loop("k"), factor)
    s.rfactor(ko if outer else ki)
    s.parallel(ko if outer else ki)
    assert_same_results(plain, s.program, n=n, m=m)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(0, 5), m=st.integers(0, 9), factor=st.integers(1, 5), outer=st.booleans())
def test_rfactor_of_an_argmax_keeps_the_first_place(
    n: int, m: int, factor: int, outer: bool
) -> None:
    plain = parse(ARGMAX)
    s = Schedule(plain)
    ko, ki = s.split(s["V"].loop("k"), factor)
    s.rfactor(ko if outer else ki)
    s.parallel(ko if outer else ki)
    assert_same_results(plain, s.program, n=n, m=m)


def test_rfactor_of_a_reducer_of_the_users_own() -> None:
    plain = parse(USER.format(flag=""))
    s = Schedule(plain)
    _, ki = s.split(s["V"].loop("k"), 4)
    s.rfactor(ki)
    s.parallel(ki)
    assert_same_results(plain, s.program)


def test_rfactor_replays_from_its_trace() -> None:
    s = Schedule(row_sums())
    ko, _ = s.split(s["C"].loop("k"), 4)
    s.rfactor(ko)
    s.parallel(ko)
    again = Schedule(row_sums(7, 9))
    again.replay(Trace.from_json(s.trace.to_json()))
    assert str(again.trace) == str(s.trace)
    assert_same_results(row_sums(7, 9), again.program)


def test_rfactor_refuses_a_loop_that_runs_an_initialisation_too() -> None:
    s = Schedule(row_sums())
    with pytest.raises(ScheduleError) as error:
        s.rfactor(s["C"].loop("i"))
    assert str(error.value) == (
        "rfactor(i): loop i must run one accumulation alone; it runs\n"
        "  C[i] = 0.0\n"
        "  C[i] += A[i, k]\n"
        "  reorder or decompose_reduction moves an initialisation out of it"
    )


def test_rfactor_refuses_a_loop_over_elements_of_the_result() -> None:
    s = Schedule(row_sums())
    s.decompose_reduction("C", s["C"].loop("i"))
    with pytest.raises(ScheduleError) as error:
        s.rfactor(s["C"].loop("i"))
    assert str(error.value) == (
        "rfactor(i): i is no reduction loop: which element of 'C' is updated depends on it\n"
        "  C[i] += A[i, k]"
    )


def test_rfactor_refuses_a_reducer_that_is_not_associative() -> None:
    s = Schedule(parse(USER.format(flag="nonassociative ")))
    with pytest.raises(ScheduleError) as error:
        s.rfactor(s["V"].loop("k"))
    assert str(error.value) == (
        "rfactor(k): reducer hyp is declared nonassociative, so partial results cannot be folded "
        "in another order\n"
        "  V[0] hyp= X[k]"
    )


def test_rfactor_refuses_values_that_read_the_result() -> None:
    plain = parse(
        """program main(S: inout float32[9]):
  for k in range(8):
    S[8] += S[k] * S[8]
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.rfactor(s["S"].loop("k"))
    assert str(error.value) == (
        "rfactor(k): what is folded reads 'S' itself, which would hold only a part of the result\n"
        "  S[8] += S[k] * S[8]"
    )


def test_rfactor_refuses_a_range_that_depends_on_another_loop() -> None:
    plain = parse(
        """program main(A: in float32[5, 5], C: inout float32[1]):
  for i in range(5):
    for k in range(i):
      C[0] += A[i, k]
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.rfactor(s["C"].loop("k"))
    assert str(error.value) == (
        "rfactor(k): the range of k depends on i, so the partial results have no fixed number; "
        "the range is i"
    )


def test_rfactor_refuses_to_fold_into_what_was_never_written() -> None:
    plain = parse(
        """program main(A: in float32[n, 8], C: out float32[8]) dims(n >= 0):
  for i in range(8):
    if i < n:
      C[i] = 0.0
  for k in range(n):
    for j in range(8):
      if j < k:
        C[j] += A[k, j]
"""
    )
    s = Schedule(plain)
    ko, _ = s.split(s["C"].loop("k"), 4)
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.rfactor(ko)
    assert str(error.value) == (
        "rfactor(k.outer): where no iteration runs, 'C' may hold no value to fold the partial "
        "results into\n"
        "  C[j] += A[k.outer * 4 + k.inner, j]\n"
        "  initialise all of 'C' first"
    )
    assert show(s.program) == before
    assert len(s.trace) == 1


def test_a_strict_schedule_keeps_the_order_of_float_sums() -> None:
    s = Schedule(row_sums(), strict=True)
    ko, ki = s.split(s["C"].loop("k"), 5)
    with pytest.raises(ScheduleError) as error:
        s.rfactor(ki)
    assert str(error.value) == (
        "rfactor(k.inner): partial results of 'C' would be rounded in another order\n"
        "  C[i] += A[i, k.outer * 5 + k.inner]\n"
        "  this schedule is strict: floats are folded in the order in which they stand"
    )
    with pytest.raises(ScheduleError) as error:
        s.reorder(ki, ko)
    assert str(error.value) == (
        "reorder(k.inner, k.outer): in 'C', iteration k.outer=0, k.inner=1 must run before "
        "iteration k.outer=1, k.inner=0, and would run after it or at the same time\n"
        "  C[i] += A[i, k.outer * 5 + k.inner]: both write one element of C\n"
        "  loops, outermost first: k.outer, k.inner; the order k.outer, k.inner is legal\n"
        "  this schedule is strict: floats are folded in the order in which they stand"
    )
    assert len(s.trace) == 1


def test_a_strict_schedule_reorders_what_does_not_round() -> None:
    for plain in (row_sums(op="max="), parse(USER.format(flag="")), parse(ARGMAX)):
        s = Schedule(plain, strict=True)
        ko, ki = s.split(s[s.stages[0]].loop("k"), 5)
        s.reorder(ki, ko)
        s.rfactor(ki)
    s = Schedule(matmul(4, 6, 5), strict=True)
    i, j, k = s.loops("C")
    s.reorder(k, j, i)  # Each element is still summed in order of k.
    assert_same_results(matmul(4, 6, 5), s.program)


def test_decompose_reduction_moves_the_initialisation_before_a_loop() -> None:
    s = Schedule(matmul(4, 6, 5))
    s.decompose_reduction("C", s["C"].loop("j"))
    assert_text(
        s,
        """
        for i in range(4):
          for j.init in range(5):
            C[i, j.init] = 0.0
          for j in range(5):
            for k in range(6):
              C[i, j] += A[i, k] * B[k, j]
        """,
    )
    assert_same_results(matmul(4, 6, 5), s.program)


def test_decompose_reduction_copies_guards_and_moves_pairs_together() -> None:
    s = Schedule(parse(ARGMAX))
    io, _ = s.split(s["V"].loop("i"), 4)
    s.decompose_reduction("V", io)
    assert_text(
        s,
        """
        for i.outer.init in range((n + 3) // 4):
          for i.inner.init in range(4):
            if i.outer.init * 4 + i.inner.init < n:
              V[i.outer.init * 4 + i.inner.init] = float32(-inf)
              I[i.outer.init * 4 + i.inner.init] = 9223372036854775807
        for i.outer in range((n + 3) // 4):
          for i.inner in range(4):
            if i.outer * 4 + i.inner < n:
              for k in range(m):
                if k <= i.outer * 4 + i.inner:
                  (V[i.outer * 4 + i.inner], I[i.outer * 4 + i.inner]) argmax= (X[i.outer * 4 + i.inner, k], k)
        """,  # noqa: E501
    )
    assert_same_results(parse(ARGMAX), s.program, n=6, m=5)


@settings(max_examples=30, deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 6)] * 3), factor=st.integers(1, 5), at=st.integers(0, 2))
def test_decompose_reduction_keeps_meaning(
    sizes: tuple[int, int, int], factor: int, at: int
) -> None:
    plain = matmul(*sizes)
    s = Schedule(plain)
    s.split(s["C"].loop("j"), factor)
    s.decompose_reduction("C", s.loops("C")[at])
    assert_same_results(plain, s.program)
    again = Schedule(plain)
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)


def test_decompose_reduction_refuses_a_running_total() -> None:
    plain = parse(
        """program main(A: in float32[4, 5], C: out float32[1], D: out float32[4]):
  for i in range(4):
    C[0] = 0.0
    for k in range(5):
      C[0] += A[i, k]
    D[i] = C[0]
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.decompose_reduction("C", s["C"].loop("i"))
    assert str(error.value) == (
        "decompose_reduction(C, i): in 'C', iteration i=0, k=0 must run before iteration i=3, "
        "and would run after it or at the same time\n"
        "  C[0] += A[i, k]: both write one element of C\n"
        "  C[0] = 0.0: the second\n"
        "  loops, outermost first: i, k; the initialisation must stay where it is"
    )


def test_decompose_reduction_refuses_a_loop_without_the_initialisation() -> None:
    s = Schedule(row_sums())
    with pytest.raises(ScheduleError) as error:
        s.decompose_reduction("C", s["C"].loop("k"))
    assert str(error.value) == (
        "decompose_reduction(C, k): 'C' is not initialised inside loop k\n  C[i] += A[i, k]"
    )


def test_decompose_reduction_refuses_storage_of_the_loop() -> None:
    s = Schedule(row_sums())
    i = s["C"].loop("i")
    s.cache_write("C", i)
    with pytest.raises(ScheduleError) as error:
        s.decompose_reduction("C.local", i)
    assert str(error.value) == (
        "decompose_reduction(C.local, i): C.local is allocated inside loop i; name a loop inside "
        "of that"
    )
    with pytest.raises(ScheduleError) as error:
        s.decompose_reduction("C", i)
    assert str(error.value) == ("decompose_reduction(C, i): nothing in loop i accumulates into 'C'")
