"""Contractions by the automatic schedule for CUDA: tiles, copies, what moves into them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import tensorc as tc
from schedule.cuda.grids import allocations, assert_close, kernels, phases, shared_bytes
from schedule.nests import assert_same_results, matmul
from tensorc.ir.expr import const_int
from tensorc.ir.printer import show
from tensorc.ir.stmt import ForKind
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.auto.cuda.products import Cut, cut_of
from tensorc.schedule.auto.cuda.tiles import Problem, Tile, best_tile, blocks_of, depth_of, parts_of
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.tree import stage_sites
from tensorc.target import Target
from tensorc.te.build import build

GPU = Target("cuda", arch="sm_80")
LAYER = (("a", (1024, 512)), ("b", (512, 1024)), ("bias", (1024,)))
UPDATED = (("X", (512, 1024)), ("d", (512, 2048)), ("W", (1024, 2048)), ("M", (1024, 2048)))


@settings(max_examples=15)
@given(m=st.integers(1, 24), k=st.integers(1, 20), n=st.integers(1, 24))
def test_products_of_every_shape_keep_meaning(m: int, k: int, n: int) -> None:
    plain = matmul(m, k, n)
    assert_same_results(plain, auto_schedule(plain, GPU).program)


def test_a_product_keeps_its_tile_in_registers_and_its_operands_in_shared_memory() -> None:
    s = auto_schedule(matmul(1024, 512, 2048), GPU)
    assert kernels(s.program) == [({"block.x": 32 * 16}, 64)]
    assert allocations(s.program) == {
        "C.local": ("local", 64 * 64),
        "A.local": ("shared", 3 * 16 * 68),
        "B.local": ("shared", 3 * 16 * 64),
    }
    fetched = (("B.local", 64), ("A.local", 64))
    ahead = (("A.local", 64), ("B.local", 64))
    assert phases(s.program) == [("C.local", 64), *fetched, *ahead, ("C.local", 64), ("C", 64)]
    assert shared_bytes(s.program) <= 48 * 1024


def test_a_thread_reads_and_stores_whole_vectors() -> None:
    s = auto_schedule(matmul(1024, 512, 2048), GPU)
    for stage in ("B.local", "C"):
        lanes = stage_sites(s.program, stage)[-1].loops[-1]
        assert (lanes.kind, const_int(lanes.extent)) == (ForKind.VECTORIZED, 4)


def test_a_transposed_tile_is_copied_by_whole_sectors() -> None:
    s = auto_schedule(matmul(1024, 512, 2048), GPU)
    copy = stage_sites(s.program, "A.local")[-1]
    axes = {x.axis: const_int(x.extent) for x in copy.loops if x.axis is not None}
    assert (axes["thread.x"], axes["thread.y"]) == (8, 8), "8 neighbours of 4 rows by a warp"


def test_registers_of_a_tile_are_written_out_around_no_guard() -> None:
    s = auto_schedule(matmul(500, 64, 1000), GPU)
    update = stage_sites(s.program, "C.local")[-1]
    assert update.conds == ()
    assert update.loops[-1].kind is ForKind.UNROLLED
    assert "where(" in str(s), "what lies beyond the edge is 0 in shared memory"


def test_a_bias_and_an_activation_are_part_of_the_kernel() -> None:
    a, b, bias = (tc.placeholder(shape, name=n) for n, shape in LAYER)
    s = auto_schedule(build([tc.ops.relu(a @ b + bias)]), GPU)
    assert len(kernels(s.program)) == 1
    assert [stage for stage, _ in phases(s.program)][-1] == "relu"


def test_an_optimizer_updates_the_weights_in_the_tile_of_their_gradient() -> None:
    x, d, w, m = (tc.placeholder(shape, name=n) for n, shape in UPDATED)
    moment = m * 0.9 + tc.ops.matmul(tc.ops.transpose(x), d)
    plain = build([], updates=[(w, w - moment * 0.1), (m, moment)])
    s = auto_schedule(plain, GPU)
    assert len(kernels(s.program)) == 1
    assert [stage for stage, _ in phases(s.program)][-2:] == ["M", "W"]


def test_few_results_of_a_long_reduction_are_split_among_blocks() -> None:
    s = auto_schedule(matmul(64, 8192, 64), GPU)
    (first, second) = kernels(s.program)
    assert first[0] == {"block.x": 1, "block.y": 4, "block.z": 16}
    assert allocations(s.program)["C.rf"] == ("global", 16 * 64 * 64)
    assert "block.z" not in second[0]


def test_a_trace_of_tiles_replays() -> None:
    plain = matmul(64, 48, 80)
    s = auto_schedule(plain, GPU)
    again = Schedule(plain)
    again.replay(s.trace)
    assert show(again.program) == show(s.program)


def test_a_batch_has_an_axis_of_the_grid() -> None:
    a = tc.placeholder((3, 20, 16), dtype="float64", name="a")
    b = tc.placeholder((3, 16, 24), dtype="float64", name="b")
    plain = build([a @ b])
    s = auto_schedule(plain, GPU)
    assert kernels(s.program)[0][0]["block.z"] == 3
    assert_close(plain, s.program)


def test_large_products_get_large_tiles_and_small_ones_more_blocks() -> None:
    large = best_tile(Problem(4096, 4096, 4096), Target("cuda", arch="sm_90"))
    assert large == Tile(128, 128, 8, 8)
    assert (large.threads, large.warp_rows, large.warp_columns) == (256, 8, 4)
    middle = best_tile(Problem(1024, 1024, 1024), GPU)
    assert middle.threads >= 64
    assert blocks_of(middle, Problem(1024, 1024, 1024)) >= 4 * 108
    small = best_tile(Problem(256, 256, 256), GPU)
    assert small.rows * small.columns <= 32 * 32
    assert best_tile(Problem(1024, 10, 512), GPU).columns == 10
    wide = best_tile(Problem(4096, 4096, 4096, size=8), GPU)
    assert wide.row_regs * wide.column_regs * 2 <= 64


def test_the_depth_of_a_tile_divides_the_reduction_where_it_can() -> None:
    assert [depth_of(k) for k in (5, 784, 100, 1031)] == [5, 16, 20, 16]


def test_only_what_leaves_multiprocessors_idle_is_split() -> None:
    tile = Tile(32, 32, 4, 4)
    assert parts_of(tile, Problem(64, 64, 8192), GPU) == 27
    assert parts_of(tile, Problem(1024, 1024, 8192), GPU) == 1
    assert parts_of(tile, Problem(64, 64, 256), GPU) == 1


def test_a_side_is_cut_in_vectors_of_four_that_lie_apart() -> None:
    assert cut_of(128, 8, 0) == Cut(1, groups=2, threads=16, vector=4, pairs=False)
    assert cut_of(128, 8, 8) == Cut(2, groups=2, threads=8, vector=4, pairs=True)
    assert cut_of(32, 2, 0) == Cut(1, groups=1, threads=16, vector=2, pairs=False)
    assert cut_of(10, 1, 0) == Cut(1, groups=1, threads=10, vector=1, pairs=False)


def test_two_lanes_that_differ_in_a_low_bit_read_the_same_vector() -> None:
    """Loads of 16 bytes then take two passes for a warp in place of four."""
    s = auto_schedule(matmul(1024, 512, 2048), Target("cuda", arch="sm_90"))
    update = stage_sites(s.program, "C.local")[-1]
    axes = {x.axis: const_int(x.extent) for x in update.loops if x.axis is not None}
    assert (axes["thread.x"], axes["thread.y"]) == (2, 2)


def test_operands_are_fetched_ahead_where_a_gpu_copies_asynchronously() -> None:
    for arch, slots in (("sm_75", 0), ("sm_80", 3), ("sm_86", 3), ("sm_90", 3)):
        s = auto_schedule(matmul(4096, 4096, 4096), Target("cuda", arch=arch))
        copies = [b for b in ("A.local", "B.local") if f"alloc {b}: float32[{slots}, " in str(s)]
        assert len(copies) == (2 if slots else 0), arch
        assert ("async" in str(s)) == bool(slots)
