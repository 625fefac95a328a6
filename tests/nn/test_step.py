from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from nn.mlp import AdamRule, Sgd, batches, forward, loss_and_gradients, train
from tensorc import nn, optim
from tensorc.errors import ArgumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from tensorc.te.tensor import Tensor

RULES = [
    pytest.param(optim.SGD(0.05), lambda: Sgd(0.05), id="sgd"),
    pytest.param(
        optim.SGD(0.02, momentum=0.9, weight_decay=1e-3),
        lambda: Sgd(0.02, 0.9, 1e-3),
        id="momentum",
    ),
    pytest.param(
        optim.SGD(0.2, momentum=0.9, form="mean"),
        lambda: Sgd(0.2, 0.9, form="mean"),
        id="mean",
    ),
    pytest.param(
        optim.SGD(0.02, momentum=0.9, nesterov=True),
        lambda: Sgd(0.02, 0.9, nesterov=True),
        id="nesterov",
    ),
    pytest.param(optim.Adam(1e-3), lambda: AdamRule(1e-3), id="adam"),
]


def mlp(*sizes: int, dtype: str = "float32", seed: int = 0) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out, dtype=dtype), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    model.initialize(seed)
    return model


def values(model: nn.Module, dtype: str) -> list[NDArray[Any]]:
    return [parameter.value.astype(dtype) for parameter in model.parameters()]


@pytest.mark.parametrize(("optimizer", "rule"), RULES)
def test_a_float64_step_is_the_reference_to_the_last_digits(
    optimizer: nn.Optimizer, rule: Callable[[], Any]
) -> None:
    model = mlp(7, 11, 5, 3, dtype="float64")
    data = [(x.astype(np.float64), y) for x, y in batches(20, 6, 7, 3)]
    expected = train(values(model, "float64"), rule(), data)
    step = tc.compile(nn.training_step(model, nn.SoftmaxLoss(), optimizer, batch=6))
    losses = [float(step(x, y)) for x, y in data]
    # Both round at 2**-53 and sum at most 11 terms a layer; 20 steps at these rates do not amplify
    # by more than a thousand.
    np.testing.assert_allclose(losses, expected, rtol=1e3 * 20 * 11 * 2**-53)


@pytest.mark.parametrize(("optimizer", "rule"), RULES)
def test_two_hundred_steps_of_the_demo_have_the_losses_of_the_float64_reference(
    optimizer: nn.Optimizer, rule: Callable[[], Any]
) -> None:
    model = mlp(784, 512, 10)
    data = batches(200, 16, 784, 10)
    exact = np.array(train(values(model, "float64"), rule(), data))
    peer = np.array(train(values(model, "float32"), rule(), data))
    step = tc.compile(nn.training_step(model, nn.SoftmaxLoss(), optimizer, batch=16))
    losses = np.array([float(step(x, y)) for x, y in data])
    # Two float32 runs leave the exact losses at the same pace: the steps before amplify the
    # rounding of both alike, whatever the order in which they sum. NumPy's own run so far measures
    # that pace; a factor of 8 covers that its errors are one draw, not a bound. One loss alone
    # rounds by a few ulp of a logit, of which 1e-6 is some ten.
    pace = np.maximum.accumulate(np.abs(peer - exact))
    assert np.all(np.abs(losses - exact) <= 8 * pace + 1e-6)
    assert losses[-20:].mean() < losses[:20].mean() / 2


def test_a_step_updates_the_arrays_of_the_model_itself() -> None:
    model = mlp(4, 3)
    weight, before = model.parameters()[0].value, model.state_dict()
    (x, y), *_ = batches(1, 5, 4, 3)
    _, gradients = loss_and_gradients(values(model, "float64"), x.astype(np.float64), y)
    tc.compile(nn.training_step(model, nn.SoftmaxLoss(), optim.SGD(0.5), batch=5))(x, y)
    assert model.parameters()[0].value is weight
    np.testing.assert_allclose(
        weight, before["layer0.weight"] - 0.5 * gradients[0], rtol=1e-5, atol=1e-6
    )


def test_the_learning_rate_can_change_without_compiling_again() -> None:
    model = mlp(4, 3)
    step = nn.training_step(model, nn.SoftmaxLoss(), optim.Adam(1e-2), batch=5)
    train_batch = tc.compile(step)
    (x, y), *_ = batches(1, 5, 4, 3)
    step.state["optimizer.lr"][...] = 0.0
    before = model.state_dict()
    train_batch(x, y)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    step.state["optimizer.lr"][...] = 1e-2
    train_batch(x, y)
    # Adam's first steps are of about lr in each coordinate that has a gradient.
    moved = np.abs(model.state_dict()["layer0.weight"] - before["layer0.weight"]).max()
    assert 0.5e-2 < moved < 1.5e-2


