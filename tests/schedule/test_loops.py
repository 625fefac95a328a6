"""split and reorder: text, meaning, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedule.nests import (
    assert_same_results,
    assert_text,
    diagonal,
    matmul,
    scale,
)
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule


def test_split_guards_a_ragged_tail() -> None:
    s = Schedule(scale(10))
    s.split(s["B"].loop("i"), 4)
    assert_text(
        s,
        """
        for i.outer in range(3):
          for i.inner in range(4):
            if i.outer * 4 + i.inner < 10:
              B[i.outer * 4 + i.inner] = A[i.outer * 4 + i.inner] * 2.0
        """,
    )


def test_split_makes_no_guard_where_the_factor_divides() -> None:
    s = Schedule(scale(8))
    s.split(s["B"].loop("i"), 4, names=("io", "ii"))
    assert_text(
        s,
        """
        for io in range(2):
          for ii in range(4):
            B[io * 4 + ii] = A[io * 4 + ii] * 2.0
        """,
    )


def test_split_of_a_symbolic_extent_is_guarded() -> None:
    s = Schedule(scale("n"))
    s.split(s["B"].loop("i"), 4)
    assert_text(
        s,
        """
        for i.outer in range((n + 3) // 4):
          for i.inner in range(4):
            if i.outer * 4 + i.inner < n:
              B[i.outer * 4 + i.inner] = A[i.outer * 4 + i.inner] * 2.0
        """,
    )


def test_split_keeps_the_start_of_a_loop() -> None:
    plain = parse(
        """program main(B: inout float32[12]):
  for i in range(2, 12):
    B[i] = B[i] + 1.0
"""
    )
    s = Schedule(plain)
    s.split(s["B"].loop("i"), 5)
    assert_same_results(plain, s.program)


@given(extent=st.integers(1, 40), factor=st.integers(1, 50))
def test_split_keeps_meaning(extent: int, factor: int) -> None:
    plain = scale(extent)
    s = Schedule(plain)
    s.split(s["B"].loop("i"), factor)
    assert_same_results(plain, s.program)


@given(extent=st.integers(0, 20), factor=st.integers(1, 9))
def test_split_keeps_meaning_for_every_symbolic_size(extent: int, factor: int) -> None:
    plain = scale("n")
    s = Schedule(plain)
    s.split(s["B"].loop("i"), factor)
    assert_same_results(plain, s.program, n=extent)


def test_split_names_the_quotient_and_the_rest_by_its_factor() -> None:
    plain = parse("""program main(A: in float32[4, 3], C: out float32[10]):
  for i in range(10):
    C[i] = A[i // 3, i % 3] + A[i // 4, 0]
""")
    s = Schedule(plain)
    s.split(s["C"].loop("i"), 3)
    assert_text(
        s,
        """
        for i.outer in range(4):
          for i.inner in range(3):
            if i.outer * 3 + i.inner < 10:
              C[i.outer * 3 + i.inner] = A[i.outer, i.inner] + A[(i.outer * 3 + i.inner) // 4, 0]
        """,
    )
    assert_same_results(plain, s.program)


def test_split_refuses_a_factor_below_one() -> None:
    s = Schedule(scale())
    with pytest.raises(ScheduleError) as error:
        s.split(s["B"].loop("i"), 0)
    assert str(error.value) == "split(i, 0): the factor must be at least 1"
    assert len(s.trace) == 0


def test_split_refuses_a_vectorized_loop() -> None:
    s = Schedule(scale(8))
    i = s["B"].loop("i")
    s.vectorize(i)
    with pytest.raises(ScheduleError) as error:
        s.split(i, 4)
    assert str(error.value) == (
        "split(i, 4): loop i is vectorized already; restructure loops first, then say how they run"
    )


def test_a_stale_handle_says_what_became_of_its_loop() -> None:
    s = Schedule(scale(8))
    i = s["B"].loop("i")
    s.split(i, 4)
    with pytest.raises(ScheduleError) as error:
        s.parallel(i)
    assert str(error.value) == "loop i of 'B' was split into i.outer and i.inner"
    with pytest.raises(ScheduleError) as error:
        s["B"].loop("i")
    assert str(error.value) == (
        "'B' has no loop 'i': it was split into i.outer and i.inner; its loops are i.outer, i.inner"
    )


def test_reorder_moves_an_initialisation_into_loops_of_its_own() -> None:
    s = Schedule(matmul())
    i, j, k = s.loops("C")
    s.reorder(k, i, j)
    assert_text(
        s,
        """
        for i.init in range(8):
          for j.init in range(10):
            C[i.init, j.init] = 0.0
        for k in range(6):
          for i in range(8):
            for j in range(10):
              C[i, j] += A[i, k] * B[k, j]
        """,
    )
    assert_same_results(matmul(), s.program)


def test_reorder_leaves_an_initialisation_where_no_loop_passes_it() -> None:
    s = Schedule(matmul())
    i, j, _ = s.loops("C")
    s.reorder(j, i)
    assert_text(
        s,
        """
        for j in range(10):
          for i in range(8):
            C[i, j] = 0.0
            for k in range(6):
              C[i, j] += A[i, k] * B[k, j]
        """,
    )


@given(
    order=st.permutations(["i.outer", "i.inner", "j", "k"]),
    factor=st.integers(1, 5),
    size=st.integers(1, 6),
)
def test_reorder_keeps_meaning(order: list[str], factor: int, size: int) -> None:
    plain = matmul(size, 3, 4)
    s = Schedule(plain)
    s.split(s["C"].loop("i"), factor)
    s.reorder(*(s["C"].loop(name) for name in order))
    assert_same_results(plain, s.program)


def test_reorder_refuses_to_swap_dependent_iterations() -> None:
    s = Schedule(diagonal())
    before = show(s.program)
    i, j = s.loops("B")
    with pytest.raises(ScheduleError) as error:
        s.reorder(j, i)
    assert str(error.value) == (
        "reorder(j, i): in 'B', iteration i=6, j=6 must run before iteration i=7, j=5, "
        "and would run after it or at the same time\n"
        "  B[i, j] = B[i - 1, j + 1] * 0.5: the second reads what the first writes to B\n"
        "  loops, outermost first: i, j; the order i, j is legal"
    )
    assert show(s.program) == before
    assert len(s.trace) == 0


def test_reorder_refuses_loops_that_do_not_nest() -> None:
    s = Schedule(
        parse(
            """program main(B: out float32[4], C: out float32[4]):
  for i in range(4):
    B[i] = 1.0
  for j in range(4):
    C[j] = 1.0
"""
        )
    )
    with pytest.raises(ScheduleError) as error:
        s.reorder(s["C"].loop("j"), s["B"].loop("i"))
    assert str(error.value) == (
        "reorder(j, i): the loops must stand inside one another; around j stand j, "
        "which leaves out i"
    )


def test_reorder_refuses_a_range_that_depends_on_an_inner_loop() -> None:
    s = Schedule(
        parse(
            """program main(B: out float32[4, 4]):
  for i in range(4):
    for j in range(i + 1):
      B[i, j] = 1.0
"""
        )
    )
    i, j = s.loops("B")
    with pytest.raises(ScheduleError) as error:
        s.reorder(j, i)
    assert str(error.value) == (
        "reorder(j, i): the range of j depends on i, which would come to stand inside it; "
        "i must stay outside j"
    )


def test_reorder_refuses_a_loop_named_twice() -> None:
    s = Schedule(matmul())
    i = s["C"].loop("i")
    with pytest.raises(ScheduleError) as error:
        s.reorder(i, i)
    assert str(error.value) == "reorder(i, i): a loop is named twice"


def test_reorder_refuses_to_read_a_value_before_its_initialisation() -> None:
    """The sum is read in the same iteration, after its loop: it cannot move outside."""
    s = Schedule(
        parse(
            """program main(A: in float32[4, 4], S: out float32[4], B: out float32[4, 4]):
  for i in range(4):
    for j in range(4):
      S[i] = A[i, j]
      for k in range(3):
        B[i, j] = S[i] * 2.0
"""
        )
    )
    i, j, k = s.loops("B")
    with pytest.raises(ScheduleError, match=r"reorder\(i, k, j\): in '(S|B)'"):
        s.reorder(i, k, j)
