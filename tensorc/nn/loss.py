"""Losses: one number from a model's outputs and what they should have been."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc import ops
from tensorc.dtypes import int32
from tensorc.nn.arguments import within
from tensorc.nn.module import Module
from tensorc.te.tensor import placeholder

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor


class Loss(Module):
    """A module of (outputs, y) that gives one number; `target` says what y is."""

    def target(self, outputs: Tensor) -> Tensor:
        """The placeholder y of a step with these outputs: here an int32 label for each row."""
        return placeholder(outputs.shape[:-1], int32, name="y")


class SoftmaxLoss(Loss):
    """The mean over the batch of logsumexp(logits[i]) - logits[i, labels[i]].

    Logits are (batch, ..., classes), labels (batch, ...) integers from 0 to classes - 1; a label
    outside ends the call of the compiled step with an error, before anything is written. With
    `smoothing` s each class is right with probability s / classes, and the label with 1 - s beside.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        """Keep the smoothing.

        Raises:
            ArgumentError: it is below 0, or 1 and more.
        """
        self.smoothing = within(type(self).__name__, "smoothing", smoothing, 0.0, 1.0)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Build the mean cross-entropy."""
        return ops.cross_entropy(logits, labels, self.smoothing)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({f'{self.smoothing:g}' if self.smoothing else ''})"


class CrossEntropyLoss(SoftmaxLoss):
    """`SoftmaxLoss`, by torch's name."""


class _Elementwise(Loss):
    """A loss whose y has the shape and the dtype of the outputs."""

    def target(self, outputs: Tensor) -> Tensor:
        """The placeholder y: like the outputs."""
        return placeholder(outputs.shape, outputs.dtype, name="y")


class MSELoss(_Elementwise):
    """The mean of the squared differences."""

    def forward(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Build the mean."""
        return ops.mse(prediction, y)


class BCEWithLogitsLoss(_Elementwise):
    """The mean of `-(y log(sigmoid(z)) + (1 - y) log(1 - sigmoid(z)))` for outputs z."""

    def forward(self, logits: Tensor, y: Tensor) -> Tensor:
        """Build the mean."""
        return ops.bce_with_logits(logits, y)


class HuberLoss(_Elementwise):
    """The mean of `d**2 / 2` for differences d within `delta`, `delta (|d| - delta / 2)` beyond."""

    def __init__(self, delta: float = 1.0) -> None:
        """Keep delta, which `ops.huber` checks."""
        self.delta = delta

    def forward(self, prediction: Tensor, y: Tensor) -> Tensor:
        """Build the mean."""
        return ops.huber(prediction, y, self.delta)

    def __repr__(self) -> str:
        return f"HuberLoss({self.delta:g})"
