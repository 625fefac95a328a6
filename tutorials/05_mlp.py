# %% [markdown]
# # A network of two layers, trained to the end
#
# A model is built of layers, a step of a model, a loss and an optimizer; the step is compiled once,
# and then called with batches. This page trains such a network on MNIST, or with `--data digits` on
# the digits inside the package, stops in the middle, and shows that going on from a checkpoint
# gives the same bits as not stopping.
"""Train a two-layer network with a schedule, metrics and a checkpoint."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

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
    batch: int
    epochs: int
    lr: float
    goal: float


SETTINGS = {
    (28, 28): Settings(hidden=512, batch=128, epochs=8, lr=2e-3, goal=0.02),
    (8, 8): Settings(hidden=64, batch=32, epochs=15, lr=4e-3, goal=0.05),
}
parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--data", choices=("auto", "digits"), default="auto")
images = load_digits() if parser.parse_args().data == "digits" else load_images()
settings = SETTINGS[images.image_shape]
print(images)

# %% [markdown]
# ## 1. A model
# Layers hold their parameters, NumPy arrays, and a `forward` that builds expressions. All
# parameters are drawn from one generator; `print` shows the parts, `state_dict` their arrays.
# %%
title("1. a model")


def make_model(seed: int) -> nn.Sequential:
    pixels = images.train_images.shape[1]
    model = nn.Sequential(
        nn.Linear(pixels, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, images.classes)
    )
    model.initialize(seed)
    return model


model = make_model(seed=0)
print(model)
for name, array in model.state_dict().items():
    print(f"{name}: {array.dtype} {array.shape}")

# %% [markdown]
# ## 2. A step
# The forward pass, the gradient and the update of every weight are one program. Its state is what
# a call changes in place: the model's own arrays and those of the optimizer. The gradients are
# clipped by their norm here, and the weights decay.
# %%
title("2. a step")


def compile_step(model: nn.Module) -> tc.CompiledFunction:
    rule = optim.ClipNorm(optim.AdamW(settings.lr, weight_decay=1e-2), limit=5.0)
    return tc.compile(nn.training_step(model, nn.SoftmaxLoss(), rule, settings.batch))


train = compile_step(model)
print("state:", ", ".join(train.state))
metrics = {"accuracy": nn.accuracy}
check = tc.compile(nn.evaluation_step(model, nn.SoftmaxLoss(), None, metrics=metrics))

# %% [markdown]
# ## 3. Training
# `nn.fit` is a loop over epochs and batches. The learning rate is one number of the state: the
# schedule writes it before each call, and nothing is compiled again. A thread makes the batches.
# %%
title("3. training")


def make_loader() -> DataLoader:
    return DataLoader(
        (images.train_images, images.train_labels),
        settings.batch,
        shuffle=True,
        seed=1,
        drop_last=True,
        prefetch=4,
    )


loader = make_loader()
steps = settings.epochs * len(loader)
schedule = optim.WarmUp(steps // 20, optim.Cosine(settings.lr, steps - steps // 20))
tests = DataLoader((images.test_images, images.test_labels), 500)
folder = Path(tempfile.mkdtemp())
half = settings.epochs // 2
history = nn.fit(train, loader, half, lr=schedule)
nn.save_checkpoint(folder / "half.safetensors", train.state, {"epoch": str(half)})
history = nn.fit(train, loader, settings.epochs - half, lr=schedule)
loss, accuracy = (float(r) for r in check(images.test_images, images.test_labels))
print(f"last epoch: mean loss {history.train['loss'][-1]:.4f}")
print(f"test: loss {loss:.4f}, error {100 * (1 - accuracy):.2f} %")
assert 1 - accuracy < settings.goal, "the goal is missed"
means = nn.fit(check, tests, 1, names=("loss", "accuracy")).train
assert np.isclose(means["accuracy"][0], accuracy, rtol=1e-5), "batches give another mean"

# %% [markdown]
# ## 4. Going on from a checkpoint
# The checkpoint has the weights, the moments and the powers of Adam's bias correction. A new
# model, compiled anew, takes them over, and so does the loader the number of the epoch. From there
# on it is the same run.
# %%
title("4. resumed")
other = make_model(seed=99)
resumed = compile_step(other)
metadata = nn.load_checkpoint(folder / "half.safetensors", resumed.state)
loader = make_loader()
loader.epoch = int(metadata["epoch"])
nn.fit(resumed, loader, settings.epochs - loader.epoch, lr=schedule)
for name, array in model.state_dict().items():
    assert np.array_equal(other.state_dict()[name], array), f"{name} differs"
print(f"resumed at epoch {metadata['epoch']}: the same bits in all {len(train.state)} arrays")
