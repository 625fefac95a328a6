"""A rule at work on tensors that hold data: `step()` and `zero_grad()`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.errors import ArgumentError
from tensorc.optim.state import check_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Bound:
    """A rule with its parameters and its state: `step()` updates them by their gradients.

    Parameters are those of `nn`, or tensors that hold data and require a gradient: in a list, or by
    name, as in `rule.bind(dict(model.named_parameters()))`. In a list they are called `p0`, `p1`...
    `state` has the learning rate and the moments, by the names that a compiled step gives them; it
    is filled by the first step, and what is written into it counts.

        >>> import tensorc as tc
        >>> w = tc.tensor([1.0, 2.0], requires_grad=True)
        >>> optimizer = tc.optim.SGD(lr=0.5).bind([w])
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.tolist(), w.grad.tolist()
        ([0.0, 0.0], [2.0, 4.0])
    """

    def __init__(self, rule: Any, parameters: Sequence[Any] | Mapping[str, Any]) -> None:
        """Nothing is computed yet.

        Raises:
            ArgumentError: something that keeps no gradient, or nothing at all.
        """
        self.rule = rule
        if not isinstance(parameters, Mapping | Iterable):
            raise ArgumentError(
                "bind: the parameters must be a list or a dict of tensors, got a "
                f"{type(parameters).__name__}"
            )
        if not isinstance(parameters, Mapping):
            parameters = {f"p{k}": p for k, p in enumerate(parameters)}
        self.names, self.parameters = list(parameters), list(parameters.values())
        self.state: dict[str, NDArray[Any]] = {}
        try:
            hash(rule)
        except TypeError:
            raise ArgumentError(
                f"bind: {type(rule).__name__} must be hashable, as a frozen dataclass is: "
                "functions are compiled once for each rule"
            ) from None
        if not self.parameters:
            raise ArgumentError(f"bind: there are no parameters for {rule!r}")
        for p in self.parameters:
            if not hasattr(p, "leaf") and not getattr(p, "requires_grad", False):
                raise ArgumentError(
                    "bind: a parameter is an nn.Parameter, or a tensor made by "
                    f"tc.tensor(..., requires_grad=True), not {type(p).__name__}"
                )

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self, zero_grad: bool = False) -> None:
        """Update every parameter that has a gradient.

        The forward and the backward pass run now, if they have not, as one function with the
        update. With `zero_grad` the gradients are forgotten with the step: then they need not be
        stored at all, which a large model notices.

        Raises:
            CheckFailed: a value in the data is not allowed; no parameter was changed.
        """
        leaves: dict[str, Any] = {}
        for name, parameter in zip(self.names, self.parameters, strict=True):
            leaf = _leaf(parameter)
            if leaf is not None and leaf.grad is not None:
                leaves[name] = leaf
        if leaves:
            first = next(iter(leaves.values()))
            first.grad.update(self.rule, leaves, self.state, zero_grad)

    @property
    def lr(self) -> float:
        """The learning rate of the next step; setting it compiles nothing anew."""
        kept = self.state.get("optimizer.lr")
        return float(self.rule.lr if kept is None else kept)

    @lr.setter
    def lr(self, value: float) -> None:
        check_number(type(self.rule).__name__, "lr", value)
        self.state.setdefault("optimizer.lr", np.array(0.0, np.float64))[...] = value


def _leaf(parameter: Any) -> Any:
    """The tensor that holds the parameter's data; None where nobody has computed with it yet."""
    return parameter.leaf if hasattr(parameter, "leaf") else parameter
