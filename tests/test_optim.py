from __future__ import annotations

import math

import numpy as np
import pytest

from nn.mlp import AdamRule, Sgd
from tensorc import optim
from tensorc.errors import ArgumentError
from tensorc.te.reference import evaluate
from tensorc.te.tensor import placeholder

CASES = [
    (optim.SGD(0.1), Sgd(0.1)),
    (optim.SGD(0.1, momentum=0.9), Sgd(0.1, 0.9)),
    (optim.SGD(0.1, weight_decay=0.01), Sgd(0.1, 0.0, 0.01)),
    (optim.SGD(0.1, momentum=0.5, weight_decay=0.01), Sgd(0.1, 0.5, 0.01)),
    (optim.SGD(0.1, 0.9, 0.01, nesterov=True), Sgd(0.1, 0.9, 0.01, nesterov=True)),
    (optim.SGD(0.1, 0.9, form="mean"), Sgd(0.1, 0.9, form="mean")),
    (optim.SGD(0.1, 0.9, form="mean", nesterov=True), Sgd(0.1, 0.9, 0.0, True, "mean")),
    (
        optim.SGD(0.1, 0.8, 0.1, form="mean", bias_correction=True),
        Sgd(0.1, 0.8, 0.1, form="mean", bias_correction=True),
    ),
    (optim.Adam(weight_decay=0.1), AdamRule(1e-3, weight_decay=0.1)),
    (optim.AdamW(0.01, weight_decay=0.1), AdamRule(0.01, weight_decay=0.1, decoupled=True)),
    (optim.Adam(), AdamRule(1e-3)),
    (optim.Adam(0.1, (0.5, 0.0), 0.1), AdamRule(0.1, 0.5, 0.0, 0.1)),
]


@pytest.mark.parametrize(("optimizer", "rule"), CASES)
def test_ten_updates_are_those_of_the_formulas(optimizer: optim.Rule, rule: Sgd | AdamRule) -> None:
    rng = np.random.default_rng(0)
    p = placeholder((3, 2), "float64", name="p")
    g = placeholder((3, 2), "float64", name="g")
    (new,), kept = optimizer.update([(p, g)])
    value = expected = rng.normal(size=(3, 2))
    state = {tensor: start for tensor, _, start in kept}
    for _ in range(10):
        gradient = rng.normal(size=(3, 2))
        outputs = [new, *(after for _, after, _ in kept)]
        value, *after = evaluate(outputs, {p: value, g: gradient, **state})
        state = dict(zip(state, after, strict=True))
        expected = rule(0, expected, gradient)
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-14)


def test_state_is_named_after_its_parameter() -> None:
    pairs = [(placeholder((2,), name="layer0.bias"), placeholder((2,), name="g"))]
    _, kept = optim.SGD(0.1, momentum=0.9).update(pairs)
    assert [(t.name, str(t.dtype), a.shape) for t, _, a in kept] == [
        ("optimizer.lr", "float64", ()),
        ("optimizer.momentum.layer0.bias", "float32", (2,)),
    ]
    assert [t.name for t, after, _ in kept if after is t] == ["optimizer.lr"]


def test_new_values_keep_the_dtype_of_the_parameter() -> None:
    pairs = [(placeholder((2,), "float32", name="p"), placeholder((2,), "float32", name="g"))]
    for optimizer in (optim.SGD(0.1, 0.9, 0.1), optim.Adam()):
        (new,), kept = optimizer.update(pairs)
        assert str(new.dtype) == "float32"
        assert all(after.dtype == tensor.dtype for tensor, after, _ in kept)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(-1.0), "SGD: lr must be at least 0 and finite, got -1.0"),
        (lambda: optim.SGD(math.inf), "SGD: lr must be at least 0 and finite, got inf"),
        (lambda: optim.SGD(math.nan), "SGD: lr must be at least 0 and finite, got nan"),
        (lambda: optim.SGD(0.1, 1.0), "SGD: momentum must be at least 0 and below 1, got 1.0"),
        (
            lambda: optim.SGD(0.1, weight_decay=-1.0),
            "SGD: weight_decay must be at least 0 and finite, got -1.0",
        ),
        (
            lambda: optim.Adam(betas=(0.9, 1.0)),
            "Adam: betas[1] must be at least 0 and below 1, got 1.0",
        ),
        (lambda: optim.Adam(eps=-1e-8), "Adam: eps must be at least 0 and finite, got -1e-08"),
        (
            lambda: optim.AdamW(weight_decay=-1),
            "AdamW: weight_decay must be at least 0 and finite, got -1",
        ),
        (
            lambda: optim.SGD(0.1, form="torch"),  # type: ignore[arg-type]
            "SGD: form must be 'sum' (u = m u + g, torch's) or 'mean' (u = m u + (1 - m) g, the "
            "course's), got 'torch'",
        ),
        (lambda: optim.SGD(0.1, nesterov=True), "SGD: nesterov needs a momentum above 0"),
        (
            lambda: optim.SGD(0.1, 0.9, bias_correction=True),
            "SGD: bias_correction is for form='mean' without nesterov, whose velocity is a mean",
        ),
        (
            lambda: optim.ClipNorm(0.5, optim.SGD(0.1)),  # type: ignore[arg-type]
            "ClipNorm: rule must be an optimizer, as optim.SGD(0.1), got 0.5",
        ),
        (
            lambda: optim.ClipValue(optim.SGD(0.1), -1),
            "ClipValue: limit must be at least 0 and finite, got -1",
        ),
        (lambda: optim.Groups({}), "Groups: give at least one pattern and its rule"),
        (
            lambda: optim.Groups({"*": 0.1}),  # type: ignore[dict-item]
            "Groups: the rule of '*' must be an optimizer, as optim.SGD(0.1), got 0.1",
        ),
        (
            lambda: optim.NewtonCG(iterations=0),
            "NewtonCG: iterations must be at least 1, got 0",
        ),
        (
            lambda: optim.Cosine(0.1, 0),
            "Cosine: steps must be an integer of at least 1, got 0",
        ),
        (
            lambda: optim.WarmUp(10, 0.1),  # type: ignore[arg-type]
            "WarmUp: after must be a schedule, as optim.Cosine(0.1, 1000), got 0.1",
        ),
    ],
)
def test_a_number_out_of_range_is_refused(make: object, message: str) -> None:
    with pytest.raises(ArgumentError) as refusal:
        make()  # type: ignore[operator]
    assert str(refusal.value) == message
