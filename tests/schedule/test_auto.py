"""The automatic schedule: legal traces that keep meaning, and what they choose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorc as tc
from schedule.nests import assert_same_results, diagonal, matmul, scale, two_stages
from schedule.programs_random import HARD
from tensorc.ir.expr import const_int
from tensorc.ir.facts import facts, nests
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.stmt import Accumulate, ForKind
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.auto.cost import Tile, best_tile
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.tree import Site, sites, stage_sites
from tensorc.target import Target
from tensorc.te.build import build

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


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8"])
def test_operands_of_many_uses_are_stored_in_the_type_of_the_sum(dtype: str) -> None:
    a = tc.placeholder((6, 64), dtype, name="A")
    b = tc.placeholder((64, 70), dtype, name="B")
    plain = build([tc.ops.matmul(a, b)])
    s = auto_schedule(plain, AVX2)
    wide = "int32" if dtype == "int8" else "float32"
    packs = [(x.args[1], x.options) for x in s.trace.steps if x.primitive == "pack"]
    assert packs == [("A", {"dtype": wide})]  # Of B each number has but six uses.
    assert_same_results(plain, s.program)


def test_a_long_chain_of_rows_becomes_nests_of_bounded_size() -> None:
    x = tc.placeholder((3, 40), name="x")
    y = x
    for _ in range(11):
        y = tc.ops.softmax(y * 1.5)
    plain = build([y])
    s = auto_schedule(plain, AVX2)
    joined = [nest for nest in nests(s.program.body) if len(facts(nest).stages) > 1]
    assert len(joined) == 2
    assert_same_results(plain, s.program)


def test_an_automatic_schedule_is_a_trace_that_replays() -> None:
    plain = matmul(64, 64, 64)
    s = auto_schedule(plain, AVX2)
    again = Schedule(plain)
    again.replay(s.trace)
    assert show(again.program) == show(s.program)


def test_the_trace_of_nests_with_loops_of_one_name_replays() -> None:
    x, w = (tc.placeholder(n, name=name) for name, n in (("x", (96, 64)), ("w", (64, 48))))
    y = tc.ops.softmax(tc.ops.relu(tc.ops.matmul(x, w)) * 0.5)
    plain = build([y, *tc.grad(tc.ops.sum(y * y), [x, w])])
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


REGROUPED = """program p(A: in float32[4, 64, 16], W: in float32[64, 32], C: out float32[64, 32]):
  alloc B: float32[64, 64]
    for b in range(64):
      for i in range(64):
        B[b, i] = {value}
    for i in range(64):
      for j in range(32):
        C[i, j] = 0.0
        for k in range(64):
          C[i, j] += B[i, k] * W[k, j]
