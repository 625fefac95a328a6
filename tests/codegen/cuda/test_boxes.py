"""Copies of boxes by the copy engine of sm_90: what they are, who waits for them, what is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, Emulated, check
from codegen.cuda.hopper_programs import product, ring
from codegen.cuda.programs import emitted
from tensorc.codegen.cuda import compile_cuda, disassemble, instruction_mix
from tensorc.errors import CompileError
from tensorc_runtime.cuda.plan import KernelArg, TensorMap

if TYPE_CHECKING:
    from codegen.harness import Array

ARCH = "sm_90a"


def calls(source: str) -> list[str]:
    """The copies, waits and barriers of a kernel, in text order."""
    known = ("mbarrier", "tma_", "ring_", "__sync", "sync_threads")
    lines = [line.strip() for line in source.split("__global__")[1].splitlines()]
    return [x.split("(")[0] for x in lines if x.startswith(known)]


def refusal(text: str, arch: str = ARCH) -> str:
    with pytest.raises(CompileError) as caught:
        emitted(text, arch)
    return str(caught.value)


@pytest.mark.parametrize("swizzle", ["", " swizzle(128)"])
@pytest.mark.parametrize("stages", [1, 2, 4])
def test_boxes_that_go_through_a_ring_arrive(stages: int, swizzle: str) -> None:
    emulated = check(ring(stages, swizzle=swizzle), arch=ARCH)
    assert emulated.module.plan.maps == (
        TensorMap(
            KernelArg("param", 0), "float32", (128, 128), (32, 16), 128 if swizzle else 0
        ),
    )  # fmt: skip


def test_a_ring_waits_for_its_slot_and_a_barrier_keeps_copies_behind_uses() -> None:
    begin = ["mbarrier_init"] * 3 + ["mbarrier_publish", "__syncthreads"]
    copy = ["mbarrier_expect", "tma_load_2d"]
    assert calls(emitted(ring(3), ARCH).source) == [
        *begin, *copy, "__syncthreads", *copy, "ring_wait",
    ]  # fmt: skip


def test_copies_that_are_used_together_are_waited_for_together() -> None:
    source = emitted(product(n=64, k=256, stages=3), ARCH).source
    assert calls(source).count("ring_wait") == 1
    assert "mbarrier_init(&As_full[0], 2);" in source
    assert calls(source).count("tma_load_2d") == 4


PADDED = """program p(A: in float32[50, 36], B: out float32[64, 64]):
  for bi in block.y(4):
    for bj in block.x(2):
      alloc S: float32[16, 32] shared
        for r in range(16) {async: "tma"}:
          for c in range(32):
            S[r, c] = where(CONDITION, A[bi*16 + r - 3, bj*32 + c], 0.0)
        for t in thread.x(32):
          for r in range(16):
            B[bi*16 + r, bj*32 + t] = S[r, t]
