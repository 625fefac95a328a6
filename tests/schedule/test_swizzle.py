"""swizzle: its text, its meaning, its refusals, and what other steps make of a permuted buffer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedule.nests import assert_same_results, assert_text
from tensorc.errors import IRError, ParseError, ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.swizzle import SHIFT, WIDTHS, Swizzle
from tensorc.ir.walk import same
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace
from tensorc.schedule.tree import find_buffer


def image(h: int = 16, w: int = 32, dtype: str = "float32", scope: str = " shared") -> str:
    return f"""program main(A: in {dtype}[{h}, {w}], C: out {dtype}[{w}, {h}]):
  alloc T: {dtype}[{h}, {w}]{scope}
    for i in range({h}):
      for j in range({w}):
        T[i, j] = A[i, j]
    for p in range({w}):
      for q in range({h}):
        C[p, q] = T[q, p]
"""


def test_a_swizzle_stands_with_the_buffer() -> None:
    s = Schedule(parse(image()))
    s.swizzle("T", 128)
    assert_text(
        s,
        """
        alloc T: float32[16, 32] shared swizzle(128)
          for i in range(16):
            for j in range(32):
              T[i, j] = A[i, j]
          for p in range(32):
            for q in range(16):
              C[p, q] = T[q, p]
        """,
    )
    assert_same_results(parse(image()), s.program)
    assert not same(s.program.body, s.plain.body)
    again = Schedule(parse(image()))
    again.replay(Trace.from_json(s.trace.to_json()))
    assert same(again.program.body, s.program.body)
    assert str(s.trace) == "s.swizzle('T', 128)"
    s.swizzle("T", 64, shift=4)
    assert show(parse(show(s.program))) == show(s.program)
    assert "shared swizzle(64, 4)" in show(s.program)
    s.swizzle("T", 0)
    assert show(s.program) == show(s.plain)


@given(st.sampled_from(WIDTHS), st.integers(SHIFT, 8))
def test_the_pattern_moves_chunks_within_its_width_and_undoes_itself(
    width: int, shift: int
) -> None:
    swizzle = Swizzle(width, shift)
    for offset in range(0, 2 * swizzle.period, 4):
        place = swizzle.place(offset)
        assert place // width == offset // width
        assert place % 16 == offset % 16
        assert swizzle.place(place) == offset
        assert swizzle.place(offset + swizzle.period) == place + swizzle.period


@pytest.mark.parametrize(("row", "width", "shift"), [(32, 32, 3), (64, 64, 3), (128, 128, 3),
                                                     (256, 128, 4), (512, 128, 5)])  # fmt: skip
def test_eight_chunks_of_a_column_lie_in_eight_places_of_the_banks(
    row: int, width: int, shift: int
) -> None:
    swizzle = Swizzle(width, shift)
    for column in range(0, row, 16):
        banks = {swizzle.place(r * row + column) % 128 for r in range(8)}
        assert len(banks) == 8


def test_pipeline_keeps_a_swizzle() -> None:
    text = """program main(A: in float32[8, 256], C: out float32[8, 256]):
  for b in block.x(1):
    for i in range(8):
      alloc T: float32[8, 32] shared
        for t in thread.x(32):
          for r in range(8):
            T[r, t] = A[i, r * 32 + t]
        for t in thread.x(32):
          for r in range(8):
            C[i, r * 32 + t] = T[r, 31 - t]
"""
    s = Schedule(parse(text))
    s.swizzle("T", 128)
    s.pipeline(s.loop("C", "i"), 3)
    assert "alloc T: float32[3, 8, 32] shared swizzle(128)" in show(s.program)
    assert_same_results(parse(text), s.program)


def test_compute_at_leaves_shared_memory_and_its_swizzle() -> None:
    text = image().replace("T[i, j] = A[i, j]", "T[i, j] = A[i, j] * 2.0")
    s = Schedule(parse(text))
    s.swizzle("T", 128)
    s.compute_at("T", s.loop("C", "p"))
    found = find_buffer(s.program, "T")
    assert found is not None
    assert found.swizzle is None
    assert_same_results(parse(text), s.program)


@pytest.mark.parametrize(
    ("text", "step", "message"),
    [
        (image(), ("swizzle", "A", 128),
         "swizzle(A, 128): 'A' is a parameter, stored as the caller has it; cache_read or "
         "cache_write makes a copy to store otherwise"),
        (image(), ("swizzle", "X", 128), "swizzle(X, 128): there is no buffer 'X'"),
        (image(), ("swizzle", "T", 48),
         "swizzle(T, 48): a width is one of 32, 64, 128 bytes, and a shift 3 to 8"),
        (image(), ("swizzle", "T", 128, 2),
         "swizzle(T, 128, 2): a width is one of 32, 64, 128 bytes, and a shift 3 to 8"),
        (image(scope=""), ("swizzle", "T", 128),
         "swizzle(T, 128): 'T' cannot be permuted so: its scope is 'global', and only shared "
         "memory has banks to spread over"),
        (image(16, 24), ("swizzle", "T", 128),
         "swizzle(T, 128): 'T' cannot be permuted so: its rows of 96 bytes are no multiple of 128"),
        (image(12, 32), ("swizzle", "T", 128),
         "swizzle(T, 128): 'T' cannot be permuted so: its 1536 bytes are no multiple of 1024, "
         "after which it repeats"),
        (image().replace("shared", "shared swizzle(32)"), ("set_scope", "T", "local"),
         "set_scope(T, local): 'T' has the swizzle(32), which only shared memory has; "
         "swizzle(T, 0) takes it away"),
        (image().replace("shared", "shared swizzle(32)"), ("storage_align", "T", 0, 8, 1),
         "storage_align(T, 0, 8, 1): 'T' has the swizzle(32), which spreads its rows without "
         "padding; swizzle(T, 0) takes it away"),
    ],
)  # fmt: skip
def test_what_cannot_be_permuted_is_refused(
    text: str, step: tuple[str | int, ...], message: str
) -> None:
    s = Schedule(parse(text))
    name, *args = step
    with pytest.raises(ScheduleError) as error:
        getattr(s, str(name))(*args)
    assert str(error.value) == message
    assert len(s.trace) == 0


def test_text_with_a_swizzle_that_does_not_fit_is_refused() -> None:
    with pytest.raises(IRError, match="a width is one of 32, 64, 128 bytes"):
        Swizzle(16)
    wrong = {
        " swizzle(128)": "line 2, column 12: T: swizzle(128): its scope is 'global', and only "
        "shared memory has banks to spread over, at 'float32'",
        " shared swizzle(100)": "line 2, column 35: swizzle(100, 3): a width is one of 32, 64, 128 "
        "bytes, and a shift 3 to 8, at 'swizzle'",
        " shared swizzle()": "line 2, column 35: expected a width and perhaps a shift, at "
        "'swizzle'",
        " shared swizzle(64, 3.5)": "line 2, column 47: expected an integer, at '3.5'",
    }
    for scope, message in wrong.items():
        with pytest.raises(ParseError) as error:
            parse(image(scope=scope))
        assert str(error.value) == message