def test_one_symbolic_step_serves_every_batch() -> None:
    symbolic, fixed = mlp(5, 4, 3), mlp(5, 4, 3)
    any_batch = tc.compile(nn.training_step(symbolic, nn.SoftmaxLoss(), optim.SGD(0.1), batch=None))
    for size in (1, 3, 8):
        (x, y), *_ = batches(1, size, 5, 3, seed=size)
        this_batch = tc.compile(
            nn.training_step(fixed, nn.SoftmaxLoss(), optim.SGD(0.1), batch=size)
        )
        assert float(any_batch(x, y)) == pytest.approx(float(this_batch(x, y)), rel=1e-6)
    for name, value in fixed.state_dict().items():
        np.testing.assert_allclose(symbolic.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_inference_reads_the_weights_as_they_are_now() -> None:
    model = mlp(6, 5, 10)
    (x, _), *_ = batches(1, 75, 6, 10)  # Whole vectors, and some examples more.
    logits = tc.compile(nn.inference_step(model, batch=75))
    labels = tc.compile(nn.inference_step(model, batch=None, labels=True))
    for seed in (0, 1):
        model.initialize(seed)
        expected = forward(values(model, "float64"), x.astype(np.float64))[-1]
        np.testing.assert_allclose(logits(x), expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(labels(x), expected.argmax(axis=1))


def test_metrics_are_further_results() -> None:
    def misses(logits: Tensor, y: Tensor) -> Tensor:
        return tc.ops.sum((tc.ops.argmax(logits, axis=-1) != y).astype("int32"))

    model = mlp(6, 4)
    (x, y), *_ = batches(1, 9, 6, 4)
    expected = int((forward(values(model, "float64"), x)[-1].argmax(axis=1) != y).sum())
    step = nn.training_step(
        model, nn.SoftmaxLoss(), optim.SGD(0.1), batch=9, metrics={"misses": misses}
    )
    _, count = tc.compile(step)(x, y)
    assert int(count) == expected
    assert [tensor.name for tensor in step.outputs] == ["loss", "misses"]


def test_a_label_that_is_no_class_leaves_everything_as_it_was() -> None:
    model = mlp(4, 3)
    step = tc.compile(nn.training_step(model, nn.SoftmaxLoss(), optim.SGD(0.5), batch=2))
    before = model.state_dict()
    with pytest.raises(tc.TensorcError, match="3"):
        step(np.zeros((2, 4), np.float32), np.array([0, 3], np.int32))
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_a_step_has_the_names_of_its_state() -> None:
    step = nn.training_step(mlp(4, 3), nn.SoftmaxLoss(), optim.Adam(), batch=2)
    assert list(step.state) == [
        "layer0.weight",
        "layer0.bias",
        "optimizer.lr",
        "optimizer.beta1_power",
        "optimizer.beta2_power",
        "optimizer.m.layer0.weight",
        "optimizer.v.layer0.weight",
        "optimizer.m.layer0.bias",
        "optimizer.v.layer0.bias",
    ]
    names = [param.buffer.name for param in step.lower_to_program().params]
    assert names[:2] == ["x", "y"]
    assert [name for name in names[2:] if name in step.state] == list(step.state)


def test_steps_refuse_what_they_cannot_build() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            self.scale = nn.Parameter((3,))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale.tensor

    class Clash(nn.Module):
        def __init__(self) -> None:
            self.x = nn.Parameter((3,))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.x.tensor

    loss, sgd = nn.SoftmaxLoss(), optim.SGD(0.1)
    with pytest.raises(ArgumentError, match=r"^training_step: ReLU\(\) has no parameters$"):
        nn.training_step(nn.ReLU(), loss, sgd, batch=2)
    with pytest.raises(ArgumentError, match=r"^inference_step: Scale takes any input shape; give"):
        nn.inference_step(Scale(), batch=2)
    with pytest.raises(ArgumentError, match=r"^inference_step: a parameter is named x, as an"):
        nn.inference_step(Clash(), batch=2, input_shape=(3,))
    with pytest.raises(ArgumentError, match=r"^training_step: batch must be at least 1, got 0$"):
        nn.training_step(mlp(4, 3), loss, sgd, batch=0)
    with pytest.raises(ArgumentError, match=r"^training_step: batch must be an integer, or None"):
        nn.training_step(mlp(4, 3), loss, sgd, batch=2.5)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"Linear\(4, 3\) takes inputs \(\.\.\., 4\), got x of"):
        nn.inference_step(mlp(4, 3), batch=2, input_shape=(5,))
    built = nn.inference_step(Scale(), batch=2, input_shape=(3,))
    assert [str(tensor) for tensor in built.inputs] == ["x: float32[2, 3]"]