"""
INSIDE = "bi*16 + r >= 3 and bi*16 + r < 53 and bj*32 + c < 36"


def test_what_lies_outside_of_the_array_is_zero() -> None:
    check(PADDED.replace("CONDITION", INSIDE), arch=ARCH)


def test_zeros_inside_of_the_array_are_no_box() -> None:
    condition = INSIDE.replace("c < 36", "c < 30")
    assert refusal(PADDED.replace("CONDITION", condition)) == (
        f"S[r, c] = where({condition}, A[bi * 16 + r - 3, bj * 32 + c], 0.0) is asked to be one "
        f'copy of a box ("tma"): it writes 0 where not {condition}, and boxes do so outside of '
        "the array alone"
    ).replace("*", " * ").replace("  ", " ")


PLANES = """program p(A: in bfloat16[6, 5, 4, 24], B: out bfloat16[3, 5, 16, 8, 2]):
  for b in block.x(3):
    alloc S: bfloat16[2, 5, 2, 8] shared
      for x in range(2) {async: "tma"}:
        for y in range(5):
          for z in range(2):
            for c in range(8):
              S[x, y, z, c] = A[b*2 + x, y, 1 + z, 8 + c]
      for y in thread.y(5):
        for t in thread.x(16):
          for x in range(2):
            B[b, y, t, t % 8, x] = S[x, y, t // 8, t % 8]
"""


def test_a_box_has_up_to_five_dimensions() -> None:
    planes = PLANES.replace("B: out bfloat16[3, 5, 16, 8, 2]", "B: out bfloat16[3, 5, 16, 2]")
    planes = planes.replace("B[b, y, t, t % 8, x]", "B[b, y, t, x]")
    emulated = check(planes, arch=ARCH)
    assert emulated.module.plan.maps[0].box == (8, 2, 5, 2)
    assert "tma_load_4d(&S[0][0][0][0], A_map, 8, 1, 0, b * 2, &S_full[0]);" in (
        emulated.module.source
    )


SYMBOLIC = """program p(A: in float32[n, m * 4], B: out float32[n, m * 4]) dims(n >= 1, m >= 1):
  for bi in block.y((n + 7) // 8):
    for bj in block.x((m + 7) // 8):
      alloc S: float32[8, 32] shared
        for r in range(8) {async: "tma"}:
          for c in range(32):
            S[r, c] = where(bi*8 + r < n and bj*32 + c < m*4, A[bi*8 + r, bj*32 + c], 0.0)
        for t in thread.x(32):
          for r in range(8):
            if bi*8 + r < n and bj*32 + t < m*4:
              B[bi*8 + r, bj*32 + t] = S[r, t]
"""


def test_an_array_may_have_symbolic_sizes() -> None:
    check(SYMBOLIC, arch=ARCH, n=21, m=11)
    assert emitted(SYMBOLIC, ARCH).plan.maps[0].sizes == ("m * 4", "n")


def complaints(emulated: Emulated, arrays: dict[str, Array]) -> list[str]:
    """What three orders of threads bring to light: findings, or why a launch did not end."""
    found: list[str] = []
    for options in ORDERS:
        try:
            found += [str(f) for f in emulated.run(arrays, options).findings]
        except AssertionError as stuck:
            found.append(str(stuck))
    return found


@pytest.mark.parametrize("roles", [False, True])
def test_every_wait_and_arrival_is_needed(roles: bool) -> None:
    text = ring(3, roles=roles)
    (placed,) = emitted(text, ARCH).barriers.values()
    a = np.random.default_rng(0).standard_normal((128, 128)).astype(np.float32)
    arrays = {"A": a, "B": np.zeros((8, 4, 32, 16), np.float32)}
    needed = [
        (number, str(what))
        for number, what in enumerate(placed)
        # The loop's own barrier stands before the first wait; roles have none.
        if roles or "are made before they are used" not in str(what)
    ]
    assert len(needed) == (5 if roles else 2)
    for number, what in needed:
        assert complaints(Emulated(text, ARCH, drop=number), arrays), what


@pytest.mark.parametrize("roles", [False, True])
def test_a_failed_check_stops_a_block_whose_boxes_arrive(roles: bool) -> None:
    text = ring(3, roles=roles)
    store = "            B[i, b"
    check = f'            check S[i % 3, t % 4 * 4 + v, t // 4] < 9.0, "no: {{0}}", (i)\n{store}'
    emulated = Emulated(text.replace(store, check), ARCH)
    a = np.random.default_rng(0).uniform(-1, 1, (128, 128)).astype(np.float32)
    want = a.reshape(8, 16, 4, 32).transpose(0, 2, 3, 1)
    arrays = {"A": a, "B": np.zeros((8, 4, 32, 16), np.float32)}
    wrong = arrays | {"A": a.copy()}
    wrong["A"][3 * 16 + 5, 32 + 7] = 10.0
    for options in ORDERS:
        run = emulated.run(arrays, options)
        assert not run.findings
        assert run.status[0] == 0
        np.testing.assert_array_equal(run.results["B"], want)
        run = emulated.run(wrong, options)
        assert not run.findings
        assert (run.status[0], run.status[2]) == (1, 3)
        assert np.all(run.results["B"][4:, 1] == 0), "the rest of that block"
        np.testing.assert_array_equal(run.results["B"][:3, 1], want[:3, 1])


COPY = "S[a, r, c] = A[a*16 + r, b*32 + c]"


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (
            "S[a, r, c] = A[a*16 + r, b*32 + c] * 2.0",
            "A[a * 16 + r, b * 32 + c] * 2.0 is no element of an array, nor one or else 0",
        ),
        (
            "S[a, r, c] = A[a*16 + r, b*32 + 31 - c]",
            "dimension 1 of A is read at b * 32 + 31 - c, which does not step through neighbours",
        ),
        (
            "S[a, r, c] = A[a*16 + c, b*32 + r]",
            "a box of 32, 16 elements lies row by row in shared memory, one step of r 1 elements "
            "apart, and here it is 32",
        ),
        (
            "S[a, r, c] = A[a*16, b*32 + c]",
            "loop r reads one element again and again",
        ),
        (
            "S[a, r, c] = A[a*16 + r * r, b*32 + c]",
            "index r * r is no sum of loops",
        ),
    ],
)
def test_what_is_no_box_is_refused(new: str, why: str) -> None:
    said = refusal(ring(3).replace(COPY, new))
    assert said.endswith(f'is asked to be one copy of a box ("tma"): {why}')


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "        for r in range(16) {",
            "        for r in range(a, 16) {",
            "loop r runs from a for 16 - a steps, and a box has constant sizes; split the loop, "
            "and leave its outer part outside of the hint",
        ),
        (
            f"            {COPY}",
            f"            {COPY}\n            S[a, r, c] = A[a*16 + r, b*32 + c]",
            "its loops hold more than one copy: S[a, r, c] = A[a * 16 + r, b * 32 + c] S[a, r, c] "
            "= A[a * 16 + r, b * 32 + c]",
        ),
        (
            "      for a in range(2):",
            "      for a in thread.x(2):",
            "it stands inside of the thread loops a, and one thread issues it; move it out of them",
        ),
        (
            "float32",
            "bool",
            "elements of bool cannot be mapped; float16, bfloat16, float32, float64, int32, int64, "
            "uint8 can",
        ),
        (
            "A: in float32[128, 128]",
            "A: in float32[128, 126]",
            "rows of A have 504 bytes, which is not known to be a multiple of 16",
        ),
        (
            "] shared",
            "] shared swizzle(64)",
            "rows of 128 bytes do not fit the pattern of 64; cache_read(..., panel=16) makes rows "
            "of 64",
        ),
    ],
)
def test_what_the_copy_engine_cannot_do_is_refused(old: str, new: str, why: str) -> None:
    said = refusal(ring(3).replace(old, new, 1 if old.startswith("  ") else -1))
    assert said.endswith(f'is asked to be one copy of a box ("tma"): {why}')


BOX = """program p(A: in float32[SOURCE], B: out float32[64]):
  for b in block.x(1):
    alloc S: float32[TARGET] shared
LOOPS
      for t in thread.x(64):
        B[t] = S[USE]
"""


@pytest.mark.parametrize(
    ("source", "target", "box", "read", "why"),
    [
        ("512", "512", "512", "i", "a box has at most 256 elements along a dimension, and this one "
         "512; split its loops, and leave the outer part outside of the hint"),
        ("66", "66", "66", "i", "rows of a box have a multiple of 16 bytes, and here 264"),
        ("96", "96", "64", "+ 4", "it begins at element 4 of S, which need not be on 128 bytes; "
         "make its rows, or its slots, multiples of that"),
    ],
)  # fmt: skip
def test_a_box_of_the_wrong_size_or_place_is_refused(
    source: str, target: str, box: str, read: str, why: str
) -> None:
    at = "i + 4" if read == "+ 4" else "i"
    loops = f'      for i in range({box}) {{async: "tma"}}:\n        S[{at}] = A[i]'
    text = BOX.replace("SOURCE", source).replace("TARGET", target)
    said = refusal(text.replace("LOOPS", loops).replace("USE", at.replace("i", "t")))
    assert said.endswith(f'is asked to be one copy of a box ("tma"): {why}')


def test_a_box_does_not_come_from_shared_memory() -> None:
    loops = """      alloc T: float32[64] shared
        for t in thread.x(64):
          T[t] = A[t]
        for i in range(64) {async: "tma"}:
          S[i] = T[i]"""
    text = BOX.replace("SOURCE", "64").replace("TARGET", "64").replace("USE", "t")
    said = refusal(
        text.replace("LOOPS", loops).replace(
            "      for t in thread.x(64):\n        B", "        for t in thread.x(64):\n          B"
        )
    )
    assert said == (
        'S[i] = T[i] is asked to be one copy of a box ("tma"): it copies from shared to shared '
        "memory, and boxes go from global to shared memory, or back"
    )


def test_a_pattern_that_the_copy_engine_has_not_is_refused() -> None:
    assert refusal(ring(3, swizzle=" swizzle(128, 4)")) == (
        "shared buffer S: swizzle(128, 4) is no pattern of the copy engine or of wgmma, whose "
        "shift is 3; swizzle it so"
    )


def test_a_hint_on_a_loop_of_threads_is_refused() -> None:
    assert refusal(ring(1).replace("thread.x(128):", 'thread.x(128) {async: "tma"}:')) == (
        'loop t, on thread.x, has the hint async: "tma", which is for the outermost of a copy\'s '
        "own loops: one thread copies the box that they go through"
    )


def test_a_source_that_the_kernel_writes_is_refused() -> None:
    text = ring(1).replace("A: in", "A: inout").replace("B[i, b", "A[0, 0] = 1.0#B[i, b")
    text = text.replace("#", "\n            ")
    assert refusal(text) == (
        "A[0, 0] = 1.0: it writes A, of which the same kernel copies boxes, and nothing orders "
        "the two; copy it without the hint"
    )


def test_an_older_architecture_is_refused() -> None:
    assert refusal(ring(1), "sm_80") == (
        'S[0, r, c] = A[i * 16 + r, b * 32 + c] is asked to be one copy of a box ("tma"): sm_80 '
        "has no such copies, sm_90 is the first that does; compile for that, or take the hint away"
    )


def test_the_machine_code_copies_boxes() -> None:
    binary = compile_cuda(emitted(ring(3), "sm_90").source, "sm_90")
    assert "warning" not in binary.log
    mix = instruction_mix(disassemble(binary.cubin))["p_B"]
    assert mix["UTMALDG"] >= 1
    assert mix["SYNCS"] >= 2
