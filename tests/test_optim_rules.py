"""Clipping, groups, schedules, and Newton's method."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tensorc as tc
from nn.mlp import Sgd
from tensorc import nn, optim
from tensorc.data import load_digits
from tensorc.errors import ArgumentError
from tensorc.te.reference import evaluate
from tensorc.te.tensor import Tensor, placeholder

RNG = np.random.default_rng(0)
P, Q = placeholder((3, 2), "float64", name="a.weight"), placeholder(2, "float64", name="a.bias")
G, H = placeholder((3, 2), "float64", name="g"), placeholder(2, "float64", name="h")
VALUES = {t: RNG.normal(size=[int(str(n)) for n in t.shape]) for t in (P, Q, G, H)}


def once(rule: optim.Rule) -> list[np.ndarray]:
    """The new values of P and Q after one step."""
    new, kept = rule.update([(P, G), (Q, H)])
    return evaluate(new, VALUES | {tensor: start for tensor, _, start in kept})


@pytest.mark.parametrize("limit", [0.5, 100.0])
def test_gradients_are_clipped_by_their_common_norm(limit: float) -> None:
    norm = math.sqrt((VALUES[G] ** 2).sum() + (VALUES[H] ** 2).sum())
    scale = min(1.0, limit / (norm + 1e-6))
    p, q = once(optim.ClipNorm(optim.SGD(0.1), limit))
    np.testing.assert_allclose(p, VALUES[P] - 0.1 * scale * VALUES[G], rtol=1e-13)
    np.testing.assert_allclose(q, VALUES[Q] - 0.1 * scale * VALUES[H], rtol=1e-13)


def test_gradients_are_clipped_by_value() -> None:
    p, q = once(optim.ClipValue(optim.SGD(0.1), 0.3))
    np.testing.assert_allclose(p, VALUES[P] - 0.1 * VALUES[G].clip(-0.3, 0.3), rtol=1e-13)
    np.testing.assert_allclose(q, VALUES[Q] - 0.1 * VALUES[H].clip(-0.3, 0.3), rtol=1e-13)


def test_each_parameter_follows_the_first_rule_that_matches() -> None:
    rules = optim.Groups({"*.bias": optim.SGD(1.0), "*": optim.SGD(0.1, 0.9, 0.01)})
    p, q = once(rules)
    np.testing.assert_allclose(p, Sgd(0.1, 0.9, 0.01)(0, VALUES[P], VALUES[G]), rtol=1e-13)
    np.testing.assert_allclose(q, VALUES[Q] - VALUES[H], rtol=1e-13)
    _, kept = rules.update([(P, G), (Q, H)])
    assert [tensor.name for tensor, _, _ in kept] == [
        "optimizer.group0.lr",
        "optimizer.group1.lr",
        "optimizer.group1.momentum.a.weight",
    ]


def test_a_parameter_or_a_pattern_that_is_left_over_is_refused() -> None:
    with pytest.raises(ArgumentError) as e:
        once(optim.Groups({"*.bias": optim.SGD(1.0)}))
    assert str(e.value) == (
        "Groups: no pattern matches a.weight; there are *.bias, and '*' matches all"
    )
    with pytest.raises(ArgumentError) as e:
        once(optim.Groups({"a.*": optim.SGD(1.0), "*": optim.SGD(0.1)}))
    assert str(e.value) == "Groups: '*' is left without a parameter"


def test_a_clipped_group_is_a_compiled_step_whose_rates_can_change() -> None:
    net = nn.Sequential(nn.Linear(4, 3))
    net.initialize(1)
    rules = optim.Groups({"*.bias": optim.SGD(0.0), "*": optim.Adam(1e-2)})
    step = nn.training_step(net, nn.SoftmaxLoss(), optim.ClipNorm(rules, 1.0), batch=5)
    train = tc.compile(step)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    y = np.array([0, 1, 2, 0, 1], np.int32)
    first = net.state_dict()
    train(x, y)
    second = net.state_dict()
    np.testing.assert_array_equal(second["layer0.bias"], first["layer0.bias"])
    assert not np.array_equal(second["layer0.weight"], first["layer0.weight"])
    step.state["optimizer.group0.lr"][...] = 0.1
    train(x, y)
    assert not np.array_equal(net.state_dict()["layer0.bias"], first["layer0.bias"])


def test_schedules_are_their_formulas() -> None:
    decay = optim.StepDecay(0.8, 10, 0.5)
    assert [decay(t) for t in (0, 9, 10, 25)] == [0.8, 0.8, 0.4, 0.2]
    assert optim.Exponential(2.0, 0.5)(3) == 0.25
    cosine = optim.Cosine(1.0, 100, lowest=0.2)
    assert cosine(0) == 1.0
    assert cosine(50) == pytest.approx(0.6)
    assert cosine(100) == cosine(1000) == pytest.approx(0.2)
    warm = optim.WarmUp(4, cosine)
    assert [warm(t) for t in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert [warm(t) for t in (4, 54)] == pytest.approx([1.0, 0.6])


def regression() -> tuple[nn.Sequential, np.ndarray, np.ndarray]:
    digits = load_digits()
    net = nn.Sequential(nn.Linear(64, 10, dtype="float64"))
    for parameter in net.parameters():
        parameter.value = np.zeros(parameter.shape)
    return net, digits.train_images[:300].astype(np.float64), digits.train_labels[:300]


def steps_until(rule: optim.Rule, goal: float, most: int) -> tuple[int, float]:
    """How many steps it takes until the gradient's norm is below `goal`, and the last loss."""
    net, x, y = regression()
    penalty = nn.L2(1e-2)
    train = tc.compile(nn.training_step(net, nn.SoftmaxLoss(), rule, len(x), penalty=penalty))
    for step in range(most):
        loss = float(train(x, y))
        if slope(net, x, y) < goal:
            return step + 1, loss
    return most, loss


