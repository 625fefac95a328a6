"""Modules of `nn` called with tensors that hold data.

A layer of ours depends on its parameters and its settings alone, so it is recorded as one operation
of its inputs and parameters, as is a model of such layers. The `forward` of a user's own module may
do anything, look at values too: it runs, and what it does with tensors is recorded.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from tensorc.eager.record import find_op, intern_op, make_call
from tensorc.nn.module import Module
from tensorc.nn.parameter import Parameter, stand_in
from tensorc.te.dispatch import Imperative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tensorc.eager.graph import Call, Op, Signature, Value
    from tensorc.te.tensor import Tensor

_OURS = "tensorc.nn."
_PLAIN = frozenset((bool, int, str, type(None)))
_given: ContextVar[Sequence[Any]] = ContextVar("tensorc_parameters_given")


class _Stub:
    """A parameter in a copy of a module: the tensor that is given where the copy is called."""

    __slots__ = ("dtype", "position", "shape")

    def __init__(self, parameter: Parameter, position: int) -> None:
        self.position = position
        self.shape = parameter.shape
        self.dtype = parameter.dtype

    @property
    def tensor(self) -> Any:
        return _given.get()[self.position]


@contextmanager
def computing(leaf_of: Callable[[Parameter], Any]) -> Iterator[None]:
    """While a `forward` runs: `parameter.tensor` is the tensor that holds its data."""
    token = stand_in.set(leaf_of)
    try:
        yield
    finally:
        stand_in.reset(token)


def record_module(
    module: Module, inputs: Sequence[Any], leaf_of: Callable[[Parameter], Any]
) -> Call | None:
    """The call of `module` as one operation; None where only its `forward` says what it does."""
    parameters: dict[Parameter, None] = {}
    settings = _settings(module, parameters)
    if settings is None or not all(isinstance(x, Imperative) for x in inputs):
        return None
    values: list[Value] = [x._value for x in inputs]
    values += [leaf_of(p)._value for p in parameters]
    shapes = [v.signature for v in values]
    key = ("module", settings, len(inputs), *shapes)
    op = find_op(key) or _module_op(key, module, list(parameters), shapes)
    return make_call(op, tuple(values))


def _module_op(
    key: tuple[Any, ...],
    module: Module,
    parameters: Sequence[Parameter],
    shapes: Sequence[Signature],
) -> Op:
    """The operation; it keeps a copy of the module, without the parameters' arrays."""
    stubs = {p: _Stub(p, k) for k, p in enumerate(parameters)}
    copied = _copied(module, stubs)
    count = len(shapes) - len(stubs)

    def build(tensors: Sequence[Tensor]) -> Any:
        token = _given.set(tensors[count:])
        try:
            return copied.forward(*tensors[:count])
        finally:
            _given.reset(token)

    return intern_op(key, build, shapes, type(module).__name__)


def _copied(value: Any, stubs: Mapping[Parameter, _Stub]) -> Any:
    if isinstance(value, Parameter):
        return stubs[value]
    if isinstance(value, list | tuple):
        return type(value)(_copied(item, stubs) for item in value)
    if not isinstance(value, Module):
        return value
    made = copy.copy(value)
    for name, part in vars(value).items():
        vars(made)[name] = _copied(part, stubs)
    return made


def _settings(module: Module, parameters: dict[Parameter, None]) -> tuple[Any, ...] | None:
    """What a module of ours does but for the values of its parameters, which are collected."""
    found: list[Any] = []
    return tuple(found) if _describe(module, found, parameters, {}) else None


def _describe(
    value: Any, found: list[Any], parameters: dict[Parameter, None], seen: dict[Any, int]
) -> bool:
    """Append what `value`, a module or a part of one, is; False where that cannot be said."""
    cls = value.__class__
    if cls in _PLAIN:
        found.append(cls)
        found.append(value)
    elif isinstance(value, Parameter | Module) and value in seen:
        found.append(seen[value])
    elif isinstance(value, Parameter):
        parameters[value] = None
        seen[value] = len(seen)
        found.append(Parameter)
    elif isinstance(value, Module):
        if not cls.forward.__module__.startswith(_OURS):
            return False
        seen[value] = len(seen)
        found.append(cls)
        for name, part in value.__dict__.items():
            found.append(name)
            if part.__class__ in _PLAIN:
                found.append(part.__class__)
                found.append(part)
            elif not _describe(part, found, parameters, seen):
                return False
    elif isinstance(value, list | tuple):
        found.append(cls)
        found.append(len(value))
        return all(_describe(item, found, parameters, seen) for item in value)
    elif isinstance(value, float):
        found.append(value.hex())
    else:
        try:
            hash(value)
        except TypeError:
            return False
        found.append(value)
    return True
