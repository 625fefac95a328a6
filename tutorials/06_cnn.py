# %% [markdown]
# # A convolutional network
#
# A convolution is an index expression like any other: a sum of products over a sliding window. Its
# gradients are sums over windows too, so they tile and vectorize as the forward pass does. This
# page writes one by hand, then trains a small network of them on MNIST, or with `--data digits` on
# the digits inside the package.
"""Train a small convolutional network, with random crops, in one compiled step."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

import tensorc as tc
from tensorc import nn, optim
from tensorc.data import ArrayDataset, DataLoader, RandomCrop, load_digits, load_images


def title(text: str) -> None:
    print(f"\n{'=' * 80}\n{text}\n{'=' * 80}")


@dataclass(frozen=True)
class Settings:
    """What is good for a data set, and the test error that it must then reach."""

    channels: tuple[int, int]
    crop: int
    batch: int
    epochs: int
    lr: float
    goal: float


SETTINGS = {
    (28, 28): Settings((16, 32), crop=2, batch=64, epochs=5, lr=2e-3, goal=0.012),
    (8, 8): Settings((16, 32), crop=0, batch=32, epochs=10, lr=4e-3, goal=0.05),
}
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", choices=("auto", "digits"), default="auto")
images = load_digits() if parser.parse_args().data == "digits" else load_images()
settings = SETTINGS[images.image_shape]
height, width = images.image_shape
print(images)

# %% [markdown]
# ## 1. A convolution, by index
# `tc.ops.conv2d` is this definition, with stride, padding, dilation and groups. Channels come last
# here: the sum then runs over contiguous numbers, and the channels of the output fill the lanes.
# %%
title("1. by index")
x = tc.placeholder((4, 6, 6, 3), name="x")
w = tc.placeholder((3, 3, 3, 8), name="w")
i, j, c = (tc.reduce_axis(n, name=name) for n, name in ((3, "i"), (3, "j"), (3, "c")))
by_hand = tc.compute(
    (4, 4, 4, 8),
    lambda n, u, v, o: tc.sum(x[n, u + i, v + j, c] * w[i, j, c, o], axis=(i, j, c)),
    name="y",
)
library = tc.ops.conv2d(x, w, layout="NHWC")
rng = np.random.default_rng(0)
values = [rng.normal(size=(4, 6, 6, 3)).astype("f"), rng.normal(size=(3, 3, 3, 8)).astype("f")]
first, second = tc.compile([by_hand, library], inputs=[x, w])(*values)
assert np.array_equal(first, second), "the library's convolution is another one"
print("y[n, u, v, o] =", by_hand.body)

# %% [markdown]
# Its gradient by the images gathers: each pixel sums over the windows that it is in. There is no
# scatter and no atomic addition anywhere.
# %%
by_x = tc.grad(tc.ops.sum(by_hand * by_hand), x)
print("d.x[n, p, q, c] =", by_x.body)

# %% [markdown]
# ## 2. A network
# %%
title("2. a network")
few, many = settings.channels
model = nn.Sequential(
    nn.Conv2d(1, few, 5, padding=2, layout="NHWC"),
    nn.ReLU(),
    nn.MaxPool2d(2, layout="NHWC"),
    nn.Conv2d(few, many, 3, padding=1, layout="NHWC"),
    nn.ReLU(),
    nn.MaxPool2d(2, layout="NHWC"),
    nn.Flatten(),
    nn.Linear(height // 4 * (width // 4) * many, images.classes),
)
model.initialize(0)
print(model)
shape = (height, width, 1)
step = nn.training_step(
    model, nn.SoftmaxLoss(), optim.Adam(settings.lr), settings.batch, input_shape=shape
)
train = tc.compile(step)
check = tc.compile(
    nn.evaluation_step(
        model, nn.SoftmaxLoss(), None, metrics={"accuracy": nn.accuracy}, input_shape=shape
    )
)

# %% [markdown]
# ## 3. Training
# Each epoch sees each image moved a little in another way, drawn from the seed, the epoch and the
# batch.
# %%
title("3. training")
data = ArrayDataset(
    (images.train_images.reshape(-1, *shape), images.train_labels), [RandomCrop(settings.crop)]
)
loader = DataLoader(data, settings.batch, shuffle=True, seed=1, drop_last=True, prefetch=4)
tests = DataLoader((images.test_images.reshape(-1, *shape), images.test_labels), 200)
history = nn.fit(
    train,
    loader,
    settings.epochs,
    lr=optim.Cosine(settings.lr, settings.epochs * len(loader)),
    on_epoch=lambda epoch, h: print(f"epoch {epoch + 1}: mean loss {h.train['loss'][-1]:.4f}"),
)
means = nn.fit(check, tests, 1, names=("loss", "accuracy")).train
error = 1 - means["accuracy"][0]
print(f"test: loss {means['loss'][0]:.4f}, error {100 * error:.2f} %")
assert history.train["loss"][-1] < history.train["loss"][0], "the loss did not fall"
assert error < settings.goal, "the goal is missed"
