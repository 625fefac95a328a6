"""Products of matrices and vectors, with NumPy's rules for their ranks."""

from __future__ import annotations

from tensorc.errors import ShapeError
from tensorc.ops.axes import show_shape, spatial_axes
from tensorc.te.reduce import reduce_axis
from tensorc.te.tensor import Tensor, define, same_size, sum_of_products
from tensorc.te.tensor import matmul as te_matmul


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product of (..., m, k) and (..., k, n): (..., m, n).

    Leading dimensions broadcast. A vector on the left is a row, on the right a column, and its
    dimension is left out of the result. float16 and bfloat16 are multiplied and summed in float32
    and rounded once; bools and integers of fewer than 32 bits give int32 or uint32.

    Raises:
        ShapeError: an operand without dimensions, or two values of k.
    """
    return te_matmul(a, b)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """The sum of products over the last dimension of `a` and the last but one of `b`.

    (..., k) and (*p, k, n) give (..., *p, n); a scalar multiplies. For matrices it is `matmul`.

    Raises:
        ShapeError: the two sizes differ.
    """
    if a.ndim == 0 or b.ndim == 0:
        return a * b
    if a.ndim <= 2 and b.ndim <= 2:
        return matmul(a, b)
    inner = b.ndim - 2 if b.ndim > 1 else 0
    if not same_size(a.shape[-1], b.shape[inner]):
        raise ShapeError(
            f"dot: shapes {show_shape(a)} and {show_shape(b)} do not fit: "
            f"{a.shape[-1]} meets {b.shape[inner]}"
        )
    rest = (*b.shape[:inner], *b.shape[inner + 1 :])
    axes = spatial_axes((*a.shape[:-1], *rest))
    r = reduce_axis(a.shape[-1], "k")
    outer, own = axes[: a.ndim - 1], axes[a.ndim - 1 :]
    left, right = a[(*outer, r)], b[(*own[:inner], r, *own[inner:])]
    return define(axes, (sum_of_products((left, right), (r,)),), default_name="dot")[0]


def outer(a: Tensor, b: Tensor) -> Tensor:
    """(m,) and (n,) give (m, n), all products.

    Raises:
        ShapeError: an operand is no vector.
    """
    if a.ndim != 1 or b.ndim != 1:
        raise ShapeError(f"outer: {a} and {b} must be vectors; reshape them first")
    axes = spatial_axes((*a.shape, *b.shape))
    return define(axes, (a[axes[0]] * b[axes[1]],), default_name="outer")[0]
