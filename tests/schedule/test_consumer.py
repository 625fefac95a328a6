"""reverse_compute_at: text, meaning, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorc as tc
from schedule.nests import assert_same_results, assert_text
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace

if TYPE_CHECKING:
    from tensorc.schedule.handles import Loop

EPILOGUE = """program main(A: in float32[{m}, {p}], B: in float32[{p}, {n}], \
bias: in float32[{n}], D: out float32[{m}, {n}]){dims}:
  alloc C: float32[{m}, {n}]
    for i in range({m}):
      for j in range({n}):
        C[i, j] = 0.0
        for k in range({p}):
          C[i, j] += A[i, k] * B[k, j]
    for x in range({m}):
      for y in range({n}):
        D[x, y] = max(C[x, y] + bias[y], 0.0)
"""
ROWS = """program main(X: in float32[5, 6], Y: out float32[5, 6]):
  alloc M: float32[5]
    alloc S: float32[5]
      for a in range(5):
        M[a] = float32(-inf)
        for b in range(6):
          M[a] max= X[a, b]
      for c in range(5):
        S[c] = 0.0
        for d in range(6):
          S[c] += X[c, d] - M[c]
      for p in range(5):
        for q in range(6):
          Y[p, q] = (X[p, q] - M[p]) * S[p]
"""
STENCIL = """program main(A: in float32[9], C: inout float32[9], D: out float32[{n}]):
  for i in range(9):
    C[i] = A[i] * 2.0
  for x in range({n}):
    D[x] = {value}
"""


def epilogue(m: int, n: int, p: int = 3) -> str:
    return EPILOGUE.format(m=m, n=n, p=p, dims="")


SYMBOLIC = EPILOGUE.format(m="m", n="n", p="p", dims=" dims(m >= 0, n >= 0, p >= 0)")


def tiled(
    text: str, rows: int, columns: int, tail: str = "guard"
) -> tuple[Schedule, tuple[Loop, Loop]]:
    s = Schedule(parse(text))
    i, j, k = s.loops("C")
    io, ii = s.split(i, rows, tail=tail)
    jo, ji = s.split(j, columns, tail=tail)
    s.reorder(io, jo, ii, ji)
    s.reorder(k, ii, ji)
    return s, (io, jo)


def refusal(s: Schedule, stage: str, loop: Loop) -> str:
    before, count = show(s.program), len(s.trace)
    with pytest.raises(ScheduleError) as error:
        s.reverse_compute_at(stage, loop)
    assert show(s.program) == before
    assert len(s.trace) == count
    return str(error.value)


def test_an_epilogue_moves_into_an_exact_tile() -> None:
    s, (_, jo) = tiled(epilogue(8, 12), 4, 6)
    s.reverse_compute_at("D", jo)
    assert_text(
        s,
        """
        for i.outer in range(2):
          for j.outer in range(2):
            alloc C: float32[4, 6] local
              for i.inner.init in range(4):
                for j.inner.init in range(6):
                  C[i.inner.init, j.inner.init] = 0.0
              for k in range(3):
                for i.inner in range(4):
                  for j.inner in range(6):
                    C[i.inner, j.inner] += A[io * 4 + i.inner, k] * B[k, jo * 6 + j.inner]
              for x in range(4):
                for y in range(6):
                  D[io * 4 + x, jo * 6 + y] = max(C[x, y] + bias[jo * 6 + y], 0.0)
        """.replace("io *", "i.outer *").replace("jo *", "j.outer *"),
    )
    assert_same_results(parse(epilogue(8, 12)), s.program)


def test_an_epilogue_is_guarded_in_a_ragged_symbolic_tile() -> None:
    s, (_, jo) = tiled(SYMBOLIC, 4, 6)
    s.reverse_compute_at("D", jo)
    assert show(s.program).split("\n")[-5:] == [
        "        for x in range(4):",
        "          if i.outer * 4 + x < m:",
        "            for y in range(6):",
        "              if j.outer * 6 + y < n:",
        "                D[i.outer * 4 + x, j.outer * 6 + y] = "
        "max(C[x, y] + bias[j.outer * 6 + y], 0.0)",
    ]
    assert_same_results(parse(SYMBOLIC), s.program, m=7, n=11, p=3)


@settings(max_examples=30, deadline=None)
@given(
    m=st.integers(1, 7),
    n=st.integers(1, 7),
    rows=st.integers(1, 4),
    columns=st.integers(1, 4),
    symbolic=st.booleans(),
    outer=st.booleans(),
)
def test_an_epilogue_in_a_tile_keeps_meaning(
    m: int, n: int, rows: int, columns: int, symbolic: bool, outer: bool
) -> None:
    text = SYMBOLIC if symbolic else epilogue(m, n)
    s, (io, jo) = tiled(text, rows, columns)
    s.reverse_compute_at("D", io if outer else jo)
    s.parallel(io)
    sizes = {"m": m, "n": n, "p": 2} if symbolic else {}
    assert_same_results(parse(text), s.program, **sizes)


def test_an_epilogue_follows_the_copy_of_a_cached_tile() -> None:
    s, (io, jo) = tiled(epilogue(7, 9), 4, 4)
    s.cache_write("C", jo)
    s.reverse_compute_at("D", jo)
    s.parallel(io)
    s.vectorize(s["D"].loop("y"))
    assert_same_results(parse(epilogue(7, 9)), s.program)


def test_two_consumers_follow_each_other_into_a_row() -> None:
    s = Schedule(parse(ROWS))
    a = s["M"].loop("a")
    s.reverse_compute_at("S", a)
    s.reverse_compute_at("Y", a)
    assert_text(
        s,
        """
        for a in range(5):
          alloc S: float32[1] local
          alloc M: float32[1] local
            M[0] = float32(-inf)
            for b in range(6):
              M[0] max= X[a, b]
            for c in range(1):
              S[c] = 0.0
              for d in range(6):
                S[c] += X[a + c, d] - M[c]
            for p in range(1):
              for q in range(6):
                Y[a + p, q] = (X[a + p, q] - M[p]) * S[p]
        """,
    )
    s.parallel(a)
    assert_same_results(parse(ROWS), s.program)


def test_a_consumer_may_lag_behind_where_it_needs_two_elements() -> None:
    plain = parse(STENCIL.format(n=8, value="C[x] + C[x + 1]"))
    s = Schedule(plain)
    s.reverse_compute_at("D", s["C"].loop("i"))
    assert_text(
        s,
        """
        for i in range(9):
          C[i] = A[i] * 2.0
          for x in range(1):
            if 0 <= i - 1 + x:
              D[i - 1 + x] = C[i - 1 + x] + C[i - 1 + x + 1]
        """,
    )
    assert_same_results(plain, s.program)


@pytest.mark.parametrize(
    ("n", "value"),
    [(9, "C[8 - x]"), (5, "C[x + 4]"), (9, "C[x] + A[8 - x]"), (4, "C[x + 2] - C[x + 1]")],
)
@pytest.mark.parametrize("factor", [1, 2, 4, 9])
def test_consumers_with_other_indices_keep_meaning(n: int, value: str, factor: int) -> None:
    plain = parse(STENCIL.format(n=n, value=value))
    s = Schedule(plain)
    outer, _ = s.split(s["C"].loop("i"), factor)
    s.reverse_compute_at("D", outer)
    assert_same_results(plain, s.program)


def test_what_stands_between_comes_first_where_the_consumer_needs_it() -> None:
    plain = parse(
        """program main(A: in float32[6], E: out float32[6], D: out float32[6]):
  alloc C: float32[6]
    for i in range(6):
      C[i] = A[i] * 2.0
    for z in range(6):
      E[z] = A[5 - z]
    for x in range(6):
      D[x] = C[x] + E[x]