"""


@pytest.mark.parametrize(
    ("value", "inlined"),
    [("A[i // 16, b, i % 16]", False), ("A[b // 16, i, b % 16]", False), ("A[0, i, 3]", True)],
)
def test_a_product_reads_what_changes_shape_from_rows_of_its_own(value: str, inlined: bool) -> None:
    s = auto_schedule(parse(REGROUPED.format(value=value)), AVX2)
    assert ("B" not in s.stages) == inlined


def test_a_product_with_its_own_transpose_reads_a_copy_of_it() -> None:
    a = tc.placeholder((64, 48), name="a")
    s = auto_schedule(build([tc.ops.matmul(a, tc.ops.transpose(a))]), AVX2)
    assert "transpose" in s.stages
    assert "transpose.local" in s.stages


def top_nests(s: Schedule) -> list[str]:
    """What each outermost nest computes last."""
    return [facts(nest).written[-1].name for nest in nests(s.program.body)]


def test_nests_over_the_same_rows_become_one() -> None:
    x = tc.placeholder((64, 100), name="x")
    s = auto_schedule(build([tc.ops.softmax(x)]), AVX2)
    assert top_nests(s) == ["softmax"]
    assert "exp: float32[1, 100] local" in str(s)


@pytest.mark.parametrize("last", [True, False], ids=["columns", "rows"])
def test_sums_that_read_one_large_array_are_one_pass_over_it(last: bool) -> None:
    x, y = (tc.placeholder((40, 48, 64), name=name) for name in "xy")
    axes = (0, 1) if last else (0, 2)
    one, two = tc.ops.sum(x * y, axis=axes), tc.ops.sum(y, axis=axes)
    square = tc.ops.sum(x * x, axis=axes)
    s = auto_schedule(build([one, two, square]), AVX2)
    assert len(top_nests(s)) == 1
    inputs = {p.buffer for p in s.plain.params[:2]}
    updates = [z for z in sites(s.program.body) if not inputs.isdisjoint(facts(z.leaf).read)]
    around = {tuple(w.var for w in z.loops if w.kind is ForKind.SERIAL) for z in updates}
    assert (len(updates), len(around)) == (3, 1)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 10, (40, 48, 64)).astype(np.float32) for _ in range(2))
    expected = [(a * b).sum(axes), b.sum(axes), (a * a).sum(axes)]  # Exact, in any order.
    for found, exact in zip(tc.compile(s, target="cpu")(a, b), expected, strict=True):
        np.testing.assert_array_equal(found, exact)


def test_a_fold_over_rows_does_not_keep_the_rows_on_one_thread() -> None:
    x, labels = tc.placeholder((4096, 1000), name="x"), tc.placeholder(4096, "int32", name="labels")
    s = auto_schedule(build([tc.ops.cross_entropy(x, labels)]), AVX2)
    nest = next(n for n in nests(s.program.body) if "sum.rf" in {b.name for b in facts(n).written})
    assert nest.kind is ForKind.PARALLEL  # type: ignore[union-attr]
    assert [b.name for b in facts(nest).written][-1] == "softmax_cross_entropy"


def test_sums_over_different_loops_stay_apart() -> None:
    x = tc.placeholder((40, 48, 64), name="x")
    s = auto_schedule(build([tc.ops.sum(x, axis=(0, 1)), tc.ops.sum(x, axis=(0, 2))]), AVX2)
    assert len(top_nests(s)) == 2


@pytest.mark.parametrize(("width", "registers"), [(56, 7), (64, 4), (40, 5), (88, 4)])
def test_partial_results_leave_no_rest_of_a_row(width: int, registers: int) -> None:
    x = tc.placeholder((3, 16, width), name="x")
    s = auto_schedule(build([tc.ops.sum(x, axis=(1, 2))]), AVX2)
    (partials,) = (b for n in nests(s.program.body) for b in facts(n).written if b.name == "sum.rf")
    assert const_int(partials.shape[0]) == registers * 8
    assert_same_results(s.plain, s.program)


def test_random_bits_that_two_read_are_drawn_once_and_two_registers_at_a_time() -> None:
    x, g = tc.placeholder((8, 64), name="x"), tc.placeholder((8, 64), name="g")
    y = tc.ops.dropout(x, 0.5, 1, 2)
    s = auto_schedule(build([y, tc.grad(y, x, g)]), AVX2)
    (bits,) = stage_sites(s.program, "kept")
    assert bits.loops[-1].kind is ForKind.VECTORIZED
    assert const_int(bits.loops[-1].extent) == 16
    (values,) = stage_sites(s.program, "dropout")
    assert const_int(values.loops[-1].extent) == 8


def test_a_quotient_that_several_windows_read_is_stored() -> None:
    x, g = tc.placeholder((1, 1, 8, 8), name="x"), tc.placeholder((1, 1, 4, 4), name="g")
    s = auto_schedule(build([tc.grad(tc.ops.max_pool2d(x, 2), x, g)]), AVX2)
    assert "max_pool2d.share" in s.stages


def test_windows_have_their_results_in_lanes_and_their_images_together() -> None:
    x, g = (tc.placeholder((4, 8, 40, 40), name=name) for name in "xg")
    pooled = tc.ops.max_pool2d(x, 3, stride=1, padding=1)
    s = auto_schedule(build(tc.grad(tc.ops.sum(pooled * g), [x])), AVX2)
    assert len(top_nests(s)) == 1
    folds = [z for z in sites(s.program.body) if isinstance(z.leaf, Accumulate)]
    assert len(folds) == 3
    for site in folds:
        assert [z.kind for z in site.loops[-3:]] == [ForKind.UNROLLED] * 2 + [ForKind.VECTORIZED]
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, (4, 8, 40, 40)).astype(np.float32) for _ in range(2))
    plain = tc.compile(s.plain, target="cpu")(a, b)
    np.testing.assert_array_equal(tc.compile(s, target="cpu")(a, b), plain)


def test_a_row_is_folded_in_lanes_that_have_partial_results() -> None:
    x = tc.placeholder((64, 256), name="x")
    s = auto_schedule(build([tc.ops.sum(x, axis=1)]), AVX2)
    update = stage_sites(s.program, "sum.rf")[-1]
    assert update.loops[-1].kind is ForKind.VECTORIZED
    assert const_int(update.loops[-1].extent) == 8


@pytest.mark.parametrize(("columns", "one"), [(28, True), (7, True), (8, True), (64, False)])
def test_short_rows_that_lie_one_after_the_other_are_folded_as_one(columns: int, one: bool) -> None:
    x = tc.placeholder((2, 3, 6, columns), name="x")
    y = tc.placeholder((3, 1, 1), name="y")
    s = auto_schedule(build([tc.ops.sum(tc.ops.square(x - y), axis=(0, 2, 3))]), AVX2)
    assert_same_results(s.plain, s.program)
    loops = {loop.var.name for site in stage_sites(s.program, "sum.rf") for loop in site.loops}
    assert any(name.startswith("r2.r3") for name in loops) is one


@pytest.mark.parametrize("columns", [3, 5, 10, 12, 14])
def test_lanes_run_on_over_the_ends_of_short_rows(columns: int) -> None:
    x, w = tc.placeholder((45, columns), name="x"), tc.placeholder((columns,), name="w")
    y = tc.placeholder((45, 1), name="y")
    s = auto_schedule(build([x * y + w]), AVX2)
    assert_same_results(s.plain, s.program)
    (nest,) = nests(s.program.body)
    assert all(const_int(x.loops[-1].extent) == 8 for x in sites(nest) if is_in_lanes(x))
    assert len(sites(nest)[0].loops) == 3
    kernel = tc.compile(s)
    rng = np.random.default_rng(0)
    given = [rng.normal(size=n).astype(np.float32) for n in ((45, columns), (45, 1), (columns,))]
    by_name = dict(zip("xyw", given, strict=True))
    got = kernel(*(by_name[p.name] for p in (p.buffer for p in s.plain.params[:-1])))
    a, b, c = given
    np.testing.assert_allclose(got, a * b + c, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("rows", "columns", "several"), [(64, 10, True), (64, 40, False), (2**18, 10, False)]
)
def test_nests_over_short_rows_stay_apart(rows: int, columns: int, several: bool) -> None:
    s = auto_schedule(build([tc.ops.softmax(tc.placeholder((rows, columns), name="x"))]), AVX2)
    assert (len(top_nests(s)) > 1) is several


def test_rows_of_which_a_part_is_folded_stay_apart() -> None:
    x = tc.placeholder((3, 6, 28), name="x")
    s = auto_schedule(build([tc.ops.sum(tc.ops.slice(x, np.s_[:, :, 1:]), axis=(1, 2))]), AVX2)
    assert_same_results(s.plain, s.program)
    assert "r1.r2" not in show(s.program)


@pytest.mark.parametrize("batch", [3, 4, 8, 32])
def test_a_batch_of_any_size_stays_a_loop_around_rows(batch: int) -> None:
    x = tc.placeholder((2, batch, 16, 64), name="x")
    s = auto_schedule(build([tc.ops.softmax(x)]), AVX2)
    (nest,) = nests(s.program.body)
    for site in sites(nest):
        _, of_batch, _, *within = site.loops
        assert of_batch.kind is ForKind.SERIAL
        assert any(x.kind is ForKind.VECTORIZED for x in within) or len(facts(site.leaf).read) < 2
    lanes = {facts(z.leaf).written[0].name for z in sites(nest) if is_in_lanes(z)}
    assert {"exp", "softmax", "max.rf", "sum.rf"} <= lanes


def is_in_lanes(site: Site) -> bool:
    return any(x.kind is ForKind.VECTORIZED for x in site.loops)


def test_products_that_read_one_large_array_keep_their_tiles() -> None:
    p, v, w = (
        tc.placeholder((8, 128, n), name=name) for n, name in ((128, "p"), (64, "v"), (64, "w"))
    )
    one = tc.ops.matmul(p, v)
    other = tc.ops.matmul(tc.ops.swapaxes(p, 1, 2), w)
    s = auto_schedule(build([one, other]), AVX2)
    assert len(top_nests(s)) == 2


@pytest.mark.parametrize(("shape", "rows"), [((512, 256), 4), ((512, 260), 1), ((510, 256), 1)])
def test_rows_from_far_are_read_side_by_side(shape: tuple[int, int], rows: int) -> None:
    x = tc.placeholder(shape, name="x")
    s = auto_schedule(build([tc.ops.sum(x, axis=1)]), AVX2)
    (partials,) = (b for n in nests(s.program.body) for b in facts(n).written if b.name == "sum.rf")
    assert [const_int(n) for n in partials.shape][:-1] == [rows] * (rows > 1)
    a = np.random.default_rng(0).integers(-9, 10, shape).astype(np.float32)
    assert np.array_equal(tc.compile(s, target="cpu")(a), a.sum(1))  # Exact, in any order.


def test_a_sum_of_everything_runs_on_threads() -> None:
    x = tc.placeholder((512, 2048), name="x")
    s = auto_schedule(build([tc.ops.sum(x)]), AVX2)
    assert any(x.kind is ForKind.PARALLEL for x in stage_sites(s.program, "sum.rf")[-1].loops)


def test_a_sum_of_one_long_row_runs_on_threads() -> None:
    x = tc.placeholder((1 << 20,), name="x")
    plain = build([tc.ops.sum(x)])
    s = auto_schedule(plain, AVX2)
    assert any(x.kind is ForKind.PARALLEL for site in sites(s.program.body) for x in site.loops)


@pytest.mark.parametrize(
    ("rows", "columns", "parts"),
    [((16, 70, 64), 20, 16), ((70000,), 16, 16), ((8, 9000), 20, 8), ((70001,), 16, 0)],
    ids=["images", "rows", "eight", "prime"],
)
def test_few_long_columns_are_summed_in_parts_on_threads(
    rows: tuple[int, ...], columns: int, parts: int
) -> None:
    x = tc.placeholder((*rows, columns), name="x")
    plain = build([tc.ops.sum(x, axis=tuple(range(len(rows))))])
    s = auto_schedule(plain, AVX2)
    threaded = [n for n in nests(s.program.body) if getattr(n, "kind", None) is ForKind.PARALLEL]
    assert [const_int(n.extent) for n in threaded] == [parts] * bool(parts)  # type: ignore[union-attr]
    data = np.random.default_rng(0).integers(-9, 10, (*rows, columns)).astype(np.float32)
    expected = data.reshape(-1, columns).sum(axis=0)  # Exact, in any order.
    np.testing.assert_array_equal(tc.compile(s, target="cpu")(data), expected)


def test_columns_are_summed_in_registers() -> None:
    x = tc.placeholder((128, 256), name="x")
    s = auto_schedule(build([tc.ops.sum(x, axis=0)]), AVX2)
    update = stage_sites(s.program, "sum.local")[-1]
    kinds = [x.kind for x in update.loops]
    assert kinds[-2:] == [ForKind.UNROLLED, ForKind.VECTORIZED]


@pytest.mark.parametrize(("beside", "rows"), [(False, 8), (True, 4)])
def test_columns_from_far_are_summed_several_rows_at_once(beside: bool, rows: int) -> None:
    x, y = (tc.placeholder((1024, 4096), name=name) for name in "xy")
    outs = [tc.ops.sum(x, axis=0), tc.ops.sum(x * y, axis=0)][: 1 + beside]
    s = auto_schedule(build(outs), AVX2)
    update = stage_sites(s.program, "sum.local")[-1]
    assert [const_int(x.extent) for x in update.loops if x.kind is ForKind.UNROLLED] == [rows]


def test_a_bias_and_an_activation_move_into_the_tile_of_a_product() -> None:
    a, b, bias = (tc.placeholder(shape, name=n) for n, shape in LAYER)
    out = tc.ops.relu(tc.ops.matmul(a, b) + bias)
    s = auto_schedule(build([out]), AVX2)
    assert top_nests(s) == ["relu"]
    assert "matmul: float32[6, 16] local" in str(s)


LAYER = (("a", (96, 64)), ("b", (64, 64)), ("bias", (64,)))


def test_an_update_that_reads_a_large_array_stays_a_pass_of_its_own() -> None:
    a, b, w = (tc.placeholder((n, m), name=x) for x, n, m in BIG)
    out = w - tc.ops.matmul(a, b) * 0.1
    s = auto_schedule(build([out]), AVX2)
    assert len(top_nests(s)) == 2


BIG = (("a", 1024, 32), ("b", 32, 1024), ("w", 1024, 1024))


def test_lanes_beyond_the_edge_of_a_narrow_product_are_padded() -> None:
    s = auto_schedule(matmul(96, 32, 10), AVX2)
    update = stage_sites(s.program, "C.local")[-1]
    assert update.conds == ()
    assert "where(" in str(s), "the panel holds zeros beyond the edge"
    assert_same_results(s.plain, s.program)


def test_a_tile_without_an_edge_is_taken_where_the_extents_allow() -> None:
    registers = {"lanes": 8, "registers": 16, "padded": False}
    assert best_tile(96, 512, **registers) == Tile(6, 2)  # type: ignore[arg-type]
    assert best_tile(20, 512, **registers) == Tile(5, 2)  # type: ignore[arg-type]
    assert best_tile(96, 8, **registers) == Tile(6, 1)  # type: ignore[arg-type]


def test_the_bits_do_not_depend_on_the_threads() -> None:
    x = tc.placeholder((300, 700), name="x")
    plain = build([tc.ops.sum(x), tc.ops.softmax(x)])
    one, four = (auto_schedule(plain, replace(AVX2, threads=n)) for n in (1, 4))
    assert show(one.program) == show(four.program)


@pytest.mark.parametrize(("columns", "around"), [(1024, True), (256, False)])
def test_only_a_result_larger_than_the_caches_goes_around_them(columns: int, around: bool) -> None:
    x = tc.placeholder((4096, columns), name="x")
    s = auto_schedule(build([tc.ops.relu(x)]), AVX2)
    assert ("nontemporal" in str(s)) == around


UPDATE = """program main(x: in float32[32, 600], d: in float32[32, 512], \
W: inout float32[600, 512], M: inout float32[600, 512]):
  alloc g: float32[600, 512]
    for k in range(600):
      for j in range(512):
        g[k, j] = 0.0
        for i in range(32):
          g[k, j] += x[i, k] * d[i, j]
    for p in range(600):
      for q in range(512):
        M[p, q] = M[p, q] * 0.5 + g[p, q]
    for a in range(600):
      for b in range(512):
        W[a, b] = W[a, b] - M[a, b] * 0.25
