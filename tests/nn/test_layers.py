"""What each layer computes, in float64, against NumPy; what it prints; what it refuses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from nn.run import Array, apply
from ops.test_conv import convolved
from tensorc import nn
from tensorc.errors import ArgumentError, DTypeError, ShapeError
from tensorc.te.tensor import placeholder

if TYPE_CHECKING:
    from collections.abc import Callable

erf = np.vectorize(math.erf)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6))
IMAGES = RNG.normal(size=(2, 3, 6, 6))


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def windows(x: Array) -> Array:
    """(batch, channels, height / 2, width / 2, elements of the window)."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(b, c, 3, 3, 4)


PLAIN: list[tuple[nn.Module, Array, Callable[[Array], Array]]] = [
    (nn.ReLU(), X, lambda x: np.maximum(x, 0)),
    (nn.LeakyReLU(0.2), X, lambda x: np.where(x > 0, x, 0.2 * x)),
    (nn.Tanh(), X, np.tanh),
    (nn.Sigmoid(), X, sigmoid),
    (nn.GELU(), X, lambda x: x * (1 + erf(x / math.sqrt(2))) / 2),
    (
        nn.GELU("tanh"),
        X,
        lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    ),
    (nn.SiLU(), X, lambda x: x * sigmoid(x)),
    (nn.Softmax(), X, softmax),
    (nn.Identity(), X, lambda x: x),
    (nn.Flatten(), IMAGES, lambda x: x.reshape(2, -1)),
    (nn.Residual(nn.Tanh()), X, lambda x: x + np.tanh(x)),
    (
        nn.Sequential(nn.Tanh(), nn.Residual(nn.ReLU())),
        X,
        lambda x: np.tanh(x) + np.maximum(np.tanh(x), 0),
    ),
    (nn.MaxPool2d(2), IMAGES, lambda x: windows(x).max(-1)),
    (nn.AvgPool2d(2), IMAGES, lambda x: windows(x).mean(-1)),
]


@pytest.mark.parametrize(
    ("layer", "x", "formula"), PLAIN, ids=lambda v: repr(v) if isinstance(v, nn.Module) else ""
)
def test_a_layer_without_parameters_is_its_formula(
    layer: nn.Module, x: Array, formula: Callable[[Array], Array]
) -> None:
    np.testing.assert_allclose(apply(layer, x), formula(x), rtol=1e-12, atol=1e-14)


def draw(layer: nn.Module) -> dict[str, Array]:
    """Random values for all parameters, so that biases and scales matter."""
    rng = np.random.default_rng(1)
    for parameter in layer.parameters():
        parameter.value = rng.normal(size=parameter.shape)
    return layer.state_dict()


@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_a_product_and_a_sum(bias: bool) -> None:
    layer = nn.Linear(6, 3, bias, dtype="float64")
    state = draw(layer)
    exact = X @ state["weight"] + state.get("bias", 0)
    np.testing.assert_allclose(apply(layer, X), exact, rtol=1e-12)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_conv2d_is_a_convolution_and_a_sum(layout: Any) -> None:
    layer = nn.Conv2d(3, 6, (3, 2), stride=2, padding=1, groups=3, layout=layout, dtype="float64")
    state = draw(layer)
    weight = state["weight"] if layout == "NCHW" else state["weight"].transpose(3, 2, 0, 1)
    exact = convolved(IMAGES, weight, (2, 2), [(1, 1), (1, 1)], (1, 1), 3)
    exact = exact + state["bias"][:, None, None]
    if layout == "NCHW":
        np.testing.assert_allclose(apply(layer, IMAGES), exact, rtol=1e-12, atol=1e-13)
    else:
        found = apply(layer, IMAGES.transpose(0, 2, 3, 1).copy())
        np.testing.assert_allclose(found.transpose(0, 3, 1, 2), exact, rtol=1e-12, atol=1e-13)


def test_the_weight_of_a_convolution_has_the_variance_of_its_window() -> None:
    first = nn.Conv2d(32, 16, 3, rng=1)
    last = nn.Conv2d(32, 16, 3, rng=1, layout="NHWC")
    np.testing.assert_array_equal(first.weight.value, last.weight.value.transpose(3, 2, 0, 1))
    count = 9 * 32 * 16
    variance = first.weight.value.var(dtype=np.float64)
    assert variance == pytest.approx(2 / (9 * 32), rel=5 * math.sqrt(0.8 / count))


