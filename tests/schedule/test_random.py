"""Random steps on random programs: whatever is accepted computes the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.nests import assert_same_results, diagonal, matmul, scale, two_stages
from tensorc.errors import ScheduleError
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.stmt import GRID_AXES
from tensorc.ir.walk import same
from tensorc.schedule.schedule import Loop, Schedule
from tensorc.schedule.trace import Trace

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program

SCAN = """program main(A: in float32[4, 7], S: out float32[4, 8]):
  for b in range(4):
    S[b, 0] = 0.0
    for t in range(7):
      S[b, t + 1] = S[b, t] + A[b, t]
"""
GATHER = """program main(A: in float32[6, 5], idx: in int32[7], B: out float32[7, 5]):
  alloc T: float32[7, 5]
    for i in range(7):
      for j in range(5):
        T[i, j] = A[abs(int64(idx[i])) % 6, j]
    for x in range(7):
      for y in range(5):
        B[x, y] = T[x, y] + T[x, (y + 1) % 5]
"""
SOFTMAX_LIKE = """program main(X: in float32[5, 6], Y: out float32[5, 6]):
  alloc M: float32[5]
    alloc E: float32[5, 6]
      for a in range(5):
        M[a] = float32(-inf)
        for b in range(6):
          M[a] max= X[a, b]
      for i in range(5):
        for j in range(6):
          E[i, j] = X[i, j] - M[i]
      for p in range(5):
        for q in range(6):
          Y[p, q] = E[p, q] * 2.0 + M[p]
"""
IN_PLACE = """program main(W: inout float32[9], G: in float32[9]):
  alloc U: float32[9]
    for i in range(9):
      U[i] = W[i] * 0.5 + G[i]
    for j in range(9):
      W[j] = W[j] - U[8 - j]
    for k in range(8):
      W[k + 1] += W[k]
"""
SYMBOLIC = """program main(A: in float32[n, m], B: out float32[n]) dims(n >= 0, m >= 0):
  for i in range(n):
    B[i] = 0.0
    for k in range(m):
      if k <= i:
        B[i] += A[i, k]
"""
EPILOGUE = """program main(A: in float32[5, 3], B: in float32[3, 6], D: out float32[5, 6]):
  alloc C: float32[5, 6]
    for i in range(5):
      for j in range(6):
        C[i, j] = 0.0
        for k in range(3):
          C[i, j] += A[i, k] * B[k, j]
    for x in range(5):
      for y in range(6):
        D[x, y] = max(C[x, y] + B[0, y], 0.0)
"""
CHAIN = """program main(A: in float32[n], B: out float32[n], C: out float32[n], T: out float32[n]) \
dims(n >= 0):
  for i in range(n):
    B[i] = A[i] * 2.0
  for j in range(n):
    C[j] = B[j] + 1.0
  for k in range(n):
    T[k] = B[n - 1 - k] + C[k]
"""
MASKED = """program main(X: in float32[n, m], M: in int32[m], idx: in int64[n], \
V: out float32[8], P: out int64[8], W: inout int32[4]) dims(n >= 0, m >= 0):
  for a in range(8):
    V[a] = float32(-inf)
    P[a] = 9223372036854775807
  for i in range(n):
    for k in range(m):
      if M[k] > int32(0):
        (V[abs(idx[i]) % 8], P[abs(idx[i]) % 8]) argmax= (X[i, k], k)
  for k in range(m):
    if k % 2 == 0:
      W[k % 4] += M[k]
"""
CONV = """program main(A: in float32[n, 9], B: in float32[3], C: out float32[n, 9]) dims(n >= 0):
  for i in range(n):
    for x in range(9):
      C[i, x] = 1.0
      for r in range(3):
        C[i, x] += where(x + r >= 1 and x + r < 10, A[i, x + r - 1], 0.0) * B[r]
