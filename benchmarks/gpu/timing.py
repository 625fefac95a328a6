"""Times by CUDA events: tensorc and its rivals in turns, on one stream."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SAMPLE_MS = 3.0  # What a sample lasts at least: many calls of a short kernel.
_ROUNDS = 21
_WARM = 3
_HOST_CALLS = 200


@dataclass(frozen=True)
class Row:
    """One measured case: milliseconds of a call.

    Attributes:
        ours: the median, and half the distance between the quartiles as a share of it.
        rivals: medians by name.
        failed: what a rival said that could not run.
        host_us: microseconds of the host's time to queue one of our calls.
    """

    name: str
    size: str
    ours: float
    spread: float
    rivals: Mapping[str, float]
    flop: float = 0.0
    bytes: float = 0.0
    host_us: float = 0.0
    failed: Mapping[str, str] = field(default_factory=dict)

    @property
    def best(self) -> tuple[str, float] | None:
        """The rival that took the least time."""
        return min(self.rivals.items(), key=lambda item: item[1], default=None)

    @property
    def ratio(self) -> float:
        """The best rival's time over ours; NaN without one."""
        return float("nan") if self.best is None else self.best[1] / self.ours


def milliseconds(torch: Any, actions: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Samples of each action's time in milliseconds, taken in turns."""
    counts: dict[str, int] = {}
    for name, action in actions.items():
        for _ in range(_WARM):
            action()
        once = max(_sample(torch, action, 1), 1e-4)
        counts[name] = max(1, round(_SAMPLE_MS / once))
    samples: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(_ROUNDS):
        for name, action in actions.items():
            samples[name].append(_sample(torch, action, counts[name]))
    return samples


def _sample(torch: Any, action: Callable[[], object], count: int) -> float:
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        action()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / count


def median_and_spread(samples: list[float]) -> tuple[float, float]:
    """The median, and half the distance between the quartiles as a share of it."""
    middle = statistics.median(samples)
    low, _, high = statistics.quantiles(samples, n=4)
    return middle, (high - low) / 2 / middle


def host_microseconds(torch: Any, action: Callable[[], object]) -> float:
    """What the host spends on queueing one call, while the device still has work."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(_HOST_CALLS):
        action()
    spent = time.perf_counter() - start
    torch.cuda.synchronize()
    return spent / _HOST_CALLS * 1e6


def copy_bandwidth(torch: Any) -> float:
    """Bytes a second of a copy in device memory, read and written, the best of many."""
    source = torch.empty(1 << 28, device="cuda").normal_()
    target = torch.empty_like(source)
    times = milliseconds(torch, {"copy": lambda: target.copy_(source)})["copy"]
    return 2.0 * float(source.numel()) * 4 / min(times) * 1e3
