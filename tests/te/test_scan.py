"""Recurrences over one axis: text, meaning in every form, schedules, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorc as tc
from tensorc.errors import DTypeError, IRError, ScheduleError, ShapeError, TensorcError
from tensorc.ir.interp import run
from tensorc.ir.printer import show
from tensorc.te.build import build
from tensorc.te.reference import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.te.tensor import Tensor

Array = np.ndarray[Any, Any]


def decay(n: int = 4, m: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """A linear recurrence down the rows, with a factor for each element."""
    a, x = (tc.placeholder((n, m), "float64", name=name) for name in "ax")
    s = tc.scan((n, m), lambda s, t, j: a[t, j] * s + x[t, j], dtype="float64", name="S")
    return a, x, s


def test_a_step_reads_the_element_before() -> None:
    a, x, s = decay()
    assert [line[2:] for line in show(build([s], [a, x])).splitlines()[1:]] == [
        "for t in range(4):",
        "  for j in range(3):",
        "    S[t, j] = a[t, j] * where(t == 0, float64(0.0), S[t - 1, j]) + x[t, j]",
    ]


def test_a_reverse_recurrence_runs_from_the_last_element() -> None:
    x = tc.placeholder((5,), "float64", name="x")
    s = tc.cumsum(x, reverse=True)
    assert [line[2:] for line in show(build([s], [x])).splitlines()[1:]] == [
        "for i0 in range(5):",
        "  cumsum[4 - i0] = where(4 - i0 == 4, float64(0.0), cumsum[4 - i0 + 1]) + x[4 - i0]",
    ]


@settings(max_examples=30)
@given(
    n=st.integers(0, 5),
    m=st.integers(0, 9),
    axis=st.integers(-2, 1),
    reverse=st.booleans(),
    name=st.sampled_from(["cumsum", "cumprod"]),
)
def test_running_sums_and_products_are_numpys(
    n: int, m: int, axis: int, reverse: bool, name: str
) -> None:
    x = tc.placeholder((n, m), "float64", name="x")
    y = getattr(tc, name)(x, axis, reverse=reverse)
    values = np.random.default_rng(0).uniform(0.5, 2.0, (n, m))
    turned = np.flip(values, axis) if reverse else values
    expected = getattr(np, name)(turned, axis=axis)
    expected = np.flip(expected, axis) if reverse else expected
    interpreted = np.full((n, m), np.nan)
    run(build([y], [x]), {"x": values, name: interpreted})
    for found in (
        evaluate([y], {x: values})[0],
        interpreted,
        tc.compile([y], inputs=[x])(values),
    ):
        np.testing.assert_array_equal(found, expected)  # One operation a step, in one order.


def test_a_symbolic_line_serves_every_length() -> None:
    n = tc.dim("n")
    x = tc.placeholder((n, 8), "float32", name="x")
    f = tc.compile([tc.cumsum(x, 0)], inputs=[x])
    for size in (0, 1, 7):
        values = np.random.default_rng(size).standard_normal((size, 8)).astype(np.float32)
        np.testing.assert_array_equal(f(values), np.cumsum(values, axis=0))


def test_several_states_follow_from_each_other() -> None:
    n = 12
    numbers, _ = tc.scan(
        (n,), lambda s, _t: (s[1], s[0] + s[1]), init=(1, 1), dtype="int64", name=("a", "b")
    )
    assert tc.compile([numbers])().tolist() == [1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233]


def test_a_first_value_may_be_read_and_a_step_may_hold_a_sum() -> None:
    h0, w = tc.placeholder((3,), name="h0"), tc.placeholder((4, 6), name="w")
    k = tc.reduce_axis(6, "k")
    s = tc.scan((4, 3), lambda s, t, _j: s * 0.5 + tc.sum(w[t, k], axis=k), init=h0, name="S")
    rng = np.random.default_rng(0)
    start, weights = rng.standard_normal(3, np.float32), rng.standard_normal((4, 6), np.float32)
    found = tc.compile([s], inputs=[h0, w])(start, weights)
    expected, state = np.empty((4, 3), np.float32), start
    for t in range(4):
        state = expected[t] = state * np.float32(0.5) + weights[t].sum()
    # Six terms of order 1, then four halvings.
    np.testing.assert_allclose(found, expected, rtol=0, atol=32 * 2.0**-24)


def test_half_precision_is_summed_in_single() -> None:
    x = tc.placeholder((3000,), "float16", name="x")
    found = tc.compile([tc.cumsum(x)], inputs=[x])(np.ones(3000, np.float16))
    assert found[2047] == 2048  # Where adding 1 in float16 stops to change anything.
    assert found[2999] == 3000


def test_the_line_runs_in_order_and_other_axes_in_lanes() -> None:
    a, x, s = decay(16, 32)
    f = tc.compile([s], inputs=[a, x], target=tc.Target("cpu", cpu="znver3"))
    loops = f.inspect("loops").splitlines()
    assert loops[1].strip() == "for t in range(16):"
    assert any("in vectorized(4)" in line for line in loops)
    schedule = tc.Schedule([s], args=[a, x])
    t, j = schedule.loops("S")
    with pytest.raises(ScheduleError) as error:
        schedule.parallel(t)
    assert str(error.value).splitlines()[0] == (
        "parallel(t): in 'S', iteration t=0, j=0 must run before iteration t=1, j=0, and would run "
        "after it or at the same time"
    )
    schedule.parallel(j)


@pytest.mark.parametrize("step", ["inline", "compute_at"])
def test_a_recurrence_is_not_moved_to_its_use(step: str) -> None:
    a, x, s = decay()
    y = tc.compute((4, 3), lambda i, j: s[i, j] * 2.0, name="Y")
    schedule = tc.Schedule([y], args=[a, x])
    place = () if step == "inline" else (schedule.loops("Y")[0],)
    with pytest.raises(ScheduleError) as error:
        getattr(schedule, step)("S", *place)
    asked = "inline(S)" if step == "inline" else "compute_at(S, i)"
    assert str(error.value).splitlines()[0] == (
        f"{asked}: 'S' is a recurrence, each element made from the one before it: it is computed "
        "as a whole, where it stands"
    )


X = tc.placeholder((4, 3), "float64", name="x")
K = tc.reduce_axis(4, "k")
REFUSED: dict[str, tuple[Callable[[], object], type[TensorcError], str]] = {
    "axis": (
        lambda: tc.scan((4, 3), lambda s, _t, _j: s, axis=2),
        ShapeError,
        "scan: axis 2 of a result of 2 dimensions",
    ),
    "dtype": (
        lambda: tc.scan((4, 3), lambda s, t, j: s + x_at(t, j)),
        DTypeError,
        "scan: the step gives float64, and the state that it follows from is float32; state the "
        "dtype, as in dtype='float64'",
    ),
    "inside": (
        lambda: tc.scan((4, 3), lambda s, _t, _j: tc.sum(s * 1.0, axis=K)),
        IRError,
        "scan: the step reads its state inside of sum, sum(before * 1.0, axis=k); a step may use "
        "the element before, not a reduction over such elements",
    ),
    "count": (
        lambda: tc.scan((4,), lambda s, _t: s[0], init=(0.0, 0.0)),
        IRError,
        "scan: init has 2 values, and the step returns one, not in a tuple; one new value for "
        "each is needed",
    ),
    "no line": (
        lambda: tc.cumsum(tc.placeholder((), name="c")),
        ShapeError,
        "cumsum of c: a single number has no axis to run along",
    ),
    "no such line": (
        lambda: tc.cumprod(X, 2),
        ShapeError,
        "cumprod of x: float64[4, 3]: there is no axis 2",
    ),
}


def x_at(t: Any, j: Any) -> Any:
    return X[t, j]


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_is_no_recurrence_is_refused(name: str) -> None:
    ask, kind, message = REFUSED[name]
    with pytest.raises(kind) as error:
        ask()
    assert str(error.value) == message
