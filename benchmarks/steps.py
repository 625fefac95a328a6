"""Training steps as rivals write them: torch, torch.compile, JAX; NumPy's of an MLP by hand."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from benchmarks.peers import installed, jax, torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array: TypeAlias = np.ndarray[Any, Any]
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Task:
    """A network, where it starts, its optimizer ("sgd" or "adam"), and one batch.

    Attributes:
        start: the parameters; of an MLP weight and bias of each layer in turn.
        flop: of the products of a step.
        torch_loss: of (torch, parameters, x, y), the mean cross-entropy.
        jax_loss: the same of (jax, parameters, x, y).
    """

    start: Sequence[Array]
    optimizer: str
    lr: float
    x: Array
    y: Array
    flop: float
    torch_loss: Callable[..., Any]
    jax_loss: Callable[..., Any]


def mlp_flop(sizes: Sequence[int], batch: int) -> float:
    """Of the products: forward, by weights, and by inputs save for the first layer."""
    products = [a * b for a, b in itertools.pairwise(sizes)]
    return 2.0 * batch * (3 * sum(products) - products[0])


@dataclass
class NumpyStep:
    """Forward, backward and update, in place wherever NumPy can; float64 where it is given so."""

    task: Task
    dtype: type = np.float32
    parameters: list[Array] = field(init=False)
    moments: list[tuple[Array, Array]] = field(init=False)
    steps: int = 0

    def __post_init__(self) -> None:
        self.parameters = [p.astype(self.dtype) for p in self.task.start]
        self.moments = [(np.zeros_like(p), np.zeros_like(p)) for p in self.parameters]
        self.x: Array = self.task.x.astype(self.dtype)
        self.rows = np.arange(len(self.x))

    def __call__(self) -> float:
        """Train on the batch; its loss before the update."""
        p, y = self.parameters, self.task.y
        inputs, z = [self.x], self.x @ p[0]
        z += p[1]
        for position in range(2, len(p), 2):
            inputs.append(np.maximum(z, 0, out=z))
            z = z @ p[position]
            z += p[position + 1]
        z -= z.max(axis=1, keepdims=True)
        picked = z[self.rows, y]
        np.exp(z, out=z)
        total = z.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0]) - picked))
        z /= total
        z[self.rows, y] -= 1
        z /= len(y)
        gradients: list[Array] = []
        for position in range(len(p) - 2, -1, -2):
            layer = inputs[position // 2]
            gradients = [layer.T @ z, z.sum(axis=0), *gradients]
            if position:
                z = z @ p[position].T
                z *= layer > 0
        self.steps += 1
        for one in zip(p, gradients, self.moments, strict=True):
            self._adam(*one) if self.task.optimizer == "adam" else self._sgd(*one[:2])
        return loss

    def _sgd(self, p: Array, g: Array) -> None:
        g *= self.task.lr
        p -= g

    def _adam(self, p: Array, g: Array, moments: tuple[Array, Array]) -> None:
        m, v = moments
        rate, scale = self.task.lr / (1 - BETA1**self.steps), 1 / (1 - BETA2**self.steps)
        m *= BETA1
        m += (1 - BETA1) * g
        v *= BETA2
        g *= g
        g *= 1 - BETA2
        v += g
        np.multiply(v, scale, out=g)
        np.sqrt(g, out=g)
        g += EPS
        np.divide(m, g, out=g)
        g *= rate
        p -= g


def torch_step(task: Task) -> Callable[[], float]:
    """An eager step, with torch's own fused optimizer where there is one."""
    module = torch()
    parameters = [module.tensor(p, requires_grad=True) for p in task.start]
    x, y = module.from_numpy(task.x), module.from_numpy(task.y).long()
    optimizer = (
        module.optim.Adam(parameters, lr=task.lr, fused=True)
        if task.optimizer == "adam"
        else module.optim.SGD(parameters, lr=task.lr, fused=True)
    )

    def step() -> float:
        loss = task.torch_loss(module, parameters, x, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def torch_compiled_step(task: Task) -> Callable[[], float]:
    """The whole step as one compiled function of torch.func, which updates in place."""
    module = torch()
    parameters = [module.tensor(p) for p in task.start]
    first, second = ([module.zeros_like(p) for p in parameters] for _ in range(2))
    x, y = module.from_numpy(task.x), module.from_numpy(task.y).long()
    gradient = module.func.grad_and_value(lambda p, x, y: task.torch_loss(module, p, x, y))
    taken = itertools.count(1)

    def sgd(p: Any, x: Any, y: Any) -> Any:
        gradients, loss = gradient(p, x, y)
        for a, g in zip(p, gradients, strict=True):
            a.sub_(task.lr * g)
        return loss

    def adam(p: Any, m: Any, v: Any, rate: Any, scale: Any, x: Any, y: Any) -> Any:
        gradients, loss = gradient(p, x, y)
        for a, g, b, c in zip(p, gradients, m, v, strict=True):
            b.mul_(BETA1).add_((1 - BETA1) * g)
            c.mul_(BETA2).add_((1 - BETA2) * g * g)
            a.sub_(rate * b / ((c * scale).sqrt() + EPS))
        return loss

    if task.optimizer == "sgd":
        compiled_sgd = module.compile(sgd)
        return lambda: float(compiled_sgd(parameters, x, y))
    compiled = module.compile(adam)

    def step() -> float:
        t = next(taken)
        # Tensors, since a new Python number would compile the step anew.
        rate = module.tensor(task.lr / (1 - BETA1**t))
        scale = module.tensor(1 / (1 - BETA2**t))
        return float(compiled(parameters, first, second, rate, scale, x, y))

    return step


def mlp_in_torch(module: Any, parameters: Sequence[Any], x: Any, y: Any) -> Any:
    """The loss of an MLP."""
    value = x
    for position in range(0, len(parameters), 2):
        value = value.relu() if position else value
        value = module.addmm(parameters[position + 1], value, parameters[position])
    return module.nn.functional.cross_entropy(value, y)


def mlp_in_jax(module: Any, parameters: Any, x: Any, y: Any) -> Any:
    """The loss of an MLP."""
    value = x
    for position in range(0, len(parameters), 2):
        value = module.numpy.maximum(value, 0) if position else value
        value = value @ parameters[position] + parameters[position + 1]
    return jax_cross_entropy(module, value, y)


def jax_cross_entropy(module: Any, logits: Any, y: Any) -> Any:
    """The mean over rows of -log softmax(logits)[y]."""
    logs = module.nn.log_softmax(logits)
    return -module.numpy.mean(module.numpy.take_along_axis(logs, y[:, None], axis=1))


def jax_update(task: Task) -> tuple[Callable[[Any], tuple[Any, Any]], Any]:
    """A jitted function from the state to (state, loss), its buffers donated; and the state."""
    module = jax()
    numbers = module.numpy
    x, y = numbers.asarray(task.x), numbers.asarray(task.y)
    loss_of = partial(task.jax_loss, module)

    def update(state: Any, x: Any, y: Any) -> Any:
        parameters, first, second, t = state
        loss, gradients = module.value_and_grad(loss_of)(parameters, x, y)
        t = t + 1
        if task.optimizer == "sgd":
            new = [p - task.lr * g for p, g in zip(parameters, gradients, strict=True)]
            return (new, first, second, t), loss
        first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, gradients, strict=True)]
        second = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, gradients, strict=True)]
        # As numbers of float32 allow: 1 - b**t without its cancellation.
        rate = -task.lr / numbers.expm1(t * np.float32(np.log(BETA1)))
        scale = -1 / numbers.expm1(t * np.float32(np.log(BETA2)))
        new = [
            p - rate * m / (numbers.sqrt(v * scale) + EPS)
            for p, m, v in zip(parameters, first, second, strict=True)
        ]
        return (new, first, second, t), loss

    compiled = module.jit(update, donate_argnums=0)
    moments: list[list[Any]] = (
        [[numbers.zeros_like(p) for p in task.start] for _ in range(2)]
        if task.optimizer == "adam"
        else [[], []]
    )
    # Copies, since JAX may take over a NumPy array's memory and then donate it.
    state = ([numbers.array(p) for p in task.start], *moments, numbers.zeros((), np.float32))
    return lambda state: compiled(state, x, y), state


def jax_step(task: Task) -> Callable[[], float]:
    """A step of JAX that waits for its loss."""
    update, state = jax_update(task)

    def step() -> float:
        nonlocal state
        state, loss = update(state)
        return float(loss)

    return step


def jax_pipelined(task: Task, times: int) -> Callable[[], float]:
    """So many steps of JAX, started before the last loss is waited for."""
    update, state = jax_update(task)

    def steps() -> float:
        nonlocal state
        for _ in range(times):
            state, loss = update(state)
        return float(loss)

    return steps


def all_steps(task: Task) -> dict[str, Callable[[], float]]:
    """A step of each rival that is installed, but NumPy."""
    found: dict[str, Callable[[], float]] = {}
    if installed("torch"):
        found |= {"torch": torch_step(task), "torch.compile": torch_compiled_step(task)}
    if installed("jax"):
        found["jax"] = jax_step(task)
    return found
