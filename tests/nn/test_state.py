"""Steps that carry more than parameters: running statistics, counters, penalties; modes."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc as tc
from nn.mlp import batches
from nn.run import apply
from tensorc import nn, ops, optim
from tensorc.errors import DTypeError, ShapeError
from tensorc.te.tensor import Tensor, placeholder


def model(dtype: str = "float32") -> nn.Sequential:
    made = nn.Sequential(
        nn.Linear(6, 8, dtype=dtype),
        nn.BatchNorm1d(8, dtype=dtype),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(8, 3, dtype=dtype),
    )
    made.initialize(5)
    return made


def test_a_training_step_carries_buffers_as_state() -> None:
    net = model()
    step = nn.training_step(net, nn.SoftmaxLoss(), optim.SGD(0.1), batch=16)
    assert list(step.state) == [
        "layer0.weight",
        "layer0.bias",
        "layer1.weight",
        "layer1.bias",
        "layer4.weight",
        "layer4.bias",
        "layer1.running_mean",
        "layer1.running_var",
        "layer3.seed",
        "layer3.calls",
        "optimizer.lr",
    ]
    train = tc.compile(step)
    mean, calls = (net.layers[k] for k in (1, 3))
    assert isinstance(mean, nn.BatchNorm1d)
    assert isinstance(calls, nn.Dropout)
    data = batches(3, 16, 6, 3)
    expected = mean.running_mean.value.astype(np.float64)
    for x, y in data:
        first = net.layers[0].state_dict()
        rows = x.astype(np.float64) @ first["weight"] + first["bias"]
        expected = 0.9 * expected + 0.1 * rows.mean(0)
        train(x, y)
    np.testing.assert_allclose(mean.running_mean.value, expected, rtol=1e-4, atol=1e-5)
    assert calls.calls.value == 3


def test_a_step_run_again_from_its_state_gives_the_same_bits() -> None:
    net = model()
    train = tc.compile(nn.training_step(net, nn.SoftmaxLoss(), optim.Adam(1e-2), batch=16))
    data = batches(4, 16, 6, 3)
    for x, y in data[:2]:
        train(x, y)
    saved = {name: np.array(value) for name, value in train.state.items()}
    ends = []
    for _ in range(2):
        for name, value in train.state.items():
            np.asarray(value)[...] = saved[name]
        losses = [float(train(x, y)) for x, y in data[2:]]
        ends.append((losses, net.state_dict()))
    assert ends[0][0] == ends[1][0]
    for name, array in ends[0][1].items():
        np.testing.assert_array_equal(array, ends[1][1][name])


@pytest.mark.parametrize("threads", [1, 2])
def test_dropout_gives_the_same_elements_interpreted_and_compiled(threads: int) -> None:
    net = nn.Sequential(nn.Linear(5, 7, bias=False), nn.Dropout(0.4, rng=9))
    x = np.ones((33, 5), np.float32)
    exact = apply(net, x) == 0
    net.buffers()[1].value = 0

    def zeros(outputs: Tensor, _: Tensor) -> Tensor:
        return ops.reshape((outputs == 0.0).astype("int32"), (-1,))

    step = nn.training_step(net, nn.MSELoss(), optim.SGD(0.0), batch=33, metrics={"zeros": zeros})
    _, found = tc.compile(step, threads=threads)(x, np.zeros((33, 7), np.float32))
    np.testing.assert_array_equal(found.reshape(33, 7) != 0, exact)


def test_dropout_gives_the_same_elements_on_an_emulated_gpu() -> None:
    x = placeholder((24, 20), name="x")
    step = placeholder((), "int64", name="step")
    outs = [ops.dropout(x, 0.3, 7, step), ops.random_bits((24, 20), 7, step)]
    values = np.random.default_rng(0).normal(size=(24, 20)).astype(np.float32), np.array(5)
    here = tc.compile(outs, inputs=[x, step])(*values)
    there = tc.compile(outs, inputs=[x, step], target="cuda-emu")(*values)
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))


def test_inference_is_built_for_inference_and_leaves_the_mode_alone() -> None:
    net = model()
    step = nn.inference_step(net, batch=4)
    assert "layer3.calls" not in step.state
    assert step.updates == ()
    assert all(module.training for module in net.modules())
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    infer = tc.compile(step)
    np.testing.assert_array_equal(infer(x), infer(x))
    np.testing.assert_allclose(infer(x), apply(net.eval(), x), rtol=1e-5, atol=1e-6)
    assert not any(module.training for module in net.modules())


def test_a_part_in_inference_mode_stays_as_it_is_in_training() -> None:
    net = model()
    net.layers[1].eval()
    step = nn.training_step(net, nn.SoftmaxLoss(), optim.SGD(0.1), batch=16)
    assert "layer1.running_mean" not in {tensor.name for tensor, _ in step.updates}
    train = tc.compile(step)
    (x, y), *_ = batches(1, 16, 6, 3)
    train(x, y)
    np.testing.assert_array_equal(net.state_dict()["layer1.running_mean"], np.zeros(8))


def test_an_evaluation_step_gives_loss_and_metrics_and_changes_nothing() -> None:
    def hits(outputs: Tensor, y: Tensor) -> Tensor:
        return ops.sum((ops.argmax(outputs, -1) == y).astype("int32"))

    net = model()
    evaluate = tc.compile(
        nn.evaluation_step(net, nn.SoftmaxLoss(), batch=None, metrics={"hits": hits})
    )
    before = net.state_dict()
    (x, y), *_ = batches(1, 20, 6, 3)
    loss, count = evaluate(x, y)
    logits = apply(net.eval(), x).astype(np.float64)
    assert int(count) == int((logits.argmax(1) == y).sum())
    shifted = logits - logits.max(1, keepdims=True)
    exact = (np.log(np.exp(shifted).sum(1)) - shifted[np.arange(20), y]).mean()
    assert float(loss) == pytest.approx(exact, rel=1e-5)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_one_symbolic_step_moves_the_statistics_of_every_batch() -> None:
    net, other = model(), model()
    for part in (net, other):
        part.layers[3].eval()
    symbolic = tc.compile(nn.training_step(net, nn.SoftmaxLoss(), optim.SGD(0.1), batch=None))
    for size in (4, 7):
        fixed = tc.compile(nn.training_step(other, nn.SoftmaxLoss(), optim.SGD(0.1), batch=size))
        (x, y), *_ = batches(1, size, 6, 3, seed=size)
        assert float(symbolic(x, y)) == pytest.approx(float(fixed(x, y)), rel=1e-5)
    for name, value in other.state_dict().items():
        np.testing.assert_allclose(net.state_dict()[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["l1", "l2"])
def test_a_penalty_is_a_term_of_the_loss_and_of_the_gradient(kind: str) -> None:
    net = nn.Sequential(nn.Linear(4, 3, dtype="float64"))
    net.initialize(2)
    penalty = nn.L1(0.3, "*.weight") if kind == "l1" else nn.L2(0.3, "*.weight")
    (x, y), *_ = batches(1, 5, 4, 3)
    wide = x.astype(np.float64)
    before = net.state_dict()
    plain = tc.compile(nn.training_step(net, nn.SoftmaxLoss(), optim.SGD(1.0), batch=5))
    base = float(plain(wide, y))
    moved = net.state_dict()
    net.load_state_dict(before)
    with_term = tc.compile(
        nn.training_step(net, nn.SoftmaxLoss(), optim.SGD(1.0), batch=5, penalty=penalty)
    )
    w = before["layer0.weight"]
    term = 0.3 * np.abs(w).sum() if kind == "l1" else 0.15 * (w**2).sum()
    slope = 0.3 * np.sign(w) if kind == "l1" else 0.3 * w
    assert float(with_term(wide, y)) == pytest.approx(base + term, rel=1e-12)
    after = net.state_dict()
    np.testing.assert_allclose(after["layer0.weight"], moved["layer0.weight"] - slope, rtol=1e-10)
    np.testing.assert_array_equal(after["layer0.bias"], moved["layer0.bias"])


def test_a_loss_says_what_its_targets_are() -> None:
    net = nn.Sequential(nn.Linear(4, 3, dtype="float64"))
    shown = {
        nn.SoftmaxLoss(): "y: int32[5]",
        nn.MSELoss(): "y: float64[5, 3]",
        nn.BCEWithLogitsLoss(): "y: float64[5, 3]",
        nn.HuberLoss(): "y: float64[5, 3]",
    }
    for loss, text in shown.items():
        assert str(nn.training_step(net, loss, optim.SGD(0.1), batch=5).inputs[1]) == text


def test_a_model_of_an_embedding_takes_integers() -> None:
    net = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2))
    net.initialize(0)
    step = nn.training_step(net, nn.SoftmaxLoss(), optim.SGD(0.5), batch=5, input_shape=(3,))
    assert str(step.inputs[0]) == "x: int32[5, 3]"
    train = tc.compile(step)
    x = np.random.default_rng(0).integers(0, 7, (5, 3)).astype(np.int32)
    y = np.array([0, 1, 1, 0, 1], np.int32)
    losses = [float(train(x, y)) for _ in range(30)]
    assert losses[-1] < losses[0] / 3


def test_a_buffer_refuses_what_it_cannot_hold() -> None:
    buffer = nn.Buffer((3,), dtype="int32")
    with pytest.raises(ShapeError) as shape:
        buffer.update(placeholder((4,), "int32", name="x"))
    assert str(shape.value) == "a buffer of shape (3,) cannot become x: int32[4]"
    with pytest.raises(DTypeError) as dtype:
        buffer.update(placeholder((3,), name="x"))
    assert str(dtype.value) == "a buffer of int32 cannot become x: float32[3]"


def test_lists_of_parts_are_parts() -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            self.blocks = [nn.Linear(4, 4), nn.Residual(nn.Linear(4, 4))]
            self.shifts = (nn.Parameter((4,)),)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            return x + self.shifts[0].tensor

    net = Stack()
    assert list(net.state_dict()) == [
        "blocks0.weight",
        "blocks0.bias",
        "blocks1.part.weight",
        "blocks1.part.bias",
        "shifts0",
    ]
    step = nn.training_step(net, nn.MSELoss(), optim.SGD(0.1), batch=2, input_shape=(4,))
    x = np.ones((2, 4), np.float32)
    train = tc.compile(step)
    assert float(train(x, x)) > float(train(x, x))
