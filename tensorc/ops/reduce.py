"""Reductions over axes, with NumPy's names, axis arguments and `keepdims`.

`axis` is one dimension, several, or None for all; `keepdims` leaves each as a dimension of size 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from tensorc.dtypes import DType, accumulator, as_dtype, bool_, float32, int32, int64, uint64
from tensorc.ir.expr import Const, Expr, Reduce, call, cast, maximum
from tensorc.ir.reducers import builtin
from tensorc.ops.axes import normalize_axes, spatial_axes
from tensorc.te import reduce as te
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.rule import Rule, stated
from tensorc.te.tensor import Tensor, define, elementwise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AxisLike: TypeAlias = "int | Sequence[int] | None"


def _reduced(
    x: Tensor,
    axis: AxisLike,
    keepdims: bool,
    fold: Callable[[Expr, Sequence[IterVar]], Expr],
    alone: Callable[[Expr], Expr],
    name: str,
) -> Tensor:
    """The tensor of `fold(element, reduce axes)`, or of `alone(element)` where no axis is named."""
    chosen = normalize_axes(axis, x.ndim)
    if not chosen:
        return elementwise(alone, x, name=name)
    one = Const(1, int64)
    inner = {d: te.reduce_axis(x.shape[d], f"r{d}") for d in chosen}
    kept = [d for d in range(x.ndim) if keepdims or d not in inner]
    outer = {d: IterVar(f"i{d}", extent=one if d in inner else x.shape[d]) for d in kept}
    element = x[tuple(inner[d] if d in inner else outer[d] for d in range(x.ndim))]
    axes = tuple(outer[d] for d in kept)
    return define(axes, (fold(element, tuple(inner.values())),), default_name=name)[0]


def count(x: Tensor, axis: AxisLike = None) -> Expr:
    """The number of elements that a reduction over `axis` folds."""
    total: Expr = Const(1, int64)
    for d in normalize_axes(axis, x.ndim):
        size = x.shape[d]
        if isinstance(total, Const) and isinstance(size, Const):
            total = Const(total.value * size.value, int64)
        else:
            total = size if isinstance(total, Const) and total.value == 1 else total * size
    return total


def _sum_dtype(x: Tensor, dtype: DType | str | None) -> DType:
    """NumPy's rule for `sum` and `prod`: all integers and bools give 64 bits."""
    if dtype is not None:
        return as_dtype(dtype)
    if x.dtype.is_float:
        return x.dtype
    return uint64 if x.dtype.kind == "u" else int64


def sum(
    x: Tensor, axis: AxisLike = None, keepdims: bool = False, dtype: DType | str | None = None
) -> Tensor:
    """The sum; 0 of nothing.

    Integers and bools give int64 (uint64 of unsigned ones), as in NumPy; float16 and bfloat16 are
    summed in float32 and rounded once. `dtype` is the type to convert to first.
    """
    to = _sum_dtype(x, dtype)
    return _reduced(
        x, axis, keepdims, lambda e, r: te.sum(cast(e, to), r), lambda e: cast(e, to), "sum"
    )


def prod(
    x: Tensor, axis: AxisLike = None, keepdims: bool = False, dtype: DType | str | None = None
) -> Tensor:
    """The product, 1 of nothing; dtypes as for `sum`."""
    to = _sum_dtype(x, dtype)
    return _reduced(
        x, axis, keepdims, lambda e, r: te.prod(cast(e, to), r), lambda e: cast(e, to), "prod"
    )


def mean(x: Tensor, axis: AxisLike = None, keepdims: bool = False) -> Tensor:
    """The mean, NaN of nothing; integers and bools give float32."""
    to = x.dtype if x.dtype.is_float else float32
    wide = accumulator(to)
    size = cast(count(x, axis), wide)

    def fold(e: Expr, axes: Sequence[IterVar]) -> Expr:
        return cast(te.sum(cast(e, wide), axes) / size, to)

    return _reduced(x, axis, keepdims, fold, lambda e: cast(e, to), "mean")


