"""What is read once: known in straight code, or held by a loop; and what makes it unknown."""

from __future__ import annotations

import numpy as np

from codegen.harness import Kernel
from tensorc.codegen.llvm import emit_module
from tensorc.ir.parser import parse
from tensorc.lower.memory import plan_memory
from tensorc.target import Target

HEAD = "program f(A: inout float32[8], B: inout float32[8], C: inout float32[8]):\n"


def lines(body: str, nest: int = 0) -> list[str]:
    program = parse(HEAD + body)
    return emit_module(program, Target(), plan_memory(program)).nests[nest].text.splitlines()


def loads(body: str) -> int:
    return sum(" load float" in line for line in lines(body))


def loads_before_the_loop(body: str) -> int:
    text = lines(body)
    first = next(i for i, line in enumerate(text) if line.startswith("loop."))
    return sum(" load float" in line for line in text[:first])


def results(body: str) -> tuple[list[float], ...]:
    given = {n: np.arange(1, 9, dtype=np.float32) * (i + 1) for i, n in enumerate("ABC")}
    out = Kernel(parse(HEAD + body)).run(1, **given)
    return tuple(out[n].tolist() for n in "ABC")


def test_an_element_is_read_once_until_it_may_have_changed() -> None:
    once = """
  for i in range(8):
    B[i] = A[i] * A[i] + A[i]
"""
    assert loads(once) == 1
    written_between = """
  for i in range(8):
    A[i] = B[i] + 1.0
    C[i] = B[i] + A[i]
"""
    # A is known, since it was stored; buffers from outside are not told apart.
    assert loads(written_between) == 2


def test_what_a_local_buffer_holds_is_known_whatever_is_stored_elsewhere() -> None:
    body = """
  for i in range(8):
    alloc T: float32[2] local
      T[0] = A[i] + 1.0
      T[1] = A[i] + 2.0
      B[i] = 0.0
      C[i] = T[0] * T[1] + T[0]
"""
    assert loads(body) == 1
    a = np.arange(1, 9)
    assert results(body)[2] == ((a + 1) * (a + 2) + (a + 1)).tolist()


def test_another_element_of_unknown_place_makes_a_buffer_unknown() -> None:
    body = """
  for i in range(8):
    A[0] = B[i]
    A[i] = C[i]
    B[i] = A[0]
"""
    assert loads(body) == 3
    a, b = list(range(1, 9)), [2 * x for x in range(1, 9)]
    c = [3 * x for x in range(1, 9)]
    for i in range(8):
        a[0] = b[i]
        a[i] = c[i]
        b[i] = a[0]
    assert results(body)[:2] == (a, b)


def test_what_a_nest_writes_is_read_after_it() -> None:
    body = """
  A[0] = B[0] + 1.0
  for i in range(8):
    A[i] = C[i] * 2.0
  B[1] = A[0]
"""
    assert results(body)[1][1] == 6.0


def test_a_loop_reads_before_it_what_no_iteration_changes() -> None:
    body = """
  for i in range(8):
    B[i] = A[3] * C[i] + A[0]
"""
    assert loads_before_the_loop(body) == 2
    assert results(body)[1] == [4.0 * 3 * x + 1 for x in range(1, 9)]


def test_a_loop_of_unknown_length_reads_where_there_is_an_iteration() -> None:
    text = """
program g(A: in float32[n], B: inout float32[8]) dims(n >= 0):
  for i in range(min(n, 8)):
    B[i] = A[0] + 1.0
"""
    program = parse(text)
    nest = emit_module(program, Target(), plan_memory(program)).nests[0].text
    assert nest.index("some.") < nest.index(" load float") < nest.index("\nloop.")
    for n in (0, 3):
        b = np.zeros(8, np.float32)
        code, _ = Kernel(program)({"A": np.full(n, 2, np.float32), "B": b})
        assert code == 0
        assert b.tolist() == [3.0] * n + [0.0] * (8 - n)


def test_a_loop_holds_nothing_that_it_writes_binds_or_may_not_read() -> None:
    for body in (
        "A[3] = A[3] + B[i]",
        "if i > 3:\n      B[i] = A[3]",
        "B[i] = where(i > 3, A[3], 0.0)",
        "B[i] = A[i]",
        'check i < 9, "too far"\n    B[i] = A[3]',
    ):
        assert loads_before_the_loop(f"  for i in range(8):\n    {body}\n") == 0, body
