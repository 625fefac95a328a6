"""relax_guard of a sum over padding: what it adds is 0, or it is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.nests import assert_same_results, assert_text, matmul
from tensorc.errors import ScheduleError
from tensorc.ir import interp
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule

DOT = """program main(A: in float32[10], B: in float32[10], S: out float32[1]):
  for i in range(1):
    S[i] = {start}
    for k in range(10):
      S[i] += {value}
"""


def padded_dot(
    pads: tuple[float, ...] = (0.0, 0.0), start: str = "0.0", value: str = "A[k] * B[k]"
) -> Schedule:
    """Steps of four, the operands padded, the guard of the sum still there."""
    s = Schedule(parse(DOT.format(start=start, value=value)))
    s.split(s["S"].loop("k"), 4)
    for name, pad in zip("AB", pads, strict=False):
        s.cache_read(name, s["S"].loop("k.outer"), pad=pad)
    s.cache_write("S", s["S"].loop("i"))
    return s


def test_a_sum_of_products_of_padding_needs_no_guard() -> None:
    s = padded_dot()
    s.relax_guard("S.local", s["S.local"].loop("k.inner"))
    assert_text(
        s,
        """
        for i in range(1):
          alloc S.local: float32[1] local
            S.local[0] = 0.0
            for k.outer in range(3):
              alloc B.local: float32[4]
                for B.in0 in range(4):
                  B.local[B.in0] = where(k.outer * 4 + B.in0 < 10, B[k.outer * 4 + B.in0], 0.0)
                alloc A.local: float32[4]
                  for A.in0 in range(4):
                    A.local[A.in0] = where(k.outer * 4 + A.in0 < 10, A[k.outer * 4 + A.in0], 0.0)
                  for k.inner in range(4):
                    S.local[0] += A.local[k.inner] * B.local[k.inner]
            for S.out0 in range(1):
              S[i + S.out0] = S.local[S.out0]
        """,
    )
    assert_same_results(s.plain, s.program)
    again = Schedule(s.plain)
    again.replay(s.trace)
    assert show(again.program) == show(s.program)


def test_infinities_and_zeros_with_a_sign_stay_what_they_are() -> None:
    s = padded_dot()
    s.relax_guard("S.local", s["S.local"].loop("k.inner"))
    for last in (np.inf, -np.inf, -0.0):
        arrays = {"A": np.full(10, -0.0, np.float32), "B": np.ones(10, np.float32)}
        arrays["A"][9] = last
        found = [arrays | {"S": np.zeros(1, np.float32)} for _ in range(2)]
        for program, each in zip((s.plain, s.program), found, strict=True):
            each["S"] = each["S"].copy()
            interp.run(program, each)
        assert found[0]["S"].tobytes() == found[1]["S"].tobytes()


@settings(max_examples=25, deadline=None)
@given(sizes=st.tuples(*[st.integers(1, 9)] * 3), step=st.integers(1, 6))
def test_a_product_with_a_ragged_sum_keeps_its_meaning(
    sizes: tuple[int, int, int], step: int
) -> None:
    s = Schedule(matmul(*sizes))
    i, j, k = s.loops("C")
    outer, inner = s.split(k, step)
    s.reorder(i, outer, j, inner)
    s.cache_read("A", outer, pad=0.0)
    s.cache_read("B", outer, pad=0.0, order=(1, 0))
    s.cache_write("C", i)
    if sizes[1] % min(step, sizes[1]):
        s.relax_guard("C.local", inner)
    assert "if " not in show(s.program)
    assert_same_results(matmul(*sizes), s.program)


@pytest.mark.parametrize(
    ("pads", "start", "value"),
    [
        ((0.0, 1.0), "0.0", "A[k] * B[k]"),
        ((0.0, 0.0), "1.0", "A[k] * B[k]"),
        ((0.0, 0.0), "-0.0", "A[k] * B[k]"),
        ((0.0, 0.0), "0.0", "A[k] * B[k] + 1.0"),
        ((1.0,), "0.0", "A[k]"),
    ],
    ids=["one factor is not 0", "begins with 1", "begins with -0", "not a product", "pads by 1"],
)
def test_a_sum_that_would_change_keeps_its_guard(
    pads: tuple[float, ...], start: str, value: str
) -> None:
    s = padded_dot(pads, start, value)
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.relax_guard("S.local", s["S.local"].loop("k.inner"))
    shown = value.replace("A[k]", "A.local[k.inner]").replace("B[k]", "B.local[k.inner]")
    assert str(error.value) == (
        "relax_guard(S.local, k.inner): iterations outside of k.outer * 4 + k.inner < 10 might "
        "write elements of 'S.local' that are read\n"
        f"  S.local[0] += {shown}\n"
        f"  S.local[0] += {shown}: reads them"
    )
    assert show(s.program) == before


def test_a_copy_in_registers_with_two_padded_sides_holds_zeros_beyond_the_sum() -> None:
    s = Schedule(matmul(8, 7, 10))
    i, j, k = s.loops("C")
    outer, inner = s.split(k, 4)
    tile, lane = s.split(j, 4)
    s.reorder(i, outer, tile, inner, lane)
    s.cache_read("A", outer, pad=0.0)
    copy = s.cache_read("B", outer, pad=0.0)
    s.split(copy.loops[-1], 4)
    s.cache_write("C", i)
    s.relax_guard("C.local", inner)
    assert "k.outer * 4 + k.inner < " not in show(s.program)
    assert_same_results(matmul(8, 7, 10), s.program)
