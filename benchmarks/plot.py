"""Plots of the results: how we compare, and how cost grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.harness import Result
    from benchmarks.report import Report

_COMPARED: tuple[str, ...] = ("matmul", "conv2d", "attention", "softmax", "cross_entropy")
_COMPARED += ("layernorm", "sums", "bias_relu", "train")
_SPEED, _SCALING = "performance.svg", "scaling.svg"


def draw(report: Report, folder: Path) -> dict[str, str]:
    """Draw what there are results for; the files' names, and what they show."""
    import matplotlib as mpl  # noqa: PLC0415 - optional, and slow to import

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "tensorc"  # The same results give the same file.
    drawn = {}
    if any(r.name in _COMPARED and r.rivals for r in report.results):
        _save(_compared(report), folder / _SPEED)
        drawn[_SPEED] = "Best rival's time over ours, by row and number of threads"
    if any(r.name in ("by_width", "by_depth") for r in report.results):
        _save(_scaled(report), folder / _SCALING)
        drawn[_SCALING] = "Time per FLOP by width and depth, and compile time by depth"
    return drawn


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})


def _compared(report: Report) -> Any:
    from matplotlib import pyplot  # noqa: PLC0415 - as above

    rows = [r for r in report.results if r.name in _COMPARED and r.rivals]
    labels = list(dict.fromkeys(f"{r.name} {r.size}" for r in rows))
    figure, axes = pyplot.subplots(figsize=(9, 0.36 * len(labels) + 1.2), layout="constrained")
    counts = sorted({r.threads for r in rows})
    height = 0.8 / len(counts)
    for position, threads in enumerate(counts):
        mine = [r for r in rows if r.threads == threads]
        places = [labels.index(f"{r.name} {r.size}") + position * height for r in mine]
        axes.barh(places, [r.ratio for r in mine], height, label=f"{threads} threads")
        for place, r in zip(places, mine, strict=True):
            assert r.best is not None, "rows without a rival are not drawn"
            axes.annotate(f" {r.best[0]}", (r.ratio, place), va="center", fontsize=6)
    axes.set_yticks([n + height * (len(counts) - 1) / 2 for n in range(len(labels))], labels)
    axes.tick_params(labelsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time of the best rival / time of tensorc: right of 1, tensorc is faster")
    axes.legend(fontsize=7)
    return figure


def _scaled(report: Report) -> Any:
    from matplotlib import pyplot  # noqa: PLC0415 - as above

    figure, (widths, depths, compiling) = pyplot.subplots(
        1, 3, figsize=(11, 3.2), layout="constrained"
    )
    for axes, name, part in ((widths, "by_width", 0), (depths, "by_depth", 1)):
        rows = [r for r in report.results if r.name == name]
        for threads in sorted({r.threads for r in rows}):
            mine = [r for r in rows if r.threads == threads]
            axes.plot(
                [_number(r.size, part) for r in mine],
                [r.ours.median / r.flop * 1e12 for r in mine],
                marker="o",
                label=f"{threads} threads",
            )
        axes.set(
            xscale="log", xlabel=("width", "depth")[part], ylabel="ps per FLOP", ylim=(0, None)
        )
        axes.legend(fontsize=7)
    rows = [r for r in report.results if r.name == "compile_by_depth"]
    compiling.plot(*_points(rows), marker="o")
    compiling.set(xlabel="depth", ylabel="seconds to compile", xlim=(0, None), ylim=(0, None))
    return figure


def _points(rows: Sequence[Result]) -> tuple[list[int], list[float]]:
    return [_number(r.size, 1) for r in rows], [r.ours.median for r in rows]


def _number(size: str, part: int) -> int:
    """The width or the depth in "width 256, depth 4"."""
    return int(size.split(", ")[part].split()[1])