"""


def test_a_large_gradient_is_computed_by_blocks_inside_of_its_updates() -> None:
    s = auto_schedule(parse(UPDATE), AVX2)
    assert top_nests(s) == ["W"]
    assert "alloc g: float32[156, 512]" in str(s)
    assert "alloc x.local: float32[26, 32, 6]" in str(s), "panels of the rows of x^T"


def test_a_gradient_of_which_one_array_is_updated_is_never_stored() -> None:
    moment = UPDATE[UPDATE.index("    for p in") : UPDATE.index("    for a in")]
    text = UPDATE.replace(moment, "").replace("M[a, b]", "g[a, b]").replace("[32,", "[96,")
    s = auto_schedule(parse(text.replace("range(32)", "range(96)")), AVX2)
    assert top_nests(s) == ["W"]
    assert "alloc g: float32[6, 16] local" in str(s), "the update of a tile follows it"
    assert "{prefetch_tile: 0}" in str(s), "what it reads comes from far"


def test_a_gradient_that_someone_else_reads_is_stored_whole() -> None:
    text = UPDATE.replace("M: inout", "G: out float32[600, 512], M: inout")
    text = text.replace("    for p in", COPY + "    for p in")
    s = auto_schedule(parse(text), AVX2)
    assert "alloc g: float32[156" not in str(s)


COPY = """    for c in range(600):
      for e in range(512):
        G[c, e] = exp(g[c, e])
