"""How a benchmark is written and measured.

A case first checks its answer. Then its own function and its rivals run in turns, so that whatever
slows the machine for a while slows all of them, and each is judged by the median of its rounds. The
ratio to a rival is the median of the rounds' ratios; the spread is half the distance between the
quartiles, as a share of the median.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Action: TypeAlias = Callable[[], object]

# With several threads a library's workers spin on after a call, OpenBLAS's for tens of ms,
# on the cores that the next function wants: each sample begins when they sleep, and wakes its own.
_REST_SECONDS = 0.1
_SAMPLE_SECONDS = 0.02  # A sample repeats its function for so long, far above the grain.


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes:
        run: ours.
        check: raises AssertionError where the answer of `run` is not that of the rivals.
        rivals: what else does the same work, by name; the first is the one that the table compares.
        flop: floating-point operations of one run, where a rate means something.
        bytes: what one run must at least move to and from memory, likewise.
        once: the functions are slow, so that one run is a sample; a float that one returns is its
            time in seconds, taken by itself.
    """

    run: Action
    check: Action
    rivals: Mapping[str, Action] = field(default_factory=dict)
    flop: float = 0.0
    bytes: float = 0.0
    once: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A function from a size to a case, and the sizes to run it at."""

    name: str
    about: str
    sizes: Sequence[Any]
    make: Callable[[Any], Case]


def bench(sizes: Sequence[Any]) -> Callable[[Callable[[Any], Case]], Benchmark]:
    """Make a benchmark of a function; its docstring names the work and the rival."""

    def decorate(make: Callable[[Any], Case]) -> Benchmark:
        about = (make.__doc__ or "").strip().splitlines()[0]
        return Benchmark(make.__name__, about, sizes, make)

    return decorate


@dataclass(frozen=True)
class Timing:
    """Seconds of one run: the median of the rounds, its spread, and every round."""

    median: float
    spread: float
    rounds: list[float]


@dataclass(frozen=True)
class Result:
    """A measured case; `ratios` are our time over each rival's, so below 1 we are faster."""

    name: str
    size: str
    threads: int
    ours: Timing
    rivals: dict[str, Timing]
    ratios: dict[str, float]
    flop: float
    bytes: float


def measure(name: str, size: Any, case: Case, *, threads: int, rounds: int) -> Result:
    """Check the answer of `case`, then time it.

    Raises:
        AssertionError: the answer is wrong; nothing was timed.
    """
    case.check()
    actions = {"ours": case.run, **case.rivals}
    repeats = {key: 0 if case.once else _repeats(action) for key, action in actions.items()}
    samples: dict[str, list[float]] = {key: [] for key in actions}
    for _ in range(rounds):
        for key, action in actions.items():
            count = repeats[key]
            if threads > 1 and count:
                time.sleep(_REST_SECONDS)
                action()
            samples[key].append(_sample(action, count) if count else _once(action))
    ours = samples.pop("ours")
    ratios = {
        key: statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        for key, theirs in samples.items()
    }
    return Result(
        name,
        str(size),
        threads,
        _timing(ours),
        {key: _timing(theirs) for key, theirs in samples.items()},
        ratios,
        case.flop,
        case.bytes,
    )


def _repeats(action: Action) -> int:
    """How often a sample runs `action`; finding it out also warms it up."""
    count = 1
    while (seconds := _sample(action, count) * count) < _SAMPLE_SECONDS:
        count *= 2 if seconds <= 0 else min(10, max(2, round(_SAMPLE_SECONDS / seconds)))
    return count


def _sample(action: Action, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        action()
    return (time.perf_counter() - start) / count


def _once(action: Action) -> float:
    start = time.perf_counter()
    own = action()
    return own if isinstance(own, float) else time.perf_counter() - start


def _timing(rounds: list[float]) -> Timing:
    median = statistics.median(rounds)
    if len(rounds) < 2:
        return Timing(median, 0.0, rounds)
    low, _, high = statistics.quantiles(rounds, n=4)
    return Timing(median, (high - low) / 2 / median, rounds)
