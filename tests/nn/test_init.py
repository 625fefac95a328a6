from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tensorc import nn
from tensorc.errors import ArgumentError, ShapeError
from tensorc.nn import init

if TYPE_CHECKING:
    from tensorc.nn.init import Initializer

FAN_IN, FAN_OUT = 300, 200
VARIANCES = [
    (init.kaiming_uniform, 2 / FAN_IN),
    (init.kaiming_normal, 2 / FAN_IN),
    (init.xavier_uniform, 2 / (FAN_IN + FAN_OUT)),
    (init.xavier_normal, 2 / (FAN_IN + FAN_OUT)),
]


@pytest.mark.parametrize(("initializer", "variance"), VARIANCES)
def test_the_drawn_values_have_the_stated_variance(
    initializer: Initializer, variance: float
) -> None:
    drawn = initializer((FAN_IN, FAN_OUT), 3, "float32")
    assert drawn.dtype == np.float32
    # The variance of n normal values has a relative standard error of sqrt(2 / n), the mean of
    # sqrt(variance / n); 5 of them is a chance of one in a million, for a seed that is fixed.
    count = FAN_IN * FAN_OUT
    assert abs(float(np.mean(drawn, dtype=np.float64))) < 5 * math.sqrt(variance / count)
    assert float(np.var(drawn, dtype=np.float64)) == pytest.approx(
        variance, rel=5 * math.sqrt(2 / count)
    )


def test_plain_initializers_draw_what_they_say() -> None:
    drawn = init.uniform((1000,), 1, "float64", low=-2, high=3)
    assert -2 <= drawn.min() < -1.9
    assert 2.9 < drawn.max() < 3
    drawn = init.normal((40_000,), 1, "float64", mean=2, std=0.5)
    assert abs(drawn.mean() - 2) < 5 * 0.5 / 200
    assert abs(drawn.std() - 0.5) < 5 * 0.5 / math.sqrt(80_000)
    np.testing.assert_array_equal(init.constant((2,), value=3.5), np.array([3.5, 3.5], "f"))
    np.testing.assert_array_equal(init.ones((2,), 0, "float64"), np.ones(2))
    np.testing.assert_array_equal(init.one_hot([2, 0], 3), [[0, 0, 1], [1, 0, 0]])
    with pytest.raises(ArgumentError, match=r"^one_hot: labels must be integers from 0 to 2$"):
        init.one_hot([3], 3)


def test_gain_and_fan_scale_the_deviation() -> None:
    tall = (FAN_IN, FAN_OUT)
    plain = init.kaiming_normal(tall, 1, "float64")
    np.testing.assert_allclose(
        init.kaiming_normal(tall, 1, "float64", gain=1.0), plain / math.sqrt(2), rtol=1e-14
    )
    np.testing.assert_allclose(
        init.kaiming_normal(tall, 1, "float64", fan="out"),
        plain * math.sqrt(FAN_IN / FAN_OUT),
        rtol=1e-14,
    )
    np.testing.assert_allclose(
        init.xavier_uniform(tall, 1, "float64", gain=3.0),
        3 * init.xavier_uniform(tall, 1, "float64"),
        rtol=1e-14,
        atol=1e-15,  # Drawn around 0 from both ends.
    )
    with pytest.raises(ArgumentError, match=r"^fan must be 'in' or 'out', got 'both'$"):
        init.kaiming_uniform(tall, fan="both")  # type: ignore[arg-type]


def test_numpys_global_source_is_used_on_request() -> None:
    np.random.seed(3)  # noqa: NPY002
    first = init.kaiming_uniform((4, 5), np.random)
    np.random.seed(3)  # noqa: NPY002
    np.testing.assert_array_equal(nn.Linear(4, 5, rng=np.random).weight.value, first)
    np.random.seed(3)  # noqa: NPY002
    assert nn.Dropout(rng=np.random).seed.value > 0
    source = np.random.RandomState(3)
    np.testing.assert_array_equal(init.kaiming_uniform((4, 5), source), first)


def test_uniform_values_stay_within_their_bound() -> None:
    drawn = init.kaiming_uniform((FAN_IN, FAN_OUT), 0, "float64")
    bound = math.sqrt(6 / FAN_IN)
    assert 0.99 * bound < np.abs(drawn).max() <= bound


def test_the_leading_dimensions_of_a_weight_count_into_both_fans() -> None:
    assert init.fans((3, 5, 16, 32)) == (240, 480)
    with pytest.raises(ShapeError, match=r"at least 2 dimensions, got \(4,\)"):
        init.kaiming_uniform((4,))


def test_equal_seeds_give_equal_values_and_a_generator_moves_on() -> None:
    np.testing.assert_array_equal(init.xavier_normal((4, 5), 1), init.xavier_normal((4, 5), 1))
    rng = np.random.default_rng(1)
    first, second = (nn.Linear(4, 4, rng=rng).weight.value for _ in range(2))
    assert not np.array_equal(first, second)


def test_a_seed_must_be_a_generator_or_an_integer_from_0() -> None:
    for seed in (-1, 1.5, True, None):
        with pytest.raises(ArgumentError, match=f"got {seed!r}$"):
            nn.Linear(2, 2, rng=seed)  # type: ignore[arg-type]


def test_initialize_draws_layers_of_one_shape_apart() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    first, _, second, _ = (parameter.value for parameter in model.parameters())
    np.testing.assert_array_equal(first, second)
    model.initialize(0)
    assert not np.array_equal(first, second)
