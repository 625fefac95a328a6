"""What only a GPU has is refused on a CPU."""

from __future__ import annotations

import pytest

from tensorc.errors import CompileError
from tensorc.ir.parser import parse
from tensorc.lower.pipeline import lower
from tensorc.target import Target


def test_a_bound_loop_is_refused_on_a_cpu() -> None:
    program = parse(
        """program p(A: out float32[8]):
  for i in thread.x(8):
    A[i] = 1.0
"""
    )
    with pytest.raises(CompileError) as error:
        lower(program, Target())
    assert str(error.value) == (
        "loop i is bound to thread.x, which the target cpu has not; compile for cuda, or make the "
        "loop parallel instead"
    )


def test_a_shared_buffer_is_refused_on_a_cpu() -> None:
    program = parse(
        """program p(A: out float32[8]):
  for i in range(8):
    alloc T: float32[1] shared
      T[0] = 1.0
      A[i] = T[0]
"""
    )
    with pytest.raises(CompileError) as error:
        lower(program, Target())
    assert str(error.value) == (
        "buffer T has scope 'shared', which the target cpu has not; compile for cuda, or set_scope "
        "it to 'global' or 'local'"
    )


def test_hints_that_nothing_knows_change_nothing() -> None:
    text = """program p(A: out float32[8]):
  for i in vectorized(8){hint}:
    A[i] = 1.0
"""
    plain, hinted = (lower(parse(text.replace("{hint}", h)), Target()) for h in ("", " {a: 1}"))
    assert type(plain.body) is type(hinted.body)
