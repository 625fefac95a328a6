"""A NumPy model of the networks under test, in any float dtype: the reference of their losses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"


def forward(parameters: Sequence[Array], x: Array) -> list[Array]:
    """The inputs of each layer, and the logits: weights and biases alternate."""
    values = [x]
    for position in range(0, len(parameters), 2):
        z = values[-1] @ parameters[position] + parameters[position + 1]
        values.append(z if position == len(parameters) - 2 else np.maximum(z, 0))
    return values


def loss_and_gradients(
    parameters: Sequence[Array], x: Array, y: Array
) -> tuple[float, list[Array]]:
    """The mean cross-entropy and its gradient by each parameter."""
    *inputs, logits = forward(parameters, x)
    shifted = logits - logits.max(axis=1, keepdims=True)
    logsumexp = np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(y))
    loss = float(np.mean(logsumexp[:, 0] - shifted[rows, y]))
    delta = np.exp(shifted - logsumexp)
    delta[rows, y] -= 1
    delta /= len(y)
    gradients: list[Array] = []
    for position in range(len(parameters) - 2, -1, -2):
        layer = inputs[position // 2]
        gradients = [layer.T @ delta, delta.sum(axis=0), *gradients]
        delta = (delta @ parameters[position].T) * (layer > 0)
    return loss, gradients


@dataclass
class Sgd:
    """SGD with momentum in the forms of torch ("sum") and CMU 10-414 ("mean"), by parameter."""

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False
    form: str = "sum"
    bias_correction: bool = False
    velocity: dict[int, tuple[int, Array]] = field(default_factory=dict)

    def __call__(self, key: int, p: Array, g: Array) -> Array:
        u = g + self.weight_decay * p
        if self.momentum:
            t, old = self.velocity.get(key, (0, np.zeros_like(p)))
            part = u if self.form == "sum" else (1 - self.momentum) * u
            u = self.momentum * old + part
            self.velocity[key] = t + 1, u
            if self.nesterov:
                u = self.momentum * u + part
            if self.bias_correction:
                u = u / (1 - self.momentum ** (t + 1))
        return p - self.lr * u


@dataclass
class AdamRule:
    """Algorithm 1 of Kingma and Ba, one parameter at a time; `decoupled` decay is AdamW's."""

    lr: float
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled: bool = False
    moments: dict[int, tuple[int, Array, Array]] = field(default_factory=dict)

    def __call__(self, key: int, p: Array, g: Array) -> Array:
        t, m, v = self.moments.get(key, (0, np.zeros_like(p), np.zeros_like(p)))
        t += 1
        if not self.decoupled:
            g = g + self.weight_decay * p
        m = self.beta1 * m + (1 - self.beta1) * g
        v = self.beta2 * v + (1 - self.beta2) * g**2
        self.moments[key] = t, m, v
        corrected_m, corrected_v = m / (1 - self.beta1**t), v / (1 - self.beta2**t)
        if self.decoupled:
            p = p - self.lr * self.weight_decay * p
        return p - self.lr * corrected_m / (np.sqrt(corrected_v) + self.eps)


def train(
    parameters: Sequence[Array],
    rule: Callable[[int, Array, Array], Array],
    batches: Sequence[tuple[Array, Array]],
) -> list[float]:
    """The losses of one step a batch; the given arrays stay as they are."""
    now, losses = list(parameters), []
    for x, y in batches:
        loss, gradients = loss_and_gradients(now, x.astype(now[0].dtype), y)
        losses.append(loss)
        now = [rule(key, p, g) for key, (p, g) in enumerate(zip(now, gradients, strict=True))]
    return losses


def batches(
    count: int, batch: int, features: int, classes: int, seed: int = 0
) -> list[tuple[NDArray[np.float32], NDArray[np.int32]]]:
    """Noisy points around one centre a class: a problem that a network learns, but not at once."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, features))
    made = []
    for _ in range(count):
        y = rng.integers(0, classes, batch)
        x = 0.3 * centres[y] + rng.normal(size=(batch, features))
        made.append((x.astype(np.float32), y.astype(np.int32)))
    return made
