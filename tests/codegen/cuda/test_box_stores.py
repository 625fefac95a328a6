"""Copies of boxes from shared memory to an array: what they store, what is waited for."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, Emulated, check
from codegen.cuda.programs import emitted
from codegen.cuda.test_boxes import complaints, refusal
from tensorc.codegen.cuda import compile_cuda, disassemble, instruction_mix
from tensorc_runtime.cuda.plan import KernelArg, TensorMap

ARCH = "sm_90"
TEXT = """program p(A: in float32[50, 36], B: out float32[50, 36]):
  for b in block.x(2):
    alloc S: float32[16, 32] shared swizzle(128)
      for i in range(4):
        for t in thread.x(128):
          for r in range(4):
            if i*16 + r*4 + t // 32 < 50 and b*32 + t % 32 < 36:
              S[r*4 + t // 32, t % 32] = A[i*16 + r*4 + t // 32, b*32 + t % 32] * 2.0
        for r in range(16) {async: "tma"}:
          for c in range(32):
            if i*16 + r < 50 and b*32 + c < 36:
              B[i*16 + r, b*32 + c] = S[r, c]
"""


def test_boxes_are_stored_as_far_as_the_array_goes() -> None:
    emulated = check(TEXT, arch=ARCH)
    assert emulated.module.plan.maps == (
        TensorMap(KernelArg("param", 1), "float32", (36, 50), (32, 16), 128),
    )
    source = emulated.module.source.split("__global__")[1]
    assert "tma_store_2d(B_map, b * 32, i * 16, &S[0][0]);" in source
    assert source.count("publish_shared();") == 1


def test_every_wait_is_needed() -> None:
    (placed,) = emitted(TEXT, ARCH).barriers.values()
    assert [str(x).splitlines()[0] for x in placed] == [
        "__syncthreads()", "__syncthreads()", "bulk_wait_read()", "bulk_wait_read()",
    ]  # fmt: skip
    a = np.random.default_rng(0).standard_normal((50, 36)).astype(np.float32)
    arrays = {"A": a, "B": np.zeros_like(a)}
    for number, what in enumerate(placed):
        emulated = Emulated(TEXT, ARCH, drop=number)
        if not complaints(emulated, arrays):
            run = emulated.run(arrays, ORDERS[0])
            assert np.any(run.results["B"] != 2 * a), what


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("= S[r, c]", "= S[r, c] + 1.0", "S[r, c] + 1.0 is no element of shared memory"),
        (
            "i*16 + r < 50 and b*32 + c < 36",
            "i*16 + r < 50 and b*32 + c < 30",
            "it stores nothing where not i * 16 + r < 50 and b * 32 + c < 30, and boxes do so "
            "outside of the array alone",
        ),
        (
            "B[i*16 + r, b*32 + c] = S",
            "B[i*16 + r, b*32 + 31 - c] = S",
            "dimension 1 of B is stored at b * 32 + 31 - c, which does not step through neighbours",
        ),
    ],
)
def test_what_is_no_box_is_refused(old: str, new: str, why: str) -> None:
    said = refusal(TEXT.replace(old, new), ARCH)
    assert said.endswith(f'is asked to be one copy of a box ("tma"): {why}')


def test_an_array_that_the_kernel_uses_otherwise_is_refused() -> None:
    text = TEXT.replace("B: out", "B: inout").replace("* 2.0", "* B[0, 0]")
    assert refusal(text, ARCH) == (
        "S[r * 4 + t // 32, t % 32] = A[i * 16 + r * 4 + t // 32, b * 32 + t % 32] * B[0, 0]: it "
        "uses B, to which the same kernel stores boxes, and nothing orders the two; store it "
        "without the hint"
    )


def test_elements_that_are_stored_again_are_refused() -> None:
    text = TEXT.replace("if i*16 + r < 50", "if r < 50").replace("B[i*16 + r,", "B[r,")
    assert refusal(text, ARCH) == (
        "B[r, b * 32 + c] = S[r, c]: later iterations of loop i may store the same elements of B "
        "again, and copies of boxes end in no order; store it without the hint"
    )


def test_the_machine_code_stores_boxes() -> None:
    binary = compile_cuda(emitted(TEXT, ARCH).source, ARCH)
    mix = instruction_mix(disassemble(binary.cubin))["p_B"]
    assert mix["UTMASTG"] >= 1
    assert not mix["STG"]
