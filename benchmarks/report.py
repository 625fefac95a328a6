"""Results as a table for people and as JSON for later comparison."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING

import tensorc as tc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.harness import Result, Timing

_HEADER = ("benchmark", "size", "threads", "ours", "rate", "rival", "its time", "ours / rival")


def table(results: Sequence[Result]) -> str:
    """One line for each result and rival; a ratio below 1 means that ours is faster."""
    rows = [row for result in results for row in _rows(result)]
    widths = [max(map(len, column)) for column in zip(_HEADER, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (_HEADER, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _rows(result: Result) -> list[tuple[str, ...]]:
    head = (
        result.name,
        result.size,
        str(result.threads),
        _show(result.ours),
        _rate(result, result.ours),
    )
    rivals = [
        (name, _show(timing), f"{result.ratios[name]:.2f}")
        for name, timing in result.rivals.items()
    ]
    return [(*head, *rival) for rival in rivals] or [(*head, "-", "-", "-")]


def _show(timing: Timing) -> str:
    return f"{seconds(timing.median)} ±{100 * timing.spread:.0f}%"


def seconds(value: float) -> str:
    """A time in the unit that suits it.

    >>> seconds(0.00123), seconds(12.5), seconds(3e-7)
    ('1.23 ms', '12.5 s', '300 ns')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def _rate(result: Result, timing: Timing) -> str:
    if result.flop:
        return f"{result.flop / timing.median / 1e9:.1f} GFLOP/s"
    return f"{result.bytes / timing.median / 1e9:.1f} GB/s" if result.bytes else "-"


def save(results: Sequence[Result], folder: Path) -> Path:
    """Write the results, with the machine and the versions that they hold for, as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    target = tc.Target().resolved()
    path = folder / f"{target.cpu}.json"
    content = {
        "cpu": target.cpu,
        "threads": target.threads,
        "python": platform.python_version(),
        "tensorc": tc.__version__,
        "packages": {name: metadata.version(name) for name in ("numpy", "llvmlite", "islpy")},
        "results": [asdict(result) for result in results],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
