"""Parameters: values that a compiled step reads and updates in place."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.dtypes import DType, as_dtype, float32
from tensorc.errors import ArgumentError, DTypeError, ShapeError
from tensorc.nn.init import Initializer, Seed, zeros
from tensorc.te.tensor import Tensor, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

# While a `forward` runs on tensors that hold data: what gives a parameter's tensor then.
stand_in: ContextVar[Callable[[Parameter], Any] | None] = ContextVar("stand_in", default=None)


class Parameter:
    """An array to be learned, and the placeholder that stands for it in expressions.

    The array is made once and stays the same for good: compiled steps hold on to it, and setting
    `value` copies into it.

        >>> scale = Parameter((3,), initializer=lambda shape, rng, dtype: np.ones(shape, "float32"))
        >>> array = scale.value
        >>> scale.value = [1, 2, 3]
        >>> array
        array([1., 2., 3.], dtype=float32)
    """

    def __init__(
        self,
        shape: Sequence[int],
        initializer: Initializer = zeros,
        rng: Seed = 0,
        dtype: DType | str = float32,
    ) -> None:
        """Draw the array from `initializer(shape, rng, dtype)`.

        Raises:
            DTypeError: a dtype that is no float: there is no gradient to learn by.
            ShapeError: a negative size, or an initializer that gives another shape.
        """
        self.dtype = as_dtype(dtype)
        if not self.dtype.is_float:
            raise DTypeError(f"a parameter must be of a float dtype, got {self.dtype}")
        if any(size < 0 for size in shape):
            raise ShapeError(f"a parameter cannot have the shape {tuple(shape)}")
        self.initializer = initializer
        self._value: NDArray[Any] = np.empty(tuple(shape), self.dtype.numpy)
        self._tensor: Tensor | None = None
        self.leaf: Any = None  # The tensor that shares the array in imperative use.
        self.initialize(rng)

    def initialize(self, rng: Seed) -> None:
        """Draw the values anew, in place."""
        self.value = self.initializer(self._value.shape, rng, self.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self._value.shape

    @property
    def value(self) -> NDArray[Any]:
        """The array, live: a compiled step changes it."""
        return self._value

    @value.setter
    def value(self, new: ArrayLike) -> None:
        array = np.asarray(new)
        if array.shape != self._value.shape:
            raise ShapeError(f"a parameter of shape {self._value.shape} cannot take {array.shape}")
        if array.dtype.kind not in "biuf" and array.dtype != self._value.dtype:
            raise DTypeError(f"a parameter of {self.dtype} cannot take {array.dtype}")
        if self.leaf is not None:
            self.leaf.before_write()
        self._value[...] = array

    @property
    def grad(self) -> Any:
        """What `backward` of tensors that hold data has summed up here; None for nothing."""
        return None if self.leaf is None else self.leaf.grad

    @grad.setter
    def grad(self, new: Any) -> None:
        if self.leaf is not None:
            self.leaf.grad = new

    @property
    def tensor(self) -> Tensor:
        """The placeholder; `bind_name` gives it the parameter's full name."""
        other = stand_in.get()
        if other is not None:
            return other(self)  # type: ignore[no-any-return]
        if self._tensor is None:
            self._tensor = placeholder(self._value.shape, self.dtype)
        return self._tensor

    def bind_name(self, name: str) -> None:
        """Name the placeholder; one of another name is replaced, and expressions on it go stale.

        Raises:
            ArgumentError: `name` is not made of identifiers joined by dots.
        """
        if not all(part.isidentifier() for part in name.split(".")):
            raise ArgumentError(f"a parameter cannot be named {name!r}")
        if self._tensor is None or self._tensor.name != name or not self._tensor.given_name:
            self._tensor = placeholder(self._value.shape, self.dtype, name)

    def __repr__(self) -> str:
        return f"Parameter({self._value.shape}, {self.dtype})"
