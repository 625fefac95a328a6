"""The pieces that the state of optimizers is made of, and the checks of their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tensorc.dtypes import DType, float64
from tensorc.errors import ArgumentError
from tensorc.ir.expr import as_expr, cast
from tensorc.te.tensor import Tensor, elementwise, placeholder

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A placeholder, its value after a step (itself where a step only reads it), the starting array.
State: TypeAlias = tuple[Tensor, Tensor, "NDArray[Any]"]
Pairs: TypeAlias = Sequence[tuple[Tensor, Tensor]]
Updates: TypeAlias = tuple[list[Tensor], list[State]]

PREFIX = "optimizer"


def check_number(rule: str, name: str, value: float, below: float = math.inf) -> None:
    """Refuse what is no number of at least 0 and less than `below`.

    Raises:
        ArgumentError: it is refused.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ArgumentError(f"{rule}: {name} must be a number, got {value!r}")
    if not 0.0 <= value < below:  # NaN fails too.
        limit = "finite" if below == math.inf else f"below {below:g}"
        raise ArgumentError(f"{rule}: {name} must be at least 0 and {limit}, got {value!r}")


def number(prefix: str, name: str, value: float) -> State:
    """A number that a step only reads."""
    tensor = placeholder((), float64, name=f"{prefix}.{name}")
    return tensor, tensor, np.array(value, np.float64)


def power(prefix: str, name: str, base: float) -> State:
    """`base` to the number of steps taken, this one included."""
    tensor = placeholder((), float64, name=f"{prefix}.{name}")
    after = elementwise(lambda b: b * as_expr(base, float64), tensor, name=name)
    return tensor, after, np.array(1.0, np.float64)


def zeros(prefix: str, kind: str, parameter: Tensor) -> tuple[Tensor, NDArray[Any]]:
    """State of the shape of `parameter`, and the zeros that it starts from."""
    name = f"{prefix}.{kind}.{parameter.name}"
    tensor = placeholder(parameter.shape, parameter.dtype, name=name)
    return tensor, np.zeros([int(str(size)) for size in parameter.shape], parameter.dtype.numpy)


def casts(value: Tensor, parameters: Pairs, name: str) -> dict[DType, Tensor]:
    """The number in each dtype that it meets: converted once, not at each element."""
    dtypes = dict.fromkeys(parameter.dtype for parameter, _ in parameters)
    return {d: elementwise(lambda x, d=d: cast(x, d), value, name=name) for d in dtypes}
