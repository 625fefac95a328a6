"""The loop over epochs: what it calls, what it counts, what it refuses."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

import tensorc as tc
from nn.run import apply
from tensorc import nn, optim
from tensorc.data import DataLoader, load_digits
from tensorc.errors import ArgumentError


def test_fit_trains_and_tests_with_a_schedule() -> None:
    digits = load_digits()
    net = nn.Sequential(nn.Linear(64, 10))
    net.initialize(1)
    step = nn.training_step(
        net, nn.SoftmaxLoss(), optim.Adam(0.0), None, metrics={"accuracy": nn.accuracy}
    )
    check = nn.evaluation_step(net, nn.SoftmaxLoss(), None, metrics={"accuracy": nn.accuracy})
    loader = DataLoader((digits.train_images, digits.train_labels), 100, shuffle=True, prefetch=2)
    tests = DataLoader((digits.test_images, digits.test_labels), 100)
    rates: list[int] = []

    def lr(number: int) -> float:
        rates.append(number)
        return 2e-2

    epochs: list[int] = []
    history = nn.fit(
        tc.compile(step),
        loader,
        4,
        evaluate=tc.compile(check),
        test_loader=tests,
        lr=lr,
        names=("loss", "accuracy"),
        on_epoch=lambda epoch, _: epochs.append(epoch),
    )
    assert rates == list(range(4 * len(loader)))
    assert epochs == [0, 1, 2, 3]
    logits = apply(net, digits.test_images)
    right = float((logits.argmax(1) == digits.test_labels).mean())
    assert history.test["accuracy"][-1] == pytest.approx(right, rel=1e-5)
    assert right > 0.9
    assert history.train["loss"][-1] < history.train["loss"][0] / 2
    assert step.state["optimizer.lr"] == 2e-2


def test_means_are_over_examples_not_over_batches() -> None:
    batches = [(np.array([1.0, 1.0, 1.0]),), (np.array([5.0]),)]
    history = nn.fit(lambda x: x.mean(), batches, 2)
    assert history.train == {"loss": [2.0, 2.0]}


def test_a_resumed_loader_goes_on_with_the_number_of_the_step() -> None:
    class Step:
        def __init__(self) -> None:
            self.state = {"optimizer.lr": np.zeros(())}
            self.rates: list[float] = []

        def __call__(self, x: Any) -> float:
            self.rates.append(float(self.state["optimizer.lr"]))
            return float(len(x))

    step = Step()
    loader = DataLoader((np.arange(6),), 2)
    loader.epoch = 3
    nn.fit(step, loader, 2, lr=float)
    assert step.rates == [9, 10, 11, 12, 13, 14]


@pytest.mark.parametrize("there", [True, False])
def test_a_bar_needs_rich(
    there: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not there:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
        with pytest.raises(ArgumentError, match="needs the package rich"):
            nn.fit(lambda x: x.mean(), [(np.ones(2),)], 1, progress=True)
        return
    pytest.importorskip("rich")
    nn.fit(lambda x: x.mean(), [(np.ones(2),)] * 3, 2, progress=True)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.fit(len, [], -1), "fit: epochs must be at least 0, got -1"),
        (
            lambda: nn.fit(len, [], 1, evaluate=len),
            "fit: evaluate and test_loader go together; give both or neither",
        ),
        (
            lambda: nn.fit(lambda x: (1, 2), [(np.ones(1),)], 1),  # noqa: ARG005
            "fit: the step returns 2 results, and names are loss",
        ),
        (
            lambda: nn.fit(len, [([1],)], 1, lr=float),
            "fit: lr is given, and the step has no state optimizer.lr",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ArgumentError) as e:
        call()
    assert str(e.value) == message
