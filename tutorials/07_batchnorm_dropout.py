# %% [markdown]
# # State beside the parameters: batch normalization and dropout
#
# Some layers do one thing in training and another in inference, and remember something between
# calls. Here a running mean, a running variance and a counter of random numbers are state of the
# compiled step, like the weights. The page trains a network with both on MNIST, or with `--data
# digits` on the digits inside the package.
"""Train a network with batch normalization and dropout, and look at its state."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

import tensorc as tc
from tensorc import nn, optim
from tensorc.data import DataLoader, load_digits, load_images


def title(text: str) -> None:
    print(f"\n{'=' * 80}\n{text}\n{'=' * 80}")


@dataclass(frozen=True)
class Settings:
    """What is good for a data set, and the test error that it must then reach."""

    hidden: int
    rate: float
    batch: int
    epochs: int
    lr: float
    goal: float


SETTINGS = {
    (28, 28): Settings(hidden=512, rate=0.3, batch=128, epochs=8, lr=2e-3, goal=0.02),
    (8, 8): Settings(hidden=96, rate=0.2, batch=32, epochs=12, lr=4e-3, goal=0.05),
}
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", choices=("auto", "digits"), default="auto")
images = load_digits() if parser.parse_args().data == "digits" else load_images()
settings = SETTINGS[images.image_shape]
print(images)

# %% [markdown]
# ## 1. Random numbers that can be had again
# Dropout draws from Threefry, a function of a seed, a step and the place in the tensor: additions,
# rotations and exclusive ors of integers. Every schedule and every backend gives the same bits.
# %%
title("1. random numbers")
count = tc.placeholder((), "int64", name="count")
bits = tc.ops.random_bits((2, 4), seed=7, step=count)
draw = tc.compile([bits], inputs=[count])
for step in (0, 1, 0):
    print(f"step {step}:", draw(np.array(step))[0])
assert np.array_equal(draw(np.array(1)), draw(np.array(1))), "the same step gives other bits"
assert not np.array_equal(draw(np.array(0)), draw(np.array(1))), "two steps give the same bits"

# %% [markdown]
# ## 2. A model with buffers
# A buffer is an array that a layer keeps beside its parameters; `forward` says what it becomes.
# `initialize` gives each dropout layer a seed of its own.
# %%
title("2. buffers")
pixels, hidden = images.train_images.shape[1], settings.hidden
layers: list[nn.Module] = []
for fan_in in (pixels, hidden):
    layers += [nn.Linear(fan_in, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
    layers += [nn.Dropout(settings.rate)]
model = nn.Sequential(*layers, nn.Linear(hidden, images.classes))
model.initialize(0)
print(model)
step = nn.training_step(
    model,
    nn.SoftmaxLoss(smoothing=0.05),
    optim.Adam(settings.lr),
    settings.batch,
    metrics={"accuracy": nn.accuracy},
)
train = tc.compile(step)
print("buffers:", ", ".join(name for name, _ in model.named_buffers()))

# %% [markdown]
# ## 3. Training and inference
# `training_step` builds the layers as their `training` says, which is True at first. The steps for
# inference and evaluation build them for inference: they read the running statistics, and drop
# nothing.
# %%
title("3. training")
loader = DataLoader(
    (images.train_images, images.train_labels), settings.batch, shuffle=True, drop_last=True
)
check = tc.compile(
    nn.evaluation_step(model, nn.SoftmaxLoss(), None, metrics={"accuracy": nn.accuracy})
)
history = nn.fit(
    train,
    loader,
    settings.epochs,
    evaluate=check,
    test_loader=DataLoader((images.test_images, images.test_labels), 500),
    lr=optim.Cosine(settings.lr, settings.epochs * len(loader)),
    names=("loss", "accuracy"),
)
for epoch, (seen, unseen) in enumerate(
    zip(history.train["accuracy"], history.test["accuracy"], strict=True), 1
):
    print(f"epoch {epoch}: {100 * seen:.2f} % right in training, {100 * unseen:.2f} % in the test")
error = 1 - history.test["accuracy"][-1]
print(f"test error {100 * error:.2f} %")
assert error < settings.goal, "the goal is missed"

# %% [markdown]
# ## 4. The state, looked at
# The counters have counted the calls; the running statistics are those of the layer's inputs, by
# and large. Setting state back and calling again gives the same loss, to the bit.
# %%
title("4. state")
calls = {name: int(b.value) for name, b in model.named_buffers() if name.endswith("calls")}
print(calls)
assert set(calls.values()) == {settings.epochs * len(loader)}, "a call was not counted"
first = model.state_dict()
inputs = images.train_images @ first["layer0.weight"] + first["layer0.bias"]
far = np.abs(inputs.mean(0) - first["layer1.running_mean"]) / np.sqrt(inputs.var(0) + 1e-3)
print(f"running means lie {far.mean():.3f} standard deviations from those of all images")
assert far.mean() < 0.2, "the running means are none of the inputs"
x, y = next(iter(loader))
saved = {name: np.array(array) for name, array in train.state.items()}
losses = []
for _ in range(2):
    for name, array in train.state.items():
        np.asarray(array)[...] = saved[name]
    losses.append(float(train(x, y)[0]))
print("the same call twice:", *losses)
assert losses[0] == losses[1], "a step that is run again gives another loss"
