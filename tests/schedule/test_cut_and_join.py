"""fuse, the tails of split, peel and partition: text, meaning, refusals."""

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

TRIANGLE = """program main(A: in float32[6, 6], B: out float32[6]):
  for i in range(6):
    B[i] = 0.0
    for j in range(i + 1):
      B[i] += A[i, j]
"""
PLANE = """program main(A: in float32[{m}, {n}], B: out float32[{m}, {n}]){dims}:
  for i in range({m}):
    if i < 5:
      for j in range({n}):
        B[i, j] = A[i, j] * 2.0
  for x in range(5, {m}):
    for y in range({n}):
      B[x, y] = A[x, y]
"""
# Extents that may both be negative: their product would not be.
BELOW_ZERO = """program main(A: in float32[n], B: inout float32[n]) dims(n >= 0):
  for i in range(n - 2):
    for j in range(n - 2):
      B[i] += A[j]
"""


def plane(m: int | str, n: int | str) -> str:
    names = [x for x in (m, n) if isinstance(x, str)]
    dims = f" dims({', '.join(f'{x} >= 0' for x in names)})" if names else ""
    return PLANE.format(m=m, n=n, dims=dims)


# --- fuse ----------------------------------------------------------------------------------------


def test_fuse_makes_one_loop_over_the_product() -> None:
    s = Schedule(matmul())
    i, j, _ = s.loops("C")
    fused = s.fuse(i, j)
    assert fused.name == "i.j"
    assert_text(
        s,
        """
        for i.j in range(80):
          C[i.j // 10, i.j % 10] = 0.0
          for k in range(6):
            C[i.j // 10, i.j % 10] += A[i.j // 10, k] * B[k, i.j % 10]
        """,
    )
    assert_same_results(matmul(), s.program)


def test_fuse_undoes_a_split_but_for_the_guard() -> None:
    s = Schedule(scale(10))
    outer, inner = s.split(s["B"].loop("i"), 4)
    s.fuse(outer, inner, name="i")
    assert_text(
        s,
        """
        for i in range(12):
          if i < 10:
            B[i] = A[i] * 2.0
        """,
    )


def test_fuse_joins_the_parts_of_an_index_with_others_in_it() -> None:
    s = Schedule(scale(14))
    outer, inner = s.split(s["B"].loop("i"), 7)
    middle, inner = s.split(inner, 4)
    s.fuse(middle, inner, name="f")
    s.fuse(outer, s["B"].loop("f"), name="i")
    assert show(s.program).split("\n")[1] == "  for i in range(16):"
    assert_same_results(scale(14), s.program)


def test_fuse_moves_a_guard_between_the_loops_inside() -> None:
    s = Schedule(parse(plane(7, 3)))
    s.fuse(s["B"].loop("i"), s["B"].loop("j"))
    assert show(s.program).split("\n")[1:4] == [
        "  for i.j in range(21):",
        "    if i.j // 3 < 5:",
        "      B[i.j // 3, i.j % 3] = A[i.j // 3, i.j % 3] * 2.0",
    ]


def test_fuse_of_symbolic_extents_keeps_flat_indices_flat() -> None:
    s = Schedule(
        parse(
            """program main(A: in float32[m * n], B: out float32[m, n]) dims(m >= 0, n >= 0):
  for i in range(m):
    for j in range(n):
      B[i, j] = A[i * n + j]
"""
        )
    )
    s.fuse(*s.loops("B"))
    assert_text(
        s,
        """
        for i.j in range(m * n):
          B[i.j // n, i.j % n] = A[i.j]
        """,
    )


def test_fuse_of_extents_that_may_be_negative_runs_nothing_then() -> None:
    plain = parse(BELOW_ZERO)
    s = Schedule(plain)
    s.fuse(*s.loops("B"))
    for n in range(5):
        assert_same_results(plain, s.program, n=n)


@settings(max_examples=30, deadline=None)
@given(m=st.integers(5, 8), n=st.integers(1, 6), symbolic=st.booleans())
def test_fuse_keeps_meaning(m: int, n: int, symbolic: bool) -> None:
    plain = parse(plane("m", "n") if symbolic else plane(m, n))
    s = Schedule(plain)
    s.fuse(s["B"].loop("i"), s["B"].loop("j"))
    s.fuse(s["B"].loop("x"), s["B"].loop("y"))
    assert_same_results(plain, s.program, **({"m": m, "n": n} if symbolic else {}))


def test_fused_loops_of_a_constant_inner_size_run_in_parallel() -> None:
    s = Schedule(matmul())
    i, j, _ = s.loops("C")
    s.parallel(s.fuse(i, j))
    assert_same_results(matmul(), s.program)


