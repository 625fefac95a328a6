"""Each layer, loss, penalty and optimizer in training steps for CUDA, in the emulator.

Each step is compared with the same step on the CPU, which is compared with formulas elsewhere.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from tensorc import nn, optim
from tensorc.driver.cuda.function import CudaCompiledFunction

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

BATCH, STEPS = 6, 3
RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(BATCH, 2, 7, 5))
LABELS = RNG.integers(0, 3, BATCH).astype(np.int32)
ROWS = RNG.normal(size=(BATCH, 10))
TARGETS = RNG.normal(size=(BATCH, 4))
WORDS = RNG.integers(0, 9, (BATCH, 5)).astype(np.int32)


def images(dtype: str) -> tuple[nn.Module, nn.Module, Array, Array]:
    made = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1, dtype=dtype),
        nn.BatchNorm2d(5, dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(5, 5, 3, padding="same", groups=5, bias=False, dtype=dtype)),
        nn.AvgPool2d(2, 1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(5 * 2, 3, dtype=dtype),
    )
    return made, nn.SoftmaxLoss(), IMAGES, LABELS


def images_channels_last(dtype: str) -> tuple[nn.Module, nn.Module, Array, Array]:
    made = nn.Sequential(
        nn.Conv2d(2, 5, 3, 2, layout="NHWC", dtype=dtype),
        nn.BatchNorm2d(5, layout="NHWC", dtype=dtype),
        nn.LeakyReLU(),
        nn.MaxPool2d((2, 1), 1, layout="NHWC"),
        nn.AvgPool2d((1, 2), 1, layout="NHWC"),
        nn.Flatten(),
        nn.Linear(10, 3, dtype=dtype),
    )
    return (
        made,
        nn.CrossEntropyLoss(0.1),
        np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1)),
        LABELS,
    )


def rows(dtype: str) -> tuple[nn.Module, nn.Module, Array, Array]:
    made = nn.Sequential(
        nn.Linear(10, 12, bias=False, dtype=dtype),
        nn.BatchNorm1d(12, dtype=dtype),
        nn.Tanh(),
        nn.Residual(nn.Sequential(nn.LayerNorm(12, dtype=dtype), nn.GELU("tanh"))),
        nn.Identity(),
        nn.Linear(12, 4, dtype=dtype),
    )
    return made, nn.HuberLoss(0.5), ROWS, TARGETS


def gates(dtype: str) -> tuple[nn.Module, nn.Module, Array, Array]:
    made = nn.Sequential(
        nn.RMSNorm(10, dtype=dtype),
        nn.Linear(10, 8, dtype=dtype),
        nn.SiLU(),
        nn.Linear(8, 7, dtype=dtype),
        nn.Sigmoid(),
        nn.Linear(7, 4, dtype=dtype),
    )
    return made, nn.BCEWithLogitsLoss(), ROWS, (TARGETS > 0).astype(float)


def words(dtype: str) -> tuple[nn.Module, nn.Module, Array, Array]:
    made = nn.Sequential(
        nn.Embedding(9, 6, dtype=dtype),
        nn.MultiHeadAttention(6, 2, causal=True, dtype=dtype),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(30, 4, dtype=dtype),
        nn.Softmax(),
    )
    return made, nn.MSELoss(), WORDS, TARGETS


def line(dtype: str) -> tuple[nn.Module, nn.Module, Array, Array]:
    return nn.Sequential(nn.Linear(10, 4, dtype=dtype)), nn.MSELoss(), ROWS, TARGETS


NETWORKS = (images, images_channels_last, rows, gates, words)
PARTS = {  # What a network is made of, and not a layer by itself.
    *("Sequential", "Residual", "Module", "Loss", "SoftmaxLoss", "CrossEntropyLoss", "MSELoss"),
    *("HuberLoss", "BCEWithLogitsLoss"),
}
RULES: dict[str, Callable[[], nn.Optimizer]] = {
    "SGD": lambda: optim.SGD(0.1, 0.9, 0.01, nesterov=True),
    "SGD of means": lambda: optim.SGD(0.1, 0.8, form="mean", bias_correction=True),
    "Adam": lambda: optim.Adam(1e-2, weight_decay=0.1),
    "AdamW": lambda: optim.AdamW(1e-2),
    "ClipNorm": lambda: optim.ClipNorm(optim.SGD(0.1, 0.9), 0.05),
    "ClipValue": lambda: optim.ClipValue(optim.SGD(0.1), 0.01),
    "Groups": lambda: optim.Groups({"*.bias": optim.SGD(0.2), "*": optim.Adam(1e-2)}),
    "NewtonCG": lambda: optim.NewtonCG(iterations=1),
}


def assert_trains_as_on_the_cpu(
    make: Callable[[str], tuple[nn.Module, nn.Module, Array, Array]],
    rule: Callable[[], nn.Optimizer],
    dtype: str,
    penalty: Any = None,
) -> None:
    """Some steps, on the same data. Both round the same sums, in another order.

    A sum has at most BATCH * 35 terms, the places of all images for one weight; as on the CPU
    (tests/nn/test_step.py), these steps do not amplify by more than a thousand.
    """
    bound = 1e3 * STEPS * BATCH * 35 * {"float32": 2.0**-24, "float64": 2.0**-53}[dtype]
    functions, models = [], []
    for target in ("cuda-emu", "cpu"):
        model, loss, x, y = make(dtype)
        model.initialize(3)
        x, y = (a if a.dtype == np.int32 else a.astype(dtype) for a in (x, y))
        step = nn.training_step(
            model, loss, rule(), BATCH, input_shape=x.shape[1:], penalty=penalty
        )
        functions.append(tc.compile(step, target=target))
        models.append(model)
    for _ in range(STEPS):
        ours, theirs = (float(f(x, y)) for f in functions)
        assert abs(ours - theirs) <= bound * max(1.0, abs(theirs))
    for name, value in models[1].state_dict().items():
        np.testing.assert_allclose(
            models[0].state_dict()[name], value, rtol=bound, atol=bound, err_msg=name
        )
    emulated = functions[0]
    assert isinstance(emulated, CudaCompiledFunction)
    report = emulated.check(x, y)
    assert report.ok, report.describe(emulated.source)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda f: f.__name__)
def test_a_network_trains_as_on_the_cpu(make: Any) -> None:
    assert_trains_as_on_the_cpu(make, lambda: optim.SGD(0.1), "float64")


@pytest.mark.parametrize("penalty", [nn.L1(0.1, "*.weight"), nn.L2(0.1)], ids=repr)
def test_a_penalty_is_part_of_the_loss_and_of_the_gradients(penalty: Any) -> None:
    assert_trains_as_on_the_cpu(line, lambda: optim.SGD(0.1), "float64", penalty)


@pytest.mark.parametrize("name", RULES)
def test_an_optimizer_moves_the_weights_as_on_the_cpu(name: str) -> None:
    assert_trains_as_on_the_cpu(line, RULES[name], "float64")


def test_there_is_a_network_with_each_layer_and_a_step_of_each_optimizer() -> None:
    layers = {
        n for n in nn.__all__ if inspect.isclass(c := getattr(nn, n)) and issubclass(c, nn.Module)
    }
    used = {"Module", "Loss"}
    for make in NETWORKS:
        model, loss, *_ = make("float32")
        used |= {type(loss).__name__} | {type(m).__name__ for m in parts_of(model)}
    assert layers - used == set()
    rules = {n for n in optim.__all__ if hasattr(getattr(optim, n), "update")}
    assert rules - {name.split()[0] for name in RULES} == {"Rule"}


def parts_of(model: nn.Module) -> list[nn.Module]:
    children = [v for v in vars(model).values() if isinstance(v, nn.Module)]
    children += [x for v in vars(model).values() if isinstance(v, list | tuple) for x in v]
    own = [x for x in children if isinstance(x, nn.Module)]
    return [model, *(y for x in own for y in parts_of(x))]
