"""tensorize and intrinsics: text, meaning, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.nests import assert_same_results, assert_text, matmul
from tensorc.errors import ScheduleError
from tensorc.ir import interp, scalars
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.intrinsics import NAMES, Intrinsic, builtin
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace

DOT = """program dot(A: in float32[4], B: in float32[4], C: inout float32[]):
  for k in range(4):
    C[] += A[k] * B[k]
"""
TREE = """program dot(A: in float32[4], B: in float32[4], C: inout float32[]):
  alloc P: float32[4] local
    for l in vectorized(4):
      P[l] = A[l] * B[l]
    C[] += P[0] + P[1] + (P[2] + P[3])
"""
TILE = """program tile(A: in float32[2, 2], B: in float32[2, 2], C: inout float32[2, 2]):
  for i in range(2):
    for j in range(2):
      for k in range(2):
        C[i, j] += A[i, k] * B[k, j]
"""


def dot4() -> Intrinsic:
    return Intrinsic("dot4", parse(DOT), parse(TREE), reassociates=True)


def rows(m: int = 6, k: int = 5, n: int = 16, lanes: int = 8) -> Schedule:
    s = Schedule(matmul(m, k, n))
    i, j, k_loop = s.loops("C")
    jo, ji = s.split(j, lanes)
    s.reorder(i, jo, k_loop, ji)
    return s


def test_tensorize_replaces_a_nest_that_means_the_same() -> None:
    s = rows()
    s.tensorize(s["C"].loop("j.inner"), "fma.8")
    assert_text(
        s,
        """
        for i in range(6):
          for j.outer in range(2):
            for j.inner.init in range(8):
              C[i, j.outer * 8 + j.inner.init] = 0.0
            for k in range(5):
              for j in vectorized(8) {intrinsic: "fma.8"}:
                C[i, j.outer * 8 + j] += A[i, k] * B[k, j.outer * 8 + j]
        """,
    )
    assert_same_results(matmul(6, 5, 16), s.program)
    again = Schedule(matmul(6, 5, 16))
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)


@pytest.mark.parametrize(
    ("first", "made"),
    [(6, "B[(j_1 + 6) // 8, k_1, (j_1 + 6) % 8]"), (8, "B[1, k_1, j_1]")],
)
def test_an_operand_may_lie_in_panels(first: int, made: str) -> None:
    plain = parse(
        f"""program main(A: in float32[2, 2], B: in float32[3, 2, 8], C: inout float32[2, 24]):
  for i in range(2):
    for j in range(2):
      for k in range(2):
        C[i, j + {first}] += A[i, k] * B[(j + {first}) // 8, k, (j + {first}) % 8]
"""
    )
    s = Schedule(plain)
    s.tensorize(s["C"].loop("i"), Intrinsic("tile", parse(TILE), parse(TILE)))
    assert made in show(s.program)
    assert_same_results(plain, s.program)


def test_operands_of_a_commutative_operator_may_stand_the_other_way_round() -> None:
    plain = parse(
        """program main(B: in float32[4, 9], P: in float32[3], C: inout float32[12, 4]):
  for i in range(3):
    for j in range(2, 6):
      C[j + 2, i] += B[i, j - 1] * P[i]
"""
    )
    s = Schedule(plain)
    s.tensorize(s["C"].loop("j"), "fma.4")
    assert "C[j_1 + 4, i] += P[i] * B[i, j_1 + 1]" in show(s.program)
    assert_same_results(plain, s.program)


def test_an_intrinsic_of_the_users_own_replays_where_it_is_declared() -> None:
    s = Schedule(matmul(3, 8, 5))
    _, ki = s.split(s["C"].loop("k"), 4)
    s.tensorize(ki, dot4())
    assert_text(
        s,
        """
        for i in range(3):
          for j in range(5):
            C[i, j] = 0.0
            for k.outer in range(2):
              alloc P: float32[4] local
                for l in vectorized(4):
                  P[l] = A[i, k.outer * 4 + l] * B[k.outer * 4 + l, j]
                C[i, j] += P[0] + P[1] + (P[2] + P[3])
        """,
    )
    assert_same_results(matmul(3, 8, 5), s.program)
    again = Schedule(matmul(3, 8, 5))
    with pytest.raises(ScheduleError) as error:
        again.replay(s.trace)
    assert str(error.value) == (
        'replay: step 2, s.tensorize(s["C"].loop("k.inner"), \'dot4\'), does not fit: tensorize: '
        "there is no intrinsic 'dot4'; there are fma.4, fma.8, fma.16, dot4.int8, "
        "mma.m16n8k16.bf16, mma.m16n8k16.f16, mma.m16n8k8.tf32, wgmma.m64nNk16.bf16, .f16 and "
        "wgmma.m64nNk8.tf32 for N = 8, 16, ... 256; declare() makes one known"
    )
    again.declare(dot4())
    again.replay(s.trace)
    assert show(again.program) == show(s.program)


@settings(max_examples=20, deadline=None)
@given(m=st.integers(1, 4), k=st.integers(1, 4), n=st.integers(1, 4))
def test_tensorize_of_a_tile_keeps_meaning(m: int, k: int, n: int) -> None:
    plain = matmul(2 * m, 2 * k, 2 * n)
    s = Schedule(plain)
    i, j, k_loop = s.loops("C")
    io, ii = s.split(i, 2)
    jo, ji = s.split(j, 2)
    ko, ki = s.split(k_loop, 2)
    s.reorder(io, jo, ko, ii, ji, ki)
    unrolled = TILE.replace("range(2)", "unrolled(2)")
    s.tensorize(ii, Intrinsic("tile", parse(TILE), parse(unrolled)))
    assert_same_results(plain, s.program)


def test_the_built_in_intrinsics_do_what_they_mean() -> None:
    assert [builtin(name).name for name in NAMES] == list(NAMES)
    plain = parse(
        """program main(A: in int8[8], B: in int8[8], C: out int32[2]):
  for i in range(2):
    C[i] = int32(0)
    for k in range(4):
      C[i] += int32(A[i * 4 + k]) * int32(B[i * 4 + k])
"""
    )
    s = Schedule(plain)
    s.tensorize(s["C"].loop("k"), "dot4.int8")
    assert_same_results(plain, s.program)


def tf32_tile() -> Schedule:
    s = Schedule(matmul(16, 8, 8))
    i, j, k = s.loops("C")
    s.decompose_reduction("C", i)
    s.reorder(i, j, k)
    return s


def test_products_are_rounded_to_tf32_only_where_that_is_asked_for() -> None:
    s = tf32_tile()
    i = s["C"].loop("i")
    with pytest.raises(ScheduleError) as error:
        s.tensorize(i, "mma.m16n8k8.tf32")
    assert str(error.value) == (
        "tensorize(i, mma.m16n8k8.tf32): the nest\n"
        "    for i in range(16):\n"
        "      for j in range(8):\n"
        "        for k in range(8):\n"
        "          C[i, j] += A[i, k] * B[k, j]\n"
        "  does not look like mma.m16n8k8.tf32, which means\n"
        "    for i in range(16):\n"
        "      for j in range(8):\n"
        "        for k in range(8):\n"
        "          C[i, j] += tf32(A[i, k]) * tf32(B[k, j])\n"
        "  precision='tf32' rounds the operands of its products, and then it does"
    )
    s.tensorize(i, "mma.m16n8k8.tf32", precision="tf32")
    assert "+= tf32(A[lane // 4 + h * 8, k_1]) * tf32(B[k_1, lane % 4 * 2 + c])" in show(s.program)
    s.check()
    again = Schedule(matmul(16, 8, 8))
    again.replay(Trace.from_json(s.trace.to_json()))
    assert show(again.program) == show(s.program)


def test_a_program_that_says_tf32_means_it_in_the_interpreter() -> None:
    s = tf32_tile()
    s.tensorize(s["C"].loop("i"), "mma.m16n8k8.tf32", precision="tf32")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(x).astype(np.float32) for x in ((16, 8), (8, 8)))
    arrays = {"A": a, "B": b, "C": np.zeros((16, 8), np.float32)}
    interp.run(s.program, arrays)
    wide_a, wide_b = (np.vectorize(scalars.tf32)(x).astype(np.float64) for x in (a, b))
    bound = 8 * 2.0**-24 * (np.abs(wide_a) @ np.abs(wide_b))
    assert np.all(np.abs(arrays["C"] - wide_a @ wide_b) <= bound)
    assert np.any(np.abs(arrays["C"] - a.astype(np.float64) @ b) > 2 * bound)


def test_precision_that_means_nothing_is_refused() -> None:
    s = rows()
    j = s["C"].loop("j.inner")
    with pytest.raises(ScheduleError) as error:
        s.tensorize(j, "fma.8", precision="bfloat16")
    assert str(error.value) == (
        "tensorize(j.inner, fma.8): precision must be 'tf32' or None, got 'bfloat16'"
    )
    plain = parse(
        """program main(A: in int8[4], B: in int8[4], C: inout int32[]):
  for k in range(4):
    C[] += int32(A[k]) * int32(B[k])
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.tensorize(s["C"].loop("k"), "dot4.int8", precision="tf32")
    assert str(error.value) == (
        "tensorize(k, dot4.int8): precision='tf32' rounds the operands of float32 products, and "
        "the nest\n"
        "    for k in range(4):\n"
        "      C[] += int32(A[k]) * int32(B[k])\n"
        "  has none"
    )


def test_tensorize_refuses_a_nest_that_looks_otherwise() -> None:
    s = rows(lanes=4)
    with pytest.raises(ScheduleError) as error:
        s.tensorize(s["C"].loop("j.inner"), "fma.8")
    assert str(error.value) == (
        "tensorize(j.inner, fma.8): the nest\n"
        "    for j.inner in range(4):\n"
        "      C[i, j.outer * 4 + j.inner] += A[i, k] * B[k, j.outer * 4 + j.inner]\n"
        "  does not look like fma.8, which means\n"
        "    for j in range(8):\n"
        "      C[j] += A[] * B[j]"
    )
    assert len(s.trace) == 2


@pytest.mark.parametrize(
    "line",
    [
        "C[j] += A[j] * B[j]",  # A moves.
        "C[j] += A[0] * B[2 * j]",  # Another stride.
        "C[j] += A[0] + B[j]",  # Another operator.
        "C[j] *= A[0] * B[j]",  # Another reducer.
        "C[j] = A[0] * B[j]",  # No accumulation.
        "C[0] += A[0] * B[j]",  # Another access.
        "C[j] += C[0] * B[j]",  # Operands that are one buffer.
    ],
)
def test_tensorize_refuses_what_only_looks_alike(line: str) -> None:
    plain = parse(
        f"""program main(A: in float32[4], B: in float32[8], C: inout float32[4]):
  for j in range(4):
    {line}
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError, match=r"tensorize\(j, fma.4\): "):
        s.tensorize(s["C"].loop("j"), "fma.4")


def test_tensorize_refuses_operands_that_share_what_is_written() -> None:
    plain = parse(
        """program main(A: in float32[4], C: inout float32[8]):
  for j in range(4):
    C[j] += A[0] * C[j + 4]
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.tensorize(s["C"].loop("j"), "fma.4")
    assert str(error.value) == (
        "tensorize(j, fma.4): 'C' is both operand C, which is written, and operand B"
    )


def test_tensorize_refuses_an_operand_that_might_leave_its_buffer() -> None:
    pairs = """program pairs(A: in float32[4], C: out float32[2]):
  for j in range(2):
    C[j] = A[j]
"""
    plain = parse(
        """program main(A: in float32[n], C: out float32[2]) dims(n >= 2):
  for j in range(2):
    C[j] = A[j]
"""
    )
    s = Schedule(plain)
    with pytest.raises(ScheduleError) as error:
        s.tensorize(s["C"].loop("j"), Intrinsic("pairs", parse(pairs), parse(pairs)))
    assert str(error.value) == (
        "tensorize(j, pairs): operand A, 4 elements of 'A' from 0 on, might leave it: the size is n"
    )


def test_a_strict_schedule_takes_no_intrinsic_that_reassociates() -> None:
    s = Schedule(matmul(3, 8, 5), strict=True)
    _, ki = s.split(s["C"].loop("k"), 4)
    with pytest.raises(ScheduleError) as error:
        s.tensorize(ki, dot4())
    assert str(error.value) == (
        "tensorize(k.inner, dot4): dot4 folds floats in another order\n"
        "  this schedule is strict: floats are folded in the order in which they stand"
    )


def test_an_intrinsic_that_computes_something_else_is_refused() -> None:
    with pytest.raises(ScheduleError, match="its implementation computes another 'C'"):
        Intrinsic("wrong", parse(DOT), parse(TREE.replace("P[3]", "P[2]")))
    with pytest.raises(ScheduleError, match="does it reassociate"):
        Intrinsic("dot4", parse(DOT), parse(TREE))
    with pytest.raises(ScheduleError) as error:
        Intrinsic("dot4", parse(DOT), parse(TREE.replace("A:", "X:").replace("A[", "X[")))
    assert str(error.value) == (
        "intrinsic dot4: the operands of meaning and implementation differ: A: in float32[4], "
        "B: in float32[4], C: inout float32[] and X: in float32[4], B: in float32[4], "
        "C: inout float32[]"
    )
    with pytest.raises(ScheduleError) as error:
        Intrinsic("tree", parse(TREE), parse(TREE))
    assert str(error.value) == "intrinsic tree: its meaning must be one loop nest"


def test_an_intrinsic_of_no_constant_shape_is_refused() -> None:
    program = parse(
        """program add(A: in float32[n], C: inout float32[n]) dims(n >= 0):
  for j in range(4):
    C[j] += A[j]
"""
    )
    with pytest.raises(ScheduleError) as error:
        Intrinsic("add", program, program)
    assert str(error.value) == "intrinsic add: the shapes of its operands must be constant"


def test_an_intrinsic_whose_meaning_leaves_an_operand_out_is_refused() -> None:
    program = parse(
        """program add(A: in float32[4], B: in float32[4], C: inout float32[4]):
  for j in range(4):
    C[j] += A[j]
"""
    )
    plain = parse(
        """program main(X: in float32[8], Y: inout float32[8]):
  for i in range(4):
    Y[i + 4] += X[i]
"""
    )
    s = Schedule(plain)
    before = show(s.program)
    with pytest.raises(ScheduleError) as error:
        s.tensorize(s["Y"].loop("i"), Intrinsic("add", program, program))
    assert str(error.value) == "tensorize(i, add): the meaning of add never uses B"
    assert show(s.program) == before
