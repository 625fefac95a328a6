"""Modules: parameters with names, and a forward pass that builds tensor expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, overload

import numpy as np

from tensorc.errors import ArgumentError
from tensorc.nn.init import Seed, generator
from tensorc.nn.parameter import Buffer, Parameter, Stored
from tensorc.te.dispatch import imperative_among

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from tensorc.dtypes import DType
    from tensorc.te.tensor import Tensor

S = TypeVar("S", bound=Stored)


class Module:
    """A function of tensors, with parameters.

    A subclass assigns its parameters, buffers and parts as attributes, or lists of them, and
    defines `forward`. The attributes' names, in order of their first assignment, make the full
    names:

        >>> class Scale(Module):
        ...     def __init__(self):
        ...         self.factor = Parameter((3,))
        ...     def forward(self, x):
        ...         return x * self.factor.tensor
        >>> class Twice(Module):
        ...     def __init__(self):
        ...         self.first, self.rest = Scale(), [Scale(), Scale()]
        ...     def forward(self, x):
        ...         return self.rest[0](self.first(x))
        >>> [name for name, parameter in Twice().named_parameters()]
        ['first.factor', 'rest0.factor', 'rest1.factor']

    Attributes:
        training: whether `forward` is that of training, as it is at first; `train` and `eval` set
            it here and in all parts.
        keeps_shape: whether an output has the shape of the input.
    """

    forward: Callable[..., Tensor]
    training: bool = True
    keeps_shape: bool = False
    changes: ClassVar[int] = 0  # How often an attribute of any module was set.

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        Module.changes += 1

    @overload
    def __call__(self, *inputs: Tensor) -> Tensor: ...
    @overload
    def __call__(self, *inputs: Any) -> Any: ...
    def __call__(self, *inputs: Any) -> Any:
        """Build the expression of the outputs; nothing is computed.

        Of tensors that hold data (`tc.tensor`) it gives tensors that hold data.
        """
        found = imperative_among(inputs, {})
        if found is not None:
            return found.apply_module(self, inputs)
        return self.forward(*inputs)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of one example, or None for a module that takes any."""
        return None

    @property
    def input_dtype(self) -> DType | None:
        """The dtype of the inputs, or None for that of the parameters."""
        return None

    def _members(self) -> Iterator[tuple[str, Any]]:
        """The attributes, the items of lists and tuples one by one, with their names."""
        for name, value in vars(self).items():
            if isinstance(value, list | tuple):
                yield from ((f"{name}{k}", item) for k, item in enumerate(value))
            else:
                yield name, value

    def children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one, with their names."""
        for name, value in self._members():
            if isinstance(value, Module):
                yield name, value

    def modules(self) -> Iterator[Module]:
        """This module and all of its parts, each once."""
        seen: dict[int, Module] = {}
        waiting: list[Module] = [self]
        while waiting:
            module = waiting.pop()
            if id(module) not in seen:
                seen[id(module)] = module
                yield module
                waiting.extend(reversed([child for _, child in module.children()]))

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Each parameter once, under the first of its full names, in order of definition."""
        return self._named(Parameter, prefix)

    def named_buffers(self, prefix: str = "") -> Iterator[tuple[str, Buffer]]:
        """Each buffer once, under the first of its full names, in order of definition."""
        return self._named(Buffer, prefix)

    def named_state(self) -> Iterator[tuple[str, Stored]]:
        """Each parameter and each buffer once, in order of definition."""
        return self._named(Stored)

    def _named(self, kind: type[S], prefix: str = "") -> Iterator[tuple[str, S]]:
        seen: set[int] = set()
        for name, stored in self._all(prefix):
            if isinstance(stored, kind) and id(stored) not in seen:
                seen.add(id(stored))
                yield name, stored

    def _all(self, prefix: str) -> Iterator[tuple[str, Stored]]:
        for name, value in self._members():
            if isinstance(value, Stored):
                yield prefix + name, value
            elif isinstance(value, Module):
                yield from value._all(f"{prefix}{name}.")

    def parameters(self) -> list[Parameter]:
        """The parameters, in order of definition."""
        return [parameter for _, parameter in self.named_parameters()]

    def buffers(self) -> list[Buffer]:
        """The buffers, in order of definition."""
        return [buffer for _, buffer in self.named_buffers()]

    def train(self, training: bool = True) -> Self:
        """Have `forward` be that of training, or not, here and in all parts."""
        for module in self.modules():
            module.training = training
        return self

    def eval(self) -> Self:
        """Have `forward` be that of inference, here and in all parts."""
        return self.train(False)

    def bind_names(self) -> None:
        """Name each placeholder as seen from here; the builders of steps do so."""
        for name, stored in self.named_state():
            stored.bind_name(name)

    def initialize(self, rng: Seed = 0) -> None:
        """Draw all parameters and buffers anew, in order, from one generator."""
        stream = generator(rng)
        for _, stored in self.named_state():
            stored.initialize(stream)

    def zero_grad(self) -> None:
        """Forget the gradients that `backward` has left in the parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of the values of parameters and buffers by their full names."""
        return {name: stored.value.copy() for name, stored in self.named_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy `state`, as `state_dict` gives it, into the parameters and buffers.

        Raises:
            ArgumentError: a name that is missing or unknown, or an array of another shape or of
                another dtype; the parameters are as they were.
        """
        own: dict[str, Stored] = dict(self.named_state())
        copy_into("load_state_dict", {name: stored.value for name, stored in own.items()}, state)

    def __repr__(self) -> str:
        lines = [f"  {name}: {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        inner = "\n" + "\n".join(lines) + "\n" if lines else ""
        return f"{type(self).__name__}({inner})"


def copy_into(asked: str, own: Mapping[str, NDArray[Any]], state: Mapping[str, Any]) -> None:
    """Copy each array of `state` into that of the same name.

    Raises:
        ArgumentError: a name that is missing or unknown, or an array of another shape or of another
            dtype; nothing is copied.
    """
    missing = [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    if missing or unknown:
        parts = [
            f"{what} {', '.join(names)}"
            for what, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise ArgumentError(f"{asked}: {'; '.join(parts)}; the parameters are {', '.join(own)}")
    arrays = {name: np.asarray(state[name]) for name in own}
    for name, target in own.items():
        array = arrays[name]
        if array.shape != target.shape or array.dtype != target.dtype:
            raise ArgumentError(
                f"{asked}: {name} is {target.dtype} {target.shape}, got {array.dtype} {array.shape}"
            )
    for name, target in own.items():
        target[...] = arrays[name]
