"""Optimizers: from gradients to new parameters, as tensor expressions.

An optimizer holds numbers only. Its state (moments, learning rate, the powers that Adam's bias
correction needs) belongs to the step that it is used in, under names that begin with `optimizer.`.
Single numbers are 0-d float64 arrays there, whatever the dtype of the parameters: 1 - 0.999**t,
computed in float32, would be wrong by 1.3e-5 of itself at first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tensorc.dtypes import DType, float64
from tensorc.errors import ArgumentError
from tensorc.ir.expr import as_expr, call, cast
from tensorc.te.tensor import Tensor, elementwise, placeholder

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A placeholder, its value after a step (itself where a step only reads it), the starting array.
State: TypeAlias = tuple[Tensor, Tensor, "NDArray[Any]"]
Pairs: TypeAlias = Sequence[tuple[Tensor, Tensor]]


class Rule:
    """What every optimizer can do beside its `update`."""

    __slots__ = ()

    def bind(self, parameters: Sequence[Any]) -> Bound:
        """This rule on the parameters of a model, for imperative use: see `Bound`."""
        return Bound(self, parameters)


class Bound:
    """A rule with its parameters and its state: `step()` updates them by their gradients.

    Parameters are those of `nn`, or tensors that hold data and require a gradient. `state` has the
    learning rate and the moments, by the names that a compiled step gives them, with `p0`, `p1`...
    for the parameters; it is filled by the first step, and what is written into it counts.

        >>> import tensorc as tc
        >>> w = tc.tensor([1.0, 2.0], requires_grad=True)
        >>> optimizer = SGD(lr=0.5).bind([w])
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.tolist(), w.grad.tolist()
        ([0.0, 0.0], [2.0, 4.0])
    """

    def __init__(self, rule: Any, parameters: Sequence[Any]) -> None:
        """Nothing is computed yet.

        Raises:
            ArgumentError: something that keeps no gradient, or nothing at all.
        """
        self.rule = rule
        self.parameters = list(parameters)
        self.state: dict[str, NDArray[Any]] = {}
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
        leaves = [leaf for leaf in map(_leaf, self.parameters) if leaf is not None]
        with_grad = [leaf for leaf in leaves if leaf.grad is not None]
        if with_grad:
            with_grad[0].grad.update(self.rule, with_grad, self.state, zero_grad)

    @property
    def lr(self) -> float:
        """The learning rate of the next step; setting it compiles nothing anew."""
        kept = self.state.get("optimizer.lr")
        return float(self.rule.lr if kept is None else kept)

    @lr.setter
    def lr(self, value: float) -> None:
        _check(type(self.rule).__name__, "lr", value)
        self.state.setdefault("optimizer.lr", np.array(0.0, np.float64))[...] = value


def _leaf(parameter: Any) -> Any:
    """The tensor that holds the parameter's data; None where nobody has computed with it yet."""
    return parameter.leaf if hasattr(parameter, "leaf") else parameter


@dataclass(frozen=True, slots=True)
class SGD(Rule):
    """Stochastic gradient descent: u = momentum u + g + weight_decay p, p = p - lr u.

    The form of torch: the learning rate scales the sum, so that a change of it takes effect at
    once; I. Sutskever et al., "On the importance of initialization and momentum in deep learning",
    ICML 2013, equation 1, has it inside. State: `optimizer.lr` and, where momentum is not 0,
    `optimizer.momentum.<parameter>`.
    """

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        _check("SGD", "lr", self.lr)
        _check("SGD", "momentum", self.momentum, below=1.0)
        _check("SGD", "weight_decay", self.weight_decay)

    def update(self, parameters: Pairs) -> tuple[list[Tensor], list[State]]:
        """The new values of (parameter, gradient) pairs, and the state."""
        lr = _number("lr", self.lr)
        rates = _casts(lr[0], parameters, "lr")
        kept = [lr]
        new = []
        for parameter, gradient in parameters:
            step = gradient
            if self.weight_decay:
                step = elementwise(
                    lambda g, p: g + self.weight_decay * p, step, parameter, name="decayed"
                )
            if self.momentum:
                velocity, start = _zeros("momentum", parameter)
                step = elementwise(
                    lambda u, g: self.momentum * u + g, velocity, step, name="velocity"
                )
                kept.append((velocity, step, start))
            rate = rates[parameter.dtype]
            new.append(elementwise(lambda p, a, u: p - a * u, parameter, rate, step, name="new"))
        return new, kept


