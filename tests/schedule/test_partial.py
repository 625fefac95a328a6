"""cache_write with fold: partial results of an iteration, folded in at its end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.harness import Kernel
from schedule.nests import assert_same_results, assert_text, matmul
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace

SUMS = """program main(A: in float32[6, 10], C: {role} float32[6]):
  for i in range(6):
    for k in range(10):
      C[i] += A[i, k]
"""

TILED = """  for k.outer in range(2):
    for i.outer in range(2):
      for j.outer in range(2):
        alloc C.local: float32[2, 4] local
          for C.unit0 in range(2):
            for C.unit1 in range(4):
              C.local[C.unit0, C.unit1] = 0.0
          for k.inner in range(3):
            for i.inner in range(2):
              for j.inner in range(4):
                C.local[i.inner, j.inner] += A[i.outer * 2 + i.inner, k.outer * 3 + k.inner] \
* B[k.outer * 3 + k.inner, j.outer * 4 + j.inner]
          for C.fold0 in range(2):
            for C.fold1 in range(4):
              C[i.outer * 2 + C.fold0, j.outer * 4 + C.fold1] += C.local[C.fold0, C.fold1]
"""


def blocked(s: Schedule, rows: int, columns: int, steps: int, panel: int | None = None) -> None:
    """Blocks of the sum outside, tiles of the result in them, each with partial sums of its own."""
    i, j, k = s.loops("C")
    blocks, step = s.split(k, steps)
    tiles, row = s.split(i, rows)
    strips, column = s.split(j, columns)
    s.reorder(tiles, strips, row, column)
    s.reorder(blocks, tiles, strips, step, row, column)
    s.cache_write("C", strips, panel=panel, fold=True)


def test_a_tile_starts_from_zero_and_adds_at_its_end() -> None:
    s = Schedule(matmul(4, 6, 8))
    blocked(s, 2, 4, 3)
    text = show(s.program)
    assert text[text.index("  for k.outer") :].splitlines() == TILED.splitlines()
    assert_same_results(matmul(4, 6, 8), s.program)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    tile=st.tuples(*[st.integers(1, 4)] * 3),
    panel=st.sampled_from((None, 1, 2, 3)),
)
def test_ragged_tiles_in_panels_keep_the_result(
    shape: tuple[int, int, int], tile: tuple[int, int, int], panel: int | None
) -> None:
    s = Schedule(matmul(*shape))
    blocked(s, *tile, panel)
    assert_same_results(matmul(*shape), s.program)
    again = Schedule(matmul(*shape))
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)


def test_compiled_code_does_the_same() -> None:
    plain = matmul(13, 11, 19)
    s = Schedule(plain)
    blocked(s, 6, 8, 4)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-4, 5, n).astype(np.float32) for n in ((13, 11), (11, 19)))
    c = np.empty((13, 19), np.float32)
    code, _ = Kernel(s.program)({"A": a, "B": b, "C": c})
    assert code == 0
    assert np.array_equal(c, a @ b)


def test_the_end_of_the_last_panel_is_left_alone() -> None:
    sums = parse(
        """program main(A: in float32[7, 3], C: out float32[7]):
  for i in range(7):
    C[i] = 0.0
    for k in range(3):
      C[i] += A[i, k]
"""
    )
    s = Schedule(sums)
    s.cache_write("C", s["C"].loop("k"), panel=2, fold=True)
    assert_same_results(sums, s.program)
    backward = parse(
        """program main(A: in float32[7], C: out float32[7]):
  for i in range(7):
    C[6 - i] = A[i]
"""
    )
    s = Schedule(backward)
    s.cache_write("C", s["C"].loop("i"), panel=2)
    assert_same_results(backward, s.program)


@pytest.mark.parametrize("op", ["max", "min", "*"])
def test_other_reducers_start_from_their_own_identity(op: str) -> None:
    plain = parse(SUMS.format(role="inout").replace("+=", f"{op}="))
    s = Schedule(plain)
    s.split(s["C"].loop("k"), 4)
    s.cache_write("C", s["C"].loop("k.outer"), fold=True)
    assert_same_results(plain, s.program)


def test_elements_that_an_iteration_leaves_alone_keep_their_value() -> None:
    text = """program main(A: in float32[9], C: {role} float32[9]):
{start}  for i in range(9):
    if A[i] > 0.0:
      C[i] += A[i]