def test_fuse_refuses_a_statement_between_the_loops() -> None:
    s = Schedule(matmul())
    before = show(s.program)
    _, j, k = s.loops("C")
    with pytest.raises(ScheduleError) as error:
        s.fuse(j, k)
    assert str(error.value) == (
        "fuse(j, k): a statement stands between the loops; fission or reorder first\n"
        "  C[i, j] = 0.0"
    )
    assert show(s.program) == before
    assert len(s.trace) == 0


def test_fuse_refuses_a_loop_between_the_loops() -> None:
    s = Schedule(parse(TRIANGLE.replace("B[i] = 0.0", "for z in range(1):\n      B[i + z] = 0.0")))
    s.split(s["B"].loop("z"), 1)
    with pytest.raises(ScheduleError) as error:
        s.fuse(s["B"].loop("i"), s["B"].loop("j"))
    assert str(error.value) == (
        "fuse(i, j): a statement stands between the loops; fission or reorder first\n"
        "  for z.outer in range(1):"
    )
    s = Schedule(matmul())
    i, _, k = s.loops("C")
    with pytest.raises(ScheduleError) as error:
        s.fuse(i, k)
    assert str(error.value) == (
        "fuse(i, k): the loops must stand directly inside one another; between them stands\n"
        "  for j in range(10):"
    )


def test_fuse_refuses_a_triangle() -> None:
    s = Schedule(parse(TRIANGLE.replace("    B[i] = 0.0\n", "").replace("out", "inout")))
    with pytest.raises(ScheduleError) as error:
        s.fuse(*s.loops("B"))
    assert str(error.value) == (
        "fuse(i, j): j runs i + 1 iterations, which depends on i; both must be free of each other"
    )


def test_fuse_refuses_loops_in_the_wrong_order() -> None:
    s = Schedule(matmul())
    i, j, _ = s.loops("C")
    with pytest.raises(ScheduleError) as error:
        s.fuse(j, i)
    assert str(error.value) == (
        "fuse(j, i): loop i does not stand inside j; name the outer loop first"
    )


# --- split with another tail ---------------------------------------------------------------------


def test_split_peels_the_tail_into_a_loop_of_its_own() -> None:
    s = Schedule(matmul(8, 6, 10))
    s.split(s["C"].loop("i"), 3, tail="peel")
    assert_text(
        s,
        """
        for i.outer in range(2):
          for i.inner in range(3):
            for j in range(10):
              C[i.outer * 3 + i.inner, j] = 0.0
              for k in range(6):
                C[i.outer * 3 + i.inner, j] += A[i.outer * 3 + i.inner, k] * B[k, j]
        for i.tail in range(6, 8):
          for j.tail in range(10):
            C[i.tail, j.tail] = 0.0
            for k.tail in range(6):
              C[i.tail, j.tail] += A[i.tail, k.tail] * B[k.tail, j.tail]
        """,
    )
    s.vectorize(s["C"].loop("i.inner"))
    s.parallel(s["C"].loop("j.tail"))
    assert_same_results(matmul(8, 6, 10), s.program)


def test_split_peels_a_symbolic_tail() -> None:
    s = Schedule(scale("n"))
    s.split(s["B"].loop("i"), 4, tail="peel")
    assert_text(
        s,
        """
        for i.outer in range(n // 4):
          for i.inner in range(4):
            B[i.outer * 4 + i.inner] = A[i.outer * 4 + i.inner] * 2.0
        for i.tail in range(n // 4 * 4, n):
          B[i.tail] = A[i.tail] * 2.0
        """,
    )


def test_split_masks_each_statement() -> None:
    s = Schedule(matmul(8, 6, 10))
    s.split(s["C"].loop("i"), 3, tail="mask")
    assert_text(
        s,
        """
        for i.outer in range(3):
          for i.inner in range(3):
            for j in range(10):
              if i.outer * 3 + i.inner < 8:
                C[i.outer * 3 + i.inner, j] = 0.0
              for k in range(6):
                if i.outer * 3 + i.inner < 8:
                  C[i.outer * 3 + i.inner, j] += A[i.outer * 3 + i.inner, k] * B[k, j]
        """,
    )


def test_a_mask_stays_outside_of_what_reads_data() -> None:
    plain = parse(
        """program main(A: in float32[7], B: inout float32[7]):
  for i in range(7):
    for j in range(2):
      if A[i] > 0.0:
        B[i] += A[i]
"""
    )
    s = Schedule(plain)
    s.split(s["B"].loop("i"), 4, tail="mask")
    assert_text(
        s,
        """
        for i.outer in range(2):
          for i.inner in range(4):
            for j in range(2):
              if i.outer * 4 + i.inner < 7:
                if A[i.outer * 4 + i.inner] > 0.0:
                  B[i.outer * 4 + i.inner] += A[i.outer * 4 + i.inner]
        """,
    )
    assert_same_results(plain, s.program)