"""
    )
    s = Schedule(plain)
    s.reverse_compute_at("D", s["C"].loop("i"))
    assert_text(
        s,
        """
        for z in range(6):
          E[z] = A[5 - z]
        for i in range(6):
          alloc C: float32[1] local
            C[0] = A[i] * 2.0
            for x in range(1):
              D[i + x] = C[x] + E[i + x]
        """,
    )
    assert_same_results(plain, s.program)


def test_a_consumer_of_a_pair_keeps_the_pair_whole() -> None:
    plain = parse(
        """program main(A: in float32[4, 5], P: out int64[4], D: out float32[4]):
  alloc V: float32[4]
    for i in range(4):
      V[i] = float32(-inf)
      P[i] = 9
      for k in range(5):
        (V[i], P[i]) argmax= (A[i, k], k)
    for x in range(4):
      D[x] = V[x] * 2.0
"""
    )
    s = Schedule(plain)
    s.reverse_compute_at("D", s["V"].loop("i"))
    assert_same_results(plain, s.program)


GATHERED = """program main(A: in float32[4, 5], y: in int32[4], D: out float32[4]):
  alloc C: float32[4, 5]
    for i in range(4):
      for j in range(5):
        C[i, j] = A[i, j] * 2.0
    for x in range(4):
      D[x] = C[{row}, abs(y[x]) % int32(5)]
"""


def test_a_gather_within_a_row_follows_the_row() -> None:
    s = Schedule(parse(GATHERED.format(row="x")))
    i = s["C"].loop("i")
    s.reverse_compute_at("D", i)
    assert_text(
        s,
        """
        for i in range(4):
          alloc C: float32[1, 5] local
            for j in range(5):
              C[0, j] = A[i, j] * 2.0
            for x in range(1):
              D[i + x] = C[x, abs(y[i + x]) % int32(5)]
        """,
    )
    s.parallel(i)
    assert_same_results(parse(GATHERED.format(row="x")), s.program)


def test_a_gather_of_rows_stays_where_it_is() -> None:
    s = Schedule(parse(GATHERED.format(row="abs(y[x]) % int32(4)")))
    assert refusal(s, "D", s["C"].loop("i")) == (
        "reverse_compute_at(D, i): D[x] = C[abs(y[x]) % int32(4), abs(y[x]) % int32(5)] "
        "reads C at i, from which x cannot be told; an index must be a loop plus a constant"
    )


def test_a_consumer_stays_out_of_a_reduction() -> None:
    s = Schedule(parse(epilogue(8, 12)))
    assert refusal(s, "D", s["C"].loop("k")) == (
        "reverse_compute_at(D, k): an element of 'D' would be computed in i=0, j=0, k=0 and again "
        "in i=0, j=0, k=2\n"
        "  D[x, y] = max(C[x, y] + bias[y], 0.0)\n"
        "  place it at a loop outside of those that compute one element of what it reads together"
    )


def test_a_reduction_over_a_row_stays_out_of_its_tiles() -> None:
    text = """program main(A: in float32[4, 6], D: out float32[4]):
  alloc C: float32[4, 6]
    for i in range(4):
      for j in range(6):
        C[i, j] = A[i, j] * 2.0
    for x in range(4):
      D[x] = 0.0
      for y in range(6):
        D[x] += C[x, y]
