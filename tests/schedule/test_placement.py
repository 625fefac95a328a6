"""inline, compute_at, cache_write: text, meaning, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedule.nests import assert_same_results, assert_text, matmul, two_stages
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.schedule.schedule import Schedule


def test_inline_puts_the_definition_where_it_is_used() -> None:
    s = Schedule(two_stages())
    s.inline("B")
    assert_text(
        s,
        """
        for j in range(9):
          C[j] = (A[j] + A[j + 1]) * (A[j + 1] + A[j + 1 + 1])
        """,
    )
    assert_same_results(two_stages(), s.program)


def test_inline_refuses_a_reduction() -> None:
    plain = parse(
        """program main(A: in float32[4, 3], B: out float32[4]):
  alloc S: float32[4]
    for i in range(4):
      S[i] = 0.0
      for k in range(3):
        S[i] += A[i, k]
    for j in range(4):
      B[j] = S[j] + 1.0
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.inline("S")
    assert str(error.value) == (
        "inline(S): 'S' is not one element-wise store, so its value cannot stand in place of a "
        "use; compute_at places such a computation\n  S[i] += A[i, k]"
    )


def test_inline_refuses_an_output() -> None:
    s = Schedule(two_stages())
    with pytest.raises(ScheduleError) as error:
        s.inline("C")
    assert str(error.value) == "inline(C): 'C' is a parameter of the program, so it must stay"


def test_inline_refuses_what_reads_an_overwritten_buffer() -> None:
    s = Schedule(
        parse(
            """program main(W: inout float32[4], C: out float32[4]):
  alloc B: float32[4]
    for i in range(4):
      B[i] = W[i] * 2.0
    for k in range(4):
      W[k] = 0.0
    for j in range(4):
      C[j] = B[j]
"""
        )
    )
    with pytest.raises(ScheduleError) as error:
        s.inline("B")
    assert str(error.value) == (
        "inline(B): 'B' reads W, which is written before its last use\n  W[k] = 0.0"
    )


def test_inline_allows_an_update_of_the_element_that_it_reads() -> None:
    plain = parse(
        """program main(W: inout float32[4], G: in float32[4]):
  alloc B: float32[4]
    for i in range(4):
      B[i] = W[i] * 0.5 + G[i]
    for j in range(4):
      W[j] = W[j] - B[j]
"""
    )
    s = Schedule(plain)
    s.inline("B")
    assert_same_results(plain, s.program)


def test_inline_refuses_an_update_that_shifts_the_element() -> None:
    s = Schedule(
        parse(
            """program main(W: inout float32[5]):
  alloc B: float32[4]
    for i in range(4):
      B[i] = W[i]
    for j in range(4):
      W[j + 1] = B[j]
"""
        )
    )
    with pytest.raises(ScheduleError, match=r"inline\(B\): 'B' reads W, which is written"):
        s.inline("B")


def test_compute_at_recomputes_a_halo() -> None:
    s = Schedule(two_stages())
    outer, _ = s.split(s["C"].loop("j"), 4)
    s.compute_at("B", outer)
    assert_text(
        s,
        """
        for j.outer in range(3):
          alloc B: float32[5] local
            for i in range(5):
              if j.outer * 4 + i < 10:
                B[i] = A[j.outer * 4 + i] + A[j.outer * 4 + i + 1]
            for j.inner in range(4):
              if j.outer * 4 + j.inner < 9:
                C[j.outer * 4 + j.inner] = B[j.inner] * B[j.inner + 1]
        """,
    )
    assert_same_results(two_stages(), s.program)


@given(size=st.integers(1, 12), factor=st.integers(1, 7), parallel=st.booleans())
def test_compute_at_keeps_meaning(size: int, factor: int, parallel: bool) -> None:
    plain = two_stages(size)
    s = Schedule(plain)
    outer, _ = s.split(s["C"].loop("j"), factor)
    s.compute_at("B", outer)
    if parallel:
        s.parallel(outer)
    assert_same_results(plain, s.program)


