"""unroll, vectorize, parallel, bind, annotate: text, meaning, refusals."""

from __future__ import annotations

from typing import Any

import pytest

from schedule.nests import assert_same_results, assert_text, diagonal, matmul, scale
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace


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


def test_bind_gives_iterations_to_a_grid() -> None:
    s = Schedule(scale("n"))
    io, ii = s.split(s["B"].loop("i"), 32)
    s.bind(io, "block.x")
    s.bind(ii, "thread.x")
    assert_text(
        s,
        """
        for i.outer in block.x((n + 31) // 32):
          for i.inner in thread.x(32):
            if i.outer * 32 + i.inner < n:
              B[i.outer * 32 + i.inner] = A[i.outer * 32 + i.inner] * 2.0
        """,
    )
    assert_same_results(scale("n"), s.program, n=70)
    again = Schedule(scale("n"))
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)


def test_bind_refuses_iterations_that_depend_on_each_other() -> None:
    s = Schedule(matmul())
    with pytest.raises(ScheduleError) as error:
        s.bind(s["C"].loop("k"), "block.x")
    assert str(error.value) == (
        "bind(k, block.x): in 'C', iteration k=0 must run before iteration k=1, "
        "and would run after it or at the same time\n"
        "  C[i, j] += A[i, k] * B[k, j]: both write one element of C\n"
        "  loops, outermost first: k; rfactor gives each iteration a partial result, and thread.x "
        "folds by itself"
    )


def test_the_threads_of_a_block_fold_into_one_element() -> None:
    plain = matmul(4, 40, 3)
    s = Schedule(plain)
    i, j, k = s.loops("C")
    _, ki = s.split(k, 8)
    s.reorder(ki, s.loops("C")[-2])
    s.bind(ki, "thread.x")
    s.bind(j, "block.x")
    s.bind(i, "block.y")
    assert_text(
        s,
        """
        for i in block.y(4):
          for j in block.x(3):
            C[i, j] = 0.0
            for k.inner in thread.x(8):
              for k.outer in range(5):
                C[i, j] += A[i, k.outer * 8 + k.inner] * B[k.outer * 8 + k.inner, j]
        """,
    )
    assert_same_results(plain, s.program)


def test_nests_inside_of_one_block_have_the_same_threads() -> None:
    plain = parse(
        """program main(A: in float32[8, 16], B: out float32[8, 16]):
  for i in range(8):
    alloc T: float32[16]
      for j in range(16):
        T[j] = A[i, j]
      for k in range(16):
        B[i, k] = T[15 - k]
"""
    )
    s = Schedule(plain)
    s.bind(s["B"].loop("i"), "block.x")
    s.set_scope("T", "shared")
    s.bind(s["T"].loop("j"), "thread.x")
    s.bind(s["B"].loop("k"), "thread.x")
    assert_same_results(plain, s.program)
    again = Schedule(plain)
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)


def test_bind_refuses_what_no_grid_has() -> None:
    s = Schedule(scale(2000))
    i = s["B"].loop("i")
    refusals = {
        "thread.w": "bind(i, thread.w): the axes of a grid are block.x, block.y, block.z, "
        "thread.x, thread.y, thread.z",
        "thread.x": "bind(i, thread.x): 2000 iterations are above the limit of 1024; split",
    }
    for axis, message in refusals.items():
        with pytest.raises(ScheduleError) as error:
            s.bind(i, axis)
        assert str(error.value) == message
    s.bind(i, "block.x")
    with pytest.raises(ScheduleError) as error:
        s.parallel(i)
    assert str(error.value) == (
        "parallel(i): loop i is bound already; restructure loops first, then say how they run"
    )


def test_bind_refuses_an_axis_that_a_loop_around_or_inside_has() -> None:
    for first, second in ((0, 1), (1, 0)):
        s = Schedule(scale(64))
        pair = s.split(s["B"].loop("i"), 8)
        s.bind(pair[first], "thread.x")
        with pytest.raises(ScheduleError) as error:
            s.bind(pair[second], "thread.x")
        assert str(error.value) == (
            f"bind({pair[second].name}, thread.x): loop {pair[first].name} is bound to thread.x "
            "already"
        )


def test_annotate_leaves_a_hint_in_the_text_and_takes_it_away() -> None:
    s = Schedule(scale(8))
    i = s["B"].loop("i")
    s.annotate(i, "prefetch", 4)
    s.annotate(i, "note", 'say "x"')
    s.annotate(i, "prefetch", True)
    assert_text(
        s,
        """
        for i in range(8) {note: "say \\"x\\"", prefetch: True}:
          B[i] = A[i] * 2.0
        """,
    )
    assert_same_results(scale(8), s.program)
    again = Schedule(scale(8))
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)
    s.annotate(i, "prefetch", None)
    s.annotate(i, "note", None)
    assert show(s.program) == show(scale(8))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("a b", 1, "annotate(i, a b, 1): a key is a name, such as prefetch"),
        ("for", 1, "annotate(i, for, 1): a key is a name, such as prefetch"),
        ("a", 1.5, "annotate(i, a, 1.5): a hint is an integer, a bool or a text"),
        ("a", 2**63, f"annotate(i, a, {2**63}): an integer hint has 64 bits"),
    ],
)
def test_annotate_refuses_what_would_not_print(key: str, value: Any, message: str) -> None:
    s = Schedule(scale(8))
    with pytest.raises(ScheduleError) as error:
        s.annotate(s["B"].loop("i"), key, value)
    assert str(error.value) == message
    assert len(s.trace) == 0
