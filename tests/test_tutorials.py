"""Tutorials and benchmarks run, each in a fresh process."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def run_python(*arguments: str, folder: Path, **environment: str) -> str:
    paths = os.pathsep.join((str(ROOT), str(ROOT / "runtime")))
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": paths, "TENSORC_CACHE_DIR": str(folder / "cache")}
        | environment,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{arguments} failed:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_tutorial(name: str, *arguments: str, folder: Path) -> str:
    return run_python("-W", "error", str(ROOT / "tutorials" / name), *arguments, folder=folder)


def can_emulate() -> bool:
    """Whether CUDA kernels can be compiled, and run without a GPU."""
    return importlib.util.find_spec("cuda") is not None and shutil.which("g++") is not None


def test_the_first_kernel_runs_from_an_index_expression_to_machine_code(tmp_path: Path) -> None:
    output = run_tutorial("01_first_kernel.py", folder=tmp_path)
    for stage in ("for i in", "refused: parallel(k)", "llvm.fma", "GFLOP/s", "the same bits"):
        assert stage in output


def test_a_product_is_scheduled_step_by_step(tmp_path: Path) -> None:
    output = run_tutorial("02_schedule_gemm.py", "384", folder=tmp_path)
    for stage in ("refused: parallel(k)", "in unrolled(", "in vectorized(", "the same trace gives"):
        assert stage in output


def test_gradients_are_read_and_checked(tmp_path: Path) -> None:
    output = run_tutorial("03_gradients.py", folder=tmp_path)
    for stage in ("strided gather", "a gather is required", "down t", "are computed again", "Sum("):
        assert stage in output


def test_an_imperative_loop_is_the_compiled_step(tmp_path: Path) -> None:
    output = run_tutorial("04_imperative.py", folder=tmp_path)
    for stage in (
        "refused: matmul",
        "and its derivative",
        "test error",
        "is the same",
        "gradient:",
    ):
        assert stage in output


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("05_mlp.py", ("layer0.weight: float32 (64, 64)", "test: loss", "the same bits in all 15")),
        ("06_cnn.py", ("d.x[n, p, q, c] = sum(", "epoch 10: mean loss", "test: loss")),
        ("07_batchnorm_dropout.py", ("layer1.running_mean", "test error", "the same call twice")),
    ],
)
def test_a_network_reaches_its_goal_on_the_digits_of_the_package(
    name: str, stages: tuple[str, ...], tmp_path: Path
) -> None:
    output = run_tutorial(name, "--data", "digits", folder=tmp_path)
    for stage in stages:
        assert stage in output


@pytest.mark.skipif(not can_emulate(), reason="needs NVRTC and a C++ compiler")
def test_a_product_is_tiled_for_a_gpu_and_its_memory_counted(tmp_path: Path) -> None:
    output = run_tutorial("10_cuda.py", folder=tmp_path)
    for stage in (
        "refused: bind(k, block.z)",
        "__shared__",
        "copy16",
        "mma.sync",
        "fewer sectors",
        "wgmma",
    ):
        assert stage in output


@pytest.mark.parametrize("model", ["mlp", "softmax"])
def test_the_demo_reaches_its_goal_on_the_digits_of_the_package(model: str, tmp_path: Path) -> None:
    options = ("--model", model, "--data", "digits", "--out", str(tmp_path / "demo"))
    output = run_tutorial("train_mnist.py", *options, folder=tmp_path)
    assert "test error" in output  # The demo asserts by itself that it is under 5 %.
    made = {path.name for path in (tmp_path / "demo").iterdir()}
    assert made == {"loss.png", "mistakes.png", "step"}


@pytest.mark.skipif("TENSORC_DATA_DIR" not in os.environ, reason="needs the MNIST files")
def test_the_demo_trains_on_a_part_of_mnist(tmp_path: Path) -> None:
    options = ("--limit", "1000", "--epochs", "2", "--out", str(tmp_path / "demo"))
    output = run_tutorial("train_mnist.py", *options, folder=tmp_path)
    assert "28x28" in output
    assert "epoch  2" in output


def test_a_benchmark_checks_its_answer_and_keeps_its_numbers(tmp_path: Path) -> None:
    options = ("--rounds", "2", "--threads", "1", "--out", str(tmp_path))
    output = run_python("-m", "benchmarks", "fused", "plain_call", *options, folder=tmp_path)
    assert "rival / ours" in output
    assert [path.suffix for path in tmp_path.glob("*.json")] == [".json"]


def test_every_tutorial_has_a_test() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    for path in (ROOT / "tutorials").glob("*.py"):
        assert f'"{path.name}"' in tested, f"{path.name} is not run by {Path(__file__).name}"
