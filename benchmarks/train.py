"""Whole training steps: forward, backward and update of an MLP, as one compiled function."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import tensorc as tc
from benchmarks.harness import Case, Many, bench
from benchmarks.peers import installed
from benchmarks.steps import (
    NumpyStep,
    Task,
    all_steps,
    jax_pipelined,
    mlp_flop,
    mlp_in_jax,
    mlp_in_torch,
)
from tensorc import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PIPELINED = 20  # Steps that JAX starts before the last is waited for.
CHECKED = 4  # Steps whose losses are compared.


@dataclass(frozen=True)
class Setting:
    """A network, a batch and an optimizer; as text it is the row's name."""

    label: str
    sizes: tuple[int, ...]
    batch: int
    optimizer: str

    def __str__(self) -> str:
        return f"({self.label}) {'-'.join(map(str, self.sizes))}, {self.batch}, {self.optimizer}"


A = Setting("a", (784, 512, 10), 128, "sgd")
B = Setting("b", (784, 1024, 1024, 10), 256, "adam")
C = Setting("c", (64, 32, 10), 32, "sgd")
DEMO = Setting("demo", (784, 512, 10), 128, "adam")


def make_step(setting: Setting) -> tuple[nn.Step, Task]:
    """Our step, and the same task for others; both start from the same weights."""
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(setting.sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    model.initialize(0)
    adam = setting.optimizer == "adam"
    lr = 1e-3 if adam else 1e-2
    rng = np.random.default_rng(0)
    task = Task(
        [parameter.value.copy() for parameter in model.parameters()],
        setting.optimizer,
        lr,
        rng.uniform(size=(setting.batch, setting.sizes[0])).astype(np.float32),
        rng.integers(0, setting.sizes[-1], setting.batch).astype(np.int32),
        mlp_flop(setting.sizes, setting.batch),
        mlp_in_torch,
        mlp_in_jax,
    )
    optimizer = optim.Adam(lr) if adam else optim.SGD(lr)
    return nn.training_step(model, nn.SoftmaxLoss(), optimizer, setting.batch), task


@bench(sizes=[A, B, C, DEMO])
def train(setting: Setting) -> Case:
    """A training step, against the best of others; JAX also with 20 steps started at once."""
    step, task = make_step(setting)
    loss = np.zeros((), np.float32)
    ours = tc.compile(step).bind(task.x, task.y, out=loss)
    others: dict[str, Callable[[], float]] = {"numpy": NumpyStep(task), **all_steps(task)}

    def check() -> None:
        """Compare the losses of the first steps with those of the float64 reference."""
        exact, rounded = (losses(NumpyStep(task, dtype)) for dtype in (np.float64, np.float32))
        compare({"tensorc": lambda: (ours(), float(loss))[1], **others}, exact, rounded)

    return Case(ours, check, {**others, **pipelined(task)}, flop=task.flop)


def pipelined(task: Task) -> dict[str, Many]:
    """JAX's steps, 20 of them started before the last is waited for."""
    if not installed("jax"):
        return {}
    return {"jax pipelined": Many(jax_pipelined(task, PIPELINED), PIPELINED)}


def compare(
    steps: Mapping[str, Callable[[], float]], exact: Sequence[float], rounded: Sequence[float]
) -> None:
    """Compare the losses of the first steps with exact ones.

    Rounding may take each as far as several times what a float32 run, `rounded`, is off.
    """
    rounding = 8 * max(abs(a - b) for a, b in zip(rounded, exact, strict=True))
    for name, step in steps.items():
        np.testing.assert_allclose(losses(step), exact, rtol=0, atol=rounding + 2e-6, err_msg=name)


def losses(step: Callable[[], float]) -> list[float]:
    """Those of the first steps."""
    return [step() for _ in range(CHECKED)]
