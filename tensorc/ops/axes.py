"""Axis arguments as NumPy takes them: negative ones count from the last dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.errors import ShapeError
from tensorc.te.axis import IterVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Expr
    from tensorc.te.tensor import Tensor


def normalize_axis(axis: int, ndim: int) -> int:
    """`axis` counted from the first dimension.

    Raises:
        ShapeError: there is no such dimension.
    """
    if not -ndim <= axis < ndim:
        raise ShapeError(f"axis {axis} is out of bounds for a tensor of {ndim} dimensions")
    return axis % ndim


def normalize_axes(axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The dimensions that `axis` names, in order; None names all.

    Raises:
        ShapeError: there is no such dimension, or one is named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    given = (axis,) if isinstance(axis, int) else tuple(axis)
    axes = tuple(sorted(normalize_axis(a, ndim) for a in given))
    if len(set(axes)) < len(axes):
        raise ShapeError(f"axis {tuple(given)} names a dimension twice")
    return axes


def spatial_axes(shape: Sequence[Expr]) -> tuple[IterVar, ...]:
    """An axis `i0`, `i1`... for each size."""
    return tuple(IterVar(f"i{d}", extent=size) for d, size in enumerate(shape))


def show_shape(tensor: Tensor) -> str:
    """The shape as NumPy writes it: (n, 3)."""
    sizes = ", ".join(map(str, tensor.shape))
    return f"({sizes},)" if tensor.ndim == 1 else f"({sizes})"
