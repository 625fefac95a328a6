"""The automatic schedule of convolutions: padding, tiles over rows of an image, and the results."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

import tensorc as tc
from tensorc.ir.expr import Where, const_int
from tensorc.ir.parser import parse
from tensorc.ir.stmt import ForKind, Role
from tensorc.ir.walk import walk
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.auto.cost import Tile, best_tile, iterations
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.tree import find_buffer, stage_sites
from tensorc.target import Target
from tensorc.te.build import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.stmt import Program

AVX2 = Target(cpu="haswell", features="+avx2,+avx,+fma", triple="x86_64-unknown-linux-gnu")
GUARDED = """program main(A: in float32[8], C: out float32[8]):
  for i in range(8):
    C[i] = 0.0
    for k in range(3):
      C[i] += where({cond}, A[i + k - 1], {other})
"""


def guarded(cond: str = "i + k >= 1 and i + k < 9", other: str = "0.0") -> Schedule:
    return Schedule(parse(GUARDED.format(cond=cond, other=other)))


def asks(s: Schedule, stage: str) -> bool:
    """Whether the sums of a stage choose what they add by a condition."""
    return any(isinstance(n, Where) for n in walk(stage_sites(s.program, stage)[-1].leaf))


def windows(x: tc.Tensor, w: tc.Tensor, *, last: bool = False) -> tc.Tensor:
    """A convolution with padding 1 that asks at each element whether it is inside.

    Channels come last, or before the height.
    """
    sizes = [int(str(n)) for n in x.shape]
    (height, width), channels = (sizes[1:3], sizes[3]) if last else (sizes[2:], sizes[1])
    filters = int(str(w.shape[3 if last else 0]))
    c, u, v = (tc.reduce_axis(n, name=name) for n, name in ((channels, "c"), (3, "u"), (3, "v")))

    def element(b: tc.Expr, o: tc.Expr, i: tc.Expr, j: tc.Expr) -> tc.Expr:
        y, z = i + u - 1, j + v - 1
        inside = (y >= 0) & (y < height) & (z >= 0) & (z < width)
        read, factor = (x[b, y, z, c], w[u, v, c, o]) if last else (x[b, c, y, z], w[o, c, u, v])
        return tc.sum(tc.where(inside, read, 0.0) * factor, axis=(c, u, v))

    shape = (sizes[0], height, width, filters) if last else (sizes[0], filters, height, width)
    if last:
        return tc.compute(shape, lambda b, i, j, o: element(b, o, i, j), name="conv")
    return tc.compute(shape, element, name="conv")


def test_a_padded_copy_answers_the_condition_that_keeps_reads_inside() -> None:
    s = guarded()
    whole = s.split(s["C"].loop("i"), 8)[0]
    s.cache_read("A", whole, pad=0.0)
    assert not asks(s, "C")
    a = np.arange(1, 9, dtype=np.float32)
    expected = tc.compile(s.plain, target="cpu")(a)
    np.testing.assert_array_equal(tc.compile(s, target="cpu")(a), expected)


@pytest.mark.parametrize(
    ("cond", "other", "pad"),
    [
        ("i + k >= 1 and i + k < 8", "0.0", 0.0),  # The last element is left out.
        ("i + k >= 1 and i + k < 9 and k != 1", "0.0", 0.0),
        ("i + k >= 1 and i + k < 9", "0.0", 1.0),
        ("i + k >= 1 and i + k < 9", "-0.0", 0.0),
    ],
)
def test_a_condition_that_says_more_than_a_padded_copy_stays(
    cond: str, other: str, pad: float
) -> None:
    s = guarded(cond, other)
    whole = s.split(s["C"].loop("i"), 8)[0]
    s.cache_read("A", whole, pad=pad)
    assert asks(s, "C")


def test_a_copy_that_ends_with_its_buffer_leaves_the_condition() -> None:
    text = """program main(A: in float32[n], C: out float32[n + 1]) dims(n >= 0):
  for z in range(1):
    for i in range(n + 1):
      C[i] = where(i < n, A[i], 0.0)
