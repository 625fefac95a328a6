"""Values for parameters to start from, each drawn from an explicit generator or seed.

The source of random numbers is the caller's: a `numpy.random.Generator`, an integer that seeds a
new one, or, on request, NumPy's global one: `rng=np.random`.

The variance of each layer's output, or of its gradient, should be that of its input. For weights
of shape (fan_in, fan_out):

* Xavier: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
  networks", AISTATS 2010, equation 16: Var = 2 / (fan_in + fan_out). For linear units and tanh.
* Kaiming: K. He et al., "Delving deep into rectifiers", ICCV 2015, equation 10: Var = 2 / fan_in.
  For ReLU, which sends half of its inputs to 0; the gain of 2 makes up for that.

A `gain` multiplies the standard deviation, for other activations; `fan="out"` keeps the variance
of the gradient rather than that of the output.

A uniform distribution over (-b, b) has variance b**2 / 3. More than two dimensions are taken as a
convolution's (..., in, out): the leading ones count into both fans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from tensorc.dtypes import DType, as_dtype, float32
from tensorc.errors import ArgumentError, ShapeError

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import ArrayLike, NDArray

Fan: TypeAlias = Literal["in", "out"]
Stream: TypeAlias = np.random.Generator | np.random.RandomState
Seed: TypeAlias = "int | Stream | ModuleType"  # The module is numpy.random.
Initializer: TypeAlias = Callable[[Sequence[int], Seed, DType | str], "NDArray[Any]"]


def generator(rng: Seed) -> Stream:
    """The generator itself, a new one of the seed that is given, or NumPy's global one.

    Raises:
        ArgumentError: neither a generator nor an integer of at least 0.
    """
    if isinstance(rng, Stream):
        return rng
    if rng is np.random:
        return np.random.mtrand._rand
    if isinstance(rng, bool) or not isinstance(rng, int | np.integer) or rng < 0:
        raise ArgumentError(
            f"rng must be a numpy.random.Generator or a seed of at least 0, got {rng!r}"
        )
    return np.random.default_rng(int(rng))


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """How many inputs each output of a weight of `shape` (..., in, out) sums, and the reverse.

    Raises:
        ShapeError: fewer than two dimensions.
    """
    if len(shape) < 2:
        raise ShapeError(f"a weight to initialize has at least 2 dimensions, got {tuple(shape)}")
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def zeros(shape: Sequence[int], rng: Seed = 0, dtype: DType | str = float32) -> NDArray[Any]:
    """Zeros, for biases; `rng` is not used."""
    return constant(shape, rng, dtype, value=0)


def ones(shape: Sequence[int], rng: Seed = 0, dtype: DType | str = float32) -> NDArray[Any]:
    """Ones, for scales; `rng` is not used."""
    return constant(shape, rng, dtype, value=1)


def constant(
    shape: Sequence[int], rng: Seed = 0, dtype: DType | str = float32, *, value: float
) -> NDArray[Any]:
    """`value` everywhere; `rng` is not used."""
    del rng
    return np.full(tuple(shape), value, as_dtype(dtype).numpy)


def uniform(
    shape: Sequence[int],
    rng: Seed = 0,
    dtype: DType | str = float32,
    *,
    low: float = 0.0,
    high: float = 1.0,
) -> NDArray[Any]:
    """Uniform over [low, high)."""
    return generator(rng).uniform(low, high, tuple(shape)).astype(as_dtype(dtype).numpy)


def normal(
    shape: Sequence[int],
    rng: Seed = 0,
    dtype: DType | str = float32,
    *,
    mean: float = 0.0,
    std: float = 1.0,
) -> NDArray[Any]:
    """Normal with the given mean and standard deviation."""
    return generator(rng).normal(mean, std, tuple(shape)).astype(as_dtype(dtype).numpy)


def one_hot(labels: ArrayLike, classes: int, dtype: DType | str = float32) -> NDArray[Any]:
    """(..., classes): 1 at each label, 0 elsewhere.

    Raises:
        ArgumentError: labels that are no integers from 0 to classes - 1.
    """
    at = np.asarray(labels)
    if at.dtype.kind not in "iu" or (at.size and not (at.min() >= 0 and at.max() < classes)):
        raise ArgumentError(f"one_hot: labels must be integers from 0 to {classes - 1}")
    rows: NDArray[Any] = np.eye(classes, dtype=as_dtype(dtype).numpy)
    return rows.take(at, axis=0)


def kaiming_uniform(
    shape: Sequence[int],
    rng: Seed = 0,
    dtype: DType | str = float32,
    *,
    gain: float = math.sqrt(2),
    fan: Fan = "in",
) -> NDArray[Any]:
    """Uniform over (-b, b), b = gain sqrt(3 / fan)."""
    return _uniform(shape, rng, dtype, gain**2 / _fan(shape, fan))


def kaiming_normal(
    shape: Sequence[int],
    rng: Seed = 0,
    dtype: DType | str = float32,
    *,
    gain: float = math.sqrt(2),
    fan: Fan = "in",
) -> NDArray[Any]:
    """Normal with standard deviation gain / sqrt(fan)."""
    return _normal(shape, rng, dtype, gain**2 / _fan(shape, fan))


def xavier_uniform(
    shape: Sequence[int], rng: Seed = 0, dtype: DType | str = float32, *, gain: float = 1.0
) -> NDArray[Any]:
    """Uniform over (-b, b), b = gain sqrt(6 / (fan_in + fan_out))."""
    return _uniform(shape, rng, dtype, 2 * gain**2 / max(1, sum(fans(shape))))


def xavier_normal(
    shape: Sequence[int], rng: Seed = 0, dtype: DType | str = float32, *, gain: float = 1.0
) -> NDArray[Any]:
    """Normal with standard deviation gain sqrt(2 / (fan_in + fan_out))."""
    return _normal(shape, rng, dtype, 2 * gain**2 / max(1, sum(fans(shape))))


def _fan(shape: Sequence[int], fan: Fan) -> int:
    if fan not in ("in", "out"):
        raise ArgumentError(f"fan must be 'in' or 'out', got {fan!r}")
    return max(1, fans(shape)[fan == "out"])


def _uniform(shape: Sequence[int], rng: Seed, dtype: DType | str, variance: float) -> NDArray[Any]:
    bound = math.sqrt(3 * variance)
    return uniform(shape, rng, dtype, low=-bound, high=bound)


def _normal(shape: Sequence[int], rng: Seed, dtype: DType | str, variance: float) -> NDArray[Any]:
    return normal(shape, rng, dtype, std=math.sqrt(variance))
