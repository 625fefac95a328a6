"""Attention as a layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc import ops
from tensorc.dtypes import DType, float32
from tensorc.errors import ArgumentError, ShapeError
from tensorc.ir.expr import as_expr
from tensorc.nn.arguments import at_least_one
from tensorc.nn.init import Seed, generator
from tensorc.nn.layers import Linear
from tensorc.nn.module import Module
from tensorc.te.tensor import same_size

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor


_ALL = slice(None)


class MultiHeadAttention(Module):
    """Each place of a sequence sees the others: (..., length, width) to the same.

    A. Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.2.2: `heads` attentions
    side by side, each of width / heads features. Layers: `enter`, linear, from the width to
    queries, keys and values of all heads, one after the other; `leave`, linear, from the width to
    itself. With `causal` a place sees itself and those before it alone.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        bias: bool = True,
        causal: bool = False,
        *,
        rng: Seed = 0,
        dtype: DType | str = float32,
    ) -> None:
        """Make the layers.

        Raises:
            ArgumentError: a number that is no integer, or below 1; a width that is no multiple of
                the heads.
        """
        name = "MultiHeadAttention"
        self.width = at_least_one(name, "width", width)
        self.heads = at_least_one(name, "heads", heads)
        if self.width % self.heads:
            raise ArgumentError(f"{name}: width {width} is no multiple of {heads} heads")
        self.causal = causal
        stream = generator(rng)
        self.enter = Linear(self.width, 3 * self.width, bias, rng=stream, dtype=dtype)
        self.leave = Linear(self.width, self.width, bias, rng=stream, dtype=dtype)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Build the projections and the attention.

        Args:
            x: (..., length, width), floats.
            mask: as that of `ops.attention`; it broadcasts to (..., heads, length, length).

        Raises:
            ShapeError: fewer than two dimensions, another width, a mask that does not fit.
        """
        if x.ndim < 2 or not same_size(x.shape[-1], as_expr(self.width)):
            raise ShapeError(f"{self!r} takes inputs (..., length, {self.width}), got {x}")
        around = x.shape[:-1]
        apart = ops.reshape(self.enter(x), (*around, 3, self.heads, self.width // self.heads))
        query, key, value = (
            ops.swapaxes(ops.slice(apart, (..., n, _ALL, _ALL)), -2, -3) for n in range(3)
        )
        seen = ops.attention(query, key, value, mask, self.causal)
        return self.leave(ops.reshape(ops.swapaxes(seen, -2, -3), (*around, self.width)))

    def __repr__(self) -> str:
        bias = "" if self.enter.bias is not None else ", bias=False"
        causal = ", causal=True" if self.causal else ""
        return f"MultiHeadAttention({self.width}, {self.heads}{bias}{causal})"
