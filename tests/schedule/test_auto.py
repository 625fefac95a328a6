"""The automatic schedule: legal traces that keep meaning, and what they choose."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule.nests import assert_same_results, diagonal, matmul, scale, two_stages
from schedule.programs_random import HARD
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.stmt import ForKind
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.tree import stage_sites
from tensorc.target import Target

AVX2 = Target(cpu="haswell", features="+avx2,+avx,+fma", triple="x86_64-unknown-linux-gnu")
AVX512 = Target(cpu="znver4", features="+avx512f,+avx", triple="x86_64-unknown-linux-gnu")
SSE = Target(cpu="x86-64", features="+sse2", triple="x86_64-unknown-linux-gnu")
PROGRAMS = (scale(10), matmul(4, 3, 5), two_stages(7), diagonal(), *map(parse, HARD))


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
@pytest.mark.parametrize("target", [SSE, AVX2, AVX512], ids=["sse", "avx2", "avx512"])
def test_an_automatic_schedule_keeps_meaning(program: object, target: Target) -> None:
    s = auto_schedule(program, target)  # type: ignore[arg-type]
    dims = {d.name: 5 for d in s.plain.dims}
    assert_same_results(s.plain, s.program, **dims)


@settings(max_examples=25)
@given(m=st.integers(1, 14), k=st.integers(1, 5), n=st.integers(1, 40))
def test_products_of_every_shape_keep_meaning(m: int, k: int, n: int) -> None:
    plain = matmul(m, k, n)
    assert_same_results(plain, auto_schedule(plain, AVX2).program)


def test_an_automatic_schedule_is_a_trace_that_replays() -> None:
    plain = matmul(64, 64, 64)
    s = auto_schedule(plain, AVX2)
    again = Schedule(plain)
    again.replay(s.trace)
    assert show(again.program) == show(s.program)


def test_the_same_program_gives_the_same_trace() -> None:
    first, second = (str(auto_schedule(matmul(32, 48, 64), AVX2).trace) for _ in range(2))
    assert first == second


def test_a_product_is_tiled_in_registers_and_its_operand_packed() -> None:
    s = auto_schedule(matmul(96, 512, 512), AVX2)
    kinds = [x.kind for x in stage_sites(s.program, "C.local")[-1].loops]
    assert kinds[0] is ForKind.PARALLEL
    assert kinds[-1] is ForKind.VECTORIZED
    assert kinds[-2] is ForKind.UNROLLED
    assert "B.local" in s.stages


def test_small_work_stays_on_one_thread() -> None:
    s = auto_schedule(scale(64), AVX2)
    assert all(x.kind is not ForKind.PARALLEL for x in stage_sites(s.program, "B")[-1].loops)


CHAIN = """program main(A: in float32[64], C: out float32[64]):
  alloc B: float32[64]
    for i in range(64):
      B[i] = {value}
    for j in range(64):
      C[j] = {use}
"""


@pytest.mark.parametrize(
    ("value", "use", "inlined"),
    [
        ("A[i] + 1.0", "B[j] * 2.0", True),
        ("exp(A[i])", "B[j] * 2.0", True),
        ("exp(A[i])", "B[j] * B[63 - j]", False),
        ("A[i]", "B[j] * B[63 - j]", True),
    ],
)
def test_a_value_is_inlined_where_that_saves_work(value: str, use: str, inlined: bool) -> None:
    s = auto_schedule(parse(CHAIN.format(value=value, use=use)), AVX2)
    assert ("B" not in s.stages) == inlined
