"""How a benchmark is written and measured.

A case first checks its answer. Then its own function and its rivals run in turns, so that whatever
slows the machine for a while slows all of them, and each is judged by the median of its rounds. The
spread is half the distance between the quartiles, as a share of the median.

A canary, which multiplies and adds numbers from the nearest cache, runs on all threads before and
after each sample: where it falls short of the machine's peak, some core was not ours alone. A
sample waits for a quiet moment, and is taken again where that was over before it ended.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from benchmarks.machine import Canary

Action: TypeAlias = Callable[[], object]

# With several threads a library's workers spin on after a call, OpenBLAS's for tens of ms,
# on the cores that the next function wants: each sample begins when they sleep, and wakes its own.
_REST_SECONDS = 0.2  # What idle workers of a BLAS take to stop spinning.
_SAMPLE_SECONDS = 0.01  # A sample repeats its function for so long, far above the grain.
_QUIET = 0.9  # The share of the peak that a canary reaches on cores that are ours.
_ATTEMPTS = 3
_PATIENCE_SECONDS = 0.2  # How long a sample waits for a quiet moment.
_SPIN_SECONDS = 0.05  # How long workers that wait busily may disturb the canary after a sample.


@dataclass(frozen=True)
class Many:
    """An action that does its work `times` over."""

    run: Action
    times: int


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes:
        run: ours.
        check: raises AssertionError where an answer, of `run` or of a rival, is wrong.
        rivals: what else does the same work, by name.
        flop: floating-point operations of one run, where a rate means something.
        bytes: what one run must at least move to and from memory, likewise.
        writes: whether these bytes are written as well as read: which of the machine's bandwidths
            limits them.
        once: the functions are slow, so that one run is a sample; a float that one returns is the
            sample itself.
        unit: of what the samples are: "s" or "B".
        note: what the table says beside the numbers.
    """

    run: Action
    check: Action
    rivals: Mapping[str, Action | Many] = field(default_factory=dict)
    flop: float = 0.0
    bytes: float = 0.0
    writes: bool = True
    once: bool = False
    unit: str = "s"
    note: str = ""


@dataclass(frozen=True)
class Benchmark:
    """A function from a size to a case, and the sizes to run it at.

    Attributes:
        group: benchmarks of one group share a process for each number of threads.
        threaded: whether it is worth more than one number of threads.
        slow: whether it runs only when it is asked for.
        rounds: how many samples at most.
    """

    name: str
    about: str
    sizes: Sequence[Any]
    make: Callable[[Any], Case]
    group: str
    threaded: bool
    slow: bool
    rounds: int


def bench(
    sizes: Sequence[Any], *, threaded: bool = True, slow: bool = False, rounds: int = 1000
) -> Callable[[Callable[[Any], Case]], Benchmark]:
    """Make a benchmark of a function; its docstring names the work and the rival."""

    def decorate(make: Callable[[Any], Case]) -> Benchmark:
        about = " ".join((make.__doc__ or "").split("\n\n")[0].split())
        group = make.__module__.rpartition(".")[2]
        return Benchmark(make.__name__, about, sizes, make, group, threaded, slow, rounds)

    return decorate


@dataclass(frozen=True)
class Timing:
    """Seconds (or bytes) of one run: the median of the rounds, its spread, and every round."""

    median: float
    spread: float
    rounds: list[float]


@dataclass(frozen=True)
class Result:
    """A measured case; `canary` is the least share of the peak beside a sample that counts."""

    name: str
    size: str
    threads: int
    ours: Timing
    rivals: dict[str, Timing]
    flop: float = 0.0
    bytes: float = 0.0
    writes: bool = True
    unit: str = "s"
    note: str = ""
    canary: float = 1.0

    @property
    def best(self) -> tuple[str, Timing] | None:
        """The rival with the least time, None where there is none."""
        return min(self.rivals.items(), key=lambda item: item[1].median, default=None)

    @property
    def ratio(self) -> float:
        """The best rival's time over ours: above 1 we are faster. NaN without a rival."""
        return float("nan") if self.best is None else self.best[1].median / self.ours.median


def measure(
    name: str, size: Any, case: Case, *, threads: int, rounds: int, canary: Canary
) -> Result:
    """Check the answers of `case`, then time it.

    Raises:
        AssertionError: an answer is wrong; nothing was timed.
    """
    case.check()
    actions = {"ours": case.run, **case.rivals}
    samplers = {key: _sampler(action, case.once, threads) for key, action in actions.items()}
    samples: dict[str, list[float]] = {key: [] for key in actions}
    least = 1.0
    for _ in range(rounds):
        for key, sampler in samplers.items():
            value, share = _undisturbed(sampler, canary, threads, once=case.once)
            samples[key].append(value)
            least = min(least, share)
    ours = samples.pop("ours")
    return Result(
        name,
        str(size),
        threads,
        _timing(ours),
        {key: _timing(theirs) for key, theirs in samples.items()},
        case.flop,
        case.bytes,
        case.writes,
        case.unit,
        case.note,
        least,
    )


def _undisturbed(
    sampler: Callable[[], float], canary: Canary, threads: int, *, once: bool
) -> tuple[float, float]:
    """A sample and the canary's share beside it; of some attempts, that with the best canary."""
    attempts: list[tuple[float, float]] = []
    while len(attempts) < (1 if once else _ATTEMPTS):
        if threads > 1:  # The workers of the one before may still wait busily.
            time.sleep(_REST_SECONDS)
        before = _quiet_moment(canary, _PATIENCE_SECONDS)
        value = sampler()
        after = _quiet_moment(canary, _SPIN_SECONDS if threads > 1 else 0.0)
        attempts.append((min(before, after), value))
        if attempts[-1][0] >= _QUIET:
            break
    share, value = max(attempts)
    return value, share


def _quiet_moment(canary: Canary, patience: float) -> float:
    """Wait so many seconds at most until the canary finds the cores quiet; its last share."""
    start = time.perf_counter()
    while (share := canary.share()) < _QUIET:
        if time.perf_counter() - start >= patience:
            break
    return share


def _sampler(action: Action | Many, once: bool, threads: int) -> Callable[[], float]:
    """What takes one sample of an action, in seconds for one run of it."""
    run, times = (action.run, action.times) if isinstance(action, Many) else (action, 1)
    if once:
        return lambda: _once(run)
    count = _repeats(run)

    def sample() -> float:
        if threads > 1:
            run()  # Wakes the workers.
        return _sample(run, count) / times

    return sample


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
    if len(rounds) < 2 or median == 0:
        return Timing(median, 0.0, rounds)
    low, _, high = statistics.quantiles(rounds, n=4)
    return Timing(median, (high - low) / 2 / median, rounds)
