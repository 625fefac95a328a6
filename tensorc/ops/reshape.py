"""Reshape: one row-major order, two shapes."""

from __future__ import annotations

from collections.abc import Sequence

from tensorc.dtypes import int64
from tensorc.errors import ShapeError
from tensorc.ir.expr import Binary, BinaryOp, Const, Expr, as_shape, const_int
from tensorc.ops.axes import show_shape, spatial_axes
from tensorc.ops.shape import Shape, gather
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.tensor import Tensor, same_size


def reshape(x: Tensor, shape: Shape) -> Tensor:
    """The same elements in row-major order; one size may be -1, and is then what is left.

    Sizes may be symbolic: old and new dimensions are matched from the left, group by group, by
    their factors, so (n, 8, 8) reshapes to (n, 64), (n * 64,) or (-1, 64).

    Raises:
        ShapeError: the numbers of elements differ, or are not seen to be equal.
    """
    given = shape if isinstance(shape, Sequence) else (shape,)
    sizes = as_shape(_filled(x, given))
    axes = spatial_axes(sizes)
    index: list[Expr] = []
    old, new = list(x.shape), list(axes)
    if any(const_int(s) == 0 for s in old):
        _refuse_unless(any(const_int(s) == 0 for s in sizes), x, sizes)
        return gather(x, axes, [ZERO] * x.ndim, "reshape")
    while old or new:
        olds, news = _take_group(old, new)
        _refuse_unless(bool(olds or news), x, sizes)
        index += _split(_joined(news), olds)
    return gather(x, axes, index, "reshape")


def _refuse_unless(fits: bool, x: Tensor, sizes: Sequence[Expr]) -> None:
    if not fits:
        shown = ", ".join(map(str, sizes))
        raise ShapeError(f"cannot reshape {x} of shape {show_shape(x)} into shape ({shown})")


class _Product:
    """A product of sizes: a number and symbols, by identity."""

    def __init__(self, sizes: Sequence[Expr]) -> None:
        self.number = 1
        self.symbols: list[Expr] = []
        for size in sizes:
            for factor in _factors_of(size):
                value = const_int(factor)
                if value is None:
                    self.symbols.append(factor)
                else:
                    self.number *= value

    def over(self, other: _Product) -> Expr | None:
        """This product divided by the other; None where it does not divide."""
        left = list(self.symbols)
        for symbol in other.symbols:
            places = [k for k, s in enumerate(left) if same_size(s, symbol)]
            if not places:
                return None
            del left[places[0]]
        if other.number == 0 or self.number % other.number:
            return None
        number = self.number // other.number
        result: Expr | None = None
        for symbol in left:
            result = symbol if result is None else result * symbol
        if result is None:
            return Const(number, int64)
        return result if number == 1 else result * number

    def equals(self, other: _Product) -> bool:
        """Whether the two products are one number whatever the symbols stand for."""
        ratio = self.over(other)
        return ratio is not None and const_int(ratio) == 1


def _factors_of(size: Expr) -> list[Expr]:
    if isinstance(size, Binary) and size.op is BinaryOp.MUL:
        return [*_factors_of(size.lhs), *_factors_of(size.rhs)]
    return [size]


def _filled(x: Tensor, shape: Sequence[int | Expr]) -> list[int | Expr]:
    """`shape` with its -1 replaced by the size that is left."""
    holes = [d for d, s in enumerate(shape) if isinstance(s, int) and s == -1]
    if not holes:
        return list(shape)
    shown = ", ".join(map(str, shape))
    if len(holes) > 1:
        raise ShapeError(f"reshape: only one size can be -1, got ({shown})")
    rest = as_shape([s for d, s in enumerate(shape) if d != holes[0]])
    left = _Product(x.shape).over(_Product(rest))
    if left is None:
        raise ShapeError(f"cannot reshape {x} of shape {show_shape(x)} into shape ({shown})")
    return [left if d == holes[0] else s for d, s in enumerate(shape)]


def _take_group(old: list[Expr], new: list[IterVar]) -> tuple[list[Expr], list[IterVar]]:
    """Remove the least leading groups of equal products from both; empty where there are none."""
    for total in range(1, len(old) + len(new) + 1):
        for a in range(max(0, total - len(new)), min(total, len(old)) + 1):
            b = total - a
            if _Product(old[:a]).equals(_Product([v.extent for v in new[:b]])):
                group = old[:a], new[:b]
                del old[:a], new[:b]
                return group
    return [], []


def _joined(axes: Sequence[IterVar]) -> Expr:
    """The row-major position of a point in the box of `axes`."""
    flat: Expr = ZERO
    for axis in axes:
        if const_int(axis.extent) != 1:
            flat = axis if flat is ZERO else flat * axis.extent + axis
    return flat


def _split(flat: Expr, sizes: Sequence[Expr]) -> list[Expr]:
    """The point of the box of `sizes` at the row-major position `flat`."""
    index: list[Expr] = []
    large = [d for d, s in enumerate(sizes) if const_int(s) != 1]
    for d, size in enumerate(sizes):
        inner = [s for s in sizes[d + 1 :] if const_int(s) != 1]
        stride = _Product(inner).over(_Product([]))
        assert stride is not None, "one divides everything"
        if const_int(size) == 1:
            index.append(ZERO)
            continue
        part = flat if const_int(stride) == 1 else flat // stride
        index.append(part if d == large[0] else part % size)
    return index
