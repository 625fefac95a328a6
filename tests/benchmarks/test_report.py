"""What the benchmark suite says of its numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks import page, report
from benchmarks.harness import Result, Timing
from benchmarks.machine import Limits

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = {1: Limits(flop=100e9, read=20e9, copy=10e9)}


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"numpy": "2.4", "torch": "not installed", "jax": "0.10"}
    monkeypatch.setattr(report, "versions", lambda: found)


def result(name: str = "matmul", seconds: float = 1e-3, **more: float | bool | str) -> Result:
    rivals = {"numpy": Timing(2e-3, 0.01, [2e-3]), "jax": Timing(3e-3, 0.0, [3e-3])}
    return Result(name, "A B", 1, Timing(seconds, 0.05, [seconds]), rivals, **more)  # type: ignore[arg-type]


def test_a_ratio_is_that_of_the_best_rival() -> None:
    assert result().best == ("numpy", Timing(2e-3, 0.01, [2e-3]))
    assert result().ratio == 2.0


def test_a_share_is_of_what_limits_the_work() -> None:
    assert report.of_peak(result(flop=50e6), LIMITS) == "50% (50%)"
    assert report.of_peak(result(bytes=5e6), LIMITS) == "50% (50%)"
    assert report.of_peak(result(bytes=5e6, writes=False), LIMITS) == "25% (25%)"
    assert report.of_peak(result(), LIMITS) == report.of_peak(result(flop=50e6), {}) == ""


def test_what_the_best_samples_say_stands_beside_the_medians() -> None:
    noisy = replace(result(flop=50e6), ours=Timing(2e-3, 0.5, [1e-3, 2e-3, 4e-3]))
    assert report.of_peak(noisy, LIMITS) == "25% (50%)"
    assert report.ratio(noisy) == "1.00 (2.00)"


def test_the_table_has_a_line_for_each_rival() -> None:
    head, _, *lines = report.table([result(flop=50e6)], LIMITS).splitlines()
    assert head.split()[:4] == ["benchmark", "size", "threads", "ours"]
    ours = "matmul A B 1 1 ms ±5% 50.0 GFLOP/s 50% (50%)"
    assert [" ".join(line.split()) for line in lines] == [
        f"{ours} numpy 2 ms ±1% 2.00 (2.00)",
        f"{ours} jax 3 ms ±0% 3.00 (3.00)",
    ]


def test_a_run_replaces_the_rows_that_it_measured_and_leaves_the_others(tmp_path: Path) -> None:
    report.save([result(), result("exp")], LIMITS, tmp_path)
    path = report.save([result(seconds=4e-3)], {2: LIMITS[1]}, tmp_path)
    kept = report.load(path)
    assert [(r.name, r.ours.median) for r in kept.results] == [("matmul", 4e-3), ("exp", 1e-3)]
    assert sorted(kept.limits) == [1, 2]


def test_the_page_keeps_what_was_written_by_hand(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    target.write_text(f"before\n{page.START}\nold\n{page.END}\nafter\n", encoding="utf-8")
    page.write(report.save([result(flop=50e6)], LIMITS, tmp_path), target)
    text = target.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| matmul A B | 1 ms ±5% | 50.0 GFLOP/s | 50% (50%) | 2 ms ±1% |" in text


def test_a_library_that_is_missing_is_named_in_its_column(tmp_path: Path) -> None:
    target = tmp_path / "page.md"
    page.write(report.save([result()], LIMITS, tmp_path), target)
    row = "| matmul A B | 1 ms ±5% | 2 ms ±1% | not installed | 3 ms ±0% | 2.00 (2.00) | 100% |"
    assert row in target.read_text(encoding="utf-8")
