"""Copies that are issued and waited for later: cp.async, its groups and its waits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, Emulated, check
from codegen.cuda.programs import emitted, pipelined
from tensorc.codegen.cuda import compile_cuda, disassemble, instructions
from tensorc.emulator import EmulatedModule

if TYPE_CHECKING:
    from tensorc.emulator import Finding


def calls(source: str) -> list[str]:
    """The copies, groups, waits and barriers of a kernel, in text order."""
    lines = [line.strip() for line in source.split("__global__")[1].splitlines()]
    return [x.split("(")[0].rstrip(";") for x in lines if x.startswith(("cp_async", "__sync"))]


@pytest.mark.parametrize("stages", [2, 3, 4])
def test_a_pipeline_waits_for_all_groups_but_those_ahead(stages: int) -> None:
    text = pipelined(stages)
    copies = ["cp_async16", "cp_async_commit"]
    wait = [f"cp_async_wait<{stages - 2}>", "__syncthreads"]
    assert calls(emitted(text).source) == [*copies, *wait, *copies]
    check(text)


def test_a_copy_that_is_used_at_once_is_waited_for() -> None:
    text = pipelined(1)
    expected = ["__syncthreads", "cp_async16", "cp_async_commit", "cp_async_wait<0>"]
    assert calls(emitted(text).source) == [*expected, "__syncthreads"]
    check(text)


def test_a_copy_is_waited_for_before_a_barrier_of_the_whole_block() -> None:
    text = """program p(A: in float32[64], B: out float32[64]):
  for b in block.x(1):
    alloc T: float32[64] shared
      alloc S: float32[64] shared
        alloc R: float32[64] shared
          for t in thread.x(64):
            T[t] = A[t] * 2.0
          for t in thread.x(64) {async: True}:
            S[t] = A[t]
          for t in thread.x(64):
            R[t // 32 * 32 + (31 - t % 32)] = T[63 - t]
          for t in thread.x(64):
            B[t] = S[63 - t] + R[t]
"""
    issued = ["cp_async4", "cp_async_commit"]
    # What the last phase reads in R its own warp wrote; in S it is another warp that copied.
    wanted = [*issued, "cp_async_wait<0>", "__syncthreads", "__syncwarp"]
    assert calls(emitted(text).source) == wanted
    check(text)


def test_a_wait_for_one_group_fewer_is_found_out() -> None:
    emulated = Emulated(pipelined(3))
    source = emulated.module.source
    assert "cp_async_wait<1>();" in source
    late = source.replace("cp_async_wait<1>();", "cp_async_wait<2>();")
    emulated.module = replace(emulated.module, source=late)
    emulated.kernels = EmulatedModule(compile_cuda(late, "sm_80", lines=True).ptx, checked=True)
    a = np.random.default_rng(0).standard_normal((8, 256)).astype(np.float32)
    arrays = {"A": a, "B": np.zeros_like(a)}
    found: list[Finding] = []
    wrong = False
    for options in ORDERS:
        run = emulated.run(arrays, options)
        found += run.findings
        wrong = wrong or not np.array_equal(run.results["B"], reversed_by_threads(a))
    assert found or wrong


def reversed_by_threads(a: np.ndarray) -> np.ndarray:
    return a.reshape(8, 64, 4)[:, ::-1].reshape(8, 256)


@pytest.mark.parametrize(("lanes", "call"), [(1, "cp_async4"), (2, "cp_async8"), (4, "cp_async16")])
def test_a_copy_moves_as_many_bytes_as_its_lanes(lanes: int, call: str) -> None:
    text = pipelined(2, lanes=lanes)
    assert call in calls(emitted(text).source)
    check(text, orders=ORDERS[:1])


@pytest.mark.parametrize(("columns", "pads"), [(32, False), (28, True), (30, True)])
def test_lanes_that_lie_apart_in_shared_memory_are_copied_one_by_one(
    columns: int, pads: bool
) -> None:
    value = "A[r, q*4 + v]"
    if pads:
        value = f"where(q*4 + v < {columns}, {value}, 0.0)"
    text = f"""program p(A: in float32[8, {columns}], B: out float32[32, 8]):
  for b in block.x(1):
    alloc S: float32[32, 8] shared
      for r in thread.x(8) {{async: True}}:
        for q in range(8):
          for v in vectorized(4):
            S[q*4 + v, r] = {value}
      for t in thread.x(32):
        for r in range(8):
          B[t, r] = S[t, r]
"""
    assert f"cp_async4{'_or_zeros' if pads else ''}" in calls(emitted(text).source)
    check(text)


def test_without_the_hint_or_the_instruction_copies_are_ordinary() -> None:
    assert calls(emitted(pipelined(2, hint="")).source) == ["__syncthreads"]
    assert calls(emitted(pipelined(2), "sm_75").source) == ["__syncthreads"]
    check(pipelined(2), arch="sm_75", orders=ORDERS[:1])


def test_what_is_no_plain_copy_is_ordinary() -> None:
    text = pipelined(2).replace("= A[i + 1, t * 4 + v]", "= A[i + 1, t * 4 + v] * 2.0")
    assert calls(emitted(text).source).count("cp_async16") == 1  # The prologue is a plain copy.
    check(text, orders=ORDERS[:1])


def test_the_machine_code_copies_past_the_registers() -> None:
    binary = compile_cuda(emitted(pipelined(3)).source, "sm_80")
    names = instructions(disassemble(binary.cubin))["p_B"]
    assert any(n.startswith("LDGSTS") and "128" in n for n in names)
