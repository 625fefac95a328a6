"""Parameters and buffers: values that a compiled step reads and updates in place."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.dtypes import DType, as_dtype, float32
from tensorc.errors import ArgumentError, DTypeError, ShapeError
from tensorc.ir.expr import shorten
from tensorc.live import refresh
from tensorc.nn.init import Initializer, Seed, zeros
from tensorc.te.tensor import Tensor, placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

# While a `forward` runs on tensors that hold data: what gives their tensors then.
stand_in: ContextVar[Callable[[Stored], Any] | None] = ContextVar("stand_in", default=None)


def _is_size(value: object) -> bool:
    return isinstance(value, int | np.integer) and 0 <= int(value) <= sys.maxsize


class Stored:
    """An array, and the placeholder that stands for it in expressions.

    The array is made once and stays the same for good: compiled steps hold on to it, and setting
    `value` copies into it. `kind` is what messages call it.
    """

    kind = "value"

    def __init__(
        self, shape: Sequence[int], initializer: Initializer, rng: Seed, dtype: DType | str
    ) -> None:
        """Draw the array from `initializer(shape, rng, dtype)`."""
        self.dtype = as_dtype(dtype)
        if not isinstance(shape, tuple | list) or not all(map(_is_size, shape)):
            raise ShapeError(f"a {self.kind} cannot have the shape {shorten(shape)}")
        if not callable(initializer):
            raise ArgumentError(
                f"a {self.kind}'s initializer must be a function of (shape, rng, dtype), got "
                f"{shorten(initializer)}"
            )
        self.initializer = initializer
        self._value: NDArray[Any] = np.empty(tuple(shape), self.dtype.numpy)
        self._tensor: Tensor | None = None
        self.leaf: Any = None  # The tensor that shares the array in imperative use.
        self.initialize(rng)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle holds: the values as they are now, in an array of its own."""
        return {**vars(self), "_value": self.value.copy(), "leaf": None}

    def initialize(self, rng: Seed) -> None:
        """Draw the values anew, in place."""
        self.value = self.initializer(self._value.shape, rng, self.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self._value.shape

    @property
    def value(self) -> NDArray[Any]:
        """The array, live: a compiled step changes it.

        Where one works on a GPU, the values are brought from there when this is read; keep no
        array for later.
        """
        refresh(self._value)
        if self.leaf is not None:
            self.leaf.expose()
        return self._value

    @value.setter
    def value(self, new: ArrayLike) -> None:
        array = np.asarray(new)
        if array.shape != self._value.shape:
            raise ShapeError(
                f"a {self.kind} of shape {self._value.shape} cannot take {array.shape}"
            )
        if array.dtype.kind not in "biuf" and array.dtype != self._value.dtype:
            raise DTypeError(f"a {self.kind} of {self.dtype} cannot take {array.dtype}")
        self.value[...] = array

    @property
    def tensor(self) -> Tensor:
        """The placeholder; `bind_name` gives it the full name."""
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
            raise ArgumentError(f"a {self.kind} cannot be named {name!r}")
        if self._tensor is None or self._tensor.name != name or not self._tensor.given_name:
            self._tensor = placeholder(self._value.shape, self.dtype, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._value.shape}, {self.dtype})"


class Parameter(Stored):
    """An array to be learned.

    >>> scale = Parameter((3,), initializer=lambda shape, rng, dtype: np.ones(shape, "float32"))
    >>> array = scale.value
    >>> scale.value = [1, 2, 3]
    >>> array
    array([1., 2., 3.], dtype=float32)
    """

    kind = "parameter"

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
        if not as_dtype(dtype).is_float:
            raise DTypeError(f"a parameter must be of a float dtype, got {as_dtype(dtype)}")
        super().__init__(shape, initializer, rng, dtype)

    @property
    def grad(self) -> Any:
        """What `backward` of tensors that hold data has summed up here; None for nothing."""
        return None if self.leaf is None else self.leaf.grad

    @grad.setter
    def grad(self, new: Any) -> None:
        if self.leaf is not None:
            self.leaf.grad = new


class Buffer(Stored):
    """An array that a module keeps beside its parameters, such as running means or a counter.

    It is part of a step's state and of the state dict. A `forward` that changes it reads
    `latest`, builds the new value and hands that to `update`; the step then stores it in place.

        >>> calls = Buffer((), dtype="int64")
        >>> calls.update(calls.latest + 1)
        >>> calls.updated
        <Tensor add: int64[]>
    """

    kind = "buffer"

    def __init__(
        self,
        shape: Sequence[int],
        initializer: Initializer = zeros,
        rng: Seed = 0,
        dtype: DType | str = float32,
    ) -> None:
        """Draw the array from `initializer(shape, rng, dtype)`; any dtype will do.

        Raises:
            ShapeError: a negative size, or an initializer that gives another shape.
        """
        self.updated: Tensor | None = None  # What a call leaves here; None while nothing changed.
        super().__init__(shape, initializer, rng, dtype)

    @property
    def latest(self) -> Tensor:
        """The value as the forward pass has left it so far, or the placeholder."""
        return self.tensor if self.updated is None else self.updated

    def update(self, new: Tensor) -> None:
        """Take `new`, of the same shape and dtype, as the value after this forward pass.

        Raises:
            ShapeError: another shape.
            DTypeError: another dtype.
        """
        if tuple(map(str, new.shape)) != tuple(map(str, self.shape)):
            raise ShapeError(f"a buffer of shape {self.shape} cannot become {new}")
        if new.dtype != self.dtype:
            raise DTypeError(f"a buffer of {self.dtype} cannot become {new}")
        self.updated = new

    def forget(self) -> None:
        """Take no value as the one after the forward pass: the next one starts anew."""
        self.updated = None
