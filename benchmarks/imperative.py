"""What a step of an imperative loop costs beyond the compiled step."""

from __future__ import annotations

import itertools

import numpy as np

import tensorc as tc
from benchmarks.harness import Action, Case, bench
from benchmarks.peers import installed
from benchmarks.steps import Task, torch_step
from benchmarks.train import CHECKED, A, C, Setting, make_step
from tensorc import nn, optim


@bench(sizes=[A, C], threaded=False)
def imperative_step(setting: Setting) -> Case:
    """Record, find the structure, call: a step of a loop with `backward()` and `step()`.

    The batch is copied into tensors anew in each step, as a loop does. Against the same step
    compiled ahead, and torch's loop.
    """
    step, task = make_step(setting)
    compiled = tc.compile(step)
    loop = Loop(setting, task)

    def check() -> None:
        """Compare losses bit for bit: both compile the same definitions."""
        for _ in range(CHECKED):
            wanted = compiled(task.x, task.y)
            assert float(loop()) == float(wanted), "the losses differ"

    rivals: dict[str, Action] = {"compiled step": lambda: compiled(task.x, task.y)}
    if installed("torch"):
        rivals["torch"] = torch_step(task)
    return Case(loop, check, rivals, flop=task.flop)


class Loop:
    """A model, a loss and an optimizer; a call is one step of their loop, and gives the loss."""

    def __init__(self, setting: Setting, task: Task) -> None:
        """Start from the task's weights."""
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(setting.sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1])
        for parameter, start in zip(self.model.parameters(), task.start, strict=True):
            parameter.value = start
        self.loss_of = nn.SoftmaxLoss()
        rule = optim.Adam(task.lr) if setting.optimizer == "adam" else optim.SGD(task.lr)
        self.optimizer = rule.bind(self.model.parameters())
        self.task = task

    def __call__(self) -> np.float32:
        """Run one step on the task's batch."""
        self.optimizer.zero_grad()
        x, y = tc.tensor(self.task.x), tc.tensor(self.task.y)
        loss = self.loss_of(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        return np.float32(loss)
