"""Modules: parameters with names, and a forward pass that builds tensor expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tensorc.errors import ArgumentError
from tensorc.nn.init import Seed, generator
from tensorc.nn.parameter import Parameter
from tensorc.te.dispatch import imperative_among

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from tensorc.te.tensor import Tensor


class Module:
    """A function of tensors, with parameters.

    A subclass assigns its parameters and its parts as attributes and defines `forward`. The
    attributes' names, in order of their first assignment, make the parameters' full names:

        >>> class Scale(Module):
        ...     def __init__(self):
        ...         self.factor = Parameter((3,))
        ...     def forward(self, x):
        ...         return x * self.factor.tensor
        >>> class Twice(Module):
        ...     def __init__(self):
        ...         self.first, self.second = Scale(), Scale()
        ...     def forward(self, x):
        ...         return self.second(self.first(x))
        >>> [name for name, parameter in Twice().named_parameters()]
        ['first.factor', 'second.factor']
    """

    forward: Callable[..., Tensor]

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

    def children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one, with their names."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Each parameter once, under the first of its full names, in order of definition."""
        seen: set[int] = set()
        for name, parameter in self._all_parameters(prefix):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                yield name, parameter

    def _all_parameters(self, prefix: str) -> Iterator[tuple[str, Parameter]]:
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield prefix + name, value
            elif isinstance(value, Module):
                yield from value._all_parameters(f"{prefix}{name}.")

    def parameters(self) -> list[Parameter]:
        """The parameters, in order of definition."""
        return [parameter for _, parameter in self.named_parameters()]

    def bind_names(self) -> None:
        """Name each parameter's placeholder as seen from here; the builders of steps do so."""
        for name, parameter in self.named_parameters():
            parameter.bind_name(name)

    def initialize(self, rng: Seed = 0) -> None:
        """Draw all parameters anew, in order, from one generator."""
        stream = generator(rng)
        for parameter in self.parameters():
            parameter.initialize(stream)

    def zero_grad(self) -> None:
        """Forget the gradients that `backward` has left in the parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies of the parameters' values by their full names."""
        return {name: parameter.value.copy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy `state`, as `state_dict` gives it, into the parameters.

        Raises:
            ArgumentError: a name that is missing or unknown, or an array of another shape or of
                another dtype; the parameters are as they were.
        """
        own = dict(self.named_parameters())
        missing = [name for name in own if name not in state]
        unknown = [name for name in state if name not in own]
        if missing or unknown:
            parts = [
                f"{what} {', '.join(names)}"
                for what, names in (("missing", missing), ("unknown", unknown))
                if names
            ]
            raise ArgumentError(
                f"load_state_dict: {'; '.join(parts)}; the parameters are {', '.join(own)}"
            )
        arrays = {name: np.asarray(state[name]) for name in own}
        for name, parameter in own.items():
            array = arrays[name]
            if array.shape != parameter.shape or array.dtype != parameter.value.dtype:
                raise ArgumentError(
                    f"load_state_dict: {name} is {parameter.dtype} {parameter.shape}, "
                    f"got {array.dtype} {array.shape}"
                )
        for name, parameter in own.items():
            parameter.value = arrays[name]

    def __repr__(self) -> str:
        lines = [f"  {name}: {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        inner = "\n" + "\n".join(lines) + "\n" if lines else ""
        return f"{type(self).__name__}({inner})"
