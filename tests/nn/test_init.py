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
