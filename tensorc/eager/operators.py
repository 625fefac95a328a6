"""Operators and methods of tensors that hold data: each is the operation of the same name."""

from __future__ import annotations

import operator
from functools import wraps
from typing import TYPE_CHECKING, Any

from tensorc import ops
from tensorc.te.dispatch import Imperative

if TYPE_CHECKING:
    from collections.abc import Callable

_NONE: dict[str, Any] = {}


def _unary(function: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda self: self.apply(function, (self,), _NONE)


def _binary(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: self.apply(function, (self, other), _NONE)


def _reflected(function: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    return lambda self, other: self.apply(function, (other, self), _NONE)


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.apply(function, (self, *args), kwargs)

    return method


class Operators(Imperative):
    """What can be written with a tensor. Results are new tensors; `x += y` binds x to one."""

    __slots__ = ()

    __add__, __radd__ = _binary(operator.add), _reflected(operator.add)
    __sub__, __rsub__ = _binary(operator.sub), _reflected(operator.sub)
    __mul__, __rmul__ = _binary(operator.mul), _reflected(operator.mul)
    __truediv__, __rtruediv__ = _binary(operator.truediv), _reflected(operator.truediv)
    __floordiv__, __rfloordiv__ = _binary(operator.floordiv), _reflected(operator.floordiv)
    __mod__, __rmod__ = _binary(operator.mod), _reflected(operator.mod)
    __pow__, __rpow__ = _binary(operator.pow), _reflected(operator.pow)
    __and__, __rand__ = _binary(operator.and_), _reflected(operator.and_)
    __or__, __ror__ = _binary(operator.or_), _reflected(operator.or_)
    __xor__, __rxor__ = _binary(operator.xor), _reflected(operator.xor)
    __matmul__, __rmatmul__ = _binary(ops.matmul), _reflected(ops.matmul)
    __neg__, __invert__, __abs__ = _unary(operator.neg), _unary(operator.invert), _unary(ops.abs)
    __lt__, __le__ = _binary(operator.lt), _binary(operator.le)
    __gt__, __ge__ = _binary(operator.gt), _binary(operator.ge)
    __eq__ = _binary(operator.eq)
    __ne__ = _binary(operator.ne)
    __hash__ = object.__hash__

    abs, exp, log, sqrt = _method(ops.abs), _method(ops.exp), _method(ops.log), _method(ops.sqrt)
    sin, cos, tanh = _method(ops.sin), _method(ops.cos), _method(ops.tanh)
    sigmoid, relu = _method(ops.sigmoid), _method(ops.relu)
    clip, square = _method(ops.clip), _method(ops.square)
    sum, prod, mean = _method(ops.sum), _method(ops.prod), _method(ops.mean)
    var, std = _method(ops.var), _method(ops.std)
    max, min, all, any = _method(ops.max), _method(ops.min), _method(ops.all), _method(ops.any)
    argmax, argmin = _method(ops.argmax), _method(ops.argmin)
    softmax, log_softmax = _method(ops.softmax), _method(ops.log_softmax)
    matmul, dot = _method(ops.matmul), _method(ops.dot)
    astype, transpose, swapaxes = _method(ops.astype), _method(ops.transpose), _method(ops.swapaxes)
    squeeze, expand_dims = _method(ops.squeeze), _method(ops.expand_dims)
    broadcast_to, take = _method(ops.broadcast_to), _method(ops.take)

    def reshape(self, *shape: Any) -> Any:
        """The elements in row-major order in another shape: `x.reshape(2, -1)`, or of a tuple."""
        sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], list | tuple) else shape
        return self.apply(ops.reshape, (self, tuple(map(operator.index, sizes))), _NONE)

    def flatten(self) -> Any:
        """All elements in one dimension, in row-major order."""
        return self.reshape(-1)

    @property
    def T(self) -> Any:  # noqa: N802 - NumPy's name.
        """The tensor with the order of its dimensions reversed."""
        return self.apply(ops.transpose, (self,), _NONE)
