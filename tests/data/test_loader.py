from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensorc.data import DataLoader
from tensorc.errors import ArgumentError

NUMBERS = np.arange(10)


def order(loader: DataLoader) -> list[int]:
    return [int(number) for (batch,) in loader for number in batch]


@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**70),
)
def test_an_epoch_gives_each_example_once(
    count: int, batch_size: int, shuffle: bool, seed: int
) -> None:
    columns = np.asfortranarray(np.arange(3 * count, dtype=np.float32).reshape(count, 3))
    loader = DataLoader((columns, np.arange(count)), batch_size, shuffle=shuffle, seed=seed)
    batches = list(loader)
    assert len(batches) == len(loader) == -(-count // batch_size)
    for rows, numbers in batches:
        assert rows.flags.c_contiguous
        np.testing.assert_array_equal(rows, columns[numbers], strict=True)
    seen = [int(number) for _, numbers in batches for number in numbers]
    assert (sorted(seen) if shuffle else seen) == list(range(count))
    assert all(len(numbers) == batch_size for _, numbers in batches[:-1])


@given(count=st.integers(1, 60), batch_size=st.integers(1, 60))
def test_drop_last_gives_whole_batches_alone(count: int, batch_size: int) -> None:
    if batch_size > count:
        with pytest.raises(ArgumentError, match="leaves no batch"):
            DataLoader((np.arange(count),), batch_size, drop_last=True)
        return
    loader = DataLoader((np.arange(count),), batch_size, drop_last=True)
    assert [len(batch) for (batch,) in loader] == [batch_size] * (count // batch_size)
    assert len(loader) == count // batch_size


def test_each_epoch_has_an_order_of_its_own_that_the_seed_repeats() -> None:
    first, again, other = (DataLoader((NUMBERS,), 4, shuffle=True, seed=seed) for seed in (1, 1, 2))
    epochs = [order(first) for _ in range(3)]
    assert epochs == [order(again) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert order(other) != epochs[0]


def test_training_resumes_at_an_epoch() -> None:
    loader = DataLoader((NUMBERS,), 3, shuffle=True, seed=5)
    epochs = [order(loader) for _ in range(4)]
    resumed = DataLoader((NUMBERS,), 3, shuffle=True, seed=5)
    resumed.epoch = 3
    assert order(resumed) == epochs[3]


def test_an_epoch_begins_when_it_is_asked_for_not_when_it_is_read() -> None:
    loader = DataLoader((NUMBERS,), 10, shuffle=True, seed=5)
    first, second = iter(loader), iter(loader)
    (later,), (earlier,) = next(second), next(first)
    loader.epoch = 0
    assert earlier.tolist() == order(loader)
    assert later.tolist() == order(loader)


def test_a_batch_is_a_copy() -> None:
    numbers = NUMBERS.copy()
    for (batch,) in DataLoader((numbers,), 10):
        batch[:] = -1
    np.testing.assert_array_equal(numbers, NUMBERS)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ((), {}, "arrays is empty; give at least one array"),
        (NUMBERS, {}, "arrays is one array; give a tuple of arrays, as in (x,)"),
        ((NUMBERS[:0],), {}, "the arrays hold no examples"),
        (
            (NUMBERS, np.float32(1)),
            {},
            "arrays[1] is a scalar, without an axis that counts examples",
        ),
        (
            (NUMBERS, NUMBERS[:7]),
            {},
            "arrays[0] holds 10 examples and arrays[1] holds 7; all must hold as many",
        ),
        ((NUMBERS,), {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ((NUMBERS,), {"batch_size": 2.0}, "batch_size must be an integer, got float"),
        ((NUMBERS,), {"seed": -1}, "seed must be at least 0, got -1"),
        (
            (NUMBERS,),
            {"batch_size": 11, "drop_last": True},
            "drop_last leaves no batch of 11 out of 10 examples; "
            "make batch_size smaller, or keep the last one",
        ),
    ],
)
def test_bad_arguments_are_refused(arrays: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        DataLoader(arrays, **{"batch_size": 2, **options})
    assert str(caught.value) == f"DataLoader: {message}"
