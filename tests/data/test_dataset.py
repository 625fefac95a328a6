"""Datasets, transforms, prefetching."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from tensorc.data import ArrayDataset, DataLoader, Dataset, RandomCrop, RandomFlip
from tensorc.errors import ArgumentError

IMAGES = np.arange(4 * 3 * 5, dtype=np.float32).reshape(4, 3, 5) + 1
LABELS = np.arange(4)


class Squares(Dataset):
    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if index == 5:
            raise ValueError("no 5")
        return np.float32(index), np.full(2, index**2)


def test_a_dataset_of_ones_own_gives_stacked_batches() -> None:
    numbers, squares = next(iter(DataLoader(Squares(), 3)))
    np.testing.assert_array_equal(numbers, np.array([0, 1, 2], np.float32), strict=True)
    np.testing.assert_array_equal(squares, [[0, 0], [1, 1], [4, 4]])


@pytest.mark.parametrize("prefetch", [1, 3, 10])
def test_batches_made_ahead_are_the_same_ones(prefetch: int) -> None:
    data = ArrayDataset((IMAGES, LABELS), [RandomFlip(), RandomCrop(1)])
    plain = DataLoader(data, 3, shuffle=True, seed=2)
    early = DataLoader(data, 3, shuffle=True, seed=2, prefetch=prefetch)
    for _ in range(3):
        for expected, found in zip(plain, early, strict=True):
            for a, b in zip(expected, found, strict=True):
                np.testing.assert_array_equal(a, b, strict=True)
    assert early.epoch == 3


def test_what_a_dataset_raises_comes_with_its_batch() -> None:
    for prefetch in (0, 2):
        batches = iter(DataLoader(Squares(), 1, prefetch=prefetch))
        assert [int(next(batches)[0][0]) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(ValueError, match="no 5"):
            next(batches)


def test_the_thread_ends_with_the_iterator() -> None:
    before = threading.active_count()
    batches = iter(DataLoader((np.arange(1000),), 1, prefetch=2))
    next(batches)
    assert threading.active_count() == before + 1
    del batches
    assert threading.active_count() == before


def test_a_flip_mirrors_some_of_the_images() -> None:
    many = np.tile(IMAGES[:1], (2000, 1, 1))
    flipped = RandomFlip(0.3)(many, np.random.default_rng(0))
    mirrored = (flipped == IMAGES[0, :, ::-1]).all((1, 2))
    assert ((flipped == IMAGES[0]).all((1, 2)) ^ mirrored).all()
    assert abs(mirrored.mean() - 0.3) < 5 * np.sqrt(0.21 / 2000)
    np.testing.assert_array_equal(
        RandomFlip(1.0, axis=1)(IMAGES, np.random.default_rng(0)), IMAGES[:, ::-1]
    )


@pytest.mark.parametrize("first", [False, True])
def test_a_crop_moves_an_image_and_fills_with_zeros(first: bool) -> None:
    images = IMAGES[:, None] if first else IMAGES[..., None]
    padded = np.pad(IMAGES, [(0, 0), (2, 2), (2, 2)])
    moved = RandomCrop(2, channels_first=first)(images, np.random.default_rng(1))
    assert moved.shape == images.shape
    places = set()
    for k, image in enumerate(moved.reshape(IMAGES.shape)):
        found = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if np.array_equal(padded[k, i : i + 3, j : j + 5], image)
        ]
        assert found
        places.add(found[0])
    assert len(places) > 1


def test_transforms_differ_from_batch_to_batch_and_repeat_with_the_seed() -> None:
    data = ArrayDataset((np.tile(IMAGES[:1], (64, 1, 1)),), [RandomCrop(2)])
    first = [batch for (batch,) in DataLoader(data, 32, seed=1)]
    again = [batch for (batch,) in DataLoader(data, 32, seed=1)]
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomFlip(1.5), "RandomFlip: rate must be from 0 to 1, got 1.5"),
        (
            lambda: RandomFlip(axis=3)(IMAGES, np.random.default_rng(0)),
            "RandomFlip: axis 3 is none of an image, in a batch of shape (4, 3, 5)",
        ),
        (lambda: RandomCrop(-1), "RandomCrop: padding must be an integer of at least 0, got -1"),
        (
            lambda: RandomCrop(1)(LABELS, np.random.default_rng(0)),
            "RandomCrop: a batch of shape (4,) has no height and width in dimensions 1 and 2",
        ),
        (
            lambda: ArrayDataset((IMAGES, LABELS[:3])),
            "ArrayDataset: arrays[0] holds 4 examples and arrays[1] holds 3; all must hold as many",
        ),
        (
            lambda: DataLoader(Squares(), 2, prefetch=-1),
            "DataLoader: prefetch must be at least 0, got -1",
        ),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError) as e:
        make()
    assert str(e.value) == message


def test_a_transform_keeps_the_number_of_examples() -> None:
    data = ArrayDataset((IMAGES,), [lambda images, rng: images[1:]])  # noqa: ARG005
    with pytest.raises(
        ArgumentError, match=r"turned 4 examples into an array of shape \(3, 3, 5\)"
    ):
        next(iter(DataLoader(data, 4)))
