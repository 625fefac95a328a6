"""Larger tensors out of smaller ones: concatenate, stack, pad, tile, repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from tensorc.dtypes import int64
from tensorc.errors import ShapeError
from tensorc.ir.expr import (
    Const,
    Expr,
    Load,
    Where,
    all_of,
    as_expr,
    cast,
    const_int,
    match_dtypes,
    maximum,
    minimum,
    shorten,
)
from tensorc.ir.loc import caller_loc
from tensorc.ir.simplify import simplify
from tensorc.ops.axes import normalize_axis, show_shape, spatial_axes
from tensorc.ops.shape import gather
from tensorc.te.axis import ZERO
from tensorc.te.checks import least
from tensorc.te.tensor import Tensor, define, same_size

Mode = Literal["constant", "edge", "reflect", "wrap"]


def concatenate(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """The tensors one after the other along `axis`, of their common dtype.

    Raises:
        ShapeError: no tensors, or shapes that differ in another dimension.
    """
    if not tensors:
        raise ShapeError("concatenate: no tensors")
    first = tensors[0]
    d = normalize_axis(axis, first.ndim)
    for t in tensors[1:]:
        if t.ndim != first.ndim or not all(
            k == d or same_size(a, b)
            for k, (a, b) in enumerate(zip(first.shape, t.shape, strict=True))
        ):
            raise ShapeError(
                f"concatenate along axis {d}: shapes {show_shape(first)} and {show_shape(t)} must "
                "agree in every other dimension"
            )
    ends: list[Expr] = []
    for t in tensors:
        ends.append(simplify((ends[-1] if ends else ZERO) + t.shape[d]))
    sizes = [*first.shape]
    sizes[d] = ends[-1]
    axes = spatial_axes(sizes)
    parts: list[Expr] = []
    for t, start in zip(tensors, [ZERO, *ends], strict=False):
        place = axes[d] if const_int(start) == 0 else axes[d] - start
        parts.append(Load(t, (*axes[:d], place, *axes[d + 1 :]), loc=caller_loc()))
    return define(axes, (_choose(parts, axes[d], ends),), default_name="concatenate")[0]


def stack(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new dimension at place `axis` of the result.

    Raises:
        ShapeError: no tensors, or shapes that differ.
    """
    if not tensors:
        raise ShapeError("stack: no tensors")
    first = tensors[0]
    d = normalize_axis(axis, first.ndim + 1)
    for t in tensors[1:]:
        if t.ndim != first.ndim or not all(map(same_size, first.shape, t.shape)):
            raise ShapeError(f"stack: shapes {show_shape(first)} and {show_shape(t)} differ")
    axes = spatial_axes([*first.shape[:d], Const(len(tensors), int64), *first.shape[d:]])
    own = (*axes[:d], *axes[d + 1 :])
    parts: list[Expr] = [Load(t, own, loc=caller_loc()) for t in tensors]
    ends = [Const(k + 1, int64) for k in range(len(tensors))]
    return define(axes, (_choose(parts, axes[d], ends),), default_name="stack")[0]


def _choose(parts: Sequence[Expr], axis: Expr, ends: Sequence[Expr]) -> Expr:
    """The part in whose range, up to its end, the axis lies."""
    values = match_dtypes(*parts)
    result = values[-1]
    for value, end in zip(values[-2::-1], ends[-2::-1], strict=True):
        result = Where(axis < end, value, result, loc=caller_loc())
    return result


def pad(
    x: Tensor,
    pad_width: int | tuple[int, int] | Sequence[tuple[int, int]],
    mode: Mode = "constant",
    constant_values: bool | float = 0,
) -> Tensor:
    """`x` with elements before and after it in each dimension, as `numpy.pad`.

    Args:
        x: what to pad.
        pad_width: one number for all sides, (before, after) for all dimensions, or a pair for
            each dimension.
        mode: "constant"; "edge", the outermost element again; "reflect", the inner ones mirrored
            at it; "wrap", those of the other end.
        constant_values: what "constant" adds.

    Raises:
        ShapeError: a negative width, another number of pairs than dimensions, another mode.
    """
    widths = _widths(x, pad_width)
    if mode not in get_args(Mode):
        raise ShapeError(f"pad: mode {mode!r} is none of {', '.join(get_args(Mode))}")
    if mode in ("edge", "reflect"):
        for d, (before, after) in enumerate(widths):
            if before + after:
                x = _mirrored(x, d, before, after, mode)
        return x
    axes = spatial_axes(
        [
            size if before + after == 0 else simplify(size + (before + after))
            for size, (before, after) in zip(x.shape, widths, strict=True)
        ]
    )
    index: list[Expr] = []
    inside: list[Expr] = []
    for axis, size, (before, after) in zip(axes, x.shape, widths, strict=True):
        place: Expr = axis - before if before else axis
        if mode == "wrap":
            place = place % size if before + after else place
        else:
            inside += [axis >= before] if before else []
            inside += [axis < size + before] if after else []
        index.append(simplify(place))
    body: Expr = Load(x, tuple(index), loc=caller_loc())
    cond = all_of(inside)
    if cond is not None:
        fill = cast(as_expr(constant_values, x.dtype), x.dtype)
        body = Where(simplify(cond), body, fill, loc=caller_loc())
    return define(axes, (body,), default_name="pad")[0]


