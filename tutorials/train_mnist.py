# %% [markdown]
# # Training a digit classifier with one compiled step
#
# The forward pass, the backward pass and the update of every weight are one native function, which
# is compiled before the training starts. Python only hands it batches. `make demo` runs this file;
# `python tutorials/train_mnist.py --help` lists what can be chosen.
"""Train a digit classifier, by default on MNIST, with a training step compiled ahead of time."""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import tensorc as tc
from tensorc import nn, optim
from tensorc.data import DataLoader, load_digits, load_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tensorc.data import ImageSet
    from tensorc.driver import CompiledFunction

mpl.use("Agg")  # Files only: there may be no screen.
console = Console()


# %% [markdown]
# ## What is trained
# Good settings depend on how many images there are: MNIST has 60,000, the digits that come with the
# package 1,437.
# %%
@dataclass(frozen=True)
class Settings:
    """How one model learns one data set, and the test error that it must then reach."""

    hidden: tuple[int, ...]
    epochs: int
    batch: int
    lr: float
    goal: float


SETTINGS = {
    ("mlp", "mnist"): Settings(hidden=(512,), epochs=8, batch=128, lr=2e-3, goal=0.02),
    ("softmax", "mnist"): Settings(hidden=(), epochs=5, batch=128, lr=2e-3, goal=0.08),
    ("mlp", "digits"): Settings(hidden=(128,), epochs=40, batch=32, lr=2e-3, goal=0.05),
    ("softmax", "digits"): Settings(hidden=(), epochs=40, batch=32, lr=1e-2, goal=0.05),
}


def make_model(images: ImageSet, hidden: tuple[int, ...], seed: int) -> nn.Sequential:
    """Linear layers with ReLU between them; without hidden layers, softmax regression."""
    sizes = (images.train_images.shape[1], *hidden, images.classes)
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    model.initialize(seed)
    return model


# %% [markdown]
# ## Compiling
# `nn.training_step` builds tensor expressions: the loss, its gradients, and Adam's updates.
# `tc.compile` turns them into machine code; the second time, it finds that in its cache on disk.
# `export` writes the same step as a C library, which trains without Python.
# %%
def compile_steps(
    model: nn.Module, settings: Settings, out: Path
) -> tuple[nn.Step, CompiledFunction, CompiledFunction]:
    """The training step, its compiled form, and the compiled classifier of any number of images."""
    start = time.perf_counter()
    step = nn.training_step(model, nn.SoftmaxLoss(), optim.Adam(settings.lr), settings.batch)
    train = tc.compile(step)
    built = time.perf_counter()
    classify = tc.compile(nn.inference_step(model, batch=None, labels=True))
    done = time.perf_counter()
    source = "with LLVM" if "LLVM" in train.timing else "from the cache"
    console.print(
        f"training step compiled in {built - start:.2f} s ({source}), "
        f"classifier in {done - built:.2f} s"
    )
    train.export(out / "step")
    console.print(f"exported the training step as a C library to {out / 'step'}")
    return step, train, classify


# %% [markdown]
# ## Training
# The learning rate is a part of the step's state: writing a number into it needs no compiling. Here
# it falls linearly from epoch to epoch. The weights are updated in place, and the classifier reads
# the same arrays.
# %%
def train_model(
    images: ImageSet,
    settings: Settings,
    steps: tuple[nn.Step, CompiledFunction, CompiledFunction],
    seed: int,
) -> tuple[list[float], float]:
    """The losses of all batches and the last test error."""
    step, train, classify = steps
    loader = DataLoader(
        (images.train_images, images.train_labels),
        settings.batch,
        shuffle=True,
        seed=seed,
        drop_last=True,
    )
    losses: list[float] = []
    seconds, error = 0.0, 1.0
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("training", total=settings.epochs * len(loader))
        for epoch in range(settings.epochs):
            step.state["optimizer.lr"][...] = settings.lr * (1 - epoch / settings.epochs)
            for x, y in loader:
                start = time.perf_counter()
                loss = train(x, y)
                seconds += time.perf_counter() - start
                losses.append(float(loss))
                progress.advance(task)
            predicted = predict(classify, images.test_images, settings.batch)
            error = float(np.mean(predicted != images.test_labels))
            mean = np.mean(losses[-len(loader) :])
            progress.console.print(
                f"epoch {epoch + 1:2d}: mean loss {mean:.4f}, test error {100 * error:.2f} %"
            )
    console.print(f"{1e6 * seconds / len(losses):.0f} us a step of {settings.batch} images")
    return losses, error


