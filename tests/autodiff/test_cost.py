"""What gradients cost: steps of their sums, counted in the plain programs."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

import tensorc as tc
from tensorc.ir.stmt import Accumulate
from tensorc.schedule.tree import sites
from tensorc.te.build import build
from tensorc.te.tensor import Tensor, placeholder


def steps(*outputs: Tensor) -> int:
    """How often the accumulations of a program run, guards or not."""
    found = (s for s in sites(build(list(outputs)).body) if isinstance(s.leaf, Accumulate))
    return sum(prod(int(str(loop.extent)) for loop in s.loops) for s in found)


def convolution(size: int, channels: int, window: int, **options: int) -> tuple[Tensor, ...]:
    x = placeholder((2, channels, size, size), name="x")
    w = placeholder((channels, channels, window, window), name="w")
    y = tc.ops.conv2d(x, w, **options)  # type: ignore[arg-type]
    return x, w, y, placeholder(y.shape, name="g")


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_each_gradient_of_a_convolution_takes_about_as_many_steps_as_it(
    window: int, stride: int
) -> None:
    padding = window // 2
    x, w, y, g = convolution(24, 4, window, stride=stride, padding=padding)
    forward = steps(y)
    by_x, by_w = tc.grad(y, [x, w], g)
    assert steps(by_w) == forward
    # The rows and columns of padding are computed too, and those of a remainder are rounded up.
    edge = (24 + 2 * padding + stride) / 24
    assert steps(by_x) <= forward * edge * edge * 1.05 + 1


def test_a_dilated_convolution_visits_no_point_in_vain() -> None:
    x, _, y, g = convolution(24, 4, 3, stride=1, padding=2, dilation=2)
    edge = 28 / 24
    assert steps(tc.grad(y, x, g)) <= steps(y) * edge * edge


def test_the_gradient_of_a_kernel_is_summed_with_a_long_axis_last() -> None:
    x, w, y, g = convolution(24, 16, 3)
    (by_w,) = tc.grad(y, [w], g)
    inner = by_w.op.inputs[0]  # type: ignore[union-attr]
    assert [str(n) for n in by_w.shape] == ["16", "16", "3", "3"]
    assert [str(n) for n in inner.shape] == ["3", "3", "16", "16"]
    f = tc.compile([by_w], inputs=[x, g], target=tc.Target("cpu", cpu="znver3"))
    loops = f.inspect("loops")
    assert "in vectorized(8)" in loops[loops.index("d.w.local") :]
    rng = np.random.default_rng(0)
    at, weights = rng.integers(-3, 4, (2, 16, 24, 24)), rng.integers(-3, 4, (2, 16, 22, 22))
    found = f(at.astype(np.float32), weights.astype(np.float32))
    windows = np.lib.stride_tricks.sliding_window_view(at, (22, 22), axis=(2, 3))
    np.testing.assert_array_equal(found, np.einsum("ncrsij,noij->ocrs", windows, weights))


def test_a_product_of_n_factors_has_a_gradient_in_order_n_steps() -> None:
    x = placeholder((1000,), name="x")
    y = tc.ops.prod(x)
    stores = sum(
        prod(int(str(loop.extent)) for loop in s.loops) for s in sites(build([tc.grad(y, x)]).body)
    )
    assert stores <= 4 * 1000
