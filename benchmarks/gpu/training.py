"""Training steps of an MLP on a device: ours as one CUDA graph, torch's in graphs of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import tensorc as tc
from benchmarks.steps import BETA1, BETA2, EPS, NumpyStep, Task
from benchmarks.train import CHECKED, Setting, make_step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZES = (784, 1024, 1024, 10)
SETTINGS = tuple(Setting(f"batch {n}", SIZES, n, "adam") for n in (128, 1024, 8192))
SMALL = Setting("small", (12, 9, 4), 6, "adam")


def our_step(
    setting: Setting, target: str, place: Callable[[Any], Any]
) -> tuple[Task, Callable[[], None], Callable[[], float]]:
    """The task, our step as a call that queues it, and what reads the loss of the last one."""
    step, task = make_step(setting)
    train = tc.compile(step, target=target)
    x, y, loss = place(task.x), place(task.y), place(np.zeros((), np.float32))
    return task, train.bind(x, y, out=loss), lambda: float(loss.numpy())


def check_losses(task: Task, losses: dict[str, Sequence[float]]) -> None:
    """Compare the first losses with the float64 reference, up to rounding.

    Rounding may take each as far as several times what NumPy's own float32 run is off.

    Raises:
        AssertionError: a loss is wrong.
    """
    exact, single = ([step() for _ in range(CHECKED)] for step in _references(task))
    slack = 8 * max(abs(a - b) for a, b in zip(single, exact, strict=True)) + 2e-6
    for name, got in losses.items():
        np.testing.assert_allclose(got, exact, rtol=0, atol=slack, err_msg=name)


def _references(task: Task) -> tuple[NumpyStep, NumpyStep]:
    return NumpyStep(task, np.float64), NumpyStep(task)


def torch_steps(torch: Any, task: Task) -> dict[str, _Graph]:
    """Torch's steps: eager with its fused optimizer, and compiled; both replayed from a graph."""
    torch.backends.cuda.matmul.allow_tf32 = False
    return {
        "torch, graph": _Graph(torch, task, compiled=False),
        "torch.compile, graph": _Graph(torch, task, compiled=True),
    }


class _Graph:
    """A step captured as a CUDA graph, with the state as it was at the start."""

    def __init__(self, torch: Any, task: Task, *, compiled: bool) -> None:
        self.torch, self.task = torch, task
        self.start = [torch.from_numpy(p).cuda() for p in task.start]
        self.parameters = [p.clone() for p in self.start]
        self.first, self.second = ([torch.zeros_like(p) for p in self.start] for _ in range(2))
        self.powers = torch.ones(2, dtype=torch.float64, device="cuda")
        self.betas = torch.tensor([BETA1, BETA2], dtype=torch.float64, device="cuda")
        self.x = torch.from_numpy(task.x).cuda()
        self.y = torch.from_numpy(task.y).cuda().long()
        gradient = torch.func.grad_and_value(self._loss)

        def update(p: Any, m: Any, v: Any, powers: Any, x: Any, y: Any) -> Any:
            gradients, loss = gradient(p, x, y)
            powers.mul_(self.betas)
            rate = (task.lr / (1 - powers[0])).float()
            scale = (1 / (1 - powers[1])).float()
            for a, g, b, c in zip(p, gradients, m, v, strict=True):
                b.mul_(BETA1).add_(g, alpha=1 - BETA1)
                c.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
                a.sub_(rate * b / ((c * scale).sqrt() + EPS))
            return loss

        self.update = torch.compile(update) if compiled else update
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._run()
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.loss = self._run()
        self.reset()

    def _loss(self, parameters: Any, x: Any, y: Any) -> Any:
        value = x
        for position in range(0, len(parameters), 2):
            value = value.relu() if position else value
            value = self.torch.addmm(parameters[position + 1], value, parameters[position])
        return self.torch.nn.functional.cross_entropy(value, y)

    def _run(self) -> Any:
        return self.update(self.parameters, self.first, self.second, self.powers, self.x, self.y)

    def reset(self) -> None:
        """The state as it was before the first step."""
        for p, start in zip(self.parameters, self.start, strict=True):
            p.copy_(start)
        for moment in (*self.first, *self.second):
            moment.zero_()
        self.powers.fill_(1)

    def __call__(self) -> None:
        """Replay the step."""
        self.graph.replay()

    def losses(self) -> list[float]:
        """The losses of the first steps; the state is as at the start afterwards."""
        self.reset()
        found = []
        for _ in range(CHECKED):
            self()
            found.append(float(self.loss))
        self.reset()
        return found
