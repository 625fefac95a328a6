"""The layout of the workspace."""

from __future__ import annotations

import cProfile
import itertools
import pstats

import pytest

from tensorc.errors import CompileError
from tensorc.ir import interp
from tensorc.ir.expr import Buffer, const_int
from tensorc.ir.parser import parse
from tensorc.ir.stmt import Allocate
from tensorc.ir.walk import walk_stmts
from tensorc.lower.memory import WorkspaceLayout, plan_memory
from tensorc.te.build import build
from tensorc.te.tensor import compute, placeholder


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


HOLE = """
program hole(A: in float32[n], B: out float32[256]) dims(n >= 256):
  alloc P: float32[192]
    alloc Q: float32[256]
      alloc S: float32[128]
        alloc T: float32[128]
          for i in range(128):
            S[i] = A[i]
          for i in range(128):
            T[i] = A[i]
          for i in range(192):
            P[i] = A[i] * T[i % 128]
          for i in range(192):
            B[i] = P[i] + S[i % 128]
          for i in range(256):
            Q[i] = A[i] * S[i % 128]
          for i in range(256):
            B[i] = Q[i]
"""


def test_a_hole_under_a_larger_buffer_is_closed_by_another_order() -> None:
    # Largest first: Q and P from 0, S above Q at 1024, and T, while P and S live, above both.
    layout, named = layout_of(HOLE)
    assert const_int(layout.shared) == 4 * (192 + 128 + 128)
    for a, b in itertools.combinations(named.values(), 2):
        (first, last), (begin, end) = layout.lives[a], layout.lives[b]
        if first <= end and begin <= last:
            assert not layout.overlaps(a, b)


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


def test_the_parts_of_a_thread_share_memory_from_one_parallel_loop_to_the_next() -> None:
    layout, named = layout_of("""
program f(A: in float32[10], B: out float32[10]):
  for i in parallel(10):
    alloc T: float32[20]
      alloc U: float32[4]
        T[0] = A[i]
        U[0] = T[0]
        B[i] = U[0]
  for j in parallel(10):
    alloc V: float32[24]
      V[0] = B[j]
      B[j] = V[0] * 2.0
""")
    assert const_int(layout.slice) == 128 + 64
    assert const_int(layout.slots[named["V"]].offset) == 0
    # Each thread has its own: no other thread ever waits for it.
    assert not layout.overlaps(named["T"], named["V"])


def test_lives_and_steps_tell_when_a_buffer_is_in_use() -> None:
    layout, named = layout_of(CHAIN)
    assert layout.lives[named["T"]] == (0, 1)
    assert layout.lives[named["V"]] == (2, 3)
    assert [[b.name for b in step] for step in layout.steps] == [["T"], ["U"], ["V"], ["B"]]
    assert [const_int(size) for size in layout.arguments.values()] == [400, 400]


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


def test_a_plan_takes_work_in_proportion_to_the_buffers() -> None:
    def calls(count: int) -> int:
        y = placeholder((8,), name="x")
        for k in range(count):
            y = compute((8,), lambda i, y=y: y[i] + y[7 - i], name=f"t{k}")
        program = build([y])
        profile = cProfile.Profile()
        profile.runcall(plan_memory, program)
        return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]

    calls(2)  # What is kept with statements and loaded first.
    assert calls(80) < 3 * calls(40)
