"""Data to learn from: MNIST, the embedded digits, and a loader of batches."""

from tensorc.data.digits import load_digits
from tensorc.data.idx import read_idx
from tensorc.data.image_set import ImageSet
from tensorc.data.images import load_images
from tensorc.data.loader import DataLoader
from tensorc.data.mnist import load_mnist

__all__ = ["DataLoader", "ImageSet", "load_digits", "load_images", "load_mnist", "read_idx"]
