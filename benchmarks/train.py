"""The demo's training steps, against the same step by hand in NumPy, and in torch and JAX."""

from __future__ import annotations

import importlib.util
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import tensorc as tc
from benchmarks.harness import Case, bench
from benchmarks.peers import jax_step, torch_step
from tensorc import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float32]"

BATCH = 128
MLP, SOFTMAX = (784, 512, 10), (784, 10)


@dataclass
class NumpyStep:
    """Forward, backward and update in float32, in place wherever NumPy can."""

    parameters: list[Array]
    update: Callable[[NumpyStep, list[Array]], None]
    lr: float
    state: list[Array] = field(default_factory=list)
    steps: int = 0

    def __call__(self, x: Array, y: NDArray[np.int32]) -> float:
        """Train on one batch; its loss."""
        p = self.parameters
        inputs, z = [x], x @ p[0]
        z += p[1]
        for position in range(2, len(p), 2):
            inputs.append(np.maximum(z, 0, out=z))
            z = z @ p[position]
            z += p[position + 1]
        z -= z.max(axis=1, keepdims=True)
        rows = np.arange(len(y))
        picked = z[rows, y]
        np.exp(z, out=z)
        total = z.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0]) - picked))
        z /= total
        z[rows, y] -= 1
        z /= np.float32(len(y))
        gradients: list[Array] = []
        for position in range(len(p) - 2, -1, -2):
            layer = inputs[position // 2]
            gradients = [layer.T @ z, z.sum(axis=0), *gradients]
            if position:
                z = z @ p[position].T
                z *= layer > 0
        self.steps += 1
        self.update(self, gradients)
        return loss


def numpy_sgd(step: NumpyStep, gradients: list[Array]) -> None:
    """Plain gradient descent."""
    for p, g in zip(step.parameters, gradients, strict=True):
        g *= np.float32(step.lr)
        p -= g


def numpy_adam(step: NumpyStep, gradients: list[Array]) -> None:
    """Adam with bias correction."""
    if not step.state:
        step.state = [np.zeros_like(p) for p in step.parameters for _ in range(2)]
    t = step.steps
    rate, scale = np.float32(step.lr / (1 - 0.9**t)), np.float32(1 / (1 - 0.999**t))
    for i, (p, g) in enumerate(zip(step.parameters, gradients, strict=True)):
        m, v = step.state[2 * i : 2 * i + 2]
        m *= np.float32(0.9)
        m += np.float32(0.1) * g
        v *= np.float32(0.999)
        g *= g
        g *= np.float32(0.001)
        v += g
        np.multiply(v, scale, out=g)
        np.sqrt(g, out=g)
        g += np.float32(1e-8)
        np.divide(m, g, out=g)
        g *= rate
        p -= g


@bench(sizes=[MLP])
def mlp_adam(sizes: Sequence[int]) -> Case:
    """The demo's MLP, one Adam step of 128 images, against NumPy by hand."""
    return _case(sizes, optim.Adam(1e-3), numpy_adam, "adam", 1e-3)


@bench(sizes=[MLP])
def mlp_sgd(sizes: Sequence[int]) -> Case:
    """The same MLP with plain gradient descent."""
    return _case(sizes, optim.SGD(0.01), numpy_sgd, "sgd", 0.01)


@bench(sizes=[SOFTMAX])
def softmax_sgd(sizes: Sequence[int]) -> Case:
    """Softmax regression with plain gradient descent."""
    return _case(sizes, optim.SGD(0.01), numpy_sgd, "sgd", 0.01)


def _case(
    sizes: Sequence[int],
    optimizer: nn.Optimizer,
    update: Callable[[NumpyStep, list[Array]], None],
    kind: str,
    lr: float,
) -> Case:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    model.initialize(0)
    start = [parameter.value.copy() for parameter in model.parameters()]
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(BATCH, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], BATCH).astype(np.int32)
    ours = tc.compile(nn.training_step(model, nn.SoftmaxLoss(), optimizer, BATCH))
    rivals: dict[str, Callable[[Any, Any], float]] = {
        "numpy": NumpyStep([p.copy() for p in start], update, lr)
    }
    if importlib.util.find_spec("torch"):
        rivals["torch"] = torch_step(start, kind, lr)
    if importlib.util.find_spec("jax"):
        rivals["jax"] = jax_step(start, kind, lr)

    def check() -> None:
        """Ten steps of everyone from the same weights give the same losses."""
        losses = {name: [rival(x, y) for _ in range(10)] for name, rival in rivals.items()}
        got = [float(ours(x, y)) for _ in range(10)]
        for name, expected in losses.items():
            np.testing.assert_allclose(got, expected, rtol=1e-3, err_msg=name)

    products = sum(a * b for a, b in itertools.pairwise(sizes))
    inner = sum(a * b for a, b in itertools.pairwise(sizes))
    return Case(
        lambda: ours(x, y),
        check,
        {name: lambda rival=rival: rival(x, y) for name, rival in rivals.items()},  # type: ignore[misc]
        flop=2.0
        * BATCH
        * (2 * products + inner),  # Forward, by weights; by inputs, save the first.
    )
