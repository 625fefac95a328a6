"""Normalizations as layers: over a batch, with running statistics, or over each example."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

from tensorc import ops
from tensorc.dtypes import DType, accumulator, as_dtype, float32
from tensorc.errors import ArgumentError, ShapeError
from tensorc.ir.expr import Const, Expr, as_expr, cast, const_int, maximum
from tensorc.nn.arguments import at_least_one, within
from tensorc.nn.init import ones, zeros
from tensorc.nn.module import Module
from tensorc.nn.parameter import Buffer, Parameter
from tensorc.te.tensor import elementwise, same_size

if TYPE_CHECKING:
    from tensorc.ops.window import Layout
    from tensorc.te.tensor import Tensor

Variance: TypeAlias = Literal["biased", "unbiased"]


class BatchNorm1d(Module):
    """Each feature of (batch, features) brought to mean 0 and variance 1, scaled and shifted.

    S. Ioffe, C. Szegedy, "Batch normalization", ICML 2015. In training the mean and the variance,
    over n, are those of the batch, and the running ones move by `momentum` toward them: `running =
    (1 - momentum) running + momentum batch`. The running variance takes that over n - 1 with
    `variance="unbiased"`, as in torch, and that over n with "biased", as in CMU 10-414. In
    inference the running ones take their place. Parameters: `weight`, `bias`; buffers:
    `running_mean`, `running_var`, in float32 where the parameters are shorter.
    """

    axis = 1

    def __init__(
        self,
        features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        variance: Variance = "unbiased",
        dtype: DType | str = float32,
    ) -> None:
        """Make the parameters and the buffers.

        Raises:
            ArgumentError: a number out of range, or another variance.
        """
        name = type(self).__name__
        self.features = at_least_one(name, "features", features)
        self.eps = within(name, "eps", eps, 0.0, math.inf)
        self.momentum = within(name, "momentum", momentum, 0.0, math.nextafter(1, 2))
        if variance not in ("biased", "unbiased"):
            raise ArgumentError(
                f"{name}: variance must be 'biased' or 'unbiased', got {variance!r}"
            )
        self.variance = variance
        shape = (self.features,)
        self.weight = Parameter(shape, ones, 0, dtype)
        self.bias = Parameter(shape, zeros, 0, dtype)
        wide = accumulator(as_dtype(dtype))
        self.running_mean = Buffer(shape, zeros, 0, wide)
        self.running_var = Buffer(shape, ones, 0, wide)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """(features,)."""
        return (self.features,)

    def forward(self, x: Tensor) -> Tensor:
        """Build the normalization and, in training, the new running statistics.

        Raises:
            ShapeError: another number of dimensions or features; in training, with an unbiased
                variance, a single value of each feature.
        """
        self._check(x)
        if not self.training:
            mean, var = self.running_mean.latest, self.running_var.latest
        else:
            mean, var = ops.batch_moments(x, self.axis)
            self.running_mean.update(self._moved(self.running_mean, mean, 1.0))
            self.running_var.update(self._moved(self.running_var, var, self._correction(x)))
        weight, bias = self.weight.tensor, self.bias.tensor
        return ops.batch_norm(x, mean, var, weight, bias, self.axis, self.eps)

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or not same_size(x.shape[1], as_expr(self.features)):
            raise ShapeError(f"{self!r} takes inputs (batch, {self.features}), got {x}")

    def _moved(self, buffer: Buffer, batch: Tensor, correction: Expr | float) -> Tensor:
        def body(old: Expr, new: Expr) -> Expr:
            scaled = cast(new, buffer.dtype)
            if not isinstance(correction, float):
                scaled = scaled * cast(correction, buffer.dtype)
            elif correction != 1.0:
                scaled = scaled * correction
            return (1 - self.momentum) * old + self.momentum * scaled

        return elementwise(body, buffer.latest, batch, name="running")

    def _correction(self, x: Tensor) -> Expr | float:
        """What turns a variance over n into the one that is kept."""
        if self.variance == "biased":
            return 1.0
        sizes = [n for d, n in enumerate(x.shape) if d != self.axis % x.ndim]
        known = [const_int(n) for n in sizes]
        if None not in known:
            count = math.prod(n or 0 for n in known)
            if count < 2:
                raise ShapeError(
                    f"{self!r}: one value of each feature has no unbiased variance; train with a "
                    "larger batch, or with variance='biased'"
                )
            return count / (count - 1)
        total: Expr = Const(1)
        for n in sizes:
            total = total * n
        return cast(total, float32) / cast(maximum(total - 1, 1), float32)

    def __repr__(self) -> str:
        settings = "" if self.variance == "unbiased" else ", variance='biased'"
        return f"{type(self).__name__}({self.features}{settings})"


class BatchNorm2d(BatchNorm1d):
    """`BatchNorm1d` of each channel of images, over the batch, the height and the width."""

    def __init__(
        self,
        channels: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        *,
        variance: Variance = "unbiased",
        layout: Layout = "NCHW",
        dtype: DType | str = float32,
    ) -> None:
        """Make the parameters and the buffers.

        Raises:
            ArgumentError: a number out of range, another variance or layout.
        """
        super().__init__(channels, eps, momentum, variance=variance, dtype=dtype)
        if layout not in ("NCHW", "NHWC"):
            raise ArgumentError(f"BatchNorm2d: layout must be 'NCHW' or 'NHWC', got {layout!r}")
        self.layout = layout
        self.axis = 1 if layout == "NCHW" else 3

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """None: the height and the width may be any."""
        return None

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or not same_size(x.shape[self.axis], as_expr(self.features)):
            sizes = ["batch", "height", "width"]
            sizes.insert(self.axis, str(self.features))
            raise ShapeError(f"{self!r} takes inputs ({', '.join(sizes)}), got {x}")


class LayerNorm(Module):
    """The last dimension, of `features`, brought to mean 0 and variance 1, scaled and shifted.

    J. L. Ba et al., "Layer normalization", 2016. Parameters: `weight`, `bias`.
    """

    def __init__(self, features: int, eps: float = 1e-5, *, dtype: DType | str = float32) -> None:
        """Make the parameters.

        Raises:
            ArgumentError: a number out of range.
        """
        self.features = at_least_one("LayerNorm", "features", features)
        self.eps = within("LayerNorm", "eps", eps, 0.0, math.inf)
        self.weight = Parameter((self.features,), ones, 0, dtype)
        self.bias = Parameter((self.features,), zeros, 0, dtype)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(features,)."""
        return (self.features,)

    def forward(self, x: Tensor) -> Tensor:
        """Build the normalization."""
        _check_last(self, x, self.features)
        return ops.layer_norm(x, self.weight.tensor, self.bias.tensor, -1, self.eps)

    def __repr__(self) -> str:
        return f"LayerNorm({self.features})"


class RMSNorm(Module):
    """The last dimension, of `features`, brought to mean square 1 and scaled.

    B. Zhang, R. Sennrich, "Root mean square layer normalization", NeurIPS 2019. Its parameter is
    `weight`.
    """

    def __init__(self, features: int, eps: float = 1e-6, *, dtype: DType | str = float32) -> None:
        """Make the parameter.

        Raises:
            ArgumentError: a number out of range.
        """
        self.features = at_least_one("RMSNorm", "features", features)
        self.eps = within("RMSNorm", "eps", eps, 0.0, math.inf)
        self.weight = Parameter((self.features,), ones, 0, dtype)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(features,)."""
        return (self.features,)

    def forward(self, x: Tensor) -> Tensor:
        """Build the normalization."""
        _check_last(self, x, self.features)
        return ops.rms_norm(x, self.weight.tensor, -1, self.eps)

    def __repr__(self) -> str:
        return f"RMSNorm({self.features})"


def _check_last(layer: Module, x: Tensor, features: int) -> None:
    if not x.ndim or not same_size(x.shape[-1], as_expr(features)):
        raise ShapeError(f"{layer!r} takes inputs (..., {features}), got {x}")