"""
    s = Schedule(parse(text))
    outer, _ = s.split(s["C"].loop("j"), 3)
    assert refusal(s, "D", outer) == (
        "reverse_compute_at(D, j.outer): an element of 'D' would be computed in i=0, j.outer=0 and "
        "again in i=0, j.outer=1\n"
        "  D[x] = 0.0\n"
        "  place it at a loop outside of those that compute one element of what it reads together"
    )
    s.reverse_compute_at("D", s["C"].loop("i"))
    assert_same_results(parse(text), s.program)


def test_a_consumer_that_covers_more_than_its_producer_is_refused() -> None:
    """As in apache/tvm#15911, where elements were silently left out."""
    s = Schedule(
        parse(
            """program main(A: in float32[8], C: inout float32[8], D: out float32[8]):
  for i in range(4):
    C[i] = A[i] * 2.0
  for x in range(8):
    D[x] = C[x]
"""
        )
    )
    assert refusal(s, "D", s["C"].loop("i")) == (
        "reverse_compute_at(D, i): 'D' at x=7 would never be computed, since no iteration of i "
        "computes what it reads\n"
        "  D[x] = C[x]"
    )


def test_a_consumer_that_needs_a_later_iteration_is_refused() -> None:
    s = Schedule(parse(STENCIL.format(n=9, value="C[x] + C[8 - x]")))
    assert refusal(s, "D", s["C"].loop("i")) == (
        "reverse_compute_at(D, i): in 'D', iteration i=5 must run before iteration x=3, and would "
        "run after it or at the same time\n"
        "  C[i] = A[i] * 2.0: the second reads what the first writes to C\n"
        "  D[x] = C[x] + C[8 - x]: the second\n"
        "  loops, outermost first: i, x; 'D' may be placed at a loop in whose iterations all that "
        "it needs is complete"
    )


def test_an_index_without_an_inverse_is_refused() -> None:
    s = Schedule(parse(STENCIL.format(n=9, value="C[x // 2]")))
    assert refusal(s, "D", s["C"].loop("i")) == (
        "reverse_compute_at(D, i): D[x] = C[x // 2] reads C at i, from which x cannot be told; "
        "an index must be a loop plus a constant"
    )


def test_other_places_are_refused() -> None:
    s = Schedule(parse(epilogue(8, 12)))
    i, j, _ = s.loops("C")
    assert refusal(s, "C", s["D"].loop("x")) == (
        "reverse_compute_at(C, x): 'C' must follow loop x or what is around it, in the same block"
    )
    s.parallel(i)
    assert refusal(s, "D", j) == (
        "reverse_compute_at(D, j): loop i is parallel already; restructure loops first, then say "
        "how they run"
    )
    s = Schedule(
        parse(
            """program main(A: in float32[4], C: out float32[4], D: out float32[4]):
  for i in range(4):
    C[i] = A[i]
  for x in range(4):
    D[x] = A[x]
"""
        )
    )
    assert refusal(s, "D", s["C"].loop("i")) == (
        "reverse_compute_at(D, i): 'D' reads nothing that loop i computes"
    )


def test_an_epilogue_replays_on_another_size() -> None:
    s, (_, jo) = tiled(epilogue(8, 12), 4, 6)
    s.reverse_compute_at("D", jo)
    plain = parse(epilogue(9, 7))
    again = Schedule(plain)
    again.replay(Trace.from_json(s.trace.to_json()))
    assert_same_results(plain, again.program)


def test_a_moved_loop_named_as_one_around_it_gets_another_name_and_keeps_its_handle() -> None:
    x = tc.placeholder((6, 4), name="x")
    y = tc.compute((6, 4), lambda i, j: x[i, j] * 2.0, name="y")
    z = tc.compute((6, 4), lambda i, j: y[i, j] + 1.0, name="z")
    s = Schedule([z], args=[x])
    rows, columns = s.loops("z")
    s.reverse_compute_at("z", s["y"].loop("i"))
    assert [loop.name for loop in s.loops("z")] == ["i", "i_1", "j"]
    assert str(s.extent(rows)) == "1", "the handle found the loop under its new name"
    s.parallel(s["z"].loop("i"))
    s.vectorize(columns)
    again = Schedule([z], args=[x])
    again.replay(s.trace)
    assert str(again) == str(s)
    assert "i in parallel(6)" in str(s)
