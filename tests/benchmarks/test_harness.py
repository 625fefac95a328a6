"""How the benchmark suite measures."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.cases import dot_error_bound, normal, verify
from benchmarks.harness import Case, Many, measure
from benchmarks.peers import rotated
from benchmarks.primitives import NESTS, STEPS
from tensorc.errors import ScheduleError


class Cores:
    """A canary that says which of its runs find the cores busy."""

    def __init__(self, *shares: float) -> None:
        self.shares = list(shares)

    def share(self) -> float:
        return self.shares.pop(0) if self.shares else 1.0


def test_a_wrong_answer_is_not_timed() -> None:
    def wrong() -> None:
        raise AssertionError("off by 3")

    timed: list[int] = []
    case = Case(lambda: timed.append(1), wrong, once=True)
    with pytest.raises(AssertionError, match="off by 3"):
        measure("sum", 8, case, threads=1, rounds=3, canary=Cores())  # type: ignore[arg-type]
    assert timed == []


def test_a_disturbed_sample_is_taken_again() -> None:
    calls: list[int] = []

    def run() -> None:
        calls.append(1)
        np.linalg.norm(np.ones(100_000))

    cores = Cores(1.0, 0.5, 1.0, 1.0)
    one = measure("x", 1, Case(run, lambda: None), threads=1, rounds=1, canary=cores)  # type: ignore[arg-type]
    assert one.canary == 1.0
    assert not cores.shares
    assert len(one.ours.rounds) == 1


def test_a_sample_waits_for_a_quiet_moment() -> None:
    cores = Cores(0.5, 0.6, 0.95, 1.0)
    case = Case(lambda: np.ones(100_000).sum(), lambda: None)
    assert measure("x", 1, case, threads=1, rounds=1, canary=cores).canary == 0.95  # type: ignore[arg-type]
    assert not cores.shares


def test_a_sample_that_stays_disturbed_says_so() -> None:
    cores = Cores(*[share for _ in range(3) for share in (1.0, 0.5)][:-1], 0.7)
    case = Case(lambda: np.ones(100_000).sum(), lambda: None)
    assert measure("x", 1, case, threads=1, rounds=1, canary=cores).canary == 0.7  # type: ignore[arg-type]


def test_work_that_is_done_many_times_over_is_divided() -> None:
    once = Case(lambda: 6.0, lambda: None, {"other": lambda: 3.0}, once=True)
    result = measure("x", 1, once, threads=1, rounds=3, canary=Cores())  # type: ignore[arg-type]
    assert (result.ours.median, result.rivals["other"].median) == (6.0, 3.0)
    slow = Case(lambda: sum(range(30_000)), lambda: None)
    many = Case(Many(lambda: sum(range(30_000)), 10).run, lambda: None, {"x": Many(slow.run, 10)})
    result = measure("x", 1, many, threads=1, rounds=3, canary=Cores())  # type: ignore[arg-type]
    assert result.rivals["x"].median < result.ours.median / 5


def test_rotated_actions_take_turns() -> None:
    seen: list[str] = []
    action = rotated([lambda: seen.append("a"), lambda: seen.append("b")])
    for _ in range(3):
        action()
    assert seen == ["a", "b", "a"]


def test_a_result_beyond_rounding_is_refused() -> None:
    a, b = normal(3, 5), normal(5, 4, seed=1)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    verify("numpy", a @ b, exact, dot_error_bound(a, b))
    wrong = (a @ b).copy()
    wrong[1, 2] = np.nan
    with pytest.raises(AssertionError, match="numpy: 1 of 12 numbers are off"):
        verify("numpy", wrong, exact, dot_error_bound(a, b))


REFUSED = {
    "tensorize": "does not look like",
    "fuse_with": "not proved to be the same",
    "storage_align": "never 8 modulo 16",
}


@pytest.mark.parametrize("nest", NESTS)
@pytest.mark.parametrize("step", STEPS)
def test_each_schedule_step_that_is_timed_is_taken(step: str, nest: str) -> None:
    run = STEPS[step](NESTS[nest]())
    refused = REFUSED.get(step) if nest == "conv backward" else None
    if refused is not None:
        with pytest.raises(ScheduleError, match=refused):
            run()
    else:
        run()
