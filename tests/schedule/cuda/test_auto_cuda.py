"""The automatic schedules for CUDA: legal traces that keep meaning, and what they choose."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tensorc as tc
from schedule.cuda.grids import allocations, assert_close, kernels, phases
from schedule.nests import assert_same_results, diagonal, matmul, scale, two_stages
from schedule.programs_random import HARD
from tensorc import ops
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.schedule import Schedule
from tensorc.target import Target
from tensorc.te.build import build

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.ir.stmt import Program
    from tensorc.te.tensor import Tensor

GPU = Target("cuda", arch="sm_80")
PROGRAMS = (scale(10), scale("n"), matmul(4, 3, 5), two_stages(7), diagonal(), *map(parse, HARD))


def x(*shape: int, name: str = "x") -> Tensor:
    """Float64: sums in another order are then the same but for 1e-12."""
    return tc.placeholder(shape, dtype="float64", name=name)


def normalized(t: Tensor) -> Tensor:
    centre = t - tc.ops.mean(t, axis=-1, keepdims=True)
    return centre / tc.ops.sqrt(tc.ops.var(t, axis=-1, keepdims=True) + 1e-5)


ROWS: dict[str, Callable[[], Tensor]] = {
    "sum of short rows": lambda: tc.ops.sum(x(33, 7), axis=1),
    "sum of rows": lambda: tc.ops.sum(x(16, 40), axis=1),
    "sum of long rows": lambda: tc.ops.sum(x(3, 1500), axis=1),
    "sum of few rows": lambda: tc.ops.sum(x(2, 9000), axis=1),
    "maximum of a batch's rows": lambda: tc.ops.max(x(2, 3, 64), axis=2),
    "mean of planes": lambda: tc.ops.mean(x(2, 3, 8, 9), axis=(2, 3)),
    "softmax": lambda: tc.ops.softmax(x(8, 130)),
    "softmax of whole vectors": lambda: tc.ops.softmax(x(6, 256)),
    "log-softmax of a cube": lambda: tc.ops.log_softmax(x(2, 3, 70)),
    "layer norm": lambda: normalized(x(5, 96)),
    "column sums": lambda: tc.ops.sum(x(300, 11), axis=0),
    "sum of everything": lambda: tc.ops.sum(x(40, 50)),
    "sum of one long row": lambda: tc.ops.sum(x(9000)),
    "argmax": lambda: tc.ops.argmax(x(6, 33), axis=1),
    "transpose": lambda: tc.ops.exp(tc.ops.transpose(x(12, 20))),
    "softmax of columns": lambda: tc.ops.softmax(x(20, 9), 0),
}


@pytest.mark.parametrize("program", PROGRAMS, ids=range(len(PROGRAMS)))
def test_an_automatic_schedule_keeps_meaning(program: Program) -> None:
    s = auto_schedule(program, GPU)
    dims = {d.name: 5 for d in s.plain.dims}
    assert_same_results(s.plain, s.program, **dims)


@pytest.mark.parametrize("name", ROWS)
def test_reductions_of_every_shape_keep_meaning(name: str) -> None:
    plain = build([ROWS[name]()])
    s = auto_schedule(plain, GPU)
    assert_close(plain, s.program)
    again = Schedule(plain)
    again.replay(s.trace)
    assert show(again.program) == show(s.program)


def test_the_same_program_gives_the_same_trace() -> None:
    plain = build([tc.ops.softmax(x(8, 40))])
    first, second = (str(auto_schedule(plain, GPU).trace) for _ in range(2))
    assert first == second


def test_what_is_independent_has_a_thread_for_each_four_neighbours() -> None:
    s = auto_schedule(build([tc.ops.relu(tc.placeholder((64, 4096), name="x"))]), GPU)
    ((blocks, threads),) = kernels(s.program)
    assert (blocks, threads) == ({"block.x": 4, "block.y": 64}, 256)
    assert "vectorized(4)" in str(s)


def test_few_elements_are_spread_over_more_blocks() -> None:
    s = auto_schedule(build([tc.ops.relu(tc.placeholder((1024,), name="x"))]), GPU)
    ((blocks, threads),) = kernels(s.program)
    assert (blocks, threads) == ({"block.x": 8}, 32)


def test_a_softmax_is_one_kernel_that_reads_each_row_once() -> None:
    s = auto_schedule(build([tc.ops.softmax(tc.placeholder((2048, 256), name="x"))]), GPU)
    assert kernels(s.program) == [({"block.x": 512}, 128)]
    assert allocations(s.program) == {
        "x.local": ("local", 4 * 256),
        "exp": ("local", 4 * 256),
        "max": ("shared", 4),
        "shift": ("shared", 4),
        "sum": ("shared", 4),
        "share": ("shared", 4),
    }
    assert [stage for stage, _ in phases(s.program)] == [
        *("x.local", "max", "max", "shift", "exp", "sum", "sum", "share", "softmax")
    ]


def test_an_argmax_folds_each_row_by_a_warp_or_a_block() -> None:
    for length, shape in ((1024, ({"block.x": 2048}, 128)), (8192, ({"block.x": 8192}, 512))):
        s = auto_schedule(
            build([ops.argmax(tc.placeholder((8192, length), name="x"), axis=1)]), GPU
        )
        assert kernels(s.program) == [shape]


def test_an_argmax_of_everything_or_of_columns_is_folded_in_parts() -> None:
    s = auto_schedule(build([ops.argmax(tc.placeholder((1 << 22,), name="x"))]), GPU)
    assert kernels(s.program)[:1] == [({"block.x": 256}, 512)]
    s = auto_schedule(build([ops.argmax(tc.placeholder((4096, 256), name="x"), axis=0)]), GPU)
    assert allocations(s.program)["argmax.rf"] == ("global", 128 * 256)
    small = tc.placeholder((40, 30), name="x")
    plain = build([ops.argmax(small, axis=0), ops.argmin(small)])
    assert_close(plain, auto_schedule(plain, GPU).program)


def test_gradients_of_a_convolutions_weights_are_folded_in_parts_of_the_batch() -> None:
    images = tc.placeholder((32, 64, 56, 56), name="x")
    weights = tc.placeholder((64, 64, 3, 3), name="W")
    loss = ops.sum(ops.conv2d(images, weights, padding=1))
    s = auto_schedule(build(list(tc.grad(loss, [weights]))), GPU)
    assert min(prod(blocks.values()) * threads for blocks, threads in kernels(s.program)) >= 8192


def test_what_folds_the_same_rows_is_one_kernel() -> None:
    t = tc.placeholder((512, 300), name="x")
    plain = build([ops.argmax(t, axis=1), ops.argmin(t, axis=1), ops.max(t, axis=1)])
    s = auto_schedule(plain, GPU)
    assert len(kernels(s.program)) == 1
    small = tc.placeholder((3, 40), name="x")
    plain = build([ops.argmax(small, axis=1), ops.argmin(small, axis=1)])
    assert_close(plain, auto_schedule(plain, GPU).program)


def test_rows_of_a_batch_are_those_of_a_block() -> None:
    def scores(size: int) -> Tensor:
        return ops.softmax(tc.placeholder((2, size, 4 * size), name="x") * 0.5)

    s = auto_schedule(build([scores(256)]), GPU)
    assert kernels(s.program)[-1] == ({"block.x": 64, "block.y": 2}, 128)
    assert {threads for _, threads in phases(s.program)} == {4, 128}
    small = build([scores(24)])
    few = Target("cuda", arch="sm_80", sms=4)
    assert_close(small, auto_schedule(small, few).program, rtol=1e-5)


def test_rows_that_fit_neither_registers_nor_shared_memory_are_stored() -> None:
    s = auto_schedule(build([tc.ops.softmax(tc.placeholder((8, 65536), name="x"))]), GPU)
    assert allocations(s.program)["exp"] == ("global", 8 * 65536)


def test_a_normalization_is_one_kernel() -> None:
    plain = build([normalized(tc.placeholder((64, 512), name="x"))])
    assert len(kernels(auto_schedule(plain, GPU).program)) == 1


def test_a_sum_of_everything_takes_two_kernels_and_folds_in_a_fixed_order() -> None:
    s = auto_schedule(build([tc.ops.sum(tc.placeholder((4096, 1024), name="x"))]), GPU)
    assert kernels(s.program) == [({"block.x": 256}, 512), ({}, 256)]


def test_columns_are_cut_in_parts_where_they_are_few() -> None:
    s = auto_schedule(build([tc.ops.sum(tc.placeholder((4096, 256), name="x"), axis=0)]), GPU)
    assert allocations(s.program) == {"sum.rf": ("global", 128 * 256)}
    s = auto_schedule(build([tc.ops.sum(tc.placeholder((64, 1 << 17), name="x"), axis=0)]), GPU)
    assert allocations(s.program) == {}


def test_more_multiprocessors_get_more_blocks() -> None:
    plain = build([tc.ops.sum(tc.placeholder((1 << 22,), name="x"))])
    few, many = (auto_schedule(plain, Target("cuda", sms=n)) for n in (4, 64))
    counts = [kernels(s.program)[0][0]["block.x"] for s in (few, many)]
    assert counts[0] < counts[1]


def test_a_recurrence_runs_in_one_block_its_rows_on_threads() -> None:
    s = auto_schedule(diagonal(), GPU)
    assert kernels(s.program) == [({}, 7)]


def test_values_beyond_the_range_of_float32_do_not_matter_to_a_schedule() -> None:
    plain = build([tc.ops.softmax(x(4, 64))])
    arrays = {"x": np.full((4, 64), 1e300)}
    assert_close(plain, auto_schedule(plain, GPU).program, arrays)
