"""Dropout as a layer: which elements fall out follows from a seed and the number of the step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc import ops
from tensorc.dtypes import DType, int64
from tensorc.nn.arguments import within
from tensorc.nn.init import Seed, generator
from tensorc.nn.module import Module
from tensorc.nn.parameter import Buffer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tensorc.te.tensor import Tensor


class Dropout(Module):
    """In training each element is 0 with probability `rate`, or is divided by 1 - rate.

    Inference leaves everything as it is. Buffers: `seed`, and `calls`, which counts the forward
    passes of training: the same two give the same elements, on every backend. Layers that are made
    with one seed, as the default 0 is, drop the same places of inputs of one shape: give all of
    them one generator, or call `model.initialize(seed)` when the model is whole.
    """

    keeps_shape = True

    def __init__(self, rate: float = 0.5, *, rng: Seed = 0) -> None:
        """Draw the seed.

        Raises:
            ArgumentError: a rate below 0, or of 1 and more.
        """
        self.rate = within("Dropout", "rate", rate, 0.0, 1.0)
        self.seed = Buffer((), _drawn, rng, int64)
        self.calls = Buffer((), dtype=int64)

    def forward(self, x: Tensor) -> Tensor:
        """Build the choice, and count the call."""
        if not self.training or not self.rate:
            return x
        result = ops.dropout(x, self.rate, self.seed.tensor, self.calls.latest)
        self.calls.update(self.calls.latest + 1)
        return result

    def __repr__(self) -> str:
        return f"Dropout({self.rate:g})"


def _drawn(shape: Sequence[int], rng: Seed, dtype: DType | str) -> NDArray[Any]:
    """Seeds of 53 bits, from a source that need not have integers."""
    del dtype
    drawn = np.floor(generator(rng).uniform(0.0, 2.0**53, tuple(shape)))
    return np.asarray(drawn, np.int64)
