"""Results as a table for people and as JSON for later comparison.

A file holds one machine's results. A run replaces the rows that it measured and leaves the others,
so each row says when it was measured.
"""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import tensorc as tc
from benchmarks.harness import Result, Timing
from benchmarks.machine import Limits, describe
from benchmarks.peers import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_HEADER: tuple[str, ...] = ("benchmark", "size", "threads", "ours", "rate", "of peak")
_HEADER += ("rival", "its time", "rival / ours")


@dataclass(frozen=True)
class Report:
    """One machine's results, as they are kept."""

    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    limits: Mapping[int, Limits]
    results: Sequence[Result]
    measured: Mapping[tuple[str, str, int], str]


def table(results: Sequence[Result], limits: Mapping[int, Limits]) -> str:
    """One line for each result and rival; a ratio above 1 means that ours is faster."""
    rows = [row for result in results for row in _rows(result, limits)]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_HEADER, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _rows(result: Result, limits: Mapping[int, Limits]) -> list[tuple[str, ...]]:
    head = (
        result.name,
        result.size,
        str(result.threads),
        shown(result.ours, result.unit),
        rate(result),
        of_peak(result, limits) or "-",
    )
    rivals = [
        (name, shown(timing, result.unit), _ratio(timing, result.ours))
        for name, timing in result.rivals.items()
    ]
    return [(*head, *rival) for rival in rivals] or [(*head, "-", "-", "-")]


def shown(timing: Timing, unit: str = "s") -> str:
    """A median with its spread."""
    text = seconds(timing.median) if unit == "s" else f"{timing.median / 2**20:.1f} MiB"
    return f"{text} ±{100 * timing.spread:.0f}%"


def seconds(value: float) -> str:
    """A time in the unit that suits it.

    >>> seconds(0.00123), seconds(12.5), seconds(3e-7)
    ('1.23 ms', '12.5 s', '300 ns')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def rate(result: Result) -> str:
    """GFLOP/s or GB/s, whichever limits."""
    if result.flop:
        return f"{result.flop / result.ours.median / 1e9:.1f} GFLOP/s"
    return f"{result.bytes / result.ours.median / 1e9:.1f} GB/s" if result.bytes else "-"


def of_peak(result: Result, limits: Mapping[int, Limits]) -> str:
    """Our rate as a share of the machine's peak: of the median, and of the best sample.

    The peak is that of so many threads, itself the best of many runs; "" where there is none.
    """
    peak = limits.get(result.threads)
    if peak is None or not (result.flop or result.bytes):
        return ""
    if result.flop:
        least = result.flop / peak.flop
    else:
        least = result.bytes / (peak.copy if result.writes else peak.read)
    return f"{least / result.ours.median:.0%} ({least / min(result.ours.rounds):.0%})"


def ratio(result: Result) -> str:
    """The best rival's time over ours: of medians, and of best samples; "" where there is none."""
    return "" if result.best is None else _ratio(result.best[1], result.ours)


def _ratio(theirs: Timing, ours: Timing) -> str:
    return f"{theirs.median / ours.median:.2f} ({min(theirs.rounds) / min(ours.rounds):.2f})"


def save(results: Sequence[Result], limits: Mapping[int, Limits], folder: Path) -> Path:
    """Write the results, with the machine and the versions that they hold for, as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    machine = describe()
    path = folder / f"{machine['cpu']}.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    kept = {_key(item): item for item in old.get("results", [])}
    kept |= {_key(item): item for item in ({**asdict(r), "measured": today} for r in results)}
    content = {
        "machine": machine,
        "versions": {
            "tensorc": tc.__version__,
            **{name: metadata.version(name) for name in ("llvmlite", "islpy")},
            **versions(),
        },
        "limits": {**old.get("limits", {}), **{str(t): asdict(x) for t, x in limits.items()}},
        "results": list(kept.values()),
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def load(path: Path) -> Report:
    """The results that `save` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    measured = {_key(item): item.pop("measured") for item in content["results"]}
    return Report(
        content["machine"],
        content["versions"],
        {int(threads): Limits(**item) for threads, item in content["limits"].items()},
        [as_result(item) for item in content["results"]],
        measured,
    )


def as_result(item: dict[str, Any]) -> Result:
    """A result from what `asdict` made of it."""
    rivals = {name: Timing(**timing) for name, timing in item["rivals"].items()}
    return Result(**{**item, "ours": Timing(**item["ours"]), "rivals": rivals})


def _key(item: dict[str, Any]) -> tuple[str, str, int]:
    return item["name"], item["size"], item["threads"]
