"""Sliding windows: the arguments of convolutions and pools, and where each window reads."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tensorc.errors import ShapeError
from tensorc.ir.expr import Expr, const_int, shorten
from tensorc.ir.simplify import simplify
from tensorc.ops.axes import show_shape

if TYPE_CHECKING:
    from tensorc.te.tensor import Tensor

# One number for all dimensions of a window, or one for each.
PerDim: TypeAlias = int | Sequence[int]
# Both ends alike, or (before, after) for each dimension; "same" keeps the size at stride 1.
Padding: TypeAlias = "int | Sequence[int | tuple[int, int]] | Literal['same', 'valid']"
# Where the channels stand: before the dimensions of the window, or last.
Layout: TypeAlias = Literal["NCHW", "NHWC"]


@dataclass(frozen=True, slots=True)
class Window:
    """One dimension of a window: `size` elements, `dilation` apart, in steps of `stride`."""

    size: int
    stride: int
    dilation: int
    before: int
    after: int

    @property
    def reach(self) -> int:
        """How many elements lie from the first to the last of a window, both included."""
        return self.dilation * (self.size - 1) + 1

    def count(self, extent: Expr) -> Expr:
        """How many windows lie whole in `extent` elements with their padding."""
        room = simplify(extent + (self.before + self.after - self.reach))
        return simplify((room if self.stride == 1 else room // self.stride) + 1)

    def place(self, window: Expr, element: Expr) -> Expr:
        """Where an element of a window stands in the padded dimension."""
        start = window if self.stride == 1 else window * self.stride
        return start + (element if self.dilation == 1 else element * self.dilation)


def windows(
    asked: str,
    size: Sequence[int],
    stride: PerDim,
    padding: Padding,
    dilation: PerDim,
) -> tuple[Window, ...]:
    """The dimensions of a window of `size`, from the arguments of the operation `asked`.

    Raises:
        ShapeError: numbers that are no integers, too small, or of another count than `size`.
    """
    strides = per_dim(asked, "stride", stride, len(size), least=1)
    dilations = per_dim(asked, "dilation", dilation, len(size), least=1)
    reach = [d * (k - 1) for k, d in zip(size, dilations, strict=True)]
    pads = _pads(asked, padding, strides, reach)
    return tuple(
        Window(k, s, d, *p) for k, s, d, p in zip(size, strides, dilations, pads, strict=True)
    )


def per_dim(asked: str, name: str, value: PerDim, count: int, least: int) -> tuple[int, ...]:
    """`value` for each of `count` dimensions.

    Raises:
        ShapeError: it is not one integer, or `count` of them, of at least `least`.
    """
    given = tuple(value) if isinstance(value, Sequence) else (value,) * count
    try:
        numbers = tuple(operator.index(v) for v in given)
    except TypeError:
        numbers = ()
    if len(numbers) != count or any(n < least for n in numbers):
        raise ShapeError(
            f"{asked}: {name} must be an integer of at least {least}, or {count} of them, "
            f"got {shorten(value)}"
        )
    return numbers


def _pads(
    asked: str, padding: Padding, strides: Sequence[int], reach: Sequence[int]
) -> list[tuple[int, int]]:
    count = len(reach)
    if padding == "valid":
        return [(0, 0)] * count
    if padding == "same":
        if any(s != 1 for s in strides):
            raise ShapeError(f"{asked}: padding='same' takes stride 1, got {tuple(strides)}")
        return [(r // 2, r - r // 2) for r in reach]
    given: Sequence[Any] = () if isinstance(padding, str) else (padding,) * count
    if isinstance(padding, Sequence) and not isinstance(padding, str):
        given = padding
    try:
        pairs = [
            (operator.index(p[0]), operator.index(p[1]))
            if isinstance(p, Sequence) and len(p) == 2
            else (operator.index(p), operator.index(p))
            for p in given
        ]
    except TypeError:
        pairs = []
    if len(pairs) != count or any(n < 0 for pair in pairs for n in pair):
        raise ShapeError(
            f"{asked}: padding must be an integer of at least 0, {count} of them or of pairs "
            f"(before, after), 'same' or 'valid', got {shorten(padding)}"
        )
    return pairs


def channel_axis(asked: str, x: Tensor, count: int, layout: Layout) -> int:
    """The dimension of `x` that counts channels, of windows with `count` dimensions.

    Raises:
        ShapeError: another layout, or another number of dimensions.
    """
    if layout not in ("NCHW", "NHWC"):
        raise ShapeError(f"{asked}: layout must be 'NCHW' or 'NHWC', got {layout!r}")
    if x.ndim != count + 2:
        inner = ["length"] if count == 1 else ["height", "width"]
        names = ["batch", "channels", *inner] if layout == "NCHW" else ["batch", *inner, "channels"]
        raise ShapeError(
            f"{asked}: x must have dimensions ({', '.join(names)}), got {x.name} of shape "
            f"{show_shape(x)}"
        )
    return 1 if layout == "NCHW" else x.ndim - 1


def inner_axes(count: int, layout: Layout) -> range:
    """The dimensions over which windows slide."""
    return range(2, 2 + count) if layout == "NCHW" else range(1, 1 + count)


def counts(asked: str, x: Tensor, dims: Sequence[int], parts: Sequence[Window]) -> list[Expr]:
    """How many windows there are along each of `dims`.

    Raises:
        ShapeError: a window that reaches farther than its dimension and the padding.
    """
    sizes = []
    for d, part in zip(dims, parts, strict=True):
        count = part.count(x.shape[d])
        known = const_int(count)
        if known is not None and known < 1:
            apart = "" if part.dilation == 1 else f", {part.dilation} apart,"
            raise ShapeError(
                f"{asked}: a window of {part.size} elements{apart} does not fit into dimension {d} "
                f"of {x.name}, {x.shape[d]} with a padding of {part.before} + {part.after}"
            )
        sizes.append(count)
    return sizes
