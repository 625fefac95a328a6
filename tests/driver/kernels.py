"""Small kernels that the tests of the driver compile, and a cache folder of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.te.build import build
from tensorc.te.tensor import Tensor, compute, dim, placeholder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tensorc.ir.stmt import Program

X = np.array([1, 2, 3], np.float32)


def scale(factor: float = 2.0) -> Tensor:
    """B = factor * A for every length."""
    a = placeholder((dim("n"),), name="A")
    return compute(a.shape, lambda i: a[i] * factor, name="B")


def scale_program(factor: float = 2.0, name: str = "scale") -> Program:
    return build([scale(factor)], name=name)


class Step:
    """W += x, and the loss x[0] * W[0] of the old W: a training step by hand."""

    def __init__(self) -> None:
        x, w = placeholder((3,), name="x"), placeholder((3,), name="layer.W")
        self.loss = compute((), lambda: x[0] * w[0], name="loss")
        self.updated = compute((3,), lambda i: w[i] + x[i], name="new")
        self.x, self.w = x, w
        self.state: dict[str, NDArray[Any]] = {"layer.W": np.ones(3, np.float32)}

    def lower_to_program(self) -> Program:
        return build(
            [self.loss], inputs=(self.x, self.w), updates=[(self.w, self.updated)], name="step"
        )
