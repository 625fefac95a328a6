"""Sums over all elements of several tensors together."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from tensorc.dtypes import float64
from tensorc.ir.expr import cast
from tensorc.te.reduce import reduce_axis
from tensorc.te.reduce import sum as reduce_sum
from tensorc.te.tensor import Tensor, define

if TYPE_CHECKING:
    from collections.abc import Sequence


def dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """The sum of the products of all pairs of elements, one float64 number.

    Each pair of tensors is summed in its own dtype, and the sums in float64.
    """
    return reduce(lambda s, t: s + t, [_part(x, y) for x, y in zip(a, b, strict=True)])


def _part(x: Tensor, y: Tensor) -> Tensor:
    axes = [reduce_axis(n, f"r{d}") for d, n in enumerate(x.shape)]
    product = x[tuple(axes)] * y[tuple(axes)]
    body = reduce_sum(product, axes) if axes else product
    return define((), (cast(body, float64),), default_name="dot")[0]
