"""Layers: the modules that models are made of."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

from tensorc import ops
from tensorc.dtypes import DType, float32
from tensorc.errors import ArgumentError, ShapeError
from tensorc.ir.expr import as_expr
from tensorc.nn.init import Seed, generator, kaiming_uniform, zeros
from tensorc.nn.module import Module
from tensorc.nn.parameter import Parameter
from tensorc.te.tensor import same_size

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor


class Linear(Module):
    """`x @ weight + bias`, x (..., in_features) to (..., out_features).

    The weight, (in_features, out_features), starts from `init.kaiming_uniform`, the bias from 0.
    `rng` is a generator or a seed. Layers of one shape that are made with one seed, as the default
    0 is, start from equal weights: give all of them one generator, or call `model.initialize(seed)`
    when the model is whole.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        rng: Seed = 0,
        dtype: DType | str = float32,
    ) -> None:
        """Draw the weight.

        Raises:
            ArgumentError: a number of features that is no integer, or below 1.
        """
        self.in_features = _features("in_features", in_features)
        self.out_features = _features("out_features", out_features)
        stream = generator(rng)
        shape = (self.in_features, self.out_features)
        self.weight = Parameter(shape, kaiming_uniform, stream, dtype)
        self.bias = Parameter(shape[1:], zeros, stream, dtype) if bias else None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(in_features,)."""
        return (self.in_features,)

    def forward(self, x: Tensor) -> Tensor:
        """Build the product and the sum.

        Raises:
            ShapeError: the last dimension of `x` is not `in_features`.
        """
        if not x.ndim or not same_size(x.shape[-1], as_expr(self.in_features)):
            raise ShapeError(
                f"{self!r} takes inputs (..., {self.in_features}), got {x.name} of shape "
                f"({', '.join(map(str, x.shape))})"
            )
        product = ops.matmul(x, self.weight.tensor)
        return product if self.bias is None else product + self.bias.tensor

    def __repr__(self) -> str:
        bias = "" if self.bias is not None else ", bias=False"
        return f"Linear({self.in_features}, {self.out_features}{bias})"


class ReLU(Module):
    """`max(x, 0)`; its gradient at 0 is 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Build the maximum."""
        return ops.relu(x)


class Sequential(Module):
    """Layers one after the other, named `layer0`, `layer1`... by their position."""

    def __init__(self, *layers: Module) -> None:
        """Take the layers, which may be shared with other models.

        Raises:
            ArgumentError: something that is no module.
        """
        self.layers = layers
        for position, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise ArgumentError(f"Sequential: layer {position} is no nn.Module but {layer!r}")
            setattr(self, f"layer{position}", layer)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """That of the first layer which has one: those before it, such as ReLU, keep shapes."""
        return next(
            (s for s in (layer.input_shape for layer in self.layers) if s is not None), None
        )

    def forward(self, x: Tensor) -> Tensor:
        """Chain the layers."""
        for layer in self.layers:
            x = layer(x)
        return x


def _features(name: str, value: int) -> int:
    try:
        count = operator.index(value)
    except TypeError:
        raise ArgumentError(f"Linear: {name} must be an integer, got {value!r}") from None
    if count < 1:
        raise ArgumentError(f"Linear: {name} must be at least 1, got {count}")
    return count
