"""The training step in other frameworks, where they are installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray


def torch_step(start: Sequence[NDArray[Any]], kind: str, lr: float) -> Callable[[Any, Any], float]:
    """An eager step of torch, with its own fused optimizer where there is one."""
    import torch  # noqa: PLC0415 - optional, and takes seconds to import

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    parameters = [torch.tensor(p, requires_grad=True) for p in start]
    optimizer: Any = (
        torch.optim.Adam(parameters, lr=lr, fused=True)
        if kind == "adam"
        else torch.optim.SGD(parameters, lr=lr)
    )

    def step(x: Any, y: Any) -> float:
        value = torch.from_numpy(x)
        for position in range(0, len(parameters), 2):
            value = value.relu() if position else value
            value = torch.addmm(parameters[position + 1], value, parameters[position])
        loss = torch.nn.functional.cross_entropy(value, torch.from_numpy(y).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def jax_step(start: Sequence[NDArray[Any]], kind: str, lr: float) -> Callable[[Any, Any], float]:
    """A step compiled by jax.jit, its buffers donated."""
    import jax  # noqa: PLC0415 - optional, and takes a second to import
    import jax.numpy as jnp  # noqa: PLC0415

    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        value = x
        for position in range(0, len(parameters), 2):
            value = jnp.maximum(value, 0) if position else value
            value = value @ parameters[position] + parameters[position + 1]
        logs = jax.nn.log_softmax(value)
        return -jnp.mean(jnp.take_along_axis(logs, y[:, None], axis=1))

    def update(state: Any, x: Any, y: Any) -> Any:
        parameters, first, second, t = state
        loss, gradients = jax.value_and_grad(loss_of)(parameters, x, y)
        t = t + 1
        if kind == "sgd":
            new = [p - lr * g for p, g in zip(parameters, gradients, strict=True)]
            return (new, first, second, t), loss
        first = [0.9 * m + 0.1 * g for m, g in zip(first, gradients, strict=True)]
        second = [0.999 * v + 0.001 * g * g for v, g in zip(second, gradients, strict=True)]
        rate, scale = lr / (1 - 0.9**t), 1 / (1 - 0.999**t)
        new = [
            p - rate * m / (jnp.sqrt(v * scale) + 1e-8)
            for p, m, v in zip(parameters, first, second, strict=True)
        ]
        return (new, first, second, t), loss

    compiled = jax.jit(update, donate_argnums=0)
    moments = [[jnp.zeros_like(p) for p in start] for _ in range(2)]
    state = ([jnp.asarray(p) for p in start], *moments, jnp.zeros((), np.float32))

    def step(x: Any, y: Any) -> float:
        nonlocal state
        state, loss = compiled(state, x, y)
        return float(loss)

    return step
