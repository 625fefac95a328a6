"""The handwritten digits inside the package: real data for a machine without a network.

The 1,797 images of 8x8 pixels are the test set of E. Alpaydin and C. Kaynak, "Optical Recognition
of Handwritten Digits", UCI Machine Learning Repository, 1998, doi:10.24432/C50P49, under CC BY 4.0;
`digits-LICENSE.txt` beside this file says so in full.
"""

from __future__ import annotations

import random
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc.data.idx import parse_idx, unpack
from tensorc.data.image_set import ImageSet, check_pair, to_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRAIN = 1437  # Four fifths of 1,797.
_SPLIT_SEED = 1998
_WHITE = 16  # Each pixel counts the inked dots of a 4x4 block.


def load_digits() -> ImageSet:
    """Load the embedded digits: 1,437 images to train on and 360 to test with, always the same.

    The writers are not named in the data, so each one's digits stand on both sides of the split:
    the test error is that of known hands.
    """
    images = _embedded("digits-images-idx3-ubyte.gz")
    labels = _embedded("digits-labels-idx1-ubyte.gz")
    check_pair(images, labels, "the embedded digits", classes=10)
    order = _shuffled(len(images))
    rows, classes = to_rows(images, _WHITE)[order], labels.astype(np.int32)[order]
    return ImageSet(
        train_images=rows[:_TRAIN],
        train_labels=classes[:_TRAIN],
        test_images=rows[_TRAIN:],
        test_labels=classes[_TRAIN:],
        image_shape=(8, 8),
        classes=10,
        source="UCI handwritten digits, 8x8, from inside the package",
    )


def _embedded(name: str) -> NDArray[Any]:
    packed = resources.files("tensorc.data").joinpath(name).read_bytes()
    return parse_idx(unpack(packed, name), name)


def _shuffled(count: int) -> NDArray[np.intp]:
    # Python promises that random() keeps its sequence for a seed; NumPy's generators do not.
    generator = random.Random(_SPLIT_SEED)
    return np.argsort([generator.random() for _ in range(count)], kind="stable")
