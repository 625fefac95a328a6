"""Random numbers that are functions: of a seed, a step and the place in the tensor, nothing else.

Threefry-2x32 with 20 rounds turns (seed, place, step) into bits: J. Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011, section 3. It is additions, rotations and exclusive ors of
32-bit integers, so every backend and every schedule gives the same bits, and a step can be run
again. A tensor repeats its numbers after 2**32 elements, and a seed after 2**32 steps.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, TypeAlias

from tensorc.dtypes import DType, as_dtype, float32, float64, uint32, uint64
from tensorc.errors import ArgumentError, DTypeError, ShapeError
from tensorc.ir.expr import Const, Expr, Let, Select, Var, as_expr, as_shape, call, cast
from tensorc.ops.axes import show_shape, spatial_axes
from tensorc.te.axis import ZERO
from tensorc.te.tensor import Tensor, define, elementwise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ops.shape import Shape

# A number, or an integer tensor without dimensions: what a step can count on.
Key: TypeAlias = "int | Tensor"

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def random_bits(shape: Shape, seed: Key, step: Key = 0) -> Tensor:
    """uint32, each bit 0 or 1 with equal probability.

    Args:
        shape: integers or sizes.
        seed: what tells one sequence from another; 64 bits count.
        step: what tells one tensor of a sequence from the next; 32 bits count.

    Raises:
        ArgumentError: a seed or step that is no integer of at least 0.
        DTypeError: a tensor of floats as one of them.
        ShapeError: a tensor with dimensions as one of them.
    """
    axes = spatial_axes(as_shape(shape))
    return define(axes, (_words(axes, seed, step, 0),), default_name="random_bits")[0]


def random_uniform(shape: Shape, seed: Key, step: Key = 0, dtype: DType | str = float32) -> Tensor:
    """Floats from 0, included, to 1, excluded: multiples of 2**-24, in float64 of 2**-53.

    Arguments and errors are those of `random_bits`; `dtype` is float32 or float64.
    """
    to = _wide_float("random_uniform", dtype)
    axes = spatial_axes(as_shape(shape))
    return define(axes, (_unit(axes, seed, step, to),), default_name="random_uniform")[0]


def random_normal(shape: Shape, seed: Key, step: Key = 0, dtype: DType | str = float32) -> Tensor:
    """Floats of mean 0 and variance 1, normally distributed, by G. Box and M. Muller (1958).

    Arguments and errors are those of `random_bits`; `dtype` is float32 or float64. The bits that
    they are made of are the same everywhere; logarithm and cosine round as a backend's do.
    """
    to = _wide_float("random_normal", dtype)
    axes = spatial_axes(as_shape(shape))
    scale = 2.0**-24
    first, second = (
        cast(_words(axes, seed, step, k) >> Const(8, uint32), to) * scale for k in (0, 1)
    )
    # 1 - first is above 0, so its logarithm is finite.
    radius = call("sqrt", -2.0 * call("log", 1.0 - first))
    body = radius * call("cos", 2 * math.pi * second)
    return define(axes, (body,), default_name="random_normal")[0]


def dropout(x: Tensor, rate: float, seed: Key, step: Key = 0) -> Tensor:
    """`x / (1 - rate)`, with each element replaced by 0 with probability `rate`.

    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", JMLR
    15, 2014. Which elements are left follows from `seed`, `step` and their place; the gradient
    passes through those.

    Raises:
        ArgumentError: a rate below 0, or of 1 and more; a seed or step as for `random_bits`.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ArgumentError(f"dropout: rate must be at least 0 and below 1, got {rate!r}")
    if not x.dtype.is_float:
        raise DTypeError(f"dropout: {x} must be of a float dtype")
    if rate == 0:
        return x
    threshold = Const(min(round(rate * 2**32), 2**32 - 1), uint32)
    axes = spatial_axes(x.shape)
    kept = define(axes, (_words(axes, seed, step, 0) >= threshold,), default_name="kept")[0]
    return elementwise(
        lambda v, k: Select(k, v * (1 / (1 - rate)), as_expr(0.0, v.dtype)), x, kept, name="dropout"
    )


def threefry(key: tuple[Expr, Expr], counter: tuple[Expr, Expr], word: int) -> Expr:
    """Word 0 or 1 of Threefry-2x32-20 of two uint32 each, as one expression of lets."""
    keys = (*key, key[0] ^ key[1] ^ Const(_PARITY, uint32))
    lets: list[tuple[Var, Expr]] = []

    def let(name: str, value: Expr) -> Var:
        lets.append((Var(f"{name}{len(lets)}", uint32), value))
        return lets[-1][0]

    ks = [let("k", k) for k in keys]
    x: Expr = let("x", counter[0] + ks[0])
    y: Expr = let("y", counter[1] + ks[1])
    for group in range(5):
        for turn in _ROTATIONS[group % 2]:
            x = let("x", x + y)
            y = let("y", (y << Const(turn, uint32) | y >> Const(32 - turn, uint32)) ^ x)
        x = let("x", x + ks[(group + 1) % 3])
        y = let("y", y + ks[(group + 2) % 3] + Const(group + 1, uint32))
    result: Expr = (x, y)[word]
    for var, value in reversed(lets):
        result = Let(var, value, result)
    return result


def _words(axes: Sequence[Expr], seed: Key, step: Key, word: int) -> Expr:
    place: Expr = ZERO
    for axis in axes:
        place = axis if place is ZERO else place * axis.extent + axis  # type: ignore[union-attr]
    wide = _key("seed", seed, uint64)
    key = cast(wide, uint32), cast(wide >> Const(32, uint64), uint32)
    return threefry(key, (cast(place, uint32), _key("step", step, uint32)), word)


def _key(name: str, value: Key, to: DType) -> Expr:
    if isinstance(value, Tensor):
        if not value.dtype.is_int:
            raise DTypeError(f"{name} must be an integer, got {value}")
        if value.ndim:
            raise ShapeError(
                f"{name} must have no dimensions, got {value.name} of shape {show_shape(value)}"
            )
        return cast(value[()], to)
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if number < 0 or isinstance(value, bool):
        raise ArgumentError(f"{name} must be an integer of at least 0, got {value!r}")
    return Const(number % (1 << to.bits), to)


def _unit(axes: Sequence[Expr], seed: Key, step: Key, to: DType) -> Expr:
    first = _words(axes, seed, step, 0)
    if to == float32:
        return cast(first >> Const(8, uint32), to) * 2.0**-24
    high = cast(first, uint64) << Const(32, uint64)
    bits = (high | cast(_words(axes, seed, step, 1), uint64)) >> Const(11, uint64)
    return cast(bits, to) * 2.0**-53


def _wide_float(asked: str, dtype: DType | str) -> DType:
    to = as_dtype(dtype)
    if to not in (float32, float64):
        raise DTypeError(f"{asked}: dtype must be float32 or float64, got {to}; cast the result")
    return to