def test_compute_at_places_a_reduction() -> None:
    plain = parse(
        """program main(A: in float32[6, 5], B: in float32[5, 4], D: out float32[6, 4]):
  alloc C: float32[6, 4]
    for i in range(6):
      for j in range(4):
        C[i, j] = 0.0
        for k in range(5):
          C[i, j] += A[i, k] * B[k, j]
    for x in range(6):
      for y in range(4):
        D[x, y] = max(C[x, y], 0.0)
"""
    )
    s = Schedule(plain)
    s.compute_at("C", s["D"].loop("x"))
    assert_text(
        s,
        """
        for x in range(6):
          alloc C: float32[1, 4] local
            for i in range(1):
              for j in range(4):
                C[i, j] = 0.0
                for k in range(5):
                  C[i, j] += A[x + i, k] * B[k, j]
            for y in range(4):
              D[x, y] = max(C[0, y], 0.0)
        """,
    )
    assert_same_results(plain, s.program)


def test_compute_at_refuses_a_use_outside() -> None:
    s = Schedule(
        parse(
            """program main(A: in float32[4], C: out float32[4], D: out float32[4]):
  alloc B: float32[4]
    for i in range(4):
      B[i] = A[i]
    for j in range(4):
      C[j] = B[j]
    for k in range(4):
      D[k] = B[k]
"""
        )
    )
    with pytest.raises(ScheduleError) as error:
        s.compute_at("B", s["C"].loop("j"))
    assert str(error.value) == (
        "compute_at(B, j): 'B' is used outside of loop j too\n  D[k] = B[k]"
    )


def test_cache_write_collects_a_tile() -> None:
    s = Schedule(matmul(8, 6, 8))
    i, j, k = s.loops("C")
    _io, jo, ii, ji = s.tile(i, j, 4, 4)
    s.reorder(k, ii, ji)
    s.cache_write("C", jo)
    assert_text(
        s,
        """
        for i.outer in range(2):
          for j.outer in range(2):
            alloc C.local: float32[4, 4] local
              for i.inner.init in range(4):
                for j.inner.init in range(4):
                  C.local[i.inner.init, j.inner.init] = 0.0
              for k in range(6):
                for i.inner in range(4):
                  for j.inner in range(4):
                    C.local[i.inner, j.inner] += A[io * 4 + i.inner, k] * B[k, jo * 4 + j.inner]
              for C.out0 in range(4):
                for C.out1 in range(4):
                  C[io * 4 + C.out0, jo * 4 + C.out1] = C.local[C.out0, C.out1]
        """.replace("io *", "i.outer *").replace("jo *", "j.outer *"),
    )
    assert_same_results(matmul(8, 6, 8), s.program)


def test_cache_write_copies_in_what_the_part_reads_first() -> None:
    plain = parse(
        """program main(A: in float32[4], C: inout float32[4]):
  for i in range(4):
    C[i] += A[i]
"""
    )
    s = Schedule(plain)
    s.cache_write("C", s["C"].loop("i"))
    assert_text(
        s,
        """
        for i in range(4):
          alloc C.local: float32[1] local
            for C.in0 in range(1):
              C.local[C.in0] = C[i + C.in0]
            C.local[0] += A[i]
            for C.out0 in range(1):
              C[i + C.out0] = C.local[C.out0]
        """,
    )
    assert_same_results(plain, s.program)


@given(m=st.integers(1, 7), n=st.integers(1, 7), mr=st.integers(1, 4), nr=st.integers(1, 4))
def test_cache_write_keeps_meaning_with_ragged_tiles(m: int, n: int, mr: int, nr: int) -> None:
    plain = matmul(m, 3, n)
    s = Schedule(plain)
    i, j, k = s.loops("C")
    io, jo, ii, ji = s.tile(i, j, mr, nr)
    s.reorder(k, ii, ji)
    s.cache_write("C", jo)
    s.parallel(io)
    assert_same_results(plain, s.program)


def test_cache_write_in_registers_needs_a_constant_size() -> None:
    s = Schedule(
        parse(
            """program main(A: in float32[4, n], C: out float32[4, n]) dims(n >= 0):
  for i in range(4):
    for j in range(n):
      C[i, j] = A[i, j]
"""
        )
    )
    with pytest.raises(ScheduleError) as error:
        s.cache_write("C", s["C"].loop("i"))
    assert str(error.value) == (
        "cache_write(C, i): one iteration touches 1 x n elements, which is no constant size; "
        "choose an inner loop or scope='global'"
    )