def max(x: Tensor, axis: AxisLike = None, keepdims: bool = False) -> Tensor:
    """The greatest element, NaN if any is.

    Raises:
        ShapeError: a reduced axis of size 0. A symbolic size is checked at each call.
    """
    if x.dtype == bool_:
        return any(x, axis, keepdims)
    return _reduced(x, axis, keepdims, te.max, lambda e: e, "max")


def min(x: Tensor, axis: AxisLike = None, keepdims: bool = False) -> Tensor:
    """The least element, NaN if any is; otherwise as `max`."""
    if x.dtype == bool_:
        return all(x, axis, keepdims)
    return _reduced(x, axis, keepdims, te.min, lambda e: e, "min")


def all(x: Tensor, axis: AxisLike = None, keepdims: bool = False) -> Tensor:
    """Whether no element is 0, as bool; True of nothing."""
    return _reduced(x, axis, keepdims, te.all, lambda e: cast(e, bool_), "all")


def any(x: Tensor, axis: AxisLike = None, keepdims: bool = False) -> Tensor:
    """Whether some element is not 0, as bool; False of nothing."""
    return _reduced(x, axis, keepdims, te.any, lambda e: cast(e, bool_), "any")


def argmax(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the greatest element, int64: the first of equals, the first NaN.

    Without `axis` it is the index into the flattened tensor.

    Raises:
        ShapeError: a reduced axis of size 0. A symbolic size is checked at each call.
    """
    return _arg("argmax", x, axis, keepdims)


def argmin(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """The index of the least element, int64; otherwise as `argmax`."""
    return _arg("argmin", x, axis, keepdims)


def _arg(name: str, x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    def fold(e: Expr, axes: Sequence[IterVar]) -> Expr:
        value = cast(e, int32) if e.dtype == bool_ else e
        if len(axes) == 1:
            return getattr(te, name)(value, axes[0])  # type: ignore[no-any-return]
        flat: Expr = axes[0]
        for a in axes[1:]:
            flat = flat * a.extent + a
        te.max(Const(0), axes)  # Refuses an empty axis, as for the value.
        return Reduce(builtin(name, value.dtype), tuple(axes), (value, flat), None, 1)

    return _reduced(x, axis, keepdims, fold, lambda _: Const(0, int64), name)


def var(x: Tensor, axis: AxisLike = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The mean square distance to the mean, over `count - ddof`; integers give float32."""
    return moments(x, axis, ddof, keepdims)[1]


def moments(
    x: Tensor, axis: AxisLike = None, ddof: int = 0, keepdims: bool = False
) -> tuple[Tensor, Tensor]:
    """The mean, with the dimensions `axis` kept, and the variance from it.

    The mean is of the type that sums of `x` have; the variance is as for `var`.
    """
    to = x.dtype if x.dtype.is_float else float32
    wide = accumulator(to)
    values = elementwise(lambda e: cast(e, wide), x, name="wide") if x.dtype != wide else x
    centre = mean(values, axis, keepdims=True)
    size = cast(maximum(count(x, axis) - ddof, 0) if ddof else count(x, axis), wide)
    off = values - centre

    def fold(e: Expr, axes: Sequence[IterVar]) -> Expr:
        return cast(te.sum(e * e, axes) / size, to)

    plain = _reduced(off, axis, keepdims, fold, lambda e: cast(e * e / size, to), "var")

    def pull(cotangents: tuple[Tensor, ...]) -> list[Tensor]:
        # Through the mean comes the sum of all distances from it, which is 0.
        chosen, axes = normalize_axes(axis, x.ndim), spatial_axes(x.shape)
        place = [ZERO if d in chosen else a for d, a in enumerate(axes)]
        given = place if keepdims else [p for d, p in enumerate(place) if d not in chosen]
        g = cast(cotangents[0][tuple(given)], wide)
        body = 2.0 * (g / size) * (values[axes] - centre[tuple(place)])
        return list(define(axes, (body,), default_name="d.off"))

    return centre, stated(Rule("var", (values,), pull, transparent=True), (plain,))[0]


def std(x: Tensor, axis: AxisLike = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The square root of `var`."""
    return elementwise(lambda e: call("sqrt", e), var(x, axis, ddof, keepdims), name="std")
