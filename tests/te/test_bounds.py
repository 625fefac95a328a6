"""Accesses: proved, refused with the point that leaves, or guarded at run time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from te.texts import assert_builds
from tensorc.errors import BoundsError, CheckFailed
from tensorc.ir.expr import where
from tensorc.ir.interp import run as interpret
from tensorc.ir.loc import Loc
from tensorc.ir.printer import show
from tensorc.ir.walk import loads
from tensorc.te import bounds
from tensorc.te import reduce as te
from tensorc.te.build import build
from tensorc.te.reduce import reduce_axis
from tensorc.te.tensor import Tensor, compute, dim, placeholder

N = dim("n")
A = placeholder((4, 5), name="A")
B = placeholder((10,), name="B")
S = placeholder((N,), name="S")
K = reduce_axis(3, "k")


def refusal(shape: Any, body: Any) -> str:
    with pytest.raises(BoundsError) as e:
        compute(shape, body)
    return str(e.value).rsplit(" (", 1)[0]


def test_an_access_that_leaves_is_refused_with_the_point() -> None:
    assert refusal((10,), lambda i: B[i + 1]) == (
        "B[i + 1] leaves B: at i=9 the index of dimension 0 is 10, and its size is 10"
    )
    assert refusal((10,), lambda i: B[i - 1]) == (
        "B[i - 1] leaves B: at i=0 the index of dimension 0 is -1, and its size is 10"
    )
    assert refusal((3,), lambda i: B[i + 10 * i]) == (
        "B[i + 10 * i] leaves B: at i=1 the index of dimension 0 is 11, and its size is 10"
    )
    assert refusal((9,), lambda i: te.sum(B[i + K], K)) == (
        "B[i + k] leaves B: at i=8, k=2 the index of dimension 0 is 10, and its size is 10"
    )
    assert refusal((3,), lambda _: B[-1]) == (
        "B[-1] leaves B: at _=0 the index of dimension 0 is -1, and its size is 10"
    )


def test_the_message_ends_with_the_users_line() -> None:
    with pytest.raises(BoundsError) as e:
        compute((10,), lambda i: B[i + 1])
    assert str(e.value).endswith(")")
    assert "(test_bounds.py:" in str(e.value)


def test_an_access_that_leaves_at_one_size_only_is_refused() -> None:
    message = refusal((N,), lambda i: S[i + 1])
    assert message == (
        "S[i + 1] leaves S: at n=1, i=0 the index of dimension 0 is 1, and its size n is 1"
    )
    assert refusal((2,), lambda i: S[i]).startswith("S[i] leaves S: at n=")


@pytest.mark.parametrize(
    "make",
    [
        lambda: compute((9,), lambda i: B[i + 1]),
        lambda: compute((5,), lambda i: B[2 * i + 1]),
        lambda: compute((8,), lambda i: te.sum(B[i + K], K)),
        lambda: compute((20,), lambda i: where(i < 10, B[i], 0.0)),
        lambda: compute((20,), lambda i: where(i >= 10, 0.0, B[i])),
        lambda: compute((20,), lambda i: where((i > 3) & (i < 8), B[i - 4], 0.0)),
        lambda: compute((20,), lambda i: B[i // 2]),
        lambda: compute((99,), lambda i: B[i % 10]),
        lambda: compute((N,), lambda i: S[N - 1 - i]),
        lambda: compute((N,), lambda i: where(i + 1 < N, S[i + 1], 0.0)),
        lambda: compute((10,), lambda i: te.sum(B[(r := reduce_axis((i, 10), "r"))], r)),
        lambda: compute(
            (12,),
            lambda i: te.sum(B[i - (r := reduce_axis(3, "r"))], r, where=(i >= r) & (i - r < 10)),
        ),
        lambda: compute((12,), lambda i: where((i >= 10) | (i < 2), 0.0, B[i])),
    ],
)
def test_an_access_that_never_leaves_needs_no_check(make: Any) -> None:
    assert "check" not in show(build([make()]))


def test_the_side_not_taken_is_refused_too_where_it_can_be_taken() -> None:
    assert refusal((20,), lambda i: where(i < 11, B[i], 0.0)) == (
        "B[i] leaves B: at i=10 the index of dimension 0 is 10, and its size is 10"
    )


def indexed() -> tuple[Tensor, Tensor]:
    return placeholder((4, 5), name="T"), placeholder((3,), "int32", name="idx")


def test_an_index_from_data_is_checked_before_anything_is_written() -> None:
    t, idx = indexed()
    c = compute((3, 5), lambda i, j: t[idx[i], j], name="C")
    (line,) = {str(load.loc) for load in loads(c.body) if load.buffer is t}
    message = (
        "T[idx[i], j] leaves T: at i={1} the index of dimension 0 is {0}, and its size is 4 "
        f"({line})"
    )
    check = f'check int64(idx[i]) >= 0 and int64(idx[i]) < 4, "{message}", (int64(idx[i]), i)'
    expected = f"""
        program main(T: in float32[4, 5], idx: in int32[3], C: out float32[3, 5]):
          for i in range(3):
            {check}
          for i in range(3):
            for j in range(5):
              C[i, j] = T[idx[i], j]
    """
    assert_builds(expected, [c])


def test_an_index_from_computed_data_is_checked_before_its_nest() -> None:
    t, idx = indexed()
    up = compute((3,), lambda i: idx[i] + 1, name="up")
    c = compute((3,), lambda i: t[up[i], 0], name="C")
    text = show(build([c]))
    assert text.index("up[i] = ") < text.index("check") < text.index("C[i] = ")


def test_a_guarded_index_is_checked_where_it_is_read_only() -> None:
    t, idx = indexed()
    c = compute((3,), lambda i: where(idx[i] >= 0, t[idx[i], 0], -1.0), name="C")
    program = build([c])
    out = np.zeros(3, np.float32)
    table = np.arange(20, dtype=np.float32).reshape(4, 5)
    interpret(program, {"T": table, "idx": np.array([-7, 2, 0], np.int32), "C": out})
    np.testing.assert_array_equal(out, [-1, 10, 0])
    with pytest.raises(
        CheckFailed, match="at i=1 the index of dimension 0 is 4, and its size is 4"
    ):
        interpret(program, {"T": table, "idx": np.array([0, 4, 0], np.int32), "C": out})


def test_an_index_read_through_an_index_is_checked_inside_out() -> None:
    t, idx = indexed()
    rows = placeholder((2,), "int64", name="rows")
    c = compute((2,), lambda i: t[idx[rows[i]], 0], name="C")
    checks = [line for line in show(build([c])).splitlines() if "check" in line]
    assert ["leaves idx" in line for line in checks] == [True, False]


def test_an_index_beyond_integer_sets_is_checked() -> None:
    m = dim("m")
    x = placeholder((N, m), name="X")
    flat = placeholder((m * 3,), name="F")
    c = compute((2, N, m), lambda k, i, j: x[i, j] + flat[k * m + j], name="C")
    assert "leaves F" in show(build([c]))


def test_products_of_symbols_are_split_and_joined_without_checks() -> None:
    m = dim("m")
    x = placeholder((N, m), name="X")
    split = compute((N * m,), lambda f: x[f // m, f % m], name="flat")
    joined = compute((N, m), lambda i, j: split[i * m + j], name="C")
    assert "check" not in show(build([joined]))


def test_the_line_of_a_load_is_the_users() -> None:
    (load,) = loads(compute((4, 5), lambda i, j: A[i, j]).body)
    assert isinstance(load.loc, Loc)
    assert load.loc.file == __file__


def test_an_index_that_is_read_is_checked_without_a_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = placeholder((4,), "int32", name="labels")
    monkeypatch.setattr(bounds, "prove", None)
    picked = compute((4,), lambda i: A[i, labels[i]], name="picked")
    assert "check int64(labels[i]) >= 0 and int64(labels[i]) < 5" in show(build([picked]))


def test_an_index_that_is_read_and_bounded_is_proved() -> None:
    labels = placeholder((4,), "int64", name="labels")
    bounded = compute((4,), lambda i: B[labels[i] % 10], name="bounded")
    assert "check" not in show(build([bounded]))
