"""A transformer's training step, compiled by the automatic schedule, against torch in float64."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc as tc
from tensorc import nn, optim

torch = pytest.importorskip("torch", reason="torch is not installed: make test-peers")

from benchmarks.steps import Task, torch_step  # noqa: E402
from benchmarks.train import compare, losses  # noqa: E402
from benchmarks.transformer import VOCABULARY, Size, Transformer, in_jax, in_torch  # noqa: E402


@pytest.mark.parametrize(("size", "threads"), [(Size(2, 9, 12), 1), (Size(4, 16, 32), 2)])
def test_a_transformer_learns_as_in_torch(size: Size, threads: int) -> None:
    model = Transformer(size)
    model.initialize(3)
    rng = np.random.default_rng(0)
    x = rng.integers(0, VOCABULARY, (size.batch, size.length)).astype(np.int32)
    y = rng.integers(0, VOCABULARY, size.batch * size.length).astype(np.int32)
    start = [parameter.value.copy() for parameter in model.parameters()]
    step = nn.training_step(model, nn.SoftmaxLoss(), optim.Adam(1e-3), size.batch)
    train = tc.compile(step, threads=threads)
    runs = []
    for dtype in (np.float64, np.float32):
        first = [p.astype(dtype) for p in start]
        task = Task(first, "adam", 1e-3, x, y, size.flop, in_torch(size), in_jax(size))
        runs.append(losses(torch_step(task)))
    compare({"tensorc": lambda: float(train(x, y))}, *runs)
