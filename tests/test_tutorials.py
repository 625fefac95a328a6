"""Each tutorial runs whole, in a fresh process, and checks its own claims."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run_tutorial(name: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "tutorials" / name), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'runtime'}"} | environment,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{name} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_first_kernel_runs_from_an_index_expression_to_machine_code(tmp_path: Path) -> None:
    output = run_tutorial("01_first_kernel.py", TENSORC_CACHE_DIR=str(tmp_path))
    for stage in ("for i in", "define ", "ret"):
        assert stage in output


@pytest.mark.parametrize("model", ["mlp", "softmax"])
def test_the_demo_trains_on_a_part_of_the_data(model: str, tmp_path: Path) -> None:
    output = run_tutorial(
        "train_mnist.py",
        *("--model", model, "--limit", "300", "--epochs", "2", "--out", str(tmp_path / "demo")),
        TENSORC_CACHE_DIR=str(tmp_path / "cache"),
    )
    assert "test error" in output
    assert {path.name for path in (tmp_path / "demo").iterdir()} >= {
        "loss.png",
        "mistakes.png",
        "step",
    }


def test_every_tutorial_has_a_test() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    for path in (ROOT / "tutorials").glob("*.py"):
        assert f'"{path.name}"' in tested, f"{path.name} is not run by {Path(__file__).name}"
