"""Layers: the modules that models are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc import ops
from tensorc.dtypes import DType, float32, int32
from tensorc.errors import ArgumentError, DTypeError, ShapeError
from tensorc.ir.expr import as_expr
from tensorc.nn.arguments import at_least_one
from tensorc.nn.init import Seed, generator, kaiming_uniform, normal, zeros
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
        self.in_features = at_least_one("Linear", "in_features", in_features)
        self.out_features = at_least_one("Linear", "out_features", out_features)
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


class Sequential(Module):
    """Layers one after the other, named `layer0`, `layer1`... by their position."""

    def __init__(self, *layers: Module) -> None:
        """Take the layers, which may be shared with other models.

        Raises:
            ArgumentError: something that is no module.
        """
        for position, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise ArgumentError(f"Sequential: layer {position} is no nn.Module but {layer!r}")
            setattr(self, f"layer{position}", layer)

    @property
    def layers(self) -> tuple[Module, ...]:
        """The layers, in order."""
        return tuple(layer for _, layer in self.children())

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """That of the first layer which has one, if those before it keep shapes, as ReLU does."""
        first = self._first_particular()
        return None if first is None else first.input_shape

    @property
    def input_dtype(self) -> DType | None:
        """That of the first layer which does not take any shape."""
        first = self._first_particular()
        return None if first is None else first.input_dtype

    def _first_particular(self) -> Module | None:
        return next((layer for layer in self.layers if not layer.keeps_shape), None)

    def forward(self, x: Tensor) -> Tensor:
        """Chain the layers."""
        for layer in self.layers:
            x = layer(x)
        return x


class Residual(Module):
    """`x + part(x)`."""

    def __init__(self, part: Module) -> None:
        """Take the part, which keeps the shape of its input.

        Raises:
            ArgumentError: something that is no module.
        """
        if not isinstance(part, Module):
            raise ArgumentError(f"Residual: the part is no nn.Module but {part!r}")
        self.part = part

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """That of the part."""
        return self.part.input_shape

    def forward(self, x: Tensor) -> Tensor:
        """Build the sum.

        Raises:
            ShapeError: the part gives another shape.
        """
        y = self.part(x)
        if y.ndim != x.ndim or not all(map(same_size, x.shape, y.shape)):
            raise ShapeError(f"Residual: {self.part!r} turns {x} into {y}, another shape")
        return x + y


class Flatten(Module):
    """(batch, ...) to (batch, features), in row-major order."""

    def forward(self, x: Tensor) -> Tensor:
        """Build the reshape.

        Raises:
            ShapeError: an input without dimensions.
        """
        if not x.ndim:
            raise ShapeError(f"Flatten: {x} has no dimension for the batch")
        return ops.reshape(x, (x.shape[0], -1))


class Identity(Module):
    """`x`, for a place that needs a module."""

    keeps_shape = True

    def forward(self, x: Tensor) -> Tensor:
        """Give the input back."""
        return x


class Embedding(Module):
    """Row `i` of a table for each integer i: (...) to (..., width).

    The table, (entries, width), starts from a standard normal distribution. An integer that is not
    from 0 to entries - 1 ends the call of a compiled step with an error.
    """

    def __init__(
        self, entries: int, width: int, *, rng: Seed = 0, dtype: DType | str = float32
    ) -> None:
        """Draw the table.

        Raises:
            ArgumentError: a number that is no integer, or below 1.
        """
        self.entries = at_least_one("Embedding", "entries", entries)
        self.width = at_least_one("Embedding", "width", width)
        self.weight = Parameter((self.entries, self.width), normal, rng, dtype)

    @property
    def input_dtype(self) -> DType:
        """int32."""
        return int32

    def forward(self, x: Tensor) -> Tensor:
        """Build the look-up.

        Raises:
            DTypeError: an `x` that is no tensor of integers.
        """
        if not x.dtype.is_int:
            raise DTypeError(
                f"Embedding: looks up integers, got {x}; a model of yours that reads them says so "
                "with an attribute input_dtype = tc.int32"
            )
        return ops.take(self.weight.tensor, x, 0)

    def __repr__(self) -> str:
        return f"Embedding({self.entries}, {self.width})"