def test_the_norms_of_an_example_are_their_formulas() -> None:
    layer, rms = nn.LayerNorm(6, dtype="float64"), nn.RMSNorm(6, dtype="float64")
    state, scale = draw(layer), draw(rms)
    near = (X - X.mean(-1, keepdims=True)) / np.sqrt(X.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(
        apply(layer, X), near * state["weight"] + state["bias"], rtol=1e-12, atol=1e-14
    )
    exact = X / np.sqrt((X**2).mean(-1, keepdims=True) + 1e-6) * scale["weight"]
    np.testing.assert_allclose(apply(rms, X), exact, rtol=1e-12)


@pytest.mark.parametrize("variance", ["biased", "unbiased"])
@pytest.mark.parametrize("kind", ["1d", "2d", "2d last"])
def test_batch_norm_moves_its_statistics_and_uses_them_in_inference(
    kind: str, variance: Any
) -> None:
    x = X if kind == "1d" else IMAGES if kind == "2d" else IMAGES.transpose(0, 2, 3, 1).copy()
    layer: nn.BatchNorm1d
    if kind == "1d":
        layer = nn.BatchNorm1d(6, momentum=0.3, variance=variance, dtype="float64")
    else:
        layout: Any = "NCHW" if kind == "2d" else "NHWC"
        layer = nn.BatchNorm2d(3, momentum=0.3, variance=variance, layout=layout, dtype="float64")
    state = draw(layer)
    rows = np.moveaxis(x, layer.axis, -1).reshape(-1, layer.features)
    mean, var, n = rows.mean(0), rows.var(0), len(rows)

    def normalized(m: Array, v: Array) -> Array:
        y = (np.moveaxis(x, layer.axis, -1) - m) / np.sqrt(v + 1e-5) * state["weight"]
        return np.moveaxis(y + state["bias"], -1, layer.axis)

    np.testing.assert_allclose(apply(layer, x), normalized(mean, var), rtol=1e-11, atol=1e-13)
    kept = var * n / (n - 1) if variance == "unbiased" else var
    np.testing.assert_allclose(layer.running_mean.value, 0.3 * mean, rtol=1e-12)
    np.testing.assert_allclose(layer.running_var.value, 0.7 + 0.3 * kept, rtol=1e-12)
    before = layer.state_dict()
    found = apply(layer.eval(), x)
    np.testing.assert_allclose(
        found, normalized(0.3 * mean, 0.7 + 0.3 * kept), rtol=1e-11, atol=1e-13
    )
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_an_embedding_looks_rows_up() -> None:
    layer = nn.Embedding(5, 3, dtype="float64")
    at = np.array([[4, 0], [2, 2]], np.int32)
    np.testing.assert_array_equal(apply(layer, at), layer.weight.value[at])
    assert abs(nn.Embedding(100, 100).weight.value.std() - 1) < 0.04
    with pytest.raises(DTypeError) as caught:
        layer(placeholder((2, 3), name="x"))
    assert str(caught.value) == (
        "Embedding: looks up integers, got x: float32[2, 3]; a model of yours that reads them says "
        "so with an attribute input_dtype = tc.int32"
    )


def test_dropout_counts_its_calls_and_falls_silent_in_inference() -> None:
    layer = nn.Dropout(0.25, rng=3)
    x = np.ones((50, 40))
    first, second = apply(layer, x), apply(layer, x)
    assert layer.calls.value == 2
    assert set(np.unique(first)) == {0.0, 1 / 0.75}
    assert not np.array_equal(first, second)
    # 2000 draws: five standard errors.
    assert abs((first == 0).mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / 2000)
    layer.calls.value = 0
    np.testing.assert_array_equal(apply(layer, x), first)
    np.testing.assert_array_equal(apply(layer.eval(), x), x)
    assert layer.calls.value == 1
    other = nn.Dropout(0.25, rng=4)
    assert not np.array_equal(apply(other, x), first)


def test_a_layer_that_drops_twice_drops_other_places() -> None:
    layer = nn.Dropout(0.5)
    twice = apply(nn.Sequential(layer, layer), np.ones((40, 40)))
    assert 0.2 < (twice > 0).mean() < 0.3
    assert layer.calls.value == 2


def test_losses_are_their_formulas() -> None:
    labels = np.array([0, 5, 2, 2], np.int32)
    y = RNG.normal(size=X.shape)
    log = np.log(softmax(X))
    target = np.eye(6)[labels] * 0.9 + 0.1 / 6
    d = np.abs(X - y)
    cases: list[tuple[nn.Module, Array, float]] = [
        (nn.SoftmaxLoss(), labels, -log[np.arange(4), labels].mean()),
        (nn.CrossEntropyLoss(smoothing=0.1), labels, -(target * log).sum(1).mean()),
        (nn.MSELoss(), y, ((X - y) ** 2).mean()),
        (nn.HuberLoss(0.5), y, np.where(d <= 0.5, d**2 / 2, 0.5 * (d - 0.25)).mean()),
        (nn.BCEWithLogitsLoss(), sigmoid(y), (np.logaddexp(0, X) - X * sigmoid(y)).mean()),
    ]
    for loss, target_array, exact in cases:
        assert float(apply(loss, X, target_array)) == pytest.approx(exact, rel=1e-12)


def test_layers_print_as_they_are_made() -> None:
    grouped = nn.Conv2d(4, 4, (3, 1), 1, "same", 1, 4, False, layout="NHWC")
    shown = {
        "Conv2d(3, 6, (3, 3))": nn.Conv2d(3, 6, 3),
        "Conv2d(4, 4, (3, 1), padding='same', groups=4, bias=False, layout='NHWC')": grouped,
        "MaxPool2d(2)": nn.MaxPool2d(2),
        "AvgPool2d((2, 3), stride=1, padding=1)": nn.AvgPool2d((2, 3), 1, 1),
        "BatchNorm2d(8)": nn.BatchNorm2d(8),
        "BatchNorm1d(8, variance='biased')": nn.BatchNorm1d(8, variance="biased"),
        "LayerNorm(4)": nn.LayerNorm(4),
        "RMSNorm(4)": nn.RMSNorm(4),
        "Dropout(0.5)": nn.Dropout(),
        "Embedding(10, 4)": nn.Embedding(10, 4),
        "MultiHeadAttention(8, 2)": nn.MultiHeadAttention(8, 2),
        "MultiHeadAttention(8, 2, bias=False, causal=True)": nn.MultiHeadAttention(
            8, 2, bias=False, causal=True
        ),
        "GELU('tanh')": nn.GELU("tanh"),
        "LeakyReLU(0.01)": nn.LeakyReLU(),
        "Softmax(axis=-1)": nn.Softmax(),
        "Flatten()": nn.Flatten(),
        "SoftmaxLoss()": nn.SoftmaxLoss(),
        "CrossEntropyLoss(0.1)": nn.CrossEntropyLoss(0.1),
        "HuberLoss(1)": nn.HuberLoss(),
    }
    assert [repr(layer) for layer in shown.values()] == list(shown)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: nn.MultiHeadAttention(8, 3),
            ArgumentError,
            "MultiHeadAttention: width 8 is no multiple of 3 heads",
        ),
        (
            lambda: nn.MultiHeadAttention(8, 2)(placeholder((5, 7), name="x")),
            ShapeError,
            "MultiHeadAttention(8, 2) takes inputs (..., length, 8), got x: float32[5, 7]",
        ),
        (
            lambda: nn.Conv2d(3, 6, 3, groups=2),
            ArgumentError,
            "Conv2d: in_channels 3 cannot be cut into 2 equal groups",
        ),
        (
            lambda: nn.Conv2d(3, 6, (3, 3, 3)),  # type: ignore[arg-type]
            ArgumentError,
            "Conv2d: window must be one number or two, got (3, 3, 3)",
        ),
        (
            lambda: nn.BatchNorm1d(3, variance="sample"),  # type: ignore[arg-type]
            ArgumentError,
            "BatchNorm1d: variance must be 'biased' or 'unbiased', got 'sample'",
        ),
        (
            lambda: nn.BatchNorm2d(3, layout="HWC"),  # type: ignore[arg-type]
            ArgumentError,
            "BatchNorm2d: layout must be 'NCHW' or 'NHWC', got 'HWC'",
        ),
        (
            lambda: nn.Dropout(1.0),
            ArgumentError,
            "Dropout: rate must be at least 0 and below 1, got 1.0",
        ),
        (
            lambda: nn.Residual("x"),  # type: ignore[arg-type]
            ArgumentError,
            "Residual: the part is no nn.Module but 'x'",
        ),
        (
            lambda: nn.Residual(nn.Linear(3, 4))(placeholder((2, 3), name="x")),
            ShapeError,
            "Residual: Linear(3, 4) turns x: float32[2, 3] into add: float32[2, 4], another shape",
        ),
        (
            lambda: nn.BatchNorm1d(3)(placeholder((2, 4), name="x")),
            ShapeError,
            "BatchNorm1d(3) takes inputs (batch, 3), got x: float32[2, 4]",
        ),
        (
            lambda: nn.BatchNorm2d(3)(placeholder((2, 4, 5, 5), name="x")),
            ShapeError,
            "BatchNorm2d(3) takes inputs (batch, 3, height, width), got x: float32[2, 4, 5, 5]",
        ),
        (
            lambda: nn.BatchNorm1d(3)(placeholder((1, 3), name="x")),
            ShapeError,
            "BatchNorm1d(3): one value of each feature has no unbiased variance; train with a "
            "larger batch, or with variance='biased'",
        ),
        (
            lambda: nn.LayerNorm(3)(placeholder((2, 4), name="x")),
            ShapeError,
            "LayerNorm(3) takes inputs (..., 3), got x: float32[2, 4]",
        ),
        (
            lambda: nn.L2(-1.0),
            ArgumentError,
            "L2: strength must be at least 0 and below inf, got -1.0",
        ),
        (
            lambda: nn.L1(1.0, "*.gain")({"layer0.weight": placeholder(3)}),
            ArgumentError,
            "L1: no parameter matches '*.gain'; there are layer0.weight",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as e:
        make()
    assert str(e.value) == message