def _mirrored(x: Tensor, d: int, before: int, after: int, mode: Mode) -> Tensor:
    """One dimension padded from its own elements.

    The part before, the middle and the part after are reads of their own, so that the gradient
    gathers from each. Where a width may reach past the other end, one read folds the index.
    """
    size = x.shape[d]
    axes = spatial_axes(
        [simplify(n + (before + after)) if k == d else n for k, n in enumerate(x.shape)]
    )
    place: Expr = axes[d] - before if before else axes[d]

    def at(index: Expr) -> Expr:
        return Load(x, (*axes[:d], simplify(index), *axes[d + 1 :]), loc=caller_loc())

    reach = 0 if mode == "edge" else max(before, after)
    if least(size) <= reach:
        folded = _edge(place, size) if mode == "edge" else _reflect(place, size)
        return define(axes, (at(folded),), default_name="pad")[0]
    body = at(place)
    if after:
        far = size - 1 if mode == "edge" else 2 * (size - 1) - place
        body = Where(simplify(place < size), body, at(far), loc=caller_loc())
    if before:
        near: Expr = ZERO if mode == "edge" else -place
        body = Where(simplify(place < 0), at(near), body, loc=caller_loc())
    return define(axes, (body,), default_name="pad")[0]


def _edge(place: Expr, size: Expr) -> Expr:
    return minimum(maximum(place, 0), size - 1)


def _reflect(place: Expr, size: Expr) -> Expr:
    if const_int(size) == 1:
        return ZERO
    period = simplify(2 * (size - 1))
    forth = place % period
    return minimum(forth, period - forth)


def _widths(
    x: Tensor, given: int | tuple[int, int] | Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    try:
        widths = np.broadcast_to(np.asarray(given), (x.ndim, 2))
    except ValueError:  # Ragged, or of another shape.
        widths = np.full((x.ndim, 2), -1)
    if widths.dtype.kind not in "iu":
        raise ShapeError(f"pad: widths {shorten(given)} are no integers")
    if (widths < 0).any():
        raise ShapeError(
            f"pad: widths {shorten(given)} do not fit {x}: one pair of numbers >= 0 a dimension"
        )
    return [(before, after) for before, after in widths.tolist()]


def tile(x: Tensor, reps: int | Sequence[int]) -> Tensor:
    """`x` repeated `reps` times as a whole along each dimension, aligned at the last.

    Raises:
        ShapeError: a negative number.
    """
    given = list(reps) if isinstance(reps, Sequence) else [reps]
    if any(r < 0 for r in given):
        raise ShapeError(f"tile: reps {given} must not be negative")
    rank = max(len(given), x.ndim)
    counts = [1] * (rank - len(given)) + given
    old = [Const(1, int64)] * (rank - x.ndim) + list(x.shape)
    axes = spatial_axes(
        [s if r == 1 else simplify(s * r) for s, r in zip(old, counts, strict=True)]
    )
    index = [
        axis if r == 1 else axis % size for axis, size, r in zip(axes, old, counts, strict=True)
    ]
    return gather(x, axes, index[rank - x.ndim :], "tile")


def repeat(x: Tensor, repeats: int, axis: int) -> Tensor:
    """`x` with each element repeated `repeats` times in a row along `axis`.

    Raises:
        ShapeError: a negative number.
    """
    if repeats < 0:
        raise ShapeError(f"repeat: {repeats} repeats")
    d = normalize_axis(axis, x.ndim)
    sizes = list(x.shape)
    sizes[d] = simplify(sizes[d] * repeats)
    axes = spatial_axes(sizes)
    index: list[Expr] = list(axes)
    index[d] = axes[d] // repeats if repeats else ZERO
    return gather(x, axes, index, "repeat")
