"""Sides of tiles along several loops: which box is chosen, and convolutions cut into them."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tensorc as tc
from schedule.cuda.grids import allocations, interpreted, kernels, random_inputs
from tensorc import ops
from tensorc.errors import ScheduleError
from tensorc.ir.printer import show
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.auto.cuda.boxes import Axes, Box, box_of, sides, take
from tensorc.schedule.auto.operands import product_of
from tensorc.schedule.schedule import Schedule
from tensorc.target import Target
from tensorc.te.build import build

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor

GPU = Target("cuda", arch="sm_90")


def conv(layout: str, dtype: str = "float32", image: int = 56, batch: int = 8) -> Tensor:
    last = layout == "NHWC"
    shape = (batch, image, image, 64) if last else (batch, 64, image, image)
    window = (3, 3, 64, 64) if last else (64, 64, 3, 3)
    x, w = (tc.placeholder(s, dtype, name=n) for s, n in ((shape, "x"), (window, "W")))
    return ops.conv2d(x, w, padding=1, layout="NHWC" if last else "NCHW")


@pytest.mark.parametrize(
    ("axes", "side", "whole", "box", "why"),
    [
        (Axes((4096,)), 128, 1, Box((128,), 0), "a loop alone"),
        (Axes((8, 56, 56)), 64, 1, Box((1, 8, 8), 2), "8 divides 56, and 16 does not"),
        (Axes((8, 512)), 128, 1, Box((1, 128), 1), "neighbours of a row"),
        (Axes((32, 14, 14), run=False), 128, 16, Box((32, 2, 2), 0), "images waste nothing"),
        (Axes((8, 7, 7)), 64, 1, Box((4, 4, 4), 2), "two parts of 4 waste one of 8"),
        (Axes((3, 3)), 64, 1, Box((1, 64), 1), "no box of so many places"),
    ],
)
def test_the_box_that_wastes_the_least_is_chosen(
    axes: Axes, side: int, whole: int, box: Box, why: str
) -> None:
    assert box_of(axes, side, whole) == box, why


@settings(max_examples=60)
@given(
    extents=st.lists(st.integers(2, 70), min_size=1, max_size=3),
    side=st.sampled_from([16, 32, 64, 128]),
    run=st.booleans(),
)
def test_a_box_has_as_many_places_as_a_side(extents: list[int], side: int, run: bool) -> None:
    axes = Axes(tuple(extents), run)
    box = box_of(axes, side, 8)
    assert prod(box.factors) == side
    assert box.count(axes) * side >= prod(extents)
    assert box.inner == len(extents) - 1 or not run


def test_images_and_their_places_are_one_side_of_a_convolution() -> None:
    s = Schedule(build([conv("NHWC")]))
    product = product_of(s, "conv2d")
    assert product is not None
    rows, columns = sides(product)
    assert [x.var.name for x in rows.loops] == ["i0", "i1", "i2"]
    assert [x.var.name for x in columns.loops] == ["i3"]


def test_a_batch_that_moves_both_operands_is_no_side() -> None:
    a, b = tc.placeholder((3, 20, 16), name="a"), tc.placeholder((3, 16, 24), name="b")
    s = Schedule(build([a @ b]))
    product = product_of(s, "matmul")
    assert product is not None
    assert [len(side.loops) for side in sides(product)] == [1, 1]


def test_iterations_are_taken_from_the_inside() -> None:
    s = Schedule(build([ops.relu(tc.placeholder((6, 4, 8), name="x"))]))
    rest, taken = take(s, s.loops("relu"), 16)
    assert [str(s.extent(x)) for x in (*rest, *taken)] == ["6", "2", "2", "8"]
    with pytest.raises(ScheduleError) as e:
        take(s, s.loops("relu"), 5)
    assert str(e.value) == "8 iterations are no part of 5, or a multiple of it"


def test_a_convolution_of_large_images_has_no_idle_threads() -> None:
    s = auto_schedule(build([conv("NCHW")]), GPU)
    assert kernels(s.program)[-1] == ({"block.x": 8 * 7 * 7, "block.y": 1}, 128)
    assert "where(" not in show(s.program).split("alloc")[-1], "each tile is whole"


def test_a_pipeline_goes_on_from_one_place_of_a_window_to_the_next() -> None:
    s = auto_schedule(build([conv("NHWC", "bfloat16")]), GPU)
    text = show(s.program)
    assert "{intrinsic: " in text
    assert "for k0.k1.c.outer in range(18)" in text
    assert allocations(s.program)["W.local"] == ("shared", 4 * 32 * 64)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_convolution_in_boxes_keeps_its_meaning(layout: str, dtype: str) -> None:
    last = layout == "NHWC"
    shape, window = ((3, 9, 10, 16), (2, 3, 16, 24)) if last else ((3, 16, 9, 10), (24, 16, 2, 3))
    x, w = (tc.placeholder(s, dtype, name=n) for s, n in ((shape, "x"), (window, "W")))
    plain = build([ops.conv2d(x, w, (1, 2), layout="NHWC" if last else "NCHW")])
    s = auto_schedule(plain, Target("cuda", arch="sm_90", sms=1))
    arrays = random_inputs(plain)
    arrays |= {n: np.round(arrays[n].astype("f8") * 2).astype(arrays[n].dtype) for n in ("x", "W")}
    want, got = (interpreted(p, arrays, "reverse") for p in (plain, s.program))
    np.testing.assert_array_equal(want["conv2d"], got["conv2d"])
