"""Whether cost grows as the work does: time per FLOP by width and depth, compile time by depth.

Not in the default selection: `python -m benchmarks scaling`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

import tensorc as tc
from benchmarks import train
from benchmarks.harness import Case, bench
from benchmarks.steps import NumpyStep

WIDTHS = (256, 512, 1024, 2048, 4096)
DEPTHS = (1, 2, 4, 8, 16, 32, 64)
WIDTH, BATCH = 256, 256


@dataclass(frozen=True)
class Network:
    """So many hidden layers of one width, trained by SGD."""

    width: int
    depth: int

    def __str__(self) -> str:
        return f"width {self.width}, depth {self.depth}"

    @property
    def setting(self) -> train.Setting:
        """The network as a setting of a training step, with 10 outputs."""
        sizes = (self.width,) * (self.depth + 1)
        return train.Setting(str(self), (*sizes, 10), BATCH, "sgd")


def _case(network: Network) -> Case:
    """The losses of the first steps are compared with NumPy's in float64."""
    step, task = train.make_step(network.setting)
    loss = np.zeros((), np.float32)
    ours = tc.compile(step).bind(task.x, task.y, out=loss)

    def check() -> None:
        exact = NumpyStep(task, np.float64)
        for _ in range(2):
            ours()
            np.testing.assert_allclose(float(loss), exact(), rtol=1e-4 * network.depth)

    return Case(ours, check, {"numpy": NumpyStep(task)}, flop=task.flop)


@bench(sizes=[Network(width, 2) for width in WIDTHS], slow=True, rounds=5)
def by_width(network: Network) -> Case:
    """A training step of two hidden layers, by their width."""
    return _case(network)


@bench(sizes=[Network(WIDTH, depth) for depth in DEPTHS], slow=True, rounds=5)
def by_depth(network: Network) -> Case:
    """A training step of hidden layers of width 256, by their number."""
    return _case(network)


@bench(sizes=[Network(WIDTH, depth) for depth in DEPTHS], threaded=False, slow=True, rounds=1)
def compile_by_depth(network: Network) -> Case:
    """Compiling that step with the caches left alone."""

    def run() -> float:
        step, _ = train.make_step(network.setting)
        start = time.perf_counter()
        tc.compile(step, cache=False)
        return time.perf_counter() - start

    return Case(run, lambda: None, once=True)