"""


def attended(heads: int, rows: int, columns: int) -> tuple[list[tc.Tensor], tc.Tensor]:
    shapes = ((heads, rows, 16), (heads, columns, 16), (heads, columns, 16))
    q, k, v = (tc.placeholder(x, name=n) for n, x in zip("qkv", shapes, strict=True))
    scores = tc.ops.softmax(tc.ops.matmul(q, tc.ops.transpose(k, (0, 2, 1))))
    return [q, k, v], tc.ops.matmul(scores, v)


@pytest.mark.parametrize(("rows", "height"), [(384, 64), (379, 48)])
def test_a_softmax_between_two_products_is_computed_by_blocks_of_rows(
    rows: int, height: int
) -> None:
    inputs, out = attended(2, rows, 500)
    s = auto_schedule(build([out], inputs), AVX2)
    assert len(top_nests(s)) == 1
    assert f"float32[1, {height}, 500]" in str(s)
    assert "alloc k.local: float32[32, 1, 16, 16]" in str(s), "packed once for all blocks"
    rng = np.random.default_rng(0)
    values = [rng.integers(-2, 3, [int(str(n)) for n in t.shape]).astype("f4") for t in inputs]
    q, k, v = (x.astype(np.float64) for x in values)
    weights = np.exp(scores := q @ k.swapaxes(1, 2)) / np.exp(scores).sum(-1, keepdims=True)
    # Scores are exact. A weight has some rounding errors of exp, the sum and the division.
    bound = (500 + 16) * 2.0**-24 * (weights @ np.abs(v))
    assert np.all(np.abs(tc.compile(s)(*values) - weights @ v) <= bound)
    again = Schedule(s.plain)
    again.replay(s.trace)
    assert show(again.program) == show(s.program)


def test_what_is_small_between_two_products_is_stored_whole() -> None:
    inputs, out = attended(2, 96, 100)
    assert len(top_nests(auto_schedule(build([out], inputs), AVX2))) == 3


@pytest.mark.parametrize(("rows", "squares"), [(24, True), (20, False)])
def test_a_transposed_copy_is_made_of_squares(rows: int, squares: bool) -> None:
    x = tc.placeholder((rows, 16), name="x")
    s = auto_schedule(build([tc.ops.transpose(x, (1, 0))]), AVX2)
    assert ("in unrolled(8)" in str(s)) == squares
    assert_same_results(s.plain, s.program)


@pytest.mark.parametrize(
    ("rows", "columns", "extents"),
    [
        (512, 320, [2, 32, 20, 2, 8, 8]),
        (512, 256, [2, 32, 16, 2, 8, 8]),
        (504, 256, [32, 63, 8, 8]),
    ],
)
def test_the_squares_of_a_large_copy_come_in_blocks(
    rows: int, columns: int, extents: list[int]
) -> None:
    x = tc.placeholder((rows, columns), name="x")
    s = auto_schedule(build([tc.ops.transpose(x, (1, 0))]), AVX2)
    (site,) = sites(s.program.body)
    assert [const_int(z.extent) for z in site.loops] == extents
    a = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    assert np.array_equal(tc.compile(s, target="cpu")(a), a.T)


WINDOWS = """program pool(A: in float32[6, {width}], B: out float32[3, {results}]):
  for i in range(3):
    for j in range({results}):
      B[i, j] = float32(-inf)
      for p in range(2):
        for q in range(2):
          B[i, j] max= A[i * 2 + p, j * {step} + q]
