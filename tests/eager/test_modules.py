"""Layers that keep state, called with tensors that hold data."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

import tensorc as tc
from tensorc import nn, optim


def model(seed: int = 4) -> nn.Sequential:
    made = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.25), nn.Linear(6, 3)
    )
    made.initialize(seed)
    return made


def batches(count: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(1)
    return [
        (rng.standard_normal((8, 4), dtype=np.float32), rng.integers(0, 3, 8).astype(np.int32))
        for _ in range(count)
    ]


def same_state(a: nn.Module, b: nn.Module) -> None:
    wanted = b.state_dict()
    for name, array in a.state_dict().items():
        np.testing.assert_array_equal(array, wanted[name], err_msg=name)


@pytest.mark.parametrize("look_first", [False, True])
def test_running_statistics_and_dropout_are_those_of_the_compiled_step(look_first: bool) -> None:
    ours, theirs = model(), model()
    rule, loss_of = optim.SGD(lr=0.1), nn.SoftmaxLoss()
    step = tc.compile(nn.training_step(theirs, loss_of, rule, batch=8))
    optimizer = rule.bind(ours.parameters())
    arrays = [s.value for _, s in ours.named_state()]
    for x, y in batches(4):
        optimizer.zero_grad()
        loss = loss_of(ours(tc.tensor(x)), tc.tensor(y))
        if look_first:
            float(loss)
        loss.backward()
        optimizer.step()
        wanted = step(x, y)
        # Looked at first, the forward pass is compiled by itself, and its sums in another order.
        np.testing.assert_allclose(float(loss), wanted, rtol=1e-5 if look_first else 0)
    if not look_first:
        same_state(ours, theirs)
    assert all(s.value is a for (_, s), a in zip(ours.named_state(), arrays, strict=True))
    assert int(ours.layers[3].calls.value) == 4  # type: ignore[attr-defined]

    ours.eval()
    x = batches(1)[0][0]
    infer = tc.compile(nn.inference_step(ours, batch=8))
    np.testing.assert_array_equal(ours(tc.tensor(x)).numpy(), infer(x))


def test_buffers_follow_forward_passes_of_which_nobody_looks_at_the_result() -> None:
    norm: Any = nn.BatchNorm1d(2, momentum=0.5)
    x = tc.tensor([[0.0, 2.0], [4.0, 2.0]])
    for _ in range(3):
        norm(x)
    np.testing.assert_array_equal(norm.running_mean.value, [2 * 0.875, 2 * 0.875])
    before = norm(x)
    norm.running_mean.value = [0.0, 0.0]
    assert norm(x).shape == (2, 2)
    np.testing.assert_array_equal(norm.state_dict()["running_mean"], [1.0, 1.0])
    np.testing.assert_array_equal(before.numpy(), norm(x).numpy())


def test_a_users_own_buffer_counts_forward_passes() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            self.calls = nn.Buffer((), dtype="int64")
            self.norm = nn.BatchNorm1d(2)

        def forward(self, x: Any) -> Any:
            self.calls.update(self.calls.latest + 1)
            self.calls.update(self.calls.latest + 1)
            return self.norm(x) * self.calls.tensor

    counting: Any = Counting()
    x = tc.tensor([[0.0, 2.0], [4.0, 2.0]])
    results = [counting(x) for _ in range(3)]
    assert int(counting.calls.value) == 6
    np.testing.assert_array_equal(results[2].numpy(), (results[1] * 2).numpy())
    assert not results[0].numpy().any()


def test_modes_are_part_of_the_structure() -> None:
    drop: Any = nn.Dropout(0.5)
    x = tc.tensor(np.ones(64, np.float32))
    first, second = drop(x).numpy(), drop(x).numpy()
    assert set(first.tolist()) == {0.0, 2.0}
    assert (first != second).any()
    drop.eval()
    np.testing.assert_array_equal(drop(x).numpy(), x.numpy())
    assert int(drop.calls.value) == 2


def test_a_module_that_is_gone_leaves_nothing_behind() -> None:
    layer: Any = nn.Linear(3, 3)
    refs = [weakref.ref(layer), weakref.ref(layer.weight), weakref.ref(tc.tensor(layer.weight))]
    layer(tc.tensor(np.ones((1, 3), np.float32))).sum().backward()
    assert layer.weight.grad is not None
    gc.disable()
    try:
        del layer
        assert [ref() for ref in refs] == [None] * 3
    finally:
        gc.enable()


def test_a_copy_and_a_pickle_of_a_model_are_models_of_their_own() -> None:
    ours = model()
    optimizer = optim.SGD(lr=0.1).bind(ours.parameters())
    (x, y), loss_of = batches(1)[0], nn.SoftmaxLoss()
    loss_of(ours(tc.tensor(x)), tc.tensor(y)).backward()
    optimizer.step()
    for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
        same_state(other, ours)
        before = ours.state_dict()
        theirs = optim.SGD(lr=0.1).bind(other.parameters())
        loss_of(other(tc.tensor(x)), tc.tensor(y)).backward()
        theirs.step()
        theirs_now, ours_now = (m.state_dict()["layer0.weight"] for m in (other, ours))
        assert not np.array_equal(theirs_now, ours_now)
        for name, array in ours.state_dict().items():
            np.testing.assert_array_equal(array, before[name], err_msg=name)


def test_a_tensor_is_pickled_with_its_data() -> None:
    x = tc.tensor([1.0, 2.0], requires_grad=True)
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        (made * made).sum().backward()
        assert (made.tolist(), made.grad.tolist(), x.grad) == ([1.0, 2.0], [2.0, 4.0], None)
    total = pickle.loads(pickle.dumps((x * x).sum()))
    assert (total.item(), total.requires_grad) == (5.0, False)
