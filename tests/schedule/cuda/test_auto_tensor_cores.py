"""Contractions of 16-bit floats by the automatic schedule: tensor cores, copies, pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import tensorc as tc
from schedule.cuda.grids import allocations, interpreted, kernels, phases, random_inputs
from tensorc import ops
from tensorc.ir.printer import show
from tensorc.ir.verify import verify
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.auto.cuda.tiles import Problem
from tensorc.schedule.auto.cuda.warps import best_warp_tile, stages_of, warp_parts
from tensorc.schedule.schedule import Schedule
from tensorc.target import ARCHS, Target
from tensorc.te.build import build

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor

GPU = Target("cuda", arch="sm_80")


def x(*shape: int, name: str, dtype: str = "bfloat16") -> Tensor:
    return tc.placeholder(shape, dtype, name=name)


def layer(m: int, k: int, n: int, dtype: str = "bfloat16") -> Tensor:
    a, b = x(m, k, name="A", dtype=dtype), x(k, n, name="B", dtype=dtype)
    return ops.relu(a @ b + x(n, name="bias", dtype=dtype))


def test_a_layer_is_one_kernel_with_its_steps_fetched_ahead() -> None:
    s = auto_schedule(build([layer(4096, 4096, 4096)]), GPU)
    assert kernels(s.program) == [({"block.x": 1024}, 256)]
    assert allocations(s.program) == {
        "matmul.sum": ("local", 128 * 128),
        "A.local": ("shared", 4 * 128 * 32),
        "B.local": ("shared", 4 * 32 * 128),
    }
    assert [stage for stage, _ in phases(s.program)][-2:] == ["matmul.sum", "relu"]
    text = show(s.program)
    assert "{intrinsic: " in text
    assert text.count("async") == 4, "both operands, before the loop and in it"
    assert "shared swizzle(64)" in text
    assert "shared swizzle(128, 4)" in text


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_instruction_is_that_of_the_operands(dtype: str) -> None:
    s = auto_schedule(build([layer(64, 64, 64, dtype)]), GPU)
    kind = {"bfloat16": "bf16", "float16": "f16"}[dtype]
    (step,) = (x for x in s.trace.steps if x.primitive == "tensorize")
    assert step.args[1] == f"mma.m16n8k16.{kind}"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: layer(64, 64, 64, "float32"), "float32 is not rounded unasked"),
        (lambda: layer(64, 8, 64), "a reduction of fewer steps than the instruction has"),
        (lambda: layer(8, 64, 64), "fewer rows than it has"),
    ],
)
def test_other_products_are_left_to_ordinary_multiply_adds(make: object, why: str) -> None:
    assert callable(make), why
    assert "mma" not in str(auto_schedule(build([make()]), GPU)), why


def test_a_gpu_without_the_instruction_gets_ordinary_multiply_adds() -> None:
    s = auto_schedule(build([layer(256, 256, 256)]), Target("cuda", arch="sm_75"))
    text = show(s.program)
    assert "mma" not in text
    assert "async" not in text
    assert kernels(s.program)[0][1] >= 32


@pytest.mark.parametrize("spec", ["bik,bkj->bij", "bik,bjk->bij", "bki,bkj->bij", "bki,bjk->bij"])
def test_transposed_operands_and_batches_are_products_too(spec: str) -> None:
    sizes = {"b": 2, "i": 32, "j": 40, "k": 24}
    one, other, _ = spec.replace("->", ",").split(",")
    a, b = (x(*(sizes[c] for c in s), name=n) for s, n in ((one, "A"), (other, "B")))
    s = auto_schedule(build([ops.einsum(spec, a, b)]), GPU)
    assert "mma" in show(s.program)
    orders = [step for step in s.trace.steps if step.primitive == "cache_read"]
    assert not any("order" in step.options for step in orders), "each is copied as it lies"


def test_a_small_layer_keeps_its_meaning() -> None:
    s = auto_schedule(build([layer(17, 20, 9)]), GPU)
    assert "mma" in show(s.program)
    verify(s.program)
    arrays = random_inputs(s.plain)
    want, got = (interpreted(p, arrays, "reverse") for p in (s.plain, s.program))
    np.testing.assert_array_equal(want["relu"], got["relu"])


def test_a_trace_replays() -> None:
    plain = build([layer(64, 72, 80)])
    s = auto_schedule(plain, GPU)
    again = Schedule(plain)
    again.replay(s.trace)
    assert show(again.program) == show(s.program)


def test_large_products_get_large_tiles_and_few_results_more_blocks() -> None:
    large = best_warp_tile(Problem(4096, 4096, 4096), 4096, 108)
    assert large is not None
    assert (large.rows, large.columns, large.warps, large.depth) == (128, 128, 8, 32)
    small = best_warp_tile(Problem(256, 256, 256), 256, 108)
    assert small is not None
    assert small.rows * small.columns <= 32 * 64
    long = Problem(64, 64, 65536)
    tile = best_warp_tile(long, 65536, 108)
    assert tile is not None
    assert warp_parts(tile, long, 108) >= 16
    assert best_warp_tile(Problem(4096, 4096, 8), 8, 108) is None
    assert best_warp_tile(Problem(4096, 4, 4096), 4096, 108) is None


@pytest.mark.parametrize(
    ("arch", "stages"), [("sm_80", 4), ("sm_86", 3), ("sm_89", 3), ("sm_90", 4)]
)
def test_a_pipeline_leaves_room_for_two_blocks(arch: str, stages: int) -> None:
    limits = ARCHS[arch]
    size = 2 * (128 + 128) * 32
    assert stages_of(size, 128, 2, limits) == stages
    assert 2 * (stages * size + limits.reserved) <= limits.shared
    assert stages_of(size, 1, 2, limits) == 1
    assert stages_of(48 * 1024, 128, 2, limits) == {100: 2, 164: 3, 228: 2}[limits.shared // 1024]
