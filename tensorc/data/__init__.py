"""Data to learn from: MNIST, the embedded digits, files of numbers, and a loader of batches."""

from tensorc.data.dataset import ArrayDataset, Dataset, Transform
from tensorc.data.digits import load_digits
from tensorc.data.idx import read_idx
from tensorc.data.image_set import ImageSet
from tensorc.data.images import load_images
from tensorc.data.loader import DataLoader
from tensorc.data.mnist import load_mnist
from tensorc.data.tables import load_csv, load_npz
from tensorc.data.transforms import RandomCrop, RandomFlip

__all__ = [
    "ArrayDataset",
    "DataLoader",
    "Dataset",
    "ImageSet",
    "RandomCrop",
    "RandomFlip",
    "Transform",
    "load_csv",
    "load_digits",
    "load_images",
    "load_mnist",
    "load_npz",
    "read_idx",
]
