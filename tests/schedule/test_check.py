"""check, show, apply: what a schedule says about itself, and steps that users compose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from schedule.nests import assert_same_results, diagonal, matmul, scale
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule import parallel
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Expr
    from tensorc.ir.stmt import For, Program
    from tensorc.schedule.handles import Loop

GATHER = """program main(A: in float32[{rows}, 2], idx: in int64[3], B: out float32[3, 2]):
  for i in range(3):
    check idx[i] >= 0 and idx[i] < {rows}, "row {{0}}", (idx[i])
  for i in range(3):
    for j in range(2):
      B[i, j] = A[idx[i], j]
"""
MEAN = """program main(A: in float32[n], S: out float32[1]) dims(n >= 1):
  S[0] = 0.0
  for i in range(n):
    S[0] += exp(A[i]) / float32(n)
"""


def no_dependence(_loop: For, _given: Sequence[Expr]) -> None:
    """In place of the proof, a mistake."""


# --- check ---------------------------------------------------------------------------------------


def test_check_passes_on_a_legal_schedule() -> None:
    s = Schedule(matmul())
    i, j, k = s.loops("C")
    io, _, ii, ji = s.tile(i, j, 4, 8)
    s.reorder(k, ii, ji)
    s.parallel(io)
    s.check()


def test_check_tries_symbolic_sizes_small_and_least() -> None:
    s = Schedule(scale("n"))
    s.split(s["B"].loop("i"), 4, tail="peel")
    s.check()
    s.check(sizes={"n": 13})


def test_check_names_the_element_and_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "carried_pair", no_dependence)
    s = Schedule(diagonal())
    i, j = s.loops("B")
    s.split(j, 2)
    s.parallel(i)
    s.split(s["B"].loop("j.outer"), 2)
    with pytest.raises(ScheduleError) as error:
        s.check()
    assert str(error.value) == (
        "check: B[2, 0] is 1.5, and 0.0 by the plain program; "
        'step 2, s.parallel(s["B"].loop("i")), brought it in'
    )


def test_check_reports_a_program_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "carried_pair", no_dependence)
    plain = parse(
        """program main(A: in float32[4], S: out float32[5]):
  S[0] = 0.0
  for i in range(4):
    S[i + 1] = S[i] + A[i]