"""
    s = Schedule(parse(text))
    s.cache_read("A", s["C"].loop("z"), pad=0.0)
    assert asks(s, "C")
    a = np.arange(1, 5, dtype=np.float32)
    np.testing.assert_array_equal(tc.compile(s, target="cpu")(a), [1, 2, 3, 4, 0])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("last", [False, True])
def test_images_are_stored_between_zeros_before_windows_read_them(batch: int, last: bool) -> None:
    sizes = ((batch, 9, 12, 5), (3, 3, 5, 21)) if last else ((batch, 5, 9, 12), (21, 5, 3, 3))
    x, w = (tc.placeholder(n, name=name) for n, name in zip(sizes, "xw", strict=True))
    s = auto_schedule(build([windows(x, w, last=last)]), AVX2)
    assert not asks(s, "conv.local")
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-3, 4, n).astype(np.float32) for n in sizes)
    layout = "NHWC" if last else "NCHW"
    plain = build([tc.ops.conv2d(x, w, padding=1, layout=layout)])  # type: ignore[arg-type]
    expected = tc.compile(plain, target="cpu")(a, b)
    np.testing.assert_array_equal(tc.compile(s, target="cpu")(a, b), expected)


@pytest.mark.parametrize("filters", [48, 320])
def test_filters_are_packed_once_for_all_images(filters: int) -> None:
    x = tc.placeholder((2, 5, 5, 64), name="x")
    w = tc.placeholder((3, 3, 64, filters), name="w")
    s = auto_schedule(build([tc.ops.conv2d(x, w, layout="NHWC")]), replace(AVX2, threads=2))
    (copy,) = stage_sites(s.program, "w.local")
    assert iterations(copy.loops) == 3 * 3 * 64 * filters
    update = stage_sites(s.program, "conv2d.local")[-1]
    rows, panels = (
        next(d for d, x in enumerate(update.loops) if x.var.name.startswith(name))
        for name in ("i1", "i3.inner.outer")
    )
    assert (panels < rows) is (filters == 320), "a panel of many stays near while rows go by"


def test_a_tile_lies_across_two_rows_of_an_image_where_no_lane_is_idle_then() -> None:
    tile = partial(best_tile, 64, lanes=8, registers=16, padded=False)
    assert tile(56, beside=56) == Tile(6, 1, 2)
    assert tile(64, beside=64) == Tile(6, 2)
    assert tile(8, beside=7) == Tile(6, 1, 2)
    assert tile(56, beside=56, across=0.2) == Tile(6, 2), "short sums wait for halves of lines"


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 9), (2, 7, 24), (2, 16, 56)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_convolutions_of_every_shape_keep_meaning(
    shape: tuple[int, int, int], stride: int, layout: str
) -> None:
    batch, height, width = shape
    first = layout == "NCHW"
    sizes = (batch, 6, height, width) if first else (batch, height, width, 6)
    x = tc.placeholder(sizes, name="x")
    w = tc.placeholder((34, 6, 3, 3) if first else (3, 3, 6, 34), name="w")
    y = tc.ops.relu(tc.ops.conv2d(x, w, stride, 1, layout=layout))  # type: ignore[arg-type]
    s = auto_schedule(build([y]), AVX2)
    rng = np.random.default_rng(0)
    given = [rng.integers(-3, 4, [int(str(n)) for n in t.shape]).astype(np.float32) for t in (x, w)]
    expected = tc.compile(s.plain, target="cpu")(*given)
    np.testing.assert_array_equal(tc.compile(s, target="cpu")(*given), expected)


def convolution(sizes: Sequence[int], filters: int, groups: int = 1) -> tuple[Schedule, Program]:
    """The automatic schedule of a convolution by 3 x 3 windows, and the plain program."""
    x = tc.placeholder(sizes, name="x")
    w = tc.placeholder((filters, sizes[1] // groups, 3, 3), name="w")
    plain = build([tc.ops.conv2d(x, w, padding=1, groups=groups)])
    return auto_schedule(plain, AVX2), plain


def assert_same_arrays(s: Schedule, plain: Program) -> None:
    rng = np.random.default_rng(0)
    read = [p.buffer for p in plain.params if p.role is not Role.OUT]
    shapes = [[const_int(n) or 0 for n in b.shape] for b in read]
    given = [rng.integers(-3, 4, shape).astype(np.float32) for shape in shapes]
    expected = tc.compile(plain, target="cpu")(*given)
    np.testing.assert_array_equal(tc.compile(s, target="cpu")(*given), expected)


@pytest.mark.parametrize(("each", "rows"), [(8, 4), (10, 5), (7, 4)])
def test_the_filters_of_a_group_are_rows_of_a_product(each: int, rows: int) -> None:
    s, plain = convolution((2, 12, 6, 16), 3 * each, groups=3)
    update = stage_sites(s.program, "conv2d.local")[-1]
    tile = [x for x in update.loops if x.var.name == "i1.inner.inner"]
    assert [const_int(x.extent) for x in tile] == [rows]
    assert_same_arrays(s, plain)


def test_channels_of_which_each_has_its_filter_are_no_product() -> None:
    s, plain = convolution((1, 6, 6, 16), 6, groups=6)
    assert "i1.inner" not in str(s)
    assert_same_arrays(s, plain)


@pytest.mark.parametrize("filters", [16, 17])
def test_few_filters_over_a_ragged_width_have_no_masked_lanes(filters: int) -> None:
    s, plain = convolution((1, 6, 5, 21), filters)
    update = stage_sites(s.program, "conv2d.local")[-1]
    lane = update.loops[-1].var
    assert not any(n is lane for cond in update.conds for n in walk(cond))
    assert_same_arrays(s, plain)


@pytest.mark.parametrize(("width", "turned"), [(28, True), (12, True), (64, False), (16, False)])
def test_filters_run_in_lanes_where_a_row_of_an_image_leaves_some_idle(
    width: int, turned: bool
) -> None:
    s, plain = convolution((2, 32, 6, width), 48)
    update = stage_sites(s.program, "conv2d.local")[-1]
    assert update.loops[-1].var.name.startswith("i1" if turned else "i3")
    assert_same_arrays(s, plain)
    if turned:
        (copy,) = stage_sites(s.program, "w.local")
        assert [x.kind for x in copy.loops[-2:]] == [ForKind.UNROLLED, ForKind.VECTORIZED]
        rows = find_buffer(s.program, "pad.local")
        assert rows is not None
        assert [const_int(n) for n in rows.shape] == [1, 8, 32, width + 2]


def test_what_is_computed_from_filters_in_lanes_stays_in_their_tile() -> None:
    x, w = tc.placeholder((2, 32, 6, 28), name="x"), tc.placeholder((48, 32, 3, 3), name="w")
    b = tc.placeholder((48, 1, 1), name="b")
    plain = build([tc.ops.relu(tc.ops.conv2d(x, w, padding=1) + b)])
    s = auto_schedule(plain, AVX2)
    update = stage_sites(s.program, "conv2d.local")[-1]
    (stored,) = stage_sites(s.program, "relu")
    assert update.loops[-1].var.name.startswith("i1")
    assert update.loops[:4] == stored.loops[:4]
    assert_same_arrays(s, plain)


@pytest.mark.parametrize("sizes", [(3, 5, 29), (1, 8, 14)])
def test_windows_over_a_line_keep_meaning(sizes: tuple[int, int, int]) -> None:
    x, w = tc.placeholder(sizes, name="x"), tc.placeholder((40, sizes[1], 3), name="w")
    plain = build([tc.ops.conv1d(x, w, padding=1)])
    assert_same_arrays(auto_schedule(plain, AVX2), plain)