def predict(classify: CompiledFunction, x: NDArray[np.float32], batch: int) -> NDArray[np.int64]:
    """The class of each image; the last batch may hold fewer than the others."""
    parts = [classify(x[start : start + batch]) for start in range(0, len(x), batch)]
    return np.concatenate(parts)


# %% [markdown]
# ## Looking at it
# %%
def draw_losses(losses: list[float], path: Path) -> None:
    """The loss of each batch and, over it, the running mean of fifty."""
    window = min(50, len(losses))
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(losses, linewidth=0.5, alpha=0.5, label="each batch")
    axes.plot(np.arange(window - 1, len(losses)), smooth, label=f"mean of {window}")
    axes.set(xlabel="step", ylabel="cross-entropy", yscale="log")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_mistakes(images: ImageSet, predicted: NDArray[np.int64], path: Path) -> None:
    """Up to 24 test images that were taken for something else."""
    wrong = np.flatnonzero(predicted != images.test_labels)[:24]
    figure, grid = plt.subplots(4, 6, figsize=(7, 5.4), layout="constrained")
    for axes in grid.flat:
        axes.axis("off")
    for axes, index in zip(grid.flat, wrong, strict=False):
        axes.imshow(images.test_images[index].reshape(images.image_shape), cmap="gray_r")
        axes.set_title(f"{images.test_labels[index]} as {predicted[index]}", fontsize=8)
    figure.suptitle("truth, and what the model says")
    figure.savefig(path, dpi=120)
    plt.close(figure)


# %% [markdown]
# ## All of it
# %%
def main(arguments: list[str] | None = None) -> None:
    """Load, compile, train, test and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("mlp", "softmax"), default="mlp")
    parser.add_argument(
        "--data",
        choices=("auto", "digits"),
        default="auto",
        help="digits: those of the package, even where MNIST is to be had",
    )
    parser.add_argument("--epochs", type=int, help="by default as many as reach the goal")
    parser.add_argument("--batch", type=int, help="images a step")
    parser.add_argument("--seed", type=int, default=0, help="of the weights and of the shuffling")
    parser.add_argument("--out", type=Path, default=Path("build/demo"), help="folder for results")
    parser.add_argument("--limit", type=int, help="train on so many images, and skip the goal")
    options = parser.parse_args(arguments)
    images = load_digits() if options.data == "digits" else load_images()
    console.print(f"data: {images}")
    settings = choose(images, options)
    if options.limit is not None:
        images = limited(images, options.limit)
    options.out.mkdir(parents=True, exist_ok=True)
    model = make_model(images, settings.hidden, options.seed)
    console.print(model)
    steps = compile_steps(model, settings, options.out)
    losses, error = train_model(images, settings, steps, options.seed)
    predicted = predict(steps[2], images.test_images, settings.batch)
    draw_losses(losses, options.out / "loss.png")
    draw_mistakes(images, predicted, options.out / "mistakes.png")
    console.print(f"drew {options.out / 'loss.png'} and {options.out / 'mistakes.png'}")
    assert np.mean(losses[-10:]) < losses[0], "the loss did not fall"
    if options.limit is None and options.epochs is None and options.batch is None:
        assert error <= settings.goal, f"test error {100 * error:.2f} %: goal missed"


def choose(images: ImageSet, options: argparse.Namespace) -> Settings:
    """The settings of the table, with what the command line says instead."""
    known = SETTINGS[options.model, "mnist" if images.image_shape == (28, 28) else "digits"]
    return Settings(
        known.hidden,
        known.epochs if options.epochs is None else options.epochs,
        known.batch if options.batch is None else options.batch,
        known.lr,
        known.goal,
    )


def limited(images: ImageSet, count: int) -> ImageSet:
    """The first `count` images to train and to test with."""
    return type(images)(
        images.train_images[:count],
        images.train_labels[:count],
        images.test_images[:count],
        images.test_labels[:count],
        images.image_shape,
        images.classes,
        images.source,
    )


if __name__ == "__main__":
    main()
