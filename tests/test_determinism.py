"""One input, one output: nothing that is compiled depends on hash seeds, addresses or time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Every text of one training step, its object, and the name of its entry in the cache.
PROGRAM = """
import hashlib, os, pathlib
import tensorc as tc
from tensorc import nn, optim
from tensorc.ir.printer import show
model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 10))
step = nn.training_step(model, nn.SoftmaxLoss(), optim.Adam(1e-3), batch=None)
f = tc.compile(step, threads=2)
for stage in ("te", "program", "trace", "loops", "lowered", "memory", "llvm", "optimized", "asm"):
    print(stage, hashlib.sha256(f.inspect(stage).encode()).hexdigest())
for path in sorted(pathlib.Path(os.environ["TENSORC_CACHE_DIR"]).rglob("*.tck")):
    print(path.name)
"""


def test_a_training_step_has_the_same_texts_and_cache_key_under_every_hash_seed(
    tmp_path: Path,
) -> None:
    said = []
    for seed in ("0", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ
            | {
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "runtime"))),
                "TENSORC_CACHE_DIR": str(tmp_path / seed),
            },
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.splitlines())
    assert said[0] == said[1]
    assert len(said[0]) == 10
    assert said[0][-1].endswith(".tck")
