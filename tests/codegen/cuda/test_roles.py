"""Kernels whose warp groups have roles: one copies boxes, the others do everything else."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import tensorc as tc
from benchmarks.gpu.hopper import product_schedule
from codegen.cuda.harness import ORDERS, Emulated
from codegen.cuda.hopper_programs import product, ring
from codegen.cuda.programs import emitted
from codegen.cuda.test_boxes import complaints, refusal
from codegen.cuda.test_warp_groups import assert_product, operands
from tensorc.codegen.cuda import compile_cuda, disassemble, instruction_mix
from tensorc.codegen.cuda.resources import CudaWarning, warn_of
from tensorc.dtypes import bfloat16
from tensorc.errors import ScheduleError

ARCH = "sm_90a"


def scheduled(size: int, **options: int) -> tc.Schedule:
    a, b = (tc.placeholder((size, size), "bfloat16", name=name) for name in "AB")
    return product_schedule(a, b, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "columns", "groups", "stages", "roles"),
    [
        (256, 128, 2, 3, True),
        (256, 256, 2, 4, True),
        (192, 64, 1, 2, False),
        (64, 64, 1, 3, False),  # A single step: there is nothing to be ahead of.
        (128, 128, 2, 1, True),
    ],
)
def test_a_schedule_reaches_warp_groups_and_boxes(
    size: int, columns: int, groups: int, stages: int, roles: bool
) -> None:
    s = scheduled(size, columns=columns, groups=groups, stages=stages, roles=roles)
    emulated = Emulated(s.program, ARCH)
    assert "C75" not in emulated.binary.log
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size)).astype(bfloat16.numpy) for _ in "AB")
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64).T
    exact = wide_a @ wide_b
    bound = size * 2.0**-24 * (np.abs(wide_a) @ np.abs(wide_b))
    for options in ORDERS:
        run = emulated.run({"A": a, "B": b, "C": np.zeros_like(a)}, options)
        assert not run.findings, [str(f) for f in run.findings]
        assert np.all(np.abs(run.results["C"] - exact) <= bound + 2.0**-8 * np.abs(exact))
    (launch,) = emulated.module.plan.launches
    assert launch.block[0] == 128 * (groups + (1 if roles else 0))


def test_the_machine_code_has_the_instructions_and_no_spills() -> None:
    s = scheduled(4096)
    module = emitted(s.program, ARCH)
    binary = compile_cuda(module.source, ARCH)
    (mix,) = instruction_mix(disassemble(binary.cubin)).values()
    assert mix["HGMMA"] == 4
    assert mix["UTMALDG"] == 4
    assert mix["USETMAXREG"] == 2
    assert not mix["LDL"]
    assert not mix["STL"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert warn_of(binary.log, binary.resources) == []


def test_lost_registers_and_serial_products_are_told_by_name() -> None:
    log = "\n".join(
        f"ptxas info : ({code}) Potential Performance Loss: ... in function 'gemm'"
        for code in ("C7508", "C7510")
    )
    with pytest.warns(CudaWarning) as caught:
        warn_of(log, {})
    assert [str(w.message) for w in caught] == [
        "kernel gemm: its setmaxnreg is ignored (C7508)",
        "kernel gemm: its wgmma instructions wait for each other (C7510)",
    ]


def test_consumers_wait_for_each_other_without_the_producer() -> None:
    text = ring(2, roles=True).replace(
        """        for t in thread.x(128):
          for v in range(4):
            B[i, b, t // 4, t % 4 * 4 + v] = S[i % 2, t % 4 * 4 + v, t // 4]
""",
        """        alloc T: float32[16, 32] shared
          for t in thread.x(128):
            for v in range(4):
              T[v*4 + t // 32, t % 32] = S[i % 2, v*4 + t // 32, t % 32]
          for t in thread.x(128):
            for v in range(4):
              B[i, b, t // 4, t % 4 * 4 + v] = T[t % 4 * 4 + v, t // 4]
""",
    )
    emulated = Emulated(text, ARCH)
    source = emulated.module.source.split("__global__")[1]
    assert source.count("sync_threads<128>();") == 2
    assert source.count("__syncthreads();") == 1  # Before the roles part.
    a = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    want = a.reshape(8, 16, 4, 32).transpose(0, 2, 3, 1)
    for options in ORDERS:
        run = emulated.run({"A": a, "B": np.zeros((8, 4, 32, 16), np.float32)}, options)
        assert not run.findings, [str(f) for f in run.findings]
        np.testing.assert_array_equal(run.results["B"], want)


def test_a_ring_inside_of_another_loop_goes_on_where_it_was() -> None:
    text = """program p(A: in float32[2, 5, 128], B: out float32[2, 5, 128]):
  for b in block.x(1):
    for tile in range(2):
      alloc S: float32[3, 128] shared
        for a in range(2):
          for c in range(128) {async: "tma"}:
            S[a, c] = A[tile, a, c]
        for i in range(5) {producer_registers: 24, consumer_registers: 240}:
          if i + 2 < 5:
            for c in range(128) {async: "tma"}:
              S[(i + 2) % 3, c] = A[tile, i + 2, c]
          for t in thread.x(128):
            B[tile, i, t] = S[i % 3, 127 - t]
"""
    emulated = Emulated(text, ARCH)
    a = np.random.default_rng(0).standard_normal((2, 5, 128)).astype(np.float32)
    for options in ORDERS:
        run = emulated.run({"A": a, "B": np.zeros_like(a)}, options)
        assert not run.findings, [str(f) for f in run.findings]
        np.testing.assert_array_equal(run.results["B"], a[:, :, ::-1])


@pytest.mark.parametrize("tiles", [1, 3])
def test_products_are_issued_before_those_before_them_are_done(tiles: int) -> None:
    """`tiles`: how often the loop runs, and the ring goes on where it was."""
    head, rest = product(32, 320, 1, 2, roles=True).split("  for b in block.x(1):\n")
    inner = "".join(f"  {line}\n" for line in rest.splitlines())
    text = f"{head}  for b in block.x(1):\n    for tile in range({tiles}):\n{inner}"
    a, b, arrays = operands(64, 32, 320)
    emulated = Emulated(text, ARCH)
    assert_product(emulated, a, b, arrays)
    source = emulated.module.source.split("__global__")[1]
    assert source.count("wgmma_wait<1>();") == source.count("wgmma_wait<0>();") == 1
    assert source.count("mbarrier_arrive_warp(") == (1 if tiles == 1 else 2)
    (placed,) = emulated.module.barriers.values()
    for number, what in enumerate(placed):
        if "_wait" in str(what) or "_arrive" in str(what):
            assert complaints(Emulated(text, ARCH, drop=number), arrays), str(what)


def test_without_the_letter_registers_stay_where_they_are() -> None:
    source = emitted(ring(3, roles=True), "sm_90").source
    assert "if (tid >= 128) {" in source
    assert "registers" not in source


def test_what_else_would_cross_is_refused_with_both_statements() -> None:
    text = ring(3, roles=True).replace("program p(A: in", "program p(K: inout int64[8], A: in")
    text = text.replace(
        "        for t in thread.x(128):\n",
        "        for t in thread.x(128):\n          if t < 8:\n            K[t] = i\n"
        "        for t in thread.x(128):\n",
    ).replace("A[(i + 2)*16 + r, b*32 + c]", "A[K[i]*16 + r, b*32 + c]")
    assert refusal(text) == (
        "kernel of K, B: specialize(i): the producer reads K, which the others write, and they do "
        "not wait for each other\n  K[t] = i\n  S[(i + 2) % 3, r, c] = A[K[i] * 16 + r, b * 32 + c]"
    )


def test_roles_without_copies_are_refused() -> None:
    assert refusal(ring(3, roles=True).replace(' {async: "tma"}', "")) == (
        "kernel of B: specialize(i): there are no copies of boxes, the work of the producer; "
        "bulk_fetch(stage) makes a copy one"
    )


def test_roles_are_whole_warp_groups() -> None:
    text = (
        ring(3, roles=True).replace("thread.x(128)", "thread.x(64)").replace("range(4)", "range(8)")
    )
    text = text.replace("t // 4", "t // 2").replace("t % 4 * 4", "t % 2 * 8")
    assert refusal(text) == (
        "kernel of B: specialize(i): roles are whole warp groups of 128 threads, at most 1024 in "
        "all, and without the producer's there are 64"
    )


def test_more_registers_than_there_are_are_refused() -> None:
    text = product(64, 256, 3, 3, roles=True)
    assert refusal(text) == (
        "kernel of C: specialize(k): 40 registers for each of 128 threads and 232 for each of 384 "
        "are 94208, and a block of 512 threads begins with 65536"
    )


def test_a_buffer_that_is_filled_twice_is_refused() -> None:
    text = ring(1).replace(
        "        for t in thread.x(128):\n",
        "        for t in thread.x(32):\n          S[0, 0, t] = 0.0\n"
        "        for t in thread.x(128):\n",
    )
    assert refusal(text) == (
        "shared buffer S: copies of boxes fill it, and S[0, 0, t] = 0.0 writes it too; fill it in "
        "one way"
    )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("S[i % 3, t", "S[(i + 1) % 3, t", "B[i, b, t // 4, t % 4 * 4 + v] = S[(i + 1) % 3, t % 4 "
         "* 4 + v, t // 4] uses (i + 1) % 3 == i % 3, which is not so for all iterations"),
        ("if i + 2 < 8", "if i + 2 < 7", "a copy is made where i + 2 < 7, which is not so for "
         "all iterations"),
        ("S[(i + 2) % 3, r", "S[(i + 1) % 3, r", "a copy fills (i + 1) % 3 == (i + 2) % 3, which "
         "is not so for all iterations"),
        ("a in range(2)", "a in range(3)", "copies are 3 iterations ahead, with 3 slots"),
        ("        if i + 2 < 8:\n",
         "        if i == 7:\n          B[0, 0, 0, 0] = 0.0\n        else:\n",
         "a copy stands where not i == 7"),
    ],
)  # fmt: skip
def test_copies_and_uses_that_do_not_take_turns_are_refused(old: str, new: str, why: str) -> None:
    assert refusal(ring(3).replace(old, new)) == (
        f"shared buffer S, which copies of boxes fill: {why}; a copy stands before what uses it, "
        "in the same iteration, or some iterations ahead as pipeline makes it"
    )


def test_a_number_of_registers_is_a_multiple_of_eight() -> None:
    s = scheduled(256, roles=False)
    step = s["P"].loop("k.outer")
    with pytest.raises(ScheduleError) as caught:
        s.specialize(step, 20)
    assert str(caught.value) == (
        "specialize(k.outer, 20, 232): a thread's registers are a multiple of 8 from 24 to 240, "
        "got 20"
    )


def test_the_trace_of_a_specialized_schedule_replays() -> None:
    s = scheduled(256)
    again = tc.Schedule(s.plain)
    again.replay(s.trace)
    assert str(again) == str(s)
    assert "specialize(" in str(s.trace)
