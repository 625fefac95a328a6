"""Conditions that a loop does not change are asked before it."""

from __future__ import annotations

from textwrap import dedent

from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.programs import check
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.verify import verify
from tensorc.lower.hoist import hoist_guards


def hoisted(text: str) -> str:
    program = hoist_guards(parse(text))
    verify(program)
    return show(program)


SUMS = """
program sums(A: in float32[n], C: inout float32[12], limit: in int64[1]) dims(n >= 0):
  for io in range(3):
    for k in KIND(n):
      for ii in unrolled(4):
        if CONDITION:
          C[io * 4 + ii] += A[k]
"""


def sums(condition: str, kind: str = "range") -> str:
    return SUMS.replace("KIND", kind).replace("CONDITION", condition)


def test_a_guard_stands_outside_of_the_loops_that_do_not_change_it() -> None:
    expected = """
        program sums(A: in float32[n], C: inout float32[12], limit: in int64[1]) dims(n >= 0):
          for io in range(3):
            if io * 4 < n:
              for k in range(n):
                for ii in unrolled(4):
                  if io * 4 + ii < n:
                    C[io * 4 + ii] += A[k]
    """
    assert hoisted(sums("io * 4 < n and io * 4 + ii < n")).strip() == dedent(expected).strip()


def test_a_guard_that_reads_memory_stays() -> None:
    text = sums("io < limit[0]")
    assert hoisted(text) == show(parse(text))


def test_a_guard_stays_in_a_parallel_loop() -> None:
    text = sums("io < n", "parallel")
    inside = hoisted(text).index("if io < n:")
    assert hoisted(text).index("for k in parallel(n):") < inside
    assert inside < hoisted(text).index("for ii in unrolled(4):")


def test_a_choice_between_two_statements_stays() -> None:
    text = sums("io < n") + "        else:\n          C[io * 4 + ii] += 1.0\n"
    assert hoisted(text) == show(parse(text))


@given(st.integers(0, 14), st.integers(0, 14))
@settings(max_examples=15, deadline=None)
def test_guards_keep_their_meaning(n: int, bound: int) -> None:
    check(sums(f"io * 4 < n and io * 4 + ii < {bound} and k < n"), n=n)
