"""unroll, vectorize, parallel: text, meaning, refusals."""

from __future__ import annotations

import pytest

from schedule.nests import assert_same_results, assert_text, diagonal, matmul, scale
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.schedule.schedule import Schedule


def test_loops_say_how_they_run() -> None:
    s = Schedule(matmul(8, 6, 16))
    i, j, k = s.loops("C")
    jo, ji = s.split(j, 8)
    s.reorder(i, jo, k, ji)
    s.parallel(i)
    s.unroll(k)
    s.vectorize(ji)
    assert_text(
        s,
        """
        for i in parallel(8):
          for j.outer in range(2):
            for j.inner.init in range(8):
              C[i, j.outer * 8 + j.inner.init] = 0.0
            for k in unrolled(6):
              for j.inner in vectorized(8):
                C[i, j.outer * 8 + j.inner] += A[i, k] * B[k, j.outer * 8 + j.inner]
        """,
    )
    assert_same_results(matmul(8, 6, 16), s.program)


def test_vectorize_by_a_width_splits_first() -> None:
    s = Schedule(scale(10))
    lanes = s.vectorize(s["B"].loop("i"), 8)
    assert lanes.name == "i.inner"
    assert_same_results(scale(10), s.program)


@pytest.mark.parametrize("step", ["parallel", "vectorize"])
def test_a_reduction_over_threads_or_lanes_is_a_race(step: str) -> None:
    s = Schedule(matmul())
    with pytest.raises(ScheduleError) as error:
        getattr(s, step)(s["C"].loop("k"))
    assert str(error.value) == (
        f"{step}(k): in 'C', iteration k=0 must run before iteration k=1, "
        "and would run after it or at the same time\n"
        "  C[i, j] += A[i, k] * B[k, j]: both write one element of C\n"
        "  loops, outermost first: k; k must run one after the other"
    )


def test_a_recurrence_is_not_parallel_though_its_rows_have_lanes() -> None:
    s = Schedule(diagonal())
    i, j = s.loops("B")
    with pytest.raises(ScheduleError, match=r"parallel\(i\): in 'B'"):
        s.parallel(i)
    s.vectorize(j)
    assert_same_results(diagonal(), s.program)


def test_data_dependent_stores_are_taken_to_touch_everything() -> None:
    s = Schedule(
        parse(
            """program main(idx: in int32[8], B: out float32[8]):
  for i in range(8):
    B[int64(idx[i])] = 1.0
"""
        )
    )
    with pytest.raises(ScheduleError) as error:
        s.parallel(s["B"].loop("i"))
    assert str(error.value) == (
        "parallel(i): two iterations may touch one element of 'B', since an index depends on "
        "data or is not affine\n"
        "  B[int64(idx[i])] = 1.0: both write one element of B\n"
        "  loops, outermost first: i; i must run one after the other"
    )


def test_storage_of_one_iteration_is_no_race() -> None:
    plain = parse(
        """program main(A: in float32[8], B: out float32[8]):
  for i in range(8):
    alloc T: float32[1] local
      T[0] = A[i]
      B[i] = T[0] * 2.0
"""
    )
    s = Schedule(plain)
    s.parallel(s["B"].loop("i"))
    assert_same_results(plain, s.program)


def test_storage_shared_by_iterations_is_a_race() -> None:
    s = Schedule(
        parse(
            """program main(A: in float32[8], B: out float32[8]):
  alloc T: float32[1]
    for i in range(8):
      T[0] = A[i]
      B[i] = T[0] * 2.0
"""
        )
    )
    with pytest.raises(ScheduleError, match="one element of T"):
        s.parallel(s["B"].loop("i"))


@pytest.mark.parametrize("step", ["unroll", "vectorize"])
def test_lanes_and_unrolling_need_a_constant_extent(step: str) -> None:
    s = Schedule(scale("n"))
    with pytest.raises(ScheduleError) as error:
        getattr(s, step)(s["B"].loop("i"))
    assert str(error.value) == (
        f"{step}(i): the extent n is not a constant; split the loop first and take the inner one"
    )


def test_unroll_has_a_limit() -> None:
    s = Schedule(scale(2000))
    with pytest.raises(ScheduleError) as error:
        s.unroll(s["B"].loop("i"))
    assert str(error.value) == "unroll(i): 2000 iterations are above the limit of 1024; split"
