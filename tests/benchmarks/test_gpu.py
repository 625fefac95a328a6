"""The timings on a GPU, as far as they go without one: our side of every row, in the emulator."""

from __future__ import annotations

import pytest

import tensorc as tc
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.cases import CASES
from benchmarks.gpu.timing import Row, median_and_spread


@pytest.mark.parametrize("name", [*(c.name for c in CASES), "training"])
def test_our_side_of_a_row_is_right(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--emulated", name]) == 0
    assert f"right: {name}" in capsys.readouterr().out


@pytest.mark.skipif(tc.cuda.why_not_available() is None, reason="there is a device")
def test_without_a_device_the_reason_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["softmax"]) == 2
    assert "no device: " in capsys.readouterr().err


def test_a_ratio_is_that_to_the_best_rival() -> None:
    row = Row("a", "1", 2.0, 0.0, {"slow": 5.0, "fast": 3.0})
    assert row.ratio == 1.5
    assert median_and_spread([1.0, 2.0, 3.0, 4.0, 5.0])[0] == 3.0
