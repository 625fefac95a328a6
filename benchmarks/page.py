"""The page of results: tables between two marks of a Markdown file, and plots beside it.

`python -m benchmarks.page benchmarks/results/znver5.json docs/performance.md` writes it again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from benchmarks import plot
from benchmarks.peers import MISSING, installed
from benchmarks.report import Report, load, of_peak, rate, ratio, seconds, shown

if TYPE_CHECKING:
    from benchmarks.harness import Result

START, END = "<!-- results: written by make bench -->", "<!-- end of results -->"
RIVALS = ("numpy", "torch", "torch.compile", "jax", "jax pipelined")
OPERATIONS = (
    "matmul",
    "matmul_bfloat16",
    "tutorial",
    "conv2d",
    "conv2d_backward",
    "attention",
    "softmax",
    "cross_entropy",
    "layernorm",
    "sums",
    "bias_relu",
    "fused",
    "exp",
    "train",
    "train_transformer",
)
WAITING = (
    *("plain_call", "bound_call", "wide_call", "import_time"),
    *("compile_cold", "compile_cached", "restart"),
)
Row: TypeAlias = Sequence[str]


def write(results: Path, page: Path) -> None:
    """Put tables of the results between the page's marks, and draw the plots beside it."""
    report = load(results)
    text = (
        page.read_text(encoding="utf-8") if page.exists() else f"# Performance\n\n{START}\n{END}\n"
    )
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    parts = [_machine(report)]
    if installed("matplotlib"):
        for name, title in plot.draw(report, page.parent).items():
            parts.append(f"![{title}]({name})")
    parts += _tables(report)
    page.write_text(
        f"{before}{START}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}", encoding="utf-8"
    )


def _machine(report: Report) -> str:
    m = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    days = " to ".join(sorted({min(report.measured.values()), max(report.measured.values())}))
    text = (
        f"{m['model']} ({m['cpu']}), {m['cpus']} CPUs, {m['vector_bits']}-bit vectors, last cache "
        f"{m['l3_bytes'] >> 20} MiB, transparent huge pages `{m['huge_pages']}`, {m['system']}, "
        f"Python {m['python']}; {packages}. Measured {days}."
    )
    rows = [
        (
            str(threads),
            f"{limit.flop / 1e9:.0f} GFLOP/s",
            f"{limit.read / 1e9:.1f} GB/s",
            f"{limit.copy / 1e9:.1f} GB/s",
        )
        for threads, limit in sorted(report.limits.items())
    ]
    return f"{text}\n\n" + _markdown(("threads", "multiply-adds", "read", "read and written"), rows)


def _tables(report: Report) -> Iterable[str]:
    for threads in sorted({r.threads for r in report.results}):
        chosen = [r for r in _of(report, OPERATIONS) if r.threads == threads]
        if chosen:
            yield f"### Operations and training steps, {_threads(threads)}"
            yield _operations(report, chosen)
    for title, names in (
        ("Calls, import and compiling", WAITING),
        ("Memory of training step (b)", ("peak_memory",)),
    ):
        chosen = _of(report, names)
        if chosen:
            yield f"### {title}"
            yield _operations(report, chosen)
    if chosen := _of(report, ("primitives",)):
        yield "### Schedule steps"
        yield _primitives(chosen)
    if chosen := _of(report, ("by_width", "by_depth", "compile_by_depth")):
        yield "### Cost by width and depth"
        yield _scaling(chosen)


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _of(report: Report, names: Sequence[str]) -> list[Result]:
    """The results of these benchmarks, in the order of `names`."""
    return [r for name in names for r in report.results if r.name == name]


def _operations(report: Report, results: Sequence[Result]) -> str:
    missing = [name for name, version in report.versions.items() if version == MISSING]
    names = [n for n in RIVALS if n in missing or any(n in r.rivals for r in results)]
    names += sorted({n for r in results for n in r.rivals} - set(names))
    ranked = any(r.rivals for r in results)
    peaks = any(of_peak(r, report.limits) for r in results)
    columns: list[tuple[str, Callable[[Result], str]]] = [
        ("", lambda r: f"{r.name} {r.size}"),
        ("tensorc", lambda r: shown(r.ours, r.unit)),
    ]
    if peaks:
        columns += [("rate", rate), ("of peak", lambda r: of_peak(r, report.limits))]
    columns += [(n, lambda r, n=n: _rival(report, r, n)) for n in names]  # type: ignore[misc]
    if ranked:
        columns.append(("best rival / tensorc", ratio))
    columns.append(("canary", lambda r: f"{min(r.canary, 1):.0%}"))
    rows = [[of(r) for _, of in columns] for r in results]
    return _markdown([name for name, _ in columns], rows)


def _rival(report: Report, result: Result, name: str) -> str:
    library = name.split(".")[0].split()[0]
    if name in result.rivals:
        return shown(result.rivals[name], result.unit)
    return MISSING if report.versions.get(library) == MISSING else ""


def _primitives(results: Sequence[Result]) -> str:
    """A line for each step, a column for each nest and state of the caches."""
    found: dict[str, dict[tuple[str, str], Result]] = {}
    for r in results:
        step, nest, state = r.size.rsplit(", ", 2)
        found.setdefault(step, {})[nest, state] = r
    columns = list(dict.fromkeys(column for row in found.values() for column in row))
    rows = []
    for step, row in found.items():
        cells = [_milliseconds(row.get(column)) for column in columns]
        rows.append([f"`{step}`", *cells])
    return _markdown(["ms", *(f"{nest}, {state}" for nest, state in columns)], rows)


def _milliseconds(result: Result | None) -> str:
    if result is None:
        return ""
    text = f"{result.ours.median * 1e3:.2f}"
    if "alone" in result.rivals:
        text += f" ({result.ours.median / result.rivals['alone'].median:.2f} x alone)"
    return f"{text} {result.note}".strip()


def _scaling(results: Sequence[Result]) -> str:
    rows = [
        (
            f"{r.name} {r.size}",
            str(r.threads),
            shown(r.ours),
            f"{r.ours.median / r.flop * 1e12:.2f} ps" if r.flop else "",
            seconds(r.rivals["numpy"].median) if "numpy" in r.rivals else "",
        )
        for r in results
    ]
    return _markdown(("", "threads", "tensorc", "time per FLOP", "numpy"), rows)


def _markdown(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
