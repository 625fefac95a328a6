"""What was recorded keeps the values that it read, whatever is written afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tensorc as tc
from tensorc import nn, optim


def pending(x: Any) -> Any:
    return (x * x).sum()


def test_setting_data_changes_nothing_that_was_recorded() -> None:
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    before = pending(x)
    view = x.data
    x.data = [3.0, 4.0]
    after = pending(x)
    assert (float(before), view.tolist(), float(after)) == (5.0, [1.0, 2.0], 25.0)


def test_a_gradient_is_that_of_the_values_that_were_recorded() -> None:
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    loss = pending(x)
    x.data = [30.0, 40.0]
    loss.backward()
    x.data = [300.0, 400.0]
    assert x.grad.tolist() == [2.0, 4.0]
    assert x.tolist() == [300.0, 400.0]


def test_a_step_changes_nothing_that_was_recorded() -> None:
    w = tc.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD(lr=0.5).bind([w])
    unrelated, sliced = pending(w), w[1:]
    loss = pending(w)
    loss.backward()
    optimizer.step()
    assert w.tolist() == [0.0, 0.0]
    assert (float(unrelated), sliced.tolist(), float(loss)) == (5.0, [2.0], 5.0)
    assert w.grad.tolist() == [2.0, 4.0]


def test_a_graph_that_is_kept_stays_right_across_steps() -> None:
    w = tc.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD(lr=0.25).bind([w])
    loss = pending(w * 1.0)
    loss.backward(retain_graph=True)
    optimizer.step(zero_grad=True)
    loss.backward(retain_graph=True)
    optimizer.step(zero_grad=True)
    # Both gradients are those at the start: 2 w.
    assert w.tolist() == [0.0, 0.0]


def test_a_parameter_that_is_set_or_loaded_changes_nothing_that_was_recorded() -> None:
    layer = nn.Linear(2, 2)
    layer.weight.value = np.eye(2)
    array = layer.weight.value
    x = tc.tensor([[1.0, 2.0]])
    first = layer(x)
    layer.weight.value = 3 * np.eye(2)
    second = layer(x)
    layer.load_state_dict(
        {"weight": 5 * np.eye(2, dtype=np.float32), "bias": np.ones(2, np.float32)}
    )
    third = layer(x)
    tc.tensor(layer.weight).data = np.zeros((2, 2))
    assert [t.tolist() for t in (first, second, third, layer(x))] == [
        [[1.0, 2.0]],
        [[3.0, 6.0]],
        [[6.0, 11.0]],
        [[1.0, 1.0]],
    ]
    assert layer.weight.value is array


def test_an_array_that_the_caller_reuses_was_copied() -> None:
    batch = np.ones(3, np.float32)
    total = tc.tensor(batch).sum()
    batch[:] = 100
    assert float(total) == 3.0


def test_a_step_that_fails_changes_nothing_and_says_so_again() -> None:
    model, loss_of = nn.Linear(3, 2), nn.SoftmaxLoss()
    model.initialize(1)
    optimizer = optim.SGD(lr=1.0).bind(model.parameters())
    start = model.state_dict()
    loss = loss_of(model(tc.tensor(np.ones((2, 3), np.float32))), tc.tensor(np.array([0, 2])))
    loss.backward()
    with pytest.raises(tc.CheckFailed) as first:
        optimizer.step()
    with pytest.raises(tc.CheckFailed) as second:
        loss.item()
    assert "label" in str(first.value)
    assert str(first.value) == str(second.value)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, start[name])
    good = loss_of(model(tc.tensor(np.ones((2, 3), np.float32))), tc.tensor(np.array([0, 1])))
    optimizer.zero_grad()
    good.backward()
    optimizer.step()
    assert np.isfinite(float(good))


def test_data_that_does_not_fit_is_refused() -> None:
    x = tc.tensor([1.0, 2.0], requires_grad=True)

    def set_shape() -> None:
        x.data = [1.0]

    def set_result() -> None:
        (x * 2).data = [1.0, 2.0]

    with pytest.raises(tc.ShapeError) as shape:
        set_shape()
    assert str(shape.value) == "data: a tensor of shape (2,) cannot take (1,)"
    with pytest.raises(tc.GradientError) as result:
        set_result()
    assert str(result.value) == ("data of a result cannot be set: it is computed from its operands")
