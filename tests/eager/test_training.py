"""Training loops as of PyTorch and needle, on the modules and the optimizers of compiled steps."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensorc as tc
from tensorc import nn, optim

ROOT = Path(__file__).parents[2]
RULES = [
    optim.SGD(lr=0.1),
    optim.SGD(lr=0.1, momentum=0.9, weight_decay=0.01),
    optim.Adam(lr=0.01),
    optim.SGD(lr=0.1, momentum=0.9, form="mean", bias_correction=True),
    optim.ClipNorm(optim.AdamW(lr=0.01), 0.5),
    optim.Groups({"*.bias": optim.SGD(lr=0.2), "*": optim.SGD(lr=0.1)}),
]


def mlp(seed: int = 3) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    model.initialize(seed)
    return model


def batches(count: int, size: int = 4) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(0)
    return [
        (
            rng.standard_normal((size, 5), dtype=np.float32),
            rng.integers(0, 3, size).astype(np.int32),
        )
        for _ in range(count)
    ]


def train(model: nn.Module, optimizer: Any, data: list[tuple[Any, Any]], **step: Any) -> list[Any]:
    loss_of = nn.SoftmaxLoss()
    losses = []
    for x, y in data:
        optimizer.zero_grad()
        loss: Any = loss_of(model(tc.tensor(x)), tc.tensor(y))
        loss.backward()
        optimizer.step(**step)
        losses.append(loss.numpy())
    return losses


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("zero_grad", [False, True])
def test_the_loop_gives_the_very_bits_of_the_compiled_step(rule: Any, zero_grad: bool) -> None:
    ours, theirs = mlp(), mlp()
    step = tc.compile(nn.training_step(theirs, nn.SoftmaxLoss(), rule, batch=4))
    optimizer = rule.bind(dict(ours.named_parameters()))
    data = batches(6)
    np.testing.assert_array_equal(
        train(ours, optimizer, data, zero_grad=zero_grad), [step(x, y) for x, y in data]
    )
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(array, theirs.state_dict()[name])
    for name, state in optimizer.state.items():
        np.testing.assert_array_equal(state, step.state[name])


def test_a_loop_compiles_one_function(compiled: list[str]) -> None:
    model = mlp()
    train(model, optim.Adam().bind(model.parameters()), batches(10))
    assert len(compiled) == 1
    again = mlp(seed=8)
    train(again, optim.Adam().bind(again.parameters()), batches(3))
    assert len(compiled) == 1  # The structure counts, not the objects.
    train(again, optim.Adam().bind(again.parameters()), batches(2, size=3))
    assert len(compiled) == 2


def test_a_compiled_step_and_a_loop_share_the_parameters() -> None:
    model, reference = mlp(), mlp()
    rule = optim.SGD(lr=0.1)
    step = tc.compile(nn.training_step(model, nn.SoftmaxLoss(), rule, batch=4))
    optimizer, wanted = rule.bind(model.parameters()), rule.bind(reference.parameters())
    data = batches(4)
    for k, (x, y) in enumerate(data):
        if k % 2:
            step(x, y)
        else:
            train(model, optimizer, [(x, y)])
    train(reference, wanted, data)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, reference.state_dict()[name])


class Gated(nn.Module):
    """A module of a user's own, which looks at values while it runs."""

    def __init__(self) -> None:
        self.gain = nn.Parameter((3,), nn.init.zeros)
        self.gain.value = [2.0, 2.0, 2.0]
        self.inner = nn.Linear(3, 3)
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        y: Any = self.inner(x) * self.gain.tensor
        return y if float(x.sum()) > 0 else -y


def test_a_users_own_module_may_look_at_values() -> None:
    model: Any = Gated()
    up, down = tc.tensor(np.ones((1, 3), np.float32)), tc.tensor(-np.ones((1, 3), np.float32))
    first, second = model(up), model(down)
    np.testing.assert_array_equal(first.numpy(), second.numpy())
    assert model.calls == 2
    first.sum().backward()
    np.testing.assert_array_equal(model.gain.grad.numpy(), (first / 2.0).numpy()[0])
    assert model.inner.weight.grad is not None
    model.zero_grad()
    assert model.gain.grad is None


def test_settings_of_a_module_count_for_its_structure() -> None:
    x = tc.tensor(np.arange(-2.0, 2.0, dtype=np.float32))
    one: Any = nn.Sequential(nn.ReLU())
    other: Any = nn.Sequential(nn.ReLU(), nn.ReLU())
    tied = nn.Linear(4, 4)
    twice: Any = nn.Sequential(tied, tied)
    apart: Any = nn.Sequential(nn.Linear(4, 4, rng=1), nn.Linear(4, 4, rng=2))
    assert one(x).tolist() == other(x).tolist() == [0.0, 0.0, 0.0, 1.0]
    w, (a, b) = tied.weight.value, (p.value for p in apart.parameters()[::2])
    for got, wanted in ((twice(x), x.numpy() @ w @ w), (apart(x), x.numpy() @ a @ b)):
        # Two products of 4 terms each, in any order.
        np.testing.assert_allclose(got.numpy(), wanted, rtol=0, atol=8 * 2**-24 * 40)