"""
    given = parse(text.format(role="inout", start=""))
    zero = "  for j in range(9):\n    C[j] = 0.0\n"
    for plain in (given, parse(text.format(role="out", start=zero))):
        s = Schedule(plain)
        s.split(s["C"].loop("i"), 4)
        s.cache_write("C", s["C"].loop("i.outer"), fold=True)
        assert_same_results(plain, s.program)
    s = Schedule(parse(text.format(role="out", start=zero.replace("range(9)", "range(8)"))))
    with pytest.raises(ScheduleError) as error:
        s.cache_write("C", s["C"].loop("i"), fold=True)
    assert str(error.value) == (
        "cache_write(C, i, fold=True): an iteration may leave elements of its part of 'C' alone, "
        "and they may hold no value to fold a partial result into\n"
        "  C[i + C.fold0] += C.local[C.fold0]\n"
        "  initialise all of 'C' first"
    )


def test_it_refuses_a_loop_that_also_stores() -> None:
    s = Schedule(matmul(4, 6, 8))
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.cache_write("C", s["C"].loop("j"), fold=True)
    assert str(error.value) == (
        "cache_write(C, j, fold=True): loop j does more with 'C' than accumulate into it\n"
        "  C[i, j] = 0.0\n"
        "  decompose_reduction moves an initialisation out of it"
    )
    assert show(s.program) == before
    assert len(s.trace) == 0


def test_it_refuses_a_loop_that_reads_what_it_sums() -> None:
    s = Schedule(parse(SUMS.format(role="inout").replace("A[i, k]", "A[i, k] * C[i]")))
    with pytest.raises(ScheduleError) as error:
        s.cache_write("C", s["C"].loop("k"), fold=True)
    assert str(error.value) == (
        "cache_write(C, k, fold=True): loop k does more with 'C' than accumulate into it\n"
        "  C[i] += A[i, k] * C[i]"
    )


def test_it_refuses_two_reducers() -> None:
    plain = SUMS.format(role="inout") + "      C[i] max= A[i, k]\n"
    s = Schedule(parse(plain))
    with pytest.raises(ScheduleError) as error:
        s.cache_write("C", s["C"].loop("k"), fold=True)
    assert str(error.value) == (
        "cache_write(C, k, fold=True): 'C' is accumulated into in two ways\n"
        "  C[i] += A[i, k]\n"
        "  C[i] max= A[i, k]"
    )


def test_it_refuses_a_reducer_that_is_not_associative() -> None:
    s = Schedule(
        parse(
            """reducer hyp(a: int32, b: int32) identity (int32(0)) nonassociative = (a * b + a + b)
program main(X: in int32[11], V: inout int32[1]):
  for k in range(11):
    V[0] hyp= X[k]
"""
        )
    )
    with pytest.raises(ScheduleError) as error:
        s.cache_write("V", s["V"].loop("k"), fold=True)
    assert str(error.value) == (
        "cache_write(V, k, fold=True): reducer hyp is declared nonassociative, so partial results "
        "cannot be folded in another order\n"
        "  V[0] hyp= X[k]"
    )


def test_a_strict_schedule_folds_what_does_not_round() -> None:
    s = Schedule(parse(SUMS.format(role="inout")), strict=True)
    with pytest.raises(ScheduleError) as error:
        s.cache_write("C", s["C"].loop("i"), fold=True)
    assert str(error.value) == (
        "cache_write(C, i, fold=True): partial results of 'C' would be rounded in another order\n"
        "  C[i] += A[i, k]\n"
        "  this schedule is strict: floats are folded in the order in which they stand"
    )
    largest = parse(SUMS.format(role="inout").replace("+=", "max="))
    s = Schedule(largest, strict=True)
    s.cache_write("C", s["C"].loop("i"), fold=True)
    assert_text(
        s,
        """
        for i in range(6):
          alloc C.local: float32[1] local
            for C.unit0 in range(1):
              C.local[C.unit0] = float32(-inf)
            for k in range(10):
              C.local[0] max= A[i, k]
            for C.fold0 in range(1):
              C[i + C.fold0] max= C.local[C.fold0]
        """,
    )
    assert_same_results(largest, s.program)
