from __future__ import annotations

import hashlib
import importlib.resources
import re

import numpy as np

from tensorc.data import load_digits
from tensorc.data.idx import parse_idx, unpack


def test_the_digits_are_split_into_1437_and_360() -> None:
    digits = load_digits()
    assert digits.train_images.shape == (1437, 64)
    assert digits.test_images.shape == (360, 64)
    assert digits.image_shape == (8, 8)
    for images, labels in (
        (digits.train_images, digits.train_labels),
        (digits.test_images, digits.test_labels),
    ):
        assert images.dtype == np.float32
        assert labels.dtype == np.int32
        assert images.flags.c_contiguous
        assert labels.flags.c_contiguous
        assert images.min() == 0.0
        assert images.max() == 1.0
        assert np.bincount(labels, minlength=10).min() >= 0.07 * len(labels)
    assert "UCI" in digits.source
    assert repr(digits).startswith("ImageSet(1437 + 360 images of 8x8, 10 classes, UCI")


def test_the_split_never_changes() -> None:
    digits = load_digits()
    assert digits.train_labels[:12].tolist() == [4, 5, 0, 3, 1, 6, 3, 6, 8, 0, 5, 6]
    assert digits.test_labels[:12].tolist() == [1, 6, 0, 5, 8, 3, 8, 5, 2, 4, 9, 6]
    assert int(16 * digits.test_images.sum()) == 113410


def test_every_image_is_in_one_half_of_the_split() -> None:
    digits = load_digits()
    together = np.concatenate([digits.train_images, digits.test_images]) * 16
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    rows = np.column_stack([together, labels]).astype(np.uint8)
    packed = {
        name: importlib.resources.files("tensorc.data").joinpath(name).read_bytes()
        for name in ("digits-images-idx3-ubyte.gz", "digits-labels-idx1-ubyte.gz")
    }
    images, classes = (parse_idx(unpack(content, name), name) for name, content in packed.items())
    original = np.column_stack([images.reshape(-1, 64), classes])
    assert sorted(map(bytes, rows)) == sorted(map(bytes, original))
    assert np.bincount(classes).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_the_licence_names_the_checksums_of_the_files_it_covers() -> None:
    folder = importlib.resources.files("tensorc.data")
    licence = folder.joinpath("digits-LICENSE.txt").read_text(encoding="utf-8")
    listed = dict(re.findall(r"([0-9a-f]{64})  (images|labels)", licence))
    for checksum, what in listed.items():
        rank = {"images": 3, "labels": 1}[what]
        packed = folder.joinpath(f"digits-{what}-idx{rank}-ubyte.gz").read_bytes()
        assert hashlib.sha256(unpack(packed, what)).hexdigest() == checksum
    assert sorted(listed.values()) == ["images", "labels"]
    assert "CC BY 4.0" in licence
    assert "10.24432/C50P49" in licence
