"""How functions of tensors meet tensors that hold data, which `eager` defines far above them.

An operation is a function from tensors to tensors. Of symbolic tensors it builds definitions; where
an argument is `Imperative`, the call goes to that argument's `apply` instead, which records it.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

P = ParamSpec("P")
R = TypeVar("R")


class Imperative:
    """A tensor that holds data, or whose data can be computed: `eager.EagerTensor`."""

    __slots__ = ()

    apply: Callable[..., Any]
    """`apply(function, args, kwargs)`: what `function` gives for arguments that it is one of."""

    apply_module: Callable[..., Any]
    """`apply_module(module, inputs)`: what an `nn.Module` gives for inputs that it is one of."""

    gradients: Callable[..., Any]
    """`gradients(wrt, seed, **options)`: what `tc.grad` gives where this tensor is its `y`."""

    update: Callable[..., Any]
    """`update(rule, leaves, state, zero_grad)`: a step of an optimizer on leaves by name.

    This tensor is the gradient of one of them.
    """


def imperative_among(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Imperative | None:
    """The first argument that holds data, be it an item of a list or tuple; None of none."""
    for value in args:
        if isinstance(value, Imperative):
            return value
        if isinstance(value, list | tuple):
            for item in value:
                if isinstance(item, Imperative):
                    return item
    return imperative_among(tuple(kwargs.values()), {}) if kwargs else None


def operation(function: Callable[P, R]) -> Callable[P, R]:
    """A function of tensors that takes ones which hold data too, as all of `tc.ops` do.

    What it does may depend on its arguments that are no tensors, and on the tensors' shapes and
    dtypes; it is called once for each of these, with placeholders.

        >>> import tensorc as tc
        >>> @tc.operation
        ... def mirrored(x):
        ...     return tc.compute(x.shape, lambda i: x[x.shape[0] - 1 - i])
        >>> mirrored(tc.placeholder(3, name="x"))
        <Tensor t: float32[3]>
        >>> mirrored(tc.tensor([1.0, 2.0, 3.0])).tolist()
        [3.0, 2.0, 1.0]
    """

    @wraps(function)
    def recorded(*args: P.args, **kwargs: P.kwargs) -> R:
        found = imperative_among(args, kwargs)
        if found is not None:
            return found.apply(function, args, kwargs)  # type: ignore[no-any-return]
        return function(*args, **kwargs)

    return recorded
