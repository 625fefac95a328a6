"""Modules of `nn` called with tensors that hold data.

A layer of ours depends on its parameters, buffers and settings alone, so it is recorded as one
operation, as is a model of such layers. The new values of buffers are further outputs of it. The
`forward` of a user's own module may do anything, look at values too: it runs, and what it does with
tensors is recorded.
"""

from __future__ import annotations

import copy
import itertools
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tensorc.eager.record import find_op, intern_op, make_call
from tensorc.nn.module import Module
from tensorc.nn.parameter import Stored, stand_in
from tensorc.te.dispatch import Imperative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tensorc.eager.graph import Call, Op, Signature, Value
    from tensorc.te.tensor import Tensor

_OURS = "tensorc.nn."
_MAX_NUMBERS = 1 << 12
_PLAIN = frozenset((bool, int, str, type(None)))


class _Frame:
    """One symbolic call of a copied module: what is given for its state, what buffers become."""

    def __init__(self, given: Sequence[Tensor]) -> None:
        self.given = given
        self.updates: dict[int, Tensor] = {}


_frame: ContextVar[_Frame] = ContextVar("tensorc_module_frame")


class _Stub:
    """A parameter or buffer in a copy of a module: it has no array, only a place in the frame."""

    __slots__ = ("dtype", "position", "shape")

    def __init__(self, stored: Stored, position: int) -> None:
        self.position = position
        self.shape = stored.shape
        self.dtype = stored.dtype

    @property
    def tensor(self) -> Tensor:
        return _frame.get().given[self.position]

    @property
    def latest(self) -> Tensor:
        frame = _frame.get()
        return frame.updates.get(self.position, frame.given[self.position])

    def update(self, new: Tensor) -> None:
        _frame.get().updates[self.position] = new


@contextmanager
def computing(current_of: Callable[[Stored], Any]) -> Iterator[None]:
    """While a `forward` runs: `parameter.tensor` is the tensor that holds its data."""
    token = stand_in.set(current_of)
    try:
        yield
    finally:
        stand_in.reset(token)


def record_module(
    module: Module, inputs: Sequence[Any], current_of: Callable[[Stored], Any]
) -> tuple[Call, list[Stored]] | None:
    """The call of `module` as one operation, and the buffers that the last outputs are for.

    None where only its `forward` can say what it does.
    """
    known = _known.get(module)
    if known is None or known.changes != Module.changes:
        known = _known[module] = _described(module)
    if known.number is None:
        return None
    values: list[Value] = []
    for x in inputs:
        if not isinstance(x, Imperative):
            return None
        values.append(x._value)  # type: ignore[attr-defined]
    stored = known.stored
    values += [current_of(s)._value for s in stored]
    key = ("module", known.number, len(inputs), *[v.signature for v in values])
    op = find_op(key) or _module_op(key, module, stored, [v.signature for v in values])
    return make_call(op, tuple(values)), [stored[k] for k in op.extras]


def _module_op(
    key: tuple[Any, ...], module: Module, stored: Sequence[Stored], shapes: Sequence[Signature]
) -> Op:
    """The operation; it keeps a copy of the module, without the arrays."""
    copied = _copied(module, {s: _Stub(s, k) for k, s in enumerate(stored)})
    count = len(shapes) - len(stored)
    kinds: list[type | None] = []
    extras: list[int] = []

    def build(tensors: Sequence[Tensor]) -> list[Tensor]:
        frame = _Frame(tensors[count:])
        token = _frame.set(frame)
        try:
            made = copied.forward(*tensors[:count])
        finally:
            _frame.reset(token)
        kinds[:] = [type(made) if isinstance(made, list | tuple) else None]
        extras[:] = sorted(frame.updates)
        return [*([made] if kinds[0] is None else made), *(frame.updates[k] for k in extras)]

    op = intern_op(key, build, shapes, type(module).__name__)
    if kinds:  # It is new.
        op.kind, op.extras = kinds[0], tuple(extras)
    return op


def _copied(value: Any, stubs: Mapping[Stored, _Stub]) -> Any:
    if isinstance(value, Stored):
        return stubs[value]
    if isinstance(value, list | tuple):
        return type(value)(_copied(item, stubs) for item in value)
    if not isinstance(value, Module):
        return value
    made = copy.copy(value)
    for name, part in vars(value).items():
        vars(made)[name] = _copied(part, stubs)
    return made


@dataclass(frozen=True, slots=True)
class _Description:
    """What a module was when no more than `changes` attributes of modules had been set.

    `number` stands for its settings, and is None where only `forward` says what it does; `stored`
    are its parameters and buffers.
    """

    changes: int
    number: int | None
    stored: tuple[Stored, ...]


_known: WeakKeyDictionary[Module, _Description] = WeakKeyDictionary()
_numbers: dict[tuple[Any, ...], int] = {}
_next_number = itertools.count()


def _described(module: Module) -> _Description:
    found: list[Any] = []
    stored: dict[Stored, None] = {}
    if not _describe(module, found, stored, {}):
        return _Description(Module.changes, None, ())
    if len(_numbers) >= _MAX_NUMBERS:
        _numbers.clear()
    number = _numbers.get(tuple(found))
    if number is None:
        number = _numbers.setdefault(tuple(found), next(_next_number))
    # A list can change unseen, so it is looked at each time.
    changes = -1 if list in found else Module.changes
    return _Description(changes, number, tuple(stored))


def _describe(
    value: Any, found: list[Any], stored: dict[Stored, None], seen: dict[Any, int]
) -> bool:
    """Append what `value`, a module or a part of one, is; False where that cannot be said."""
    cls = value.__class__
    if cls in _PLAIN:
        found.append(cls)
        found.append(value)
    elif isinstance(value, Stored | Module) and value in seen:
        found.append(seen[value])
    elif isinstance(value, Stored):
        stored[value] = None
        seen[value] = len(seen)
        found.append(type(value))
    elif isinstance(value, Module):
        if not cls.forward.__module__.startswith(_OURS):
            return False
        seen[value] = len(seen)
        found.append(cls)
        found.append(value.training)
        for name, part in value.__dict__.items():
            found.append(name)
            if part.__class__ in _PLAIN:
                found.append(part.__class__)
                found.append(part)
            elif not _describe(part, found, stored, seen):
                return False
    elif isinstance(value, list | tuple):
        found.append(cls)
        found.append(len(value))
        return all(_describe(item, found, stored, seen) for item in value)
    elif isinstance(value, float):
        found.append(value.hex())
    else:
        try:
            hash(value)
        except TypeError:
            return False
        found.append(value)
    return True