"""
    )
    s = Schedule(plain)
    s.parallel(s["S"].loop("i"))
    with pytest.raises(ScheduleError) as error:
        s.check()
    assert str(error.value) == (
        "check: the scheduled program fails: load S[3]: it was never written; "
        'step 1, s.parallel(s["S"].loop("i")), brought it in'
    )


def test_check_finds_what_no_step_explains() -> None:
    s = Schedule(scale(4))
    s.split(s["B"].loop("i"), 2)
    s.program = parse(show(s.program).replace("* 2.0", "* 3.0"))
    with pytest.raises(ScheduleError) as error:
        s.check()
    assert str(error.value) == (
        "check: B[0] is 9.0, and 6.0 by the plain program; no step of the trace brings it in"
    )


def test_check_lets_sums_that_round_be_folded_in_another_order() -> None:
    s = Schedule(parse(MEAN))
    s.rfactor(s.split(s["S"].loop("i"), 4)[1])
    s.check()


def test_check_finds_rows_that_a_gather_has() -> None:
    Schedule(parse(GATHER.format(rows=1))).check()


def test_check_takes_inputs_where_a_program_is_choosy() -> None:
    plain = parse(GATHER.format(rows=4).replace(">= 0", ">= 3"))
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.check()
    assert str(error.value) == (
        "check: the plain program ends with 'row 0' on the inputs that were drawn; "
        "give it others by arrays="
    )
    s.check(arrays={"idx": np.array([3, 3, 3])})
    with pytest.raises(ScheduleError) as error:
        s.check(arrays={"idx": np.zeros(2, np.int64)})
    assert str(error.value) == "check: idx must be int64[3], got int64[2]"


def test_check_refuses_what_would_run_for_minutes() -> None:
    s = Schedule(matmul(256, 256, 256))
    with pytest.raises(ScheduleError) as error:
        s.check()
    assert str(error.value) == (
        "check: the plain program runs about 16842752 statements, and the interpreter takes "
        "300000 at most; replay the trace on a smaller program and check that, or make sizes "
        "symbolic"
    )


def test_check_refuses_sizes_that_do_not_fit() -> None:
    with pytest.raises(ScheduleError) as error:
        Schedule(scale("n")).check(sizes={"m": 3})
    assert str(error.value) == "check: give a size for each of n; got m"


# --- show ----------------------------------------------------------------------------------------


def test_show_marks_what_the_last_step_changed() -> None:
    s = Schedule(scale(10))
    assert "> " not in s.show()
    _, inner = s.split(s["B"].loop("i"), 4)
    s.unroll(inner)
    assert s.show() == (
        "  program main(A: in float32[10], B: out float32[10]):\n"
        "    for i.outer in range(3):\n"
        ">     for i.inner in unrolled(4):\n"
        "        if i.outer * 4 + i.inner < 10:\n"
        "          B[i.outer * 4 + i.inner] = A[i.outer * 4 + i.inner] * 2.0"
    )


def test_a_line_that_only_moved_further_in_is_not_marked() -> None:
    s = Schedule(matmul())
    s.cache_write("C", s["C"].loop("i"))
    assert "        for j in range(10):" in s.show().split("\n")


def test_jupyter_shows_escaped_html() -> None:
    s = Schedule(scale(3))
    s.split(s["B"].loop("i"), 2)
    assert s._repr_html_() == (
        '<pre class="tensorc-program">program main(A: in float32[3], B: out float32[3]):\n'
        "<mark>  for i.outer in range(2):</mark>\n"
        "<mark>    for i.inner in range(2):</mark>\n"
        "<mark>      if i.outer * 2 + i.inner &lt; 3:</mark>\n"
        "<mark>        B[i.outer * 2 + i.inner] = A[i.outer * 2 + i.inner] * 2.0</mark></pre>"
    )


def test_going_back_shows_what_was_shown() -> None:
    s = Schedule(scale(8))
    _, inner = s.split(s["B"].loop("i"), 4)
    saved, text = s.save(), s.show()
    s.unroll(inner)
    s.restore(saved)
    assert s.show() == text


# --- apply ---------------------------------------------------------------------------------------


def rows_in_parallel(s: Schedule, loop: Loop, factor: int) -> Loop:
    outer, inner = s.split(loop, factor)
    s.parallel(outer)
    return inner


def lanes(s: Schedule, loop: Loop, *, width: int) -> None:
    s.vectorize(s.apply(rows_in_parallel, loop, width))


def test_a_function_of_a_schedule_is_a_step() -> None:
    s = Schedule(scale(10))
    s.apply(lanes, s["B"].loop("i"), width=4)
    assert str(s.trace) == (
        's.split(s["B"].loop("i"), 4)  # lanes(i, width=4) > rows_in_parallel(i, 4)\n'
        's.parallel(s["B"].loop("i.outer"))  # lanes(i, width=4) > rows_in_parallel(i, 4)\n'
        's.vectorize(s["B"].loop("i.inner"))  # lanes(i, width=4)'
    )
    assert s.show().count("> ") == 4
    assert_same_results(scale(10), s.program)


def test_composed_steps_replay_with_their_names() -> None:
    s = Schedule(scale(10))
    s.apply(lanes, s["B"].loop("i"), width=4)
    read = Trace.from_json(s.trace.to_json())
    assert str(read) == str(s.trace)
    again = Schedule(scale(21))
    again.replay(read)
    assert str(again.trace) == str(s.trace)
    third = Schedule(scale(10))
    exec(str(s.trace), {"s": third})
    assert show(third.program) == show(s.program)


def test_a_composed_step_is_named_in_errors_and_taken_whole_or_not_at_all() -> None:
    s = Schedule(diagonal())
    before, text = show(s.program), s.show()
    with pytest.raises(ScheduleError) as error:
        s.apply(lanes, s["B"].loop("i"), width=2)
    assert str(error.value).startswith(
        "lanes(i, width=2): rows_in_parallel(i, 2): parallel(i.outer): in 'B', iteration "
    )
    assert show(s.program) == before
    assert s.show() == text
    assert len(s.trace) == 0
    s.split(s["B"].loop("i"), 2)
    assert str(s.trace) == 's.split(s["B"].loop("i"), 2)'


def test_another_error_in_a_composed_step_passes_and_undoes_it() -> None:
    def fails(s: Schedule, program: Program) -> None:
        s.split(s["B"].loop("i"), 2)
        raise KeyError(program.name)

    s = Schedule(scale(8))
    with pytest.raises(KeyError):
        s.apply(fails, s.program)
    assert show(s.program) == show(scale(8))