def test_a_shape_that_does_not_fit_is_refused_by_the_call() -> None:
    with pytest.raises(tc.ShapeError) as caught:
        mlp()(tc.tensor(np.ones((2, 4), np.float32)))
    assert str(caught.value) == "Linear(5, 7) takes inputs (..., 5), got x of shape (2, 4)"


def test_the_learning_rate_is_an_input(compiled: list[str]) -> None:
    w: Any = tc.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD(lr=0.5).bind([w])
    assert optimizer.lr == 0.5
    for k in range(4):
        optimizer.zero_grad()
        (w * 1.0).sum().backward()
        optimizer.lr = 2.0**-k
        optimizer.step()
    assert w.tolist() == [1 - 1.875]
    assert len(compiled) == 1


def test_parameters_without_a_gradient_are_left_alone() -> None:
    a, b = tc.tensor([1.0], requires_grad=True), tc.tensor([1.0], requires_grad=True)
    optimizer = optim.SGD(lr=0.5, momentum=0.5).bind([a, b])
    optimizer.step()
    (a * 2).sum().backward()
    optimizer.step()
    assert (a.tolist(), b.tolist()) == ([0.0], [1.0])


def test_bind_refuses_what_cannot_learn() -> None:
    for given, message in (
        ([], f"bind: there are no parameters for {optim.SGD(lr=0.1)!r}"),
        (
            [tc.tensor([1.0])],
            "bind: a parameter is an nn.Parameter, or a tensor made by "
            "tc.tensor(..., requires_grad=True), not EagerTensor",
        ),
    ):
        with pytest.raises(tc.ArgumentError) as caught:
            optim.SGD(lr=0.1).bind(given)
        assert str(caught.value) == message


def test_a_rule_of_ones_own_and_one_that_cannot_be_told_from_others() -> None:
    @dataclass(frozen=True)
    class Sign(optim.Rule):
        lr: float

        def update(self, parameters: Any, prefix: str = "optimizer") -> Any:
            assert prefix == "optimizer"
            return [p - tc.sign(g) * self.lr for p, g in parameters], []

    class Loose(Sign):
        __hash__ = None  # type: ignore[assignment]

    w: Any = tc.tensor([1.0, -1.0], requires_grad=True)
    (w * w).sum().backward()
    Sign(0.25).bind([w]).step()
    assert w.tolist() == [0.75, -0.75]
    with pytest.raises(tc.ArgumentError) as caught:
        Loose(0.25).bind([w])
    assert str(caught.value) == (
        "bind: Loose must be hashable, as a frozen dataclass is: functions are compiled once for "
        "each rule"
    )


def test_an_update_by_hand_as_in_needle() -> None:
    w: Any = tc.tensor([[1.0], [2.0]], requires_grad=True)
    x = tc.tensor([[1.0, 2.0], [3.0, 4.0]])
    for _ in range(3):
        w.grad = None
        (x @ w).sum().backward()
        w.data = w.data - 0.125 * w.grad.data
    assert w.tolist() == [[1.0 - 3 * 0.5], [2.0 - 3 * 0.75]]


def test_two_threads_train_their_own_models() -> None:
    data = batches(20)
    wanted = mlp()
    train(wanted, optim.SGD(lr=0.1).bind(wanted.parameters()), data)
    models = [mlp() for _ in range(2)]
    failures: list[BaseException] = []

    def run(model: nn.Module) -> None:
        try:
            train(model, optim.SGD(lr=0.1).bind(model.parameters()), data)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(m,)) for m in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for model in models:
        for name, array in model.state_dict().items():
            np.testing.assert_array_equal(array, wanted.state_dict()[name])


MEMORY = """
import gc, resource
import numpy as np
import tensorc as tc
from tensorc import nn, optim

gc.disable()  # Nothing may wait for the collector.
model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
loss_of = nn.SoftmaxLoss()
optimizer = optim.Adam().bind(model.parameters())
rng = np.random.default_rng(0)
x, y = rng.standard_normal((16, 8), dtype=np.float32), rng.integers(0, 4, 16)

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

total = 0.0
for step in range(10_000):
    optimizer.zero_grad()
    loss = loss_of(model(tc.tensor(x)), tc.tensor(y)) * (1.0 + step)
    loss.backward()
    optimizer.step()
    if step % 100 == 0:
        total += float(loss)
    if step == 100:
        start = resident()
print(resident() - start)
"""


def test_memory_does_not_grow_over_ten_thousand_steps() -> None:
    run = subprocess.run(
        [sys.executable, "-c", MEMORY],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}"},
    )
    # An object of 100 bytes that stays behind in each step would be 1 MB.
    assert int(run.stdout) < 500_000
