"""Tiles that lie inside all bounds run without guards."""

from __future__ import annotations

from textwrap import dedent

from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.programs import check
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.stmt import ForKind
from tensorc.ir.verify import verify
from tensorc.lower.partition import partition


def cut(text: str) -> str:
    program = partition(parse(text))
    verify(program)
    return show(program)


def assert_text(actual: str, expected: str) -> None:
    assert actual.strip() == dedent(expected).strip()


SCALE = """
program scale(A: in float32[n], B: out float32[n]) dims(n >= 0):
  for io in KIND((n + 7) // 8):
    for ii in vectorized(8):
      if io * 8 + ii < n:
        B[io * 8 + ii] = A[io * 8 + ii] * 2.0
"""


def test_a_serial_loop_is_cut_where_the_last_whole_tile_ends() -> None:
    text = cut(SCALE.replace("KIND", "range"))
    first, second = text.split("  for io in ")[1:]
    assert "if" not in first
    assert "if io * 8 + ii < n" in second
    assert "(n - 8) // 8 + 1" in first


def test_a_parallel_loop_stays_whole() -> None:
    expected = """
        program scale(A: in float32[n], B: out float32[n]) dims(n >= 0):
          for io in parallel((n + 7) // 8):
            if n - io * 8 - 8 >= 0:
              for ii in vectorized(8):
                B[io * 8 + ii] = A[io * 8 + ii] * 2.0
            else:
              for ii in vectorized(8):
                if io * 8 + ii < n:
                  B[io * 8 + ii] = A[io * 8 + ii] * 2.0
    """
    assert_text(cut(SCALE.replace("KIND", "parallel")), expected)


def test_constant_sizes_leave_constant_bounds() -> None:
    expected = """
        program f(A: in float32[10], B: out float32[10]):
          for io in range(2):
            for ii in vectorized(4):
              B[io * 4 + ii] = A[io * 4 + ii]
          for ii in vectorized(4):
            if 8 + ii < 10:
              B[8 + ii] = A[8 + ii]
    """
    assert_text(
        cut("""
program f(A: in float32[10], B: out float32[10]):
  for io in range(3):
    for ii in vectorized(4):
      if io * 4 + ii < 10:
        B[io * 4 + ii] = A[io * 4 + ii]
"""),
        expected,
    )


def test_padding_is_cut_on_both_sides() -> None:
    text = """
program blur(A: in float32[n], B: out float32[n]) dims(n >= 0):
  for i in range(n):
    B[i] = 0.0
    for k in range(3):
      B[i] += where(i + k >= 1 and i + k < n + 1, A[i + k - 1], 0.0)
"""
    lowered = cut(text)
    parts = lowered.split("  for i in ")[1:]
    assert ["where" in p for p in parts] == [True, False, True]
    for n in (0, 1, 2, 3, 9):
        check(text, n=n)


def test_a_loop_without_a_tile_below_stays() -> None:
    text = """
program f(A: in float32[n], B: inout float32[n]) dims(n >= 0):
  for i in range(n + 3):
    if i < n:
      B[i] = A[i]
"""
    assert_text(cut(text), show(parse(text)))


def test_guards_that_are_not_affine_stay() -> None:
    text = """
program f(A: in int64[n], B: inout float32[n]) dims(n >= 0):
  for i in range(n):
    for j in range(4):
      if A[i] + j < n and i * j < n and i // 2 == j:
        B[i] = 1.0
"""
    assert_text(cut(text), show(parse(text)))


def test_a_guard_on_an_outer_loop_alone_is_decided_there() -> None:
    text = """
program f(A: in float32[n, 4], B: inout float32[n, 4]) dims(n >= 0):
  for i in range(n):
    for j in range(4):
      if i >= 2:
        B[i, j] = A[i, j]
"""
    assert "for i in range(" in cut(text)
    assert cut(text).count("if ") == 1
    for n in (0, 1, 2, 7):
        check(text, n=n)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 40),
    m=st.integers(0, 17),
    outer=st.sampled_from([ForKind.SERIAL, ForKind.PARALLEL]),
    tile=st.integers(1, 9),
    low=st.integers(0, 5),
)
def test_partition_keeps_meaning(n: int, m: int, outer: ForKind, tile: int, low: int) -> None:
    kind = "range" if outer is ForKind.SERIAL else "parallel"
    check(
        f"""
program f(A: in float32[n, m], B: inout float32[n, m]) dims(n >= 0, m >= 0):
  for io in {kind}((n + {tile - 1}) // {tile}):
    for jo in range((m + 3) // 4):
      for ii in range({tile}):
        for ji in vectorized(4):
          if io * {tile} + ii < n and jo * 4 + ji < m and jo * 4 + ji + io >= {low}:
            B[io * {tile} + ii, jo * 4 + ji] += A[io * {tile} + ii, jo * 4 + ji]
""",
        n=n,
        m=m,
    )