"""
PROGRAMS = (
    scale(10),
    matmul(4, 3, 5),
    two_stages(7),
    diagonal(),
    *map(parse, (SCAN, GATHER, SOFTMAX_LIKE, IN_PLACE, SYMBOLIC, MASKED, CONV, EPILOGUE, CHAIN)),
)
DIMS = {"n": 5, "m": 7}


def random_step(s: Schedule, data: st.DataObject) -> None:
    """One step with arguments drawn at random; many are refused."""
    stage = data.draw(st.sampled_from(s.stages))
    loops = list(s.loops(stage))
    if not loops:
        return
    loop = data.draw(st.sampled_from(loops))
    match data.draw(st.sampled_from(STEPS)):
        case "split":
            tail = data.draw(st.sampled_from(["guard", "peel", "mask"]))
            s.split(loop, data.draw(st.integers(1, 6)), tail=tail)
        case "fuse":
            s.fuse(loop, data.draw(st.sampled_from(loops)))
        case "partition":
            s.partition(loop, data.draw(st.integers(-3, 3)))
        case "peel":
            side = data.draw(st.sampled_from(["front", "back"]))
            s.peel(loop, data.draw(st.integers(1, 3)), side)
        case "fission":
            after = data.draw(st.one_of(st.integers(1, 2), st.sampled_from(s.stages)))
            s.fission(loop, after)
        case "fuse_with":
            s.fuse_with(loop, any_loop(s, data))
        case "reverse_compute_at":
            s.reverse_compute_at(stage, any_loop(s, data))
        case "reorder":
            s.reorder(*data.draw(st.permutations(loops)))
        case "inline":
            s.inline(stage)
        case "compute_at":
            s.compute_at(stage, any_loop(s, data))
        case "cache_write":
            s.cache_write(stage, loop, data.draw(st.sampled_from(["local", "global"])))
        case "cache_read":
            pad = data.draw(st.sampled_from([None, 0.0, float("-inf")]))
            s.cache_read(data.draw(st.sampled_from("ABXWT")), loop, pad=pad)
        case "decompose_reduction":
            s.decompose_reduction(stage, loop)
        case "relax_guard":
            s.relax_guard(stage, loop)
        case "set_scope":
            s.set_scope(stage, data.draw(st.sampled_from(["local", "global", "shared"])))
        case "storage_align":
            s.storage_align(stage, data.draw(st.integers(0, 1)), data.draw(st.integers(1, 8)))
        case "double_buffer":
            s.double_buffer(stage, any_loop(s, data))
        case "pipeline":
            s.pipeline(loop, data.draw(st.integers(2, 4)))
        case "bind":
            s.bind(loop, data.draw(st.sampled_from(GRID_AXES)))
        case "annotate":
            s.annotate(loop, "hint", data.draw(st.sampled_from([1, True, "x", None])))
        case kind:
            getattr(s, kind)(loop)


STEPS = (
    "fuse",
    "partition",
    "peel",
    "fission",
    "fuse_with",
    "reverse_compute_at",
    "split",
    "split",
    "reorder",
    "reorder",
    "inline",
    "compute_at",
    "cache_write",
    "cache_read",
    "vectorize",
    "unroll",
    "parallel",
    "rfactor",
    "rfactor",
    "decompose_reduction",
    "relax_guard",
    "set_scope",
    "storage_align",
    "double_buffer",
    "pipeline",
    "bind",
    "annotate",
)


def any_loop(s: Schedule, data: st.DataObject) -> Loop:
    loops = [x for stage in s.stages for x in s.loops(stage)]
    return data.draw(st.sampled_from(loops))


def scheduled_at_random(plain: Program, data: st.DataObject) -> Schedule:
    s = Schedule(plain)
    for _ in range(data.draw(st.integers(1, 7))):
        before, count = show(s.program), len(s.trace)
        try:
            random_step(s, data)
        except ScheduleError:
            if len(s.trace) == count:
                assert show(s.program) == before
    return s


@settings(max_examples=150)
@given(plain=st.sampled_from(PROGRAMS), data=st.data())
def test_random_schedules_keep_meaning(plain: Program, data: st.DataObject) -> None:
    s = scheduled_at_random(plain, data)
    dims = {d.name: DIMS[d.name] for d in plain.dims}
    assert_same_results(plain, s.program, **dims)
    assert same(parse(show(s.program)), s.program)


@settings(max_examples=50)
@given(plain=st.sampled_from(PROGRAMS), data=st.data())
def test_random_traces_replay(plain: Program, data: st.DataObject) -> None:
    s = scheduled_at_random(plain, data)
    again = Schedule(plain)
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)
