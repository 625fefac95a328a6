"""Losses: one number from a model's outputs and what they should have been."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc import ops
from tensorc.nn.module import Module

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor


class SoftmaxLoss(Module):
    """The mean over the batch of logsumexp(logits[i]) - logits[i, labels[i]].

    Logits are (batch, classes), labels (batch,) integers from 0 to classes - 1; a label outside
    ends the call of the compiled step with an error, before anything is written.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Build the mean cross-entropy."""
        return ops.cross_entropy(logits, labels)
