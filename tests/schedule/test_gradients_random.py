"""Random schedules of what gradients are made of: recurrences, scatters, sums by remainder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import tensorc as tc
from fuzz import Case, compare
from schedule.steps_random import scheduled_at_random
from tensorc.te.build import build

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.te.tensor import Tensor


def recurrence() -> list[Tensor]:
    a, x = (tc.placeholder((5, 6), name=name) for name in "ax")
    s = tc.scan((5, 6), lambda s, t, j: a[t, j] * s + x[t, j], name="S")
    return [tc.compute((5, 6), lambda i, j: s[i, j] * x[i, j], name="Y")]


def reverse_recurrence() -> list[Tensor]:
    x = tc.placeholder((4, 7), name="x")
    y = tc.compute((4, 7), lambda i, j: x[i, j] * 2.0, name="Y")
    return [tc.cumsum(y, axis=1, reverse=True), tc.cumsum(y, axis=0)]


def two_states() -> list[Tensor]:
    x = tc.placeholder((6, 4), name="x")
    return list(
        tc.scan((6, 4), lambda s, t, j: (s[1] + x[t, j], s[0] * 0.5), init=(0.0, 1.0), name="F")
    )


def scatter() -> list[Tensor]:
    idx, v = tc.placeholder((7,), "int32", name="idx"), tc.placeholder((7, 4), name="v")
    i = tc.reduce_axis(7, "i")
    h = tc.compute((5, 4), lambda p, j: tc.sum(v[i, j], axis=i, where=idx[i] % 5 == p), name="H")
    return [tc.compute((5, 4), lambda p, j: h[p, j] + 1.0, name="Y")]


def strided() -> list[Tensor]:
    x, w = tc.placeholder((13, 2), name="x"), tc.placeholder((3, 2), name="w")
    r, c = tc.reduce_axis(3, "r"), tc.reduce_axis(2, "c")
    y = tc.compute((6,), lambda i: tc.sum(x[2 * i + r, c] * w[r, c], axis=(r, c)), name="y")
    return tc.grad(y, [x, w], tc.placeholder((6,), name="g"))


PROGRAMS: tuple[Callable[[], list[Tensor]], ...] = (
    recurrence,
    reverse_recurrence,
    two_states,
    scatter,
    strided,
)


@pytest.mark.parametrize("made", PROGRAMS, ids=lambda f: f.__name__)
def test_no_schedule_changes_a_result(made: Callable[[], list[Tensor]]) -> None:
    plain = build(made())
    for seed in range(25):
        rng = np.random.default_rng((seed, 11))
        taken = scheduled_at_random(plain, rng)
        case = Case((seed, 11), plain, taken.steps, ({},), strict=False)
        problem = compare(case, taken.schedule, compiled=seed % 8 == 0)
        assert problem is None, f"{case.python()}\n{problem}"