"""


@pytest.mark.parametrize(
    ("step", "results", "lanes"),
    [(2, 14, True), (1, 14, True), (4, 9, True), (5, 14, False), (2, 7, False)],
)
def test_windows_beside_each_other_are_folded_in_lanes(
    step: int, results: int, lanes: bool
) -> None:
    width = step * (results - 1) + 2
    plain = parse(WINDOWS.format(width=width, results=results, step=step))
    s = auto_schedule(plain, AVX2)
    assert any(is_in_lanes(x) for x in sites(s.program.body)) == lanes
    assert_same_results(plain, s.program)


@pytest.mark.parametrize(("axis", "lanes"), [(0, 4), (1, 4)])
def test_the_place_of_the_greatest_is_found_in_lanes(axis: int, lanes: int) -> None:
    x = tc.placeholder((512, 500), name="x")
    plain = build([tc.ops.argmax(x, axis=axis)])
    s = auto_schedule(plain, replace(AVX2, threads=2))
    folds = [z for z in sites(s.program.body) if plain.params[0].buffer in facts(z.leaf).read]
    assert [const_int(z.loops[-1].extent) for z in folds if is_in_lanes(z)] == [lanes] * len(folds)
    assert folds[0].loops[0].kind is ForKind.PARALLEL
    a = np.random.default_rng(0).integers(-9, 10, (512, 500)).astype(np.float32)  # With ties.
    assert np.array_equal(tc.compile(s, target="cpu")(a), a.argmax(axis))


@pytest.mark.parametrize(("rows", "parts"), [(100000, 16), (100003, 0)], ids=["parts", "prime"])
def test_threads_do_not_meet_for_each_row(rows: int, parts: int) -> None:
    x = tc.placeholder((rows, 12), name="x")
    s = auto_schedule(build([tc.ops.argmax(x, axis=0)]), AVX2)
    threaded = [z for y in sites(s.program.body) for z in y.loops if z.kind is ForKind.PARALLEL]
    assert {const_int(z.extent) for z in threaded} == {parts} - {0}
    assert all(z in set(nests(s.program.body)) for z in threaded)
    a = np.random.default_rng(0).integers(-9, 10, (rows, 12)).astype(np.float32)  # With ties.
    assert np.array_equal(tc.compile(s, target="cpu")(a), a.argmax(0))
