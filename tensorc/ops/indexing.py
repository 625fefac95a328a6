"""Elements chosen by index tensors, and tensors made of nothing but their indices.

Indices that are read from a tensor are checked at each call, before anything is written. A
negative one does not count from the end: it is an error.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tensorc.dtypes import DType, as_dtype, float32, int64
from tensorc.errors import DTypeError, ShapeError
from tensorc.ir.expr import (
    Const,
    Expr,
    ExprBase,
    Load,
    Select,
    as_expr,
    as_shape,
    cast,
    maximum,
)
from tensorc.ir.loc import caller_loc
from tensorc.ir.simplify import simplify
from tensorc.ops.axes import normalize_axis, show_shape, spatial_axes
from tensorc.ops.reshape import reshape
from tensorc.ops.shape import gather
from tensorc.te.checks import least
from tensorc.te.tensor import Tensor, define, same_size

if TYPE_CHECKING:
    from tensorc.ops.shape import Shape


def _check_indices(name: str, indices: Tensor) -> None:
    if not indices.dtype.is_int:
        raise DTypeError(f"{name}: indices must be integers, got {indices}")


def take(x: Tensor, indices: Tensor, axis: int | None = None) -> Tensor:
    """The parts of `x` at `indices` along `axis`; without it, of `x` flattened.

    x: (*a, n, *b), indices: any shape s, integers in 0 .. n - 1. The result is (*a, *s, *b).

    Raises:
        DTypeError: indices that are not integers.
    """
    _check_indices("take", indices)
    if axis is None:
        return take(reshape(x, -1), indices, 0)
    d = normalize_axis(axis, x.ndim)
    axes = spatial_axes((*x.shape[:d], *indices.shape, *x.shape[d + 1 :]))
    where = Load(indices, axes[d : d + indices.ndim], loc=caller_loc())
    return gather(x, axes, (*axes[:d], where, *axes[d + indices.ndim :]), "take", "take: index")


def take_along_axis(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """`x[i, indices[i, j], ...]`: each element's own index along `axis`.

    The other dimensions of `x` and `indices` must be equal.

    Raises:
        DTypeError: indices that are not integers.
        ShapeError: shapes that do not fit.
    """
    _check_indices("take_along_axis", indices)
    d = normalize_axis(axis, x.ndim)
    if indices.ndim != x.ndim or not all(
        k == d or same_size(a, b)
        for k, (a, b) in enumerate(zip(x.shape, indices.shape, strict=True))
    ):
        raise ShapeError(
            f"take_along_axis along axis {d}: shapes {show_shape(x)} and {show_shape(indices)} "
            "must agree in every other dimension"
        )
    axes = spatial_axes(indices.shape)
    where = Load(indices, axes, loc=caller_loc())
    name = "take_along_axis"
    return gather(x, axes, (*axes[:d], where, *axes[d + 1 :]), name, f"{name}: index")


def one_hot(labels: Tensor, classes: int | Expr, dtype: DType | str = float32) -> Tensor:
    """(..., classes): 1 at the label, 0 elsewhere; a label out of range gives zeros.

    Raises:
        DTypeError: labels that are not integers.
    """
    _check_indices("one_hot", labels)
    to = as_dtype(dtype)
    axes = spatial_axes((*labels.shape, *as_shape(classes)))
    hit = cast(Load(labels, axes[:-1], loc=caller_loc()), int64) == axes[-1]
    body = Select(hit, Const(1, to), Const(0, to))
    return define(axes, (body,), default_name="one_hot")[0]


# --- tensors without inputs -----------------------------------------------------------------


def full(shape: Shape, value: bool | float, dtype: DType | str | None = None) -> Tensor:
    """`value` everywhere; by default bool, int64 or float32 as the value is."""
    body = as_expr(value, None if dtype is None else as_dtype(dtype))
    body = body if dtype is None else cast(body, dtype)
    return define(spatial_axes(as_shape(shape)), (body,), default_name="full")[0]


def zeros(shape: Shape, dtype: DType | str = float32) -> Tensor:
    """0 everywhere."""
    return full(shape, 0, dtype)


def ones(shape: Shape, dtype: DType | str = float32) -> Tensor:
    """1 everywhere."""
    return full(shape, 1, dtype)


def zeros_like(x: Tensor) -> Tensor:
    """0 everywhere, of the shape and dtype of `x`."""
    return full(x.shape, 0, x.dtype)


def ones_like(x: Tensor) -> Tensor:
    """1 everywhere, of the shape and dtype of `x`."""
    return full(x.shape, 1, x.dtype)


def eye(rows: int | Expr, columns: int | Expr | None = None, k: int = 0) -> Tensor:
    """float32 ones on the diagonal `j - i == k`, zeros elsewhere."""
    axes = spatial_axes(as_shape((rows, rows if columns is None else columns)))
    body = Select(axes[1] == axes[0] + k, Const(1, float32), Const(0, float32))
    return define(axes, (body,), default_name="eye")[0]


def tril(x: Tensor, k: int = 0) -> Tensor:
    """`x` with zeros where `j - i > k` in its last two dimensions."""
    return _triangle(x, k, True)


def triu(x: Tensor, k: int = 0) -> Tensor:
    """`x` with zeros where `j - i < k` in its last two dimensions."""
    return _triangle(x, k, False)


def _triangle(x: Tensor, k: int, lower: bool) -> Tensor:
    if x.ndim < 2:
        raise ShapeError(f"a triangle needs two dimensions, got {x}")
    axes = spatial_axes(x.shape)
    i, j = axes[-2], axes[-1]
    kept = j <= i + k if lower else j >= i + k
    body = Select(kept, Load(x, axes, loc=caller_loc()), cast(0, x.dtype))
    return define(axes, (body,), default_name="tril" if lower else "triu")[0]


def arange(
    start: float | Expr,
    stop: float | Expr | None = None,
    step: float = 1,
    dtype: DType | str | None = None,
) -> Tensor:
    """`start + i * step` below `stop`; of one argument, 0 up to it.

    Integers and sizes give int64, floats float32, `ceil((stop - start) / step)` of them.

    Raises:
        ShapeError: a step of 0.
    """
    if stop is None:
        start, stop = 0, start
    if step == 0:
        raise ShapeError("arange: step 0")
    for value in (start, stop, step):
        if not isinstance(value, ExprBase) and not math.isfinite(value):
            raise ShapeError(f"arange: {value} is not finite")
    axes = spatial_axes((_count(start, stop, step),))
    value = as_expr(start) + axes[0] * as_expr(step)
    to = value.dtype if dtype is None else as_dtype(dtype)
    return define(axes, (simplify(cast(value, to)),), default_name="arange")[0]


def _count(start: float | Expr, stop: float | Expr, step: float) -> Expr:
    if not isinstance(start, ExprBase) and not isinstance(stop, ExprBase):
        return Const(max(0, math.ceil((stop - start) / step)), int64)
    if not isinstance(step, int):
        raise DTypeError(f"arange: a symbolic range takes integer steps, got {step}")
    first, last = as_expr(start), as_expr(stop)
    if not (first.dtype.is_int and last.dtype.is_int):
        raise DTypeError(f"arange: a symbolic range takes integers, got {first} to {last}")
    span = simplify(last - first if step > 0 else first - last)
    span = span if least(span) >= 0 else maximum(span, 0)
    by = abs(step)
    return span if by == 1 else simplify((span + (by - 1)) // by)