@dataclass(frozen=True, slots=True)
class Adam(Rule):
    """Adam: D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Algorithm 1, with the bias corrections where it has them: m = b1 m + (1 - b1) g,
    v = b2 v + (1 - b2) g g, p = p - lr (m / (1 - b1**t)) / (sqrt(v / (1 - b2**t)) + eps).
    State: `optimizer.lr`, the powers `optimizer.beta1_power` and `optimizer.beta2_power` of the
    steps taken, and `optimizer.m.<parameter>`, `optimizer.v.<parameter>`. A running product stands
    for the step number, since it is all that the number is needed for; its relative error after t
    steps is under 1.2e-16 t.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        _check("Adam", "lr", self.lr)
        _check("Adam", "betas[0]", self.betas[0], below=1.0)
        _check("Adam", "betas[1]", self.betas[1], below=1.0)
        _check("Adam", "eps", self.eps)

    def update(self, parameters: Pairs) -> tuple[list[Tensor], list[State]]:
        """The new values of (parameter, gradient) pairs, and the state."""
        beta1, beta2 = self.betas
        lr, power1, power2 = _number("lr", self.lr), _power(1, beta1), _power(2, beta2)
        kept = [lr, power1, power2]
        rate = elementwise(lambda a, b: a / (1.0 - b), lr[0], power1[1], name="rate64")
        scale = elementwise(lambda b: 1.0 / (1.0 - b), power2[1], name="scale64")
        rates, scales = _casts(rate, parameters, "rate"), _casts(scale, parameters, "scale")
        new = []
        for parameter, gradient in parameters:
            m, m_start = _zeros("m", parameter)
            v, v_start = _zeros("v", parameter)
            mean = elementwise(lambda a, g: beta1 * a + (1 - beta1) * g, m, gradient, name="mean")
            square = elementwise(
                lambda a, g: beta2 * a + (1 - beta2) * (g * g), v, gradient, name="square"
            )
            kept += [(m, mean, m_start), (v, square, v_start)]
            new.append(
                elementwise(
                    lambda p, a, c, u, w: p - a * u / (call("sqrt", w * c) + self.eps),
                    parameter,
                    rates[parameter.dtype],
                    scales[parameter.dtype],
                    mean,
                    square,
                    name="new",
                )
            )
        return new, kept


def _check(optimizer: str, name: str, value: float, below: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise ArgumentError(f"{optimizer}: {name} must be a number, got {value!r}")
    if not 0.0 <= value < below:  # NaN fails too.
        limit = "finite" if below == math.inf else f"below {below:g}"
        raise ArgumentError(f"{optimizer}: {name} must be at least 0 and {limit}, got {value!r}")


def _number(name: str, value: float) -> State:
    """A number that a step only reads."""
    tensor = placeholder((), float64, name=f"optimizer.{name}")
    return tensor, tensor, np.array(value, np.float64)


def _power(which: int, beta: float) -> State:
    """`beta` to the number of steps taken."""
    tensor = placeholder((), float64, name=f"optimizer.beta{which}_power")
    after = elementwise(lambda b: b * as_expr(beta, float64), tensor, name=f"beta{which}_power")
    return tensor, after, np.array(1.0, np.float64)


def _zeros(kind: str, parameter: Tensor) -> tuple[Tensor, NDArray[Any]]:
    """State of the shape of `parameter`, and the zeros that it starts from."""
    name = f"optimizer.{kind}.{parameter.name}"
    tensor = placeholder(parameter.shape, parameter.dtype, name=name)
    return tensor, np.zeros([int(str(size)) for size in parameter.shape], parameter.dtype.numpy)


def _casts(number: Tensor, parameters: Pairs, name: str) -> dict[DType, Tensor]:
    """The number in each dtype that it meets: converted once, not at each element."""
    dtypes = dict.fromkeys(parameter.dtype for parameter, _ in parameters)
    return {d: elementwise(lambda x, d=d: cast(x, d), number, name=name) for d in dtypes}
