"""cooperative_fetch, rasterize: text, meaning, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schedule.nests import assert_same_results, assert_text, matmul
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.cooperative import Shares, shares
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program


def transposed(m: int = 16, n: int = 64) -> Program:
    return parse(
        f"""program main(A: in float32[8, {m}, {n}], B: out float32[8, {n}, {m}]):
  for b in range(8):
    for i in range({n}):
      for j in range({m}):
        B[b, i, j] = A[b, j, i]
"""
    )


def test_threads_share_a_copy_by_whole_rows() -> None:
    s = Schedule(transposed())
    stage = s.cache_read("A", s["B"].loop("b"), scope="shared")
    s.cooperative_fetch(stage.name, 128, 4)
    s.bind(s["B"].loop("b"), "block.x")
    s.bind(s["B"].loop("i"), "thread.x")
    assert_text(
        s,
        """
        for b in block.x(8):
          alloc A.local: float32[1, 16, 64] shared
            for A.in1.inner in thread.y(8):
              for A.in2.outer.inner in thread.x(16):
                for A.in0 in unrolled(1):
                  for A.in1.outer in unrolled(2):
                    for A.in2.outer.outer in unrolled(1):
                      for A.in2.inner in vectorized(4):
                        A.local[A.in0, A.in1.outer * 8 + A.in1.inner, (A.in2.outer.outer * 16 + \
A.in2.outer.inner) * 4 + A.in2.inner] = A[b + A.in0, A.in1.outer * 8 + A.in1.inner, \
(A.in2.outer.outer * 16 + A.in2.outer.inner) * 4 + A.in2.inner]
            for i in thread.x(64):
              for j in range(16):
                B[b, i, j] = A.local[0, j, i]
        """,
    )
    assert_same_results(transposed(), s.program)
    again = Schedule(transposed())
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)
    assert "# cooperative_fetch('A.local', 128, 4)" in str(s.trace)


@pytest.mark.parametrize(
    ("m", "n", "threads", "lanes"), [(7, 9, 32, 1), (3, 20, 96, 4), (1, 5, 8, 1)]
)
def test_a_copy_whose_sides_do_not_fit_is_joined_first(
    m: int, n: int, threads: int, lanes: int
) -> None:
    plain = transposed(m, n)
    s = Schedule(plain)
    stage = s.cache_read("A", s["B"].loop("b"), scope="shared")
    s.cooperative_fetch(stage.name, threads, lanes)
    assert_same_results(plain, s.program)


def test_sides_fit_where_all_threads_have_work() -> None:
    assert shares((16, 128), 256, 4) == Shares(4, 32, 8)
    assert shares((16, 8), 256, 4) == Shares(4, 2, 16), "fewer elements than threads"
    assert shares((16, 3, 1, 1), 64, 1) is None
    assert shares((16, 24), 96, 4) == Shares(4, 6, 16)
    assert shares((15, 24), 64, 4) is None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("A.local", 128, 3),
            "cooperative_fetch('A.local', 128, 3): 3 lanes do not divide the 64 elements of the "
            "last loop of the copy",
        ),
        (
            ("A.local", 0, 1),
            "cooperative_fetch('A.local', 0, 1): threads and lanes must be at least 1",
        ),
    ],
)
def test_a_copy_that_cannot_be_shared_is_refused(args: tuple[str, int, int], message: str) -> None:
    s = Schedule(transposed())
    s.cache_read("A", s["B"].loop("b"), scope="shared")
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.cooperative_fetch(*args)
    assert str(error.value) == message
    assert show(s.program) == before


def test_blocks_go_through_a_grid_by_groups_of_rows() -> None:
    plain = matmul(8, 3, 4)
    s = Schedule(plain)
    i, j, _ = s.loops("C")
    s.bind(s.rasterize(i, j, 4), "block.x")
    assert_text(
        s,
        """
        for i.j in block.x(32):
          C[i.j // 4 // 4 * 4 + i.j % 4, i.j // 4 % 4] = 0.0
          for k in range(3):
            C[i.j // 4 // 4 * 4 + i.j % 4, i.j // 4 % 4] += A[i.j // 4 // 4 * 4 + i.j % 4, k] * \
B[k, i.j // 4 % 4]
        """,
    )
    assert_same_results(plain, s.program)


@pytest.mark.parametrize(("m", "group"), [(7, 3), (2, 5)])
def test_a_last_group_may_be_smaller(m: int, group: int) -> None:
    plain = matmul(m, 2, 5)
    s = Schedule(plain)
    i, j, _ = s.loops("C")
    s.bind(s.rasterize(i, j, group), "block.x")
    assert_same_results(plain, s.program)
    again = Schedule(plain)
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)
