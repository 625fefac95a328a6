"""A training step of nn, exported: loaded without the compiler, and run by the C host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tensorc as tc
from driver.test_export import need_linker
from nn.mlp import batches
from runtime.c_example import HOSTS, compile_c
from tensorc import nn, optim
from tensorc_runtime import Manifest
from tensorc_runtime.tensor_file import Record, read_tensors, write_tensors

__all__ = ["need_linker"]  # A fixture.

STEPS = 6
PLAIN: list[nn.Module] = [nn.ReLU()]
KEEPING: list[nn.Module] = [nn.BatchNorm1d(33), nn.SiLU(), nn.Dropout(0.2)]
CASES = [
    pytest.param(optim.SGD(0.1), PLAIN, id="sgd"),
    pytest.param(optim.SGD(0.1, momentum=0.9), PLAIN, id="momentum"),
    pytest.param(optim.Adam(1e-2), PLAIN, id="adam"),
    pytest.param(optim.ClipNorm(optim.AdamW(1e-2), 1.0), KEEPING, id="buffers"),
]

# Loads what was exported where importing the compiler fails, and prints the losses.
RUNNER = """
import sys
sys.modules["tensorc"] = None
import numpy as np
from tensorc_runtime import load
step = load(sys.argv[1], "step")
data = np.load(sys.argv[2])
for x, y in zip(data["x"], data["y"], strict=True):
    print(float(step(x, y)).hex())
np.savez(sys.argv[3], **step.state)
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = (HOSTS / "train_mlp.c").read_text()
    return compile_c(source, tmp_path_factory.mktemp("host") / "train_mlp", "-ldl")


def run(*command: object, **environment: str) -> list[str]:
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.usefixtures("need_linker")
@pytest.mark.parametrize(("optimizer", "between"), CASES)
def test_an_exported_training_step_gives_the_losses_of_the_process_bit_for_bit(
    optimizer: nn.Optimizer, between: list[nn.Module], host: Path, tmp_path: Path
) -> None:
    model = nn.Sequential(nn.Linear(19, 33), *between, nn.Linear(33, 7))
    model.initialize(3)
    step = tc.compile(nn.training_step(model, nn.SoftmaxLoss(), optimizer, batch=13))
    step.export(tmp_path)  # Before the first step: the state as it starts.
    data = batches(STEPS, 13, 19, 7)
    x, y = (np.stack(part) for part in zip(*data, strict=True))
    losses = [float(step(*batch)) for batch in data]
    assert losses[-1] < losses[0]

    np.savez(tmp_path / "data.npz", x=x, y=y)
    root = Path(__file__).parents[2] / "runtime"
    files = (tmp_path, tmp_path / "data.npz", tmp_path / "after.npz")
    lines = run(sys.executable, "-c", RUNNER, *files, PYTHONPATH=str(root))
    assert [float.fromhex(line) for line in lines] == losses
    after = np.load(tmp_path / "after.npz")

    manifest = Manifest.from_json((tmp_path / "step.json").read_text())
    start = {r.name: r.array for r in read_tensors(tmp_path / "step.state")}
    records = []
    for param in manifest.params:
        if param.state:
            records.append(Record(param.name, start[param.name]))
        elif param.role == "out":
            records.append(Record(param.name, np.zeros((), param.dtype), printed=True))
        else:
            records.append(Record(param.name, {"x": x, "y": y}[param.name], stacked=True))
    write_tensors(tmp_path / "in", records, steps=STEPS)
    threads = manifest.target.threads
    lines = run(host, tmp_path / "libstep.so", "step", tmp_path / "in", threads, tmp_path / "out")
    assert [float.fromhex(line.removeprefix("loss=")) for line in lines] == losses
    result = {r.name: r.array for r in read_tensors(tmp_path / "out")}
    for name, value in step.state.items():
        np.testing.assert_array_equal(result[name], value)
        np.testing.assert_array_equal(after[name], value)
