"""Values for parameters to start from, each drawn from an explicit generator or seed.

The variance of each layer's output, or of its gradient, should be that of its input. For weights
of shape (fan_in, fan_out):

* Xavier: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural
  networks", AISTATS 2010, equation 16: Var = 2 / (fan_in + fan_out). For linear units and tanh.
* Kaiming: K. He et al., "Delving deep into rectifiers", ICCV 2015, equation 10: Var = 2 / fan_in.
  For ReLU, which sends half of its inputs to 0; the gain of 2 makes up for that.

A uniform distribution over (-b, b) has variance b**2 / 3. More than two dimensions are taken as a
convolution's (..., in, out): the leading ones count into both fans.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tensorc.dtypes import DType, as_dtype, float32
from tensorc.errors import ArgumentError, ShapeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Seed: TypeAlias = int | np.random.Generator
Initializer: TypeAlias = Callable[[Sequence[int], Seed, DType | str], "NDArray[Any]"]


def generator(rng: Seed) -> np.random.Generator:
    """The generator itself, or a new one of the seed that is given.

    Raises:
        ArgumentError: neither a generator nor an integer of at least 0.
    """
    if isinstance(rng, np.random.Generator):
        return rng
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
    del rng
    return np.zeros(tuple(shape), as_dtype(dtype).numpy)


def kaiming_uniform(
    shape: Sequence[int], rng: Seed = 0, dtype: DType | str = float32
) -> NDArray[Any]:
    """Uniform over (-b, b), b = sqrt(6 / fan_in)."""
    return _uniform(shape, rng, dtype, 2 / max(1, fans(shape)[0]))


def kaiming_normal(
    shape: Sequence[int], rng: Seed = 0, dtype: DType | str = float32
) -> NDArray[Any]:
    """Normal with standard deviation sqrt(2 / fan_in)."""
    return _normal(shape, rng, dtype, 2 / max(1, fans(shape)[0]))


def xavier_uniform(
    shape: Sequence[int], rng: Seed = 0, dtype: DType | str = float32
) -> NDArray[Any]:
    """Uniform over (-b, b), b = sqrt(6 / (fan_in + fan_out))."""
    return _uniform(shape, rng, dtype, 2 / max(1, sum(fans(shape))))


def xavier_normal(
    shape: Sequence[int], rng: Seed = 0, dtype: DType | str = float32
) -> NDArray[Any]:
    """Normal with standard deviation sqrt(2 / (fan_in + fan_out))."""
    return _normal(shape, rng, dtype, 2 / max(1, sum(fans(shape))))


def _uniform(shape: Sequence[int], rng: Seed, dtype: DType | str, variance: float) -> NDArray[Any]:
    bound = math.sqrt(3 * variance)
    drawn = generator(rng).uniform(-bound, bound, tuple(shape))
    return drawn.astype(as_dtype(dtype).numpy)


def _normal(shape: Sequence[int], rng: Seed, dtype: DType | str, variance: float) -> NDArray[Any]:
    drawn = generator(rng).normal(0.0, math.sqrt(variance), tuple(shape))
    return drawn.astype(as_dtype(dtype).numpy)
