"""A loop over epochs and batches, for those who need no other."""

from __future__ import annotations

from collections.abc import Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc import ops
from tensorc.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tensorc.te.tensor import Tensor


@dataclass(slots=True)
class History:
    """Means over the examples of each epoch, by the names of the results.

    Attributes:
        train: of the training batches, during the epoch.
        test: of the test batches, after it.
    """

    train: dict[str, list[float]] = field(default_factory=dict)
    test: dict[str, list[float]] = field(default_factory=dict)


def fit(
    train: Callable[..., Any],
    loader: Iterable[Sequence[Any]],
    epochs: int,
    *,
    evaluate: Callable[..., Any] | None = None,
    test_loader: Iterable[Sequence[Any]] | None = None,
    lr: Callable[[int], float] | None = None,
    names: Sequence[str] = ("loss",),
    on_epoch: Callable[[int, History], object] | None = None,
    progress: bool = False,
) -> History:
    """Call a compiled step with each batch of each epoch.

    Args:
        train: `tensorc.compile` of a training step. It returns the loss, or that and metrics, each
            a mean over the batch.
        loader: iterates over an epoch of batches: a `data.DataLoader`, or a list.
        epochs: how many.
        evaluate: `tensorc.compile` of an evaluation step, for `test_loader` after each epoch.
        test_loader: as `loader`.
        lr: the learning rate by the number of the step, from 0, such as a schedule of `optim`; it
            is written into the state `optimizer.lr`. A loader that knows its `epoch` is asked for
            it, so that a run which resumes goes on with the number.
        names: of the results, in the order in which the steps return them.
        on_epoch: called after each epoch with its number, from 0, and the history so far.
        progress: whether to draw a bar, with the package rich.

    Raises:
        ArgumentError: a number of epochs below 0, one of `evaluate` and `test_loader` alone, other
            results than `names`, `lr` for a step that has none, or no rich for the bar.
    """
    if epochs < 0:
        raise ArgumentError(f"fit: epochs must be at least 0, got {epochs}")
    if (evaluate is None) != (test_loader is None):
        raise ArgumentError("fit: evaluate and test_loader go together; give both or neither")
    history = History()
    with _bar(progress, epochs, loader) as advance:
        for epoch in range(epochs):
            first = _first_step(loader, epoch)
            rates = None if lr is None else _rates(train, lr, first)
            _append(history.train, _run(train, loader, names, rates, advance))
            if evaluate is not None and test_loader is not None:
                _append(history.test, _run(evaluate, test_loader, names, None, None))
            if on_epoch is not None:
                on_epoch(epoch, history)
    return history


def accuracy(outputs: Tensor, y: Tensor) -> Tensor:
    """The part of the rows whose greatest output stands at the label: a metric for steps."""
    hits = (ops.argmax(outputs, -1) == y).astype(outputs.dtype)
    return ops.mean(hits)


def _first_step(loader: Iterable[Sequence[Any]], epoch: int) -> int:
    batches = len(loader) if isinstance(loader, Sized) else 0
    return int(getattr(loader, "epoch", epoch)) * batches


def _rates(
    train: Callable[..., Any], lr: Callable[[int], float], first: int
) -> Callable[[int], None]:
    state = getattr(train, "state", None) or {}
    if "optimizer.lr" not in state:
        raise ArgumentError("fit: lr is given, and the step has no state optimizer.lr")
    number = np.asarray(state["optimizer.lr"])

    def write(batch: int) -> None:
        number[...] = lr(first + batch)

    return write


def _run(
    step: Callable[..., Any],
    loader: Iterable[Sequence[Any]],
    names: Sequence[str],
    before: Callable[[int], None] | None,
    after: Callable[[], None] | None,
) -> dict[str, float]:
    """The mean of each result over all examples."""
    sums, examples = np.zeros(len(names)), 0
    for number, batch in enumerate(loader):
        if before is not None:
            before(number)
        found = step(*batch)
        results = found if isinstance(found, tuple | list) else (found,)
        if len(results) != len(names):
            raise ArgumentError(
                f"fit: the step returns {len(results)} results, and names are {', '.join(names)}"
            )
        sums += len(batch[0]) * np.array([float(r) for r in results])
        examples += len(batch[0])
        if after is not None:
            after()
    return dict(zip(names, (sums / max(examples, 1)).tolist(), strict=True))


def _append(lists: dict[str, list[float]], means: dict[str, float]) -> None:
    for name, mean in means.items():
        lists.setdefault(name, []).append(mean)


@contextmanager
def _bar(
    progress: bool, epochs: int, loader: Iterable[Sequence[Any]]
) -> Iterator[Callable[[], None] | None]:
    """What draws one more batch; None without a bar."""
    if not progress:
        yield None
        return
    try:  # An extra, and slow to import.
        from rich.progress import BarColumn, MofNCompleteColumn, Progress  # noqa: PLC0415
    except ImportError:
        raise ArgumentError(
            "fit: progress=True needs the package rich; pip install 'tensorc[demo]'"
        ) from None
    total = epochs * len(loader) if isinstance(loader, Sized) else None
    with Progress(BarColumn(), MofNCompleteColumn(), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)