def test_cache_read_packs_a_panel() -> None:
    plain = matmul(6, 5, 8)
    s = Schedule(plain)
    i, j, k = s.loops("C")
    jo, ji = s.split(j, 4)
    s.reorder(jo, i, ji)
    s.reorder(i, k, ji)
    panel = s.cache_read("B", jo)
    assert panel.name == "B.local"
    assert_text(
        s,
        """
        for j.outer in range(2):
          alloc B.local: float32[5, 4]
            for B.in0 in range(5):
              for B.in1 in range(4):
                B.local[B.in0, B.in1] = B[B.in0, j.outer * 4 + B.in1]
            for i in range(6):
              for j.inner.init in range(4):
                C[i, j.outer * 4 + j.inner.init] = 0.0
              for k in range(5):
                for j.inner in range(4):
                  C[i, j.outer * 4 + j.inner] += A[i, k] * B.local[k, j.inner]
        """,
    )
    assert_same_results(plain, s.program)


@given(m=st.integers(1, 6), n=st.integers(1, 7), factor=st.integers(1, 4), flip=st.booleans())
def test_cache_read_keeps_meaning_in_either_order(m: int, n: int, factor: int, flip: bool) -> None:
    plain = matmul(m, 3, n)
    s = Schedule(plain)
    i, j, _ = s.loops("C")
    jo, ji = s.split(j, factor)
    s.reorder(jo, i, ji)
    s.cache_read("B", jo, order=(1, 0) if flip else None)
    assert_same_results(plain, s.program)


def test_cache_read_refuses_what_the_loop_writes() -> None:
    s = Schedule(matmul())
    with pytest.raises(ScheduleError) as error:
        s.cache_read("C", s["C"].loop("i"))
    assert str(error.value) == "cache_read(C, i): loop i writes 'C'; use cache_write"


def test_cache_read_refuses_an_order_that_is_no_permutation() -> None:
    s = Schedule(matmul())
    with pytest.raises(ScheduleError) as error:
        s.cache_read("B", s["C"].loop("i"), order=(0, 0))
    assert str(error.value) == (
        "cache_read(B, i): order (0, 0) is no permutation of the 2 dimensions of 'B'"
    )


def test_cache_write_refuses_one_part_of_a_pair() -> None:
    s = Schedule(
        parse(
            """program main(A: in float32[4, 5], V: out float32[4], P: out int64[4]):
  for i in range(4):
    V[i] = float32(-inf)
    P[i] = 9
    for k in range(5):
      (V[i], P[i]) argmax= (A[i, k], k)
"""
        )
    )
    with pytest.raises(ScheduleError) as error:
        s.cache_write("V", s["V"].loop("i"))
    assert str(error.value) == (
        "cache_write(V, i): 'V' is accumulated together with P, at one index; the parts of a pair "
        "cannot be cached apart"
    )


@pytest.mark.parametrize("step", ["inline", "compute_at"])
def test_a_stage_that_shares_its_nest_with_its_uses_is_not_moved(step: str) -> None:
    plain = parse(
        """program main(A: in float32[6], C: out float32[6]):
  alloc T: float32[6]
    for i in range(6):
      T[i] = A[i] * 2.0
      C[i] = T[i] + 1.0
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        getattr(s, step)("T", *([s["C"].loop("i")] if step == "compute_at" else []))
    call = "inline(T)" if step == "inline" else "compute_at(T, i)"
    assert str(error.value) == (
        f"{call}: 'T' is computed and used in the same nest already\n  for i in range(6):"
    )


def test_a_copy_of_a_triangle_has_a_size_that_holds_everywhere() -> None:
    plain = parse(
        """program main(T: in float32[12], B: out float32[6]):
  for i in range(6):
    B[i] = 0.0
    for j in range(i + 1):
      B[i] += T[i + j]
"""
    )
    s = Schedule(plain)
    i = s["B"].loop("i")
    s.cache_read("T", i)
    s.split(i, 4)
    assert_same_results(plain, s.program)