@settings(max_examples=40, deadline=None)
@given(
    extent=st.integers(0, 20),
    factor=st.integers(1, 9),
    tail=st.sampled_from(["guard", "peel", "mask"]),
    symbolic=st.booleans(),
)
def test_every_tail_keeps_meaning(extent: int, factor: int, tail: str, symbolic: bool) -> None:
    plain = scale("n") if symbolic else matmul(max(extent, 1), 2, 3)
    s = Schedule(plain)
    stage = "B" if symbolic else "C"
    s.split(s[stage].loop("i"), factor, tail=tail)
    assert_same_results(plain, s.program, **({"n": extent} if symbolic else {}))


def test_peeling_where_the_extent_may_be_negative_runs_nothing_then() -> None:
    plain = parse(BELOW_ZERO)
    s = Schedule(plain)
    i, j = s.loops("B")
    s.split(i, 3, tail="peel")
    s.partition(j, 1)
    for n in range(9):
        assert_same_results(plain, s.program, n=n)


def test_split_refuses_an_unknown_tail() -> None:
    s = Schedule(scale())
    with pytest.raises(ScheduleError) as error:
        s.split(s["B"].loop("i"), 4, tail="drop")
    assert str(error.value) == "split(i, 4): tail must be one of guard, peel, mask, got 'drop'"


# --- peel and partition --------------------------------------------------------------------------


def test_peel_gives_the_first_iterations_a_loop_of_their_own() -> None:
    s = Schedule(scale(10))
    first, rest = s.peel(s["B"].loop("i"), 2)
    assert (first.name, rest.name) == ("i.head", "i")
    assert_text(
        s,
        """
        for i.head in range(2):
          B[i.head] = A[i.head] * 2.0
        for i in range(2, 10):
          B[i] = A[i] * 2.0
        """,
    )


def test_peel_from_the_back_leaves_room_for_sizes_that_are_too_small() -> None:
    s = Schedule(scale("n"))
    last, rest = s.peel(s["B"].loop("i"), 2, side="back")
    assert (last.name, rest.name) == ("i.tail", "i")
    assert_text(
        s,
        """
        for i in range(max(n - 2, 0)):
          B[i] = A[i] * 2.0
        for i.tail in range(max(n - 2, 0), n):
          B[i.tail] = A[i.tail] * 2.0
        """,
    )


@settings(max_examples=40, deadline=None)
@given(n=st.integers(0, 9), at=st.integers(-8, 8).filter(bool), symbolic=st.booleans())
def test_partition_keeps_meaning(n: int, at: int, symbolic: bool) -> None:
    size = n if symbolic else abs(at) + n + 1
    plain = scale("n" if symbolic else size)
    s = Schedule(plain)
    first, second = s.partition(s["B"].loop("i"), at)
    s.parallel(first)
    s.parallel(second)
    assert_same_results(plain, s.program, **({"n": size} if symbolic else {}))


def test_a_stencil_that_is_peeled_at_both_ends_keeps_meaning() -> None:
    plain = parse(
        """program main(A: in float32[9], B: out float32[9]):
  for i in range(9):
    B[i] = where(i > 0, A[i - 1], 0.0) + where(i < 8, A[i + 1], 0.0)
"""
    )
    s = Schedule(plain)
    i = s["B"].loop("i")
    s.peel(i)
    s.peel(i, side="back")
    s.vectorize(i)
    assert_same_results(plain, s.program)


def test_peel_refuses_to_leave_nothing() -> None:
    s = Schedule(scale(4))
    with pytest.raises(ScheduleError) as error:
        s.peel(s["B"].loop("i"), 4)
    assert str(error.value) == (
        "peel(i, 4, 'front'): the loop runs 4 iterations, and both parts need at least one"
    )
    with pytest.raises(ScheduleError) as error:
        s.peel(s["B"].loop("i"), 1, side="left")
    assert str(error.value) == (
        "peel(i, 1, 'left'): peel at least 1 iteration from the side 'front' or 'back'"
    )


def test_cuts_and_joins_replay_from_their_trace() -> None:
    s = Schedule(matmul())
    i, j, k = s.loops("C")
    s.peel(i, 1, side="back")
    s.partition(k, 2)
    io, _ = s.split(i, 3, tail="mask")
    s.split(j, 4, names=("jo", "ji"), tail="peel")
    s.fuse(io, s["C"].loop("i.inner"), name="f")
    again = Schedule(matmul())
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)
    third = Schedule(matmul())
    exec(str(s.trace), {"s": third})
    assert show(third.program) == show(s.program)
    assert_same_results(matmul(), s.program)
