"""Convolutions and pools as layers.

Images are (batch, channels, height, width), or, with `layout="NHWC"`, (batch, height, width,
channels); `tensorc.ops.conv2d` and its kin say what is computed. Neither fixes the height and the
width, so a step is told them: `nn.training_step(..., input_shape=(1, 28, 28))`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorc import ops
from tensorc.dtypes import DType, float32
from tensorc.errors import ArgumentError
from tensorc.nn.arguments import at_least_one
from tensorc.nn.init import Seed, generator, kaiming_uniform, zeros
from tensorc.nn.module import Module
from tensorc.nn.parameter import Parameter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tensorc.ops.window import Layout, Padding, PerDim
    from tensorc.te.tensor import Tensor


class Conv2d(Module):
    """`conv2d(x, weight) + bias`, from `in_channels` to `out_channels`.

    The weight is (out_channels, in_channels / groups, height, width), with `layout="NHWC"` (height,
    width, in_channels / groups, out_channels), and starts from `init.kaiming_uniform`; the bias
    starts from 0.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        window: int | tuple[int, int],
        stride: PerDim = 1,
        padding: Padding = 0,
        dilation: PerDim = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        layout: Layout = "NCHW",
        rng: Seed = 0,
        dtype: DType | str = float32,
    ) -> None:
        """Draw the weight.

        Raises:
            ArgumentError: a number that is no integer, below 1, or channels that `groups` does not
                divide.
        """
        self.in_channels = at_least_one("Conv2d", "in_channels", in_channels)
        self.out_channels = at_least_one("Conv2d", "out_channels", out_channels)
        self.groups = at_least_one("Conv2d", "groups", groups)
        given = window if isinstance(window, tuple) else (window, window)
        if len(given) != 2:
            raise ArgumentError(f"Conv2d: window must be one number or two, got {window!r}")
        self.window = tuple(at_least_one("Conv2d", "window", size) for size in given)
        self.stride, self.padding, self.dilation, self.layout = stride, padding, dilation, layout
        for name, channels in (("in", self.in_channels), ("out", self.out_channels)):
            if channels % self.groups:
                raise ArgumentError(
                    f"Conv2d: {name}_channels {channels} cannot be cut into {groups} equal groups"
                )
        stream = generator(rng)
        sizes = (*self.window, self.in_channels // self.groups, self.out_channels)
        if layout == "NCHW":
            sizes = (sizes[3], sizes[2], sizes[0], sizes[1])
            self.weight = Parameter(sizes, _channels_first, stream, dtype)
        else:
            self.weight = Parameter(sizes, kaiming_uniform, stream, dtype)
        self.bias = Parameter((self.out_channels,), zeros, stream, dtype) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Build the sums over windows.

        Raises:
            ShapeError: an input that does not fit.
        """
        y = ops.conv2d(
            x,
            self.weight.tensor,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.layout,
        )
        if self.bias is None:
            return y
        bias = self.bias.tensor
        return y + (ops.reshape(bias, (-1, 1, 1)) if self.layout == "NCHW" else bias)

    def __repr__(self) -> str:
        settings = _shown(
            ("stride", self.stride, 1),
            ("padding", self.padding, 0),
            ("dilation", self.dilation, 1),
            ("groups", self.groups, 1),
            ("bias", self.bias is not None, True),
            ("layout", self.layout, "NCHW"),
        )
        return f"Conv2d({self.in_channels}, {self.out_channels}, {self.window}{settings})"


class MaxPool2d(Module):
    """The greatest element of each window; equal ones share the gradient."""

    def __init__(
        self,
        window: PerDim,
        stride: PerDim | None = None,
        padding: Padding = 0,
        *,
        layout: Layout = "NCHW",
    ) -> None:
        """Keep the numbers; the stride is by default the window."""
        self.window, self.stride, self.padding, self.layout = window, stride, padding, layout

    def forward(self, x: Tensor) -> Tensor:
        """Build the maxima."""
        return ops.max_pool2d(x, self.window, self.stride, self.padding, 1, self.layout)

    def __repr__(self) -> str:
        return f"MaxPool2d({self.window}{_pool_settings(self)})"


class AvgPool2d(Module):
    """The mean of each window; the zeros of the padding count."""

    def __init__(
        self,
        window: PerDim,
        stride: PerDim | None = None,
        padding: Padding = 0,
        *,
        layout: Layout = "NCHW",
    ) -> None:
        """Keep the numbers; the stride is by default the window."""
        self.window, self.stride, self.padding, self.layout = window, stride, padding, layout

    def forward(self, x: Tensor) -> Tensor:
        """Build the means."""
        return ops.avg_pool2d(x, self.window, self.stride, self.padding, True, self.layout)

    def __repr__(self) -> str:
        return f"AvgPool2d({self.window}{_pool_settings(self)})"


def _pool_settings(pool: MaxPool2d | AvgPool2d) -> str:
    return _shown(
        ("stride", pool.stride, None), ("padding", pool.padding, 0), ("layout", pool.layout, "NCHW")
    )


def _shown(*settings: tuple[str, object, object]) -> str:
    """The settings that are not their defaults."""
    return "".join(f", {name}={value!r}" for name, value, usual in settings if value != usual)


def _channels_first(shape: Sequence[int], rng: Seed, dtype: DType | str) -> NDArray[Any]:
    """`kaiming_uniform` of a weight (out, in, height, width)."""
    out, own, height, width = shape
    return kaiming_uniform((height, width, own, out), rng, dtype).transpose(3, 2, 0, 1)
