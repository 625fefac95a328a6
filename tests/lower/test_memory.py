"""The layout of the workspace."""

from __future__ import annotations

import pytest

from tensorc.errors import CompileError
from tensorc.ir import interp
from tensorc.ir.expr import Buffer, const_int
from tensorc.ir.parser import parse
from tensorc.ir.stmt import Allocate
from tensorc.ir.walk import walk_stmts
from tensorc.lower.memory import WorkspaceLayout, plan_memory


def layout_of(text: str) -> tuple[WorkspaceLayout, dict[str, Buffer]]:
    program = parse(text)
    buffers = {s.buffer.name: s.buffer for s in walk_stmts(program.body) if isinstance(s, Allocate)}
    return plan_memory(program), buffers


CHAIN = """
program chain(A: in float32[100], B: out float32[100]):
  alloc T: float32[100]
    alloc U: float32[100]
      alloc V: float32[90]
        for i in range(100):
          T[i] = A[i]
        for i in range(100):
          U[i] = T[i]
        for i in range(90):
          V[i] = U[i]
        for i in range(90):
          B[i] = V[i]
"""


def test_buffers_whose_lifetimes_do_not_meet_share_memory() -> None:
    layout, named = layout_of(CHAIN)
    assert const_int(layout.shared) == 2 * 448
    assert layout.overlaps(named["T"], named["V"])
    assert not layout.overlaps(named["T"], named["U"])
    assert not layout.overlaps(named["U"], named["V"])


def test_offsets_are_multiples_of_64() -> None:
    layout, _ = layout_of(CHAIN)
    assert all((const_int(s.offset) or 0) % 64 == 0 for s in layout.slots.values())


def test_symbolic_sizes_follow_the_constant_ones() -> None:
    program = parse("""
program f(A: in float32[n], B: out float32[n]) dims(n >= 0):
  alloc T: float32[n]
    alloc U: float64[n, 3]
      alloc V: float32[16]
        for i in range(n):
          T[i] = A[i]
          V[0] = T[i]
          U[i, 0] = float64(V[0])
          B[i] = float32(U[i, 0])
""")
    layout = plan_memory(program)
    size = interp.evaluate(layout.shared, {program.dims[0]: 5})
    assert size == 64 + 64 + 128
    assert interp.evaluate(layout.shared, {program.dims[0]: 0}) == 64


def test_a_buffer_in_a_parallel_loop_has_a_slice_for_each_thread() -> None:
    layout, named = layout_of("""
program f(A: in float32[10], B: out float32[10]):
  for i in parallel(10):
    alloc T: float32[20]
      T[0] = A[i]
      B[i] = T[0]
""")
    assert const_int(layout.shared) == 0
    assert const_int(layout.slice) == 128
    assert layout.slots[named["T"]].per_thread


def test_a_buffer_in_a_vector_loop_has_a_copy_for_each_lane() -> None:
    layout, named = layout_of("""
program f(A: in float32[8], B: out float32[8]):
  for i in vectorized(8):
    alloc T: float32[4]
      T[0] = A[i]
      B[i] = T[0]
""")
    assert layout.slots[named["T"]].copies == 8
    assert const_int(layout.shared) == 128


def test_local_buffers_take_no_workspace() -> None:
    layout, _ = layout_of("""
program f(A: in float32[8], B: out float32[8]):
  alloc T: float32[4] local
    T[0] = A[0]
    B[0] = T[0]
""")
    assert not layout.slots


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            "n",
            "local buffer T[n]: its size must be constant; set_scope it to 'global', or tile the "
            "loops that fill it",
        ),
        (
            "1000, 100",
            "local buffer T[1000, 100] takes 400000 bytes of stack, at most 262144 are allowed; "
            "set_scope it to 'global'",
        ),
    ],
)
def test_local_buffers_that_do_not_fit_the_stack_are_refused(shape: str, message: str) -> None:
    zeros = ", ".join("0" for _ in shape.split(","))
    with pytest.raises(CompileError) as caught:
        layout_of(f"""
program f(A: in float32[n], B: out float32[n]) dims(n >= 1):
  alloc T: float32[{shape}] local
    T[{zeros}] = A[0]
    B[0] = T[{zeros}]
""")
    assert str(caught.value) == message
