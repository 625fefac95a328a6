"""Reductions whose condition names the element of each point: the text, the meaning, the races."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorc as tc
from tensorc.errors import ScheduleError
from tensorc.ir.interp import run
from tensorc.ir.printer import show
from tensorc.ir.stmt import Accumulate
from tensorc.schedule.tree import sites
from tensorc.te.build import build
from tensorc.te.reference import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc.ir.stmt import Program
    from tensorc.te.tensor import Tensor

Array = np.ndarray[Any, Any]


def row_sums(rows: int = 5, points: int = 7, width: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of V added up where idx says."""
    idx = tc.placeholder((points,), "int32", name="idx")
    v = tc.placeholder((points, width), "float64", name="V")
    i = tc.reduce_axis(points, "i")
    h = tc.compute((rows, width), lambda p, j: tc.sum(v[i, j], axis=i, where=idx[i] == p), name="H")
    return idx, v, h


def program_text(program: Program) -> list[str]:
    return [line[2:] for line in show(program).splitlines()[1:]]


def interpreted(h: Tensor, feeds: Mapping[Tensor, Array]) -> Array:
    """The result of the plain program of `h`."""
    result = np.full([int(str(n)) for n in h.shape], np.nan)
    run(build([h], list(feeds)), {"H": result, **{t.name: x for t, x in feeds.items()}})
    return result


def test_a_point_is_added_where_its_index_says() -> None:
    idx, v, h = row_sums()
    assert program_text(build([h], [idx, v])) == [
        "for p in range(5):",
        "  for j in range(3):",
        "    H[p, j] = float64(0.0)",
        "for i in range(7):",
        "  if int64(idx[i]) >= 0 and int64(idx[i]) < 5:",
        "    for j in range(3):",
        "      H[int64(idx[i]), j] += V[i, j]",
    ]


def test_a_scatter_takes_as_many_steps_as_there_are_points() -> None:
    _, _, h = row_sums(rows=1000, points=7, width=3)
    (update,) = (s for s in sites(build([h]).body) if isinstance(s.leaf, Accumulate))
    assert [str(loop.extent) for loop in update.loops] == ["7", "3"]


@settings(max_examples=40)
@given(data=st.data())
def test_a_scatter_means_what_its_definition_says(data: st.DataObject) -> None:
    rows, points = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 6))
    idx = tc.placeholder((points,), data.draw(st.sampled_from(["int32", "int64"])), name="idx")
    jdx = tc.placeholder((points,), "int64", name="jdx")
    v = tc.placeholder((points,), "float64", name="V")
    i = tc.reduce_axis(points, "i")
    fold = data.draw(st.sampled_from([tc.sum, tc.prod]))
    kind = data.draw(st.sampled_from(["one", "two", "guarded", "product", "shifted"]))

    def where(p: Any, q: Any) -> Any:
        match kind:
            case "one":
                return (idx[i] == p) & (q < 2)
            case "two":
                return (idx[i] == p) & (jdx[i] == q)
            case "guarded":
                return (v[i] > 0.0) & (jdx[i] == q) & (p != q)
            case "product":
                return i * i == p
            case _:
                return (idx[i] == p) & (jdx[i] < p + q)

    h = tc.compute((rows, 3), lambda p, q: fold(v[i] * 2.0, axis=i, where=where(p, q)), name="H")
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    feeds: dict[Tensor, Array] = {
        idx: rng.integers(-1, rows + 1, points).astype(idx.dtype.numpy),
        jdx: rng.integers(-1, 4, points),
        v: rng.standard_normal(points),
    }
    used = {t: x for t, x in feeds.items() if t in set(h.op.inputs)}  # type: ignore[union-attr]
    (expected,) = evaluate([h], used)
    # The same order of the same operations.
    np.testing.assert_array_equal(interpreted(h, used), expected)
    np.testing.assert_array_equal(tc.compile([h], inputs=list(used))(*used.values()), expected)


def test_the_greatest_of_each_class_is_found_in_one_pass() -> None:
    idx, v, _ = row_sums()
    i = tc.reduce_axis(7, "i")
    top = tc.compute((5,), lambda p: tc.max(v[i, 0], axis=i, where=idx[i] == p), name="top")
    where_to = np.array([4, 0, 4, 2, 0, 4, 2], np.int32)
    values = np.random.default_rng(0).standard_normal((7, 3))
    found = tc.compile([top], inputs=[idx, v])(where_to, values)
    least = np.finfo(np.float64).min
    expected = [
        max(values[where_to == p, 0], default=least) if p in where_to else -np.inf for p in range(5)
    ]
    np.testing.assert_array_equal(found, expected)


def test_a_condition_with_a_sum_of_axes_stays_a_condition() -> None:
    v, i = tc.placeholder((7,), "float64", name="V"), tc.reduce_axis(7, "i")
    h = tc.compute((5,), lambda p: tc.sum(v[i], axis=i, where=i == p + 1), name="H")
    assert program_text(build([h])) == [
        "for p in range(5):",
        "  H[p] = float64(0.0)",
        "  for i in range(7):",
        "    if i == p + 1:",
        "      H[p] += V[i]",
    ]


def test_an_index_that_is_guarded_by_where_it_leads_stays_a_condition() -> None:
    idx, v = tc.placeholder((4,), "int64", name="idx"), tc.placeholder((9,), "float64", name="V")
    i = tc.reduce_axis(9, "i")
    h = tc.compute(
        (5,),
        lambda p: tc.sum(
            v[i], axis=i, where=tc.where(i < p, tc.where(i < 4, idx[i] == p, False), False)
        ),
        name="H",
    )
    (update,) = (s for s in sites(build([h]).body) if isinstance(s.leaf, Accumulate))
    assert [loop.var.name for loop in update.loops] in (["i"], ["p", "i"])
    feeds: dict[Tensor, Array] = {idx: np.array([1, 4, 3, 9]), v: np.arange(9.0)}
    np.testing.assert_array_equal(interpreted(h, feeds), evaluate([h], feeds)[0])


def test_points_that_may_meet_do_not_run_in_parallel() -> None:
    idx, v, h = row_sums()
    s = tc.Schedule([h], args=[idx, v])
    i, j = (x for x in s.loops("H") if x.name in ("i", "j"))
    with pytest.raises(ScheduleError) as error:
        s.parallel(i)
    assert str(error.value).splitlines()[0] == (
        "parallel(i): two iterations may touch one element of 'H', since an index depends on data "
        "or is not affine"
    )
    s.parallel(j)


def test_the_automatic_schedule_adds_rows_in_lanes() -> None:
    idx, v, h = row_sums(rows=50, points=40, width=16)
    f = tc.compile([h], inputs=[idx, v], target=tc.Target("cpu", cpu="znver3"))
    loops = f.inspect("loops")
    assert "for i in range(40):" in loops
    assert loops.count("in vectorized(4)") == 2