def slope(net: nn.Sequential, x: np.ndarray, y: np.ndarray) -> float:
    """The norm of the gradient, by NumPy."""
    w, b = (p.value for p in net.parameters())
    z = x @ w + b
    e = np.exp(z - z.max(1, keepdims=True))
    delta = (e / e.sum(1, keepdims=True) - np.eye(10)[y]) / len(y)
    parts = (x.T @ delta + 1e-2 * w, delta.sum(0) + 1e-2 * b)
    return math.sqrt(sum(float((part**2).sum()) for part in parts))


def test_newton_cg_converges_where_sgd_takes_hundreds_of_steps() -> None:
    steps, loss = steps_until(optim.NewtonCG(iterations=6, damping=1e-6), 1e-4, 30)
    assert steps < 15
    plain, other = steps_until(optim.SGD(1.0), 1e-4, 2000)
    assert plain > 200
    assert loss == pytest.approx(other, rel=1e-6)


def test_a_newton_step_solves_a_quadratic_at_once() -> None:
    """Of a linear model with squared error and 3 parameters, 3 iterations are enough."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(20, 3)), rng.normal(size=(20, 1))
    net = nn.Sequential(nn.Linear(3, 1, bias=False, dtype="float64"))
    net.initialize(0)
    rule = optim.NewtonCG(iterations=4, damping=0.0)
    tc.compile(nn.training_step(net, nn.MSELoss(), rule, 20))(x, y)
    exact = np.linalg.lstsq(x, y, rcond=None)[0]
    np.testing.assert_allclose(net.parameters()[0].value, exact, rtol=1e-9)


def test_a_rule_of_ones_own_needs_update_alone() -> None:
    class Sign(optim.Rule):
        def update(self, parameters, prefix="optimizer"):  # type: ignore[no-untyped-def]
            del prefix
            return [p - 0.1 * tc.ops.sign(g) for p, g in parameters], []

    net = nn.Sequential(nn.Linear(2, 2))
    net.initialize(0)
    before: Tensor = net.state_dict()["layer0.weight"]  # type: ignore[assignment]
    step = tc.compile(nn.training_step(net, nn.SoftmaxLoss(), Sign(), 3))
    step(np.ones((3, 2), np.float32), np.zeros(3, np.int32))
    moved = np.abs(net.state_dict()["layer0.weight"] - before)
    np.testing.assert_allclose(moved, 0.1, rtol=1e-5)
