"""Training steps for CUDA, run in the emulator, beside the same steps on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from nn import mlp as reference
from tensorc import nn, optim
from tensorc_runtime.cuda.array import DeviceArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tensorc.nn.step import Step

BATCH, WIDTH, CLASSES = 8, 20, 10


def model() -> nn.Module:
    made = nn.Sequential(nn.Linear(WIDTH, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    made.initialize(3)
    return made


def step(of: nn.Module, batch: int | None = BATCH) -> Step:
    return nn.training_step(of, nn.SoftmaxLoss(), optim.Adam(lr=1e-2), batch)


def batches(count: int, size: int = BATCH) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    rng = np.random.default_rng(0)
    return [
        (
            rng.normal(size=(size, WIDTH)).astype(np.float32),
            rng.integers(0, CLASSES, size).astype(np.int32),
        )
        for _ in range(count)
    ]


def assert_close(got: Any, want: Any, steps: int) -> None:
    """Both sum the same products in float32, in another order: a few ulps a step, of order 1.

    Adam divides by the root of a mean square, so an error of a gradient moves a weight by at most
    lr times its relative size, which the longest sum here, of 20 products, bounds by 20 ulps.
    """
    bound = steps * (20 * 2**-23)
    np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=bound, atol=bound)


def test_a_model_trains_as_on_the_cpu() -> None:
    ours, theirs = model(), model()
    f, g = tc.compile(step(ours), target="cuda-emu"), tc.compile(step(theirs))
    for number, (x, y) in enumerate(batches(20), 1):
        assert_close(f(x, y), g(x, y), number)
    for name, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], value, 20)
    assert set(f.state) == set(g.state)


def test_a_hundred_steps_of_the_demo_have_the_losses_of_the_float64_reference() -> None:
    made = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
    made.initialize(0)
    data = reference.batches(100, 64, 784, 10)
    exact, peer = (
        np.array(reference.train([p.value.astype(d) for p in made.parameters()], rule, data))
        for d, rule in (("float64", reference.Sgd(0.05)), ("float32", reference.Sgd(0.05)))
    )
    f = tc.compile(
        nn.training_step(made, nn.SoftmaxLoss(), optim.SGD(0.05), batch=64), target="cuda-emu"
    )
    losses = np.array([float(f(x, y)) for x, y in data])
    # As on the CPU (tests/nn/test_step.py): NumPy's own float32 run measures how fast rounding
    # grows; 8 covers that it is one draw; one loss alone rounds by some 1e-6.
    pace = np.maximum.accumulate(np.abs(peer - exact))
    assert np.all(np.abs(losses - exact) <= 8 * pace + 1e-6)
    assert losses[-20:].mean() < losses[:20].mean() / 2
    report = f.check(*data[0])
    assert report.ok, report.describe(f.source)


def test_a_step_has_no_findings() -> None:
    f = tc.compile(step(model()), target="cuda-emu")
    report = f.check(*batches(1)[0])
    assert report.ok, report.describe(f.source)


def test_bound_and_unbound_steps_give_the_same_bits() -> None:
    (x, y), *_ = batches(1)
    f = tc.compile(step(model()), target="cuda-emu")
    g = tc.compile(step(model()), target="cuda-emu")
    h = tc.compile(step(model()), target="cuda-emu")
    bound = g.bind(x, y)
    there = h.bind(tc.cuda.device_array(x, h.device), tc.cuda.device_array(y, h.device))
    for _ in range(3):
        loss, other, third = f(x, y), bound(), there()
        assert isinstance(third, DeviceArray)
        assert loss == other == float(third)
    for name, value in f.state.items():
        np.testing.assert_array_equal(value, g.state[name])
        np.testing.assert_array_equal(value, h.state[name])


def test_steps_of_one_model_share_its_parameters_on_the_device() -> None:
    ours = model()
    train = tc.compile(step(ours), target="cuda-emu")
    infer = tc.compile(nn.inference_step(ours, BATCH), target="cuda-emu")
    x, y = batches(1)[0]
    before = infer(x)
    train(x, y)
    after = infer(x)
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(
        after, tc.compile(nn.inference_step(ours, BATCH), target="cuda-emu")(x)
    )
    assert_close(after, tc.compile(nn.inference_step(ours, BATCH))(x), 1)


def test_what_is_written_into_a_model_is_what_the_next_call_works_on() -> None:
    ours, theirs = model(), model()
    f, g = tc.compile(step(ours), target="cuda-emu"), tc.compile(step(theirs))
    (x, y), *_ = batches(1)
    f(x, y)
    g(x, y)
    start = model().state_dict()
    for each in (ours, theirs):
        each.load_state_dict(start)
    assert_close(f(x, y), g(x, y), 2)
    for name, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], value, 2)
    del f
    for name, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[name], value, 2)


def test_the_learning_rate_can_be_changed_between_calls() -> None:
    ours, theirs = step(model()), step(model())
    f, g = tc.compile(ours, target="cuda-emu"), tc.compile(theirs)
    for number, (x, y) in enumerate(batches(6), 1):
        assert_close(f(x, y), g(x, y), number)
        for each in (ours, theirs):
            each.state["optimizer.lr"][...] = 0.01 / number


def test_a_batch_of_any_size_is_taken_by_one_function() -> None:
    f = tc.compile(step(model(), None), target="cuda-emu")
    g = tc.compile(step(model(), None))
    for number, size in enumerate((8, 3, 8, 1), 1):
        x, y = batches(1, size)[0]
        assert_close(f(x, y), g(x, y), number)


def test_a_label_that_is_no_class_is_refused_and_leaves_the_state_as_it_was() -> None:
    f = tc.compile(step(model()), target="cuda-emu")
    x, y = batches(1)[0]
    f(x, y)
    before = {name: value.copy() for name, value in f.state.items()}
    with pytest.raises(tc.CheckFailed, match="label y"):
        f(x, y + CLASSES)
    for name, value in f.state.items():
        np.testing.assert_array_equal(value, before[name])
    f(x, y)


def test_a_replayed_step_makes_one_launch_and_no_copy() -> None:
    f = tc.compile(step(model()), target="cuda-emu")
    x, y = batches(1)[0]
    bound = f.bind(tc.cuda.device_array(x, f.device), tc.cuda.device_array(y, f.device))
    bound()
    driver: Any = f.device.api
    names = ("cuGraphLaunch", "cuLaunchKernel", "cuMemcpyHtoDAsync", "cuMemAllocAsync")
    before = [driver.count(name) for name in names]
    for _ in range(4):
        bound()
    f.device.synchronize()
    after = [driver.count(name) for name in names]
    assert [b - a for a, b in zip(before, after, strict=True)] == [4, 0, 0, 0]
