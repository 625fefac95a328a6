"""The trace prints as Python, saves as JSON, and replays."""

from __future__ import annotations

import pytest

from schedule.nests import assert_same_results, matmul, scale
from tensorc.errors import ScheduleError
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace


def tiled(m: int = 8, k: int = 6, n: int = 16) -> Schedule:
    s = Schedule(matmul(m, k, n))
    i, j, k_loop = s.loops("C")
    io, jo, ii, ji = s.tile(i, j, 4, 8)
    s.reorder(k_loop, ii, ji)
    s.cache_write("C", jo)
    s.vectorize(ji)
    s.unroll(ii)
    s.parallel(io)
    return s


def test_the_trace_is_python_that_takes_the_steps_again() -> None:
    first = tiled()
    s = Schedule(matmul(8, 6, 16))
    exec(str(first.trace), {"s": s})
    assert show(s.program) == show(first.program)
    assert str(first.trace).splitlines()[0] == 's.split(s["C"].loop("i"), 4)'


def test_the_trace_survives_json() -> None:
    first = tiled()
    again = Trace.from_json(first.trace.to_json())
    assert str(again) == str(first.trace)
    s = Schedule(matmul(8, 6, 16))
    s.replay(again)
    assert show(s.program) == show(first.program)


def test_the_trace_replays_on_another_size() -> None:
    plain = matmul(7, 5, 19)
    s = Schedule(plain)
    s.replay(tiled().trace)
    assert_same_results(plain, s.program)


def test_a_step_that_does_not_fit_is_named_and_nothing_is_taken() -> None:
    s = Schedule(scale(8))
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.replay(tiled().trace)
    assert str(error.value) == (
        'replay: step 1, s.split(s["C"].loop("i"), 4), does not fit: '
        "there is no stage 'C'; there are B"
    )
    assert show(s.program) == before
    assert len(s.trace) == 0


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 2, "steps": []}', '{"version": 1, "steps": [3]}']
)
def test_text_that_is_no_trace_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError, match="trace: "):
        Trace.from_json(text)
