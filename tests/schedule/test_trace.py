"""The trace prints as Python, saves as JSON, and replays."""

from __future__ import annotations

import pytest

from schedule.nests import assert_same_results, matmul, scale
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import _PRIMITIVES, Schedule
from tensorc.schedule.trace import LoopRef, Step, Trace


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


OTHER_PRODUCT = """program main(A: in {dtype}[n, m], B: in {dtype}[m, 10], C: out {dtype}[n, 10]) \
dims(n >= 0, m >= 0):
  for i in range(n):
    for j in range(10):
      C[i, j] = {start}
      for k in range(m):
        {update}
"""
UPDATES = [
    ("float64", "float64(1.0)", "C[i, j] += A[i, k] * B[k, j]"),
    ("int32", "int32(0)", "C[i, j] += A[i, k] - B[k, j]"),
    ("float32", "float32(-inf)", "C[i, j] max= abs(A[i, k]) + B[k, j]"),
    ("float32", "0.0", "C[i, j] += where(k < i, A[i, k], 0.0)"),
]


@pytest.mark.parametrize(("dtype", "start", "update"), UPDATES)
@pytest.mark.parametrize(("n", "m"), [(0, 3), (1, 0), (7, 5), (9, 2)])
def test_the_trace_replays_on_another_program_of_the_same_form(
    dtype: str, start: str, update: str, n: int, m: int
) -> None:
    """Other sizes, symbolic too, other dtypes and bodies: the names of stages and loops count."""
    plain = parse(OTHER_PRODUCT.format(dtype=dtype, start=start, update=update))
    s = Schedule(plain)
    s.replay(tiled().trace)
    assert str(s.trace) == str(tiled().trace)
    assert_same_results(plain, s.program, n=n, m=m)


def test_a_program_of_another_meaning_may_refuse_a_step() -> None:
    plain = parse(
        """program main(A: in float32[8, 6], C: inout float32[8, 17]):
  for i in range(8):
    for j in range(16):
      for k in range(6):
        C[i, j] += A[i, k] * C[i, j + 1]
"""
    )
    s = Schedule(plain)
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.replay(tiled().trace)
    assert str(error.value) == (
        'replay: step 4, s.reorder(s["C"].loop("k"), s["C"].loop("i.inner"), '
        's["C"].loop("j.inner")), does not fit: reorder(k, i.inner, j.inner): in \'C\', '
        "iteration i.inner=0, j.inner=0, k=1 must run before iteration i.inner=0, j.inner=1, "
        "k=0, and would run after it or at the same time\n"
        "  C[i.outer * 4 + i.inner, j.outer * 8 + j.inner] += A[i.outer * 4 + i.inner, k] * "
        "C[i.outer * 4 + i.inner, j.outer * 8 + j.inner + 1]: the second writes what the first "
        "reads from C\n"
        "  loops, outermost first: i.inner, j.inner, k; the order i.inner, j.inner, k is legal"
    )
    assert show(s.program) == before
    assert len(s.trace) == 0


def test_a_step_whose_loop_is_missing_says_which_loops_there_are() -> None:
    plain = parse(
        """program main(A: in float32[8], C: out float32[8]):
  for i in range(8):
    C[i] = A[i] * 2.0
"""
    )
    s = Schedule(plain)
    s.split(s["C"].loop("i"), 2)
    before, count = show(s.program), len(s.trace)
    with pytest.raises(ScheduleError) as error:
        s.replay(tiled().trace)
    assert str(error.value) == (
        'replay: step 1, s.split(s["C"].loop("i"), 4), does not fit: '
        "'C' has no loop 'i': it was split into i.outer and i.inner; its loops are i.outer, i.inner"
    )
    assert show(s.program) == before
    assert len(s.trace) == count


def test_a_later_step_that_does_not_fit_takes_the_earlier_ones_back() -> None:
    plain = parse(
        """program main(A: in float32[8], C: out float32[8]):
  for i in range(8):
    C[i] = A[i] * 2.0
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.replay(tiled().trace)
    assert str(error.value) == (
        'replay: step 2, s.split(s["C"].loop("j"), 8), does not fit: '
        "'C' has no loop 'j'; its loops are i.outer, i.inner"
    )
    assert show(s.program) == show(plain)
    assert len(s.trace) == 0


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            Step("skew", (LoopRef("B", "i"),)),
            'replay: step 1, s.skew(s["B"].loop("i")), does not fit: no primitive \'skew\'; '
            f"there are {', '.join(_PRIMITIVES)}",
        ),
        (
            Step("split", (LoopRef("B", "i"), 4), {"size": 3}),
            'replay: step 1, s.split(s["B"].loop("i"), 4, size=3), does not fit: split: wrong '
            "arguments: Schedule.split() got an unexpected keyword argument 'size'",
        ),
        (
            Step("reorder", ()),
            "replay: step 1, s.reorder(), does not fit: reorder(): name the loops in their new "
            "order, outermost first",
        ),
        (
            Step("vectorize", (LoopRef("B", "i"), 0)),
            'replay: step 1, s.vectorize(s["B"].loop("i"), 0), does not fit: split(i, 0): the '
            "factor must be at least 1",
        ),
    ],
)
def test_a_step_that_is_none_says_so(step: Step, message: str) -> None:
    s = Schedule(scale(8))
    with pytest.raises(ScheduleError) as error:
        s.replay(Trace((step,)))
    assert str(error.value) == message
    assert len(s.trace) == 0


def test_a_loop_of_another_schedule_is_refused() -> None:
    one, other = Schedule(scale(8)), Schedule(scale(8))
    with pytest.raises(ScheduleError) as error:
        one.parallel(other["B"].loop("i"))
    assert str(error.value) == 'Loop("B", "i") is not a loop of this schedule'


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("[3]", "trace: not a trace in JSON: 'int' object is not subscriptable"),
        (
            '[{"primitive": "split", "args": 1, "options": {}, "made": []}]',
            "trace: not a trace in JSON: a step needs args, options and made",
        ),
        (
            '[{"primitive": "split", "args": [], "options": {"at": {"a": 1}}, "made": []}]',
            "trace: not a trace in JSON: {'a': 1} is no argument of a step",
        ),
    ],
)
def test_steps_that_are_none_are_refused(steps: str, message: str) -> None:
    with pytest.raises(ScheduleError) as error:
        Trace.from_json(f'{{"version": 1, "steps": {steps}}}')
    assert str(error.value) == message
