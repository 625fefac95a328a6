"""Running sums and products: each element folds those up to it along one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.dtypes import DType, accumulator, as_dtype, int64, uint64
from tensorc.ir.expr import BinaryOp, Const, Load, Var, binary, cast
from tensorc.ir.loc import caller_loc
from tensorc.ops.axes import normalize_axis, spatial_axes
from tensorc.ops.reshape import reshape
from tensorc.te.scan import define_scan

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor


def cumsum(x: Tensor, axis: int | None = None, dtype: DType | str | None = None) -> Tensor:
    """The sums of the elements up to each along `axis`, itself included; without it of all.

    As in NumPy, `axis=None` flattens first, and integers and bools give int64 (uint64 of unsigned
    ones). float16 and bfloat16 are summed in float32. `dtype` is the type to convert to first.
    """
    return _cumulative("cumsum", BinaryOp.ADD, 0, x, axis, dtype)


def cumprod(x: Tensor, axis: int | None = None, dtype: DType | str | None = None) -> Tensor:
    """The products of the elements up to each along `axis`; otherwise as `cumsum`."""
    return _cumulative("cumprod", BinaryOp.MUL, 1, x, axis, dtype)


def _cumulative(
    name: str, op: BinaryOp, start: int, x: Tensor, axis: int | None, dtype: DType | str | None
) -> Tensor:
    if axis is None:
        return _cumulative(name, op, start, reshape(x, -1), 0, dtype)
    if dtype is not None:
        to = as_dtype(dtype)
    elif x.dtype.is_float:
        to = x.dtype
    else:
        to = uint64 if x.dtype.kind == "u" else int64
    wide = accumulator(to)
    axes = spatial_axes(x.shape)
    before = Var("before", wide)
    element = cast(cast(Load(x, axes, loc=caller_loc()), to), wide)
    (result,) = define_scan(
        axes,
        (binary(op, before, element),),
        (before,),
        (Const(start, wide),),
        normalize_axis(axis, x.ndim),
        reverse=False,
        default_name=name,
    )
    return result if wide == to else result.astype(to)
