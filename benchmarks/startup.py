"""What a user waits for before anything runs: import, and compiling the demo's step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import Case, bench

_STEP = """
import time
import tensorc as tc
from tensorc import nn, optim
model = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
compiler = tc.compile  # Imports the compiler: `import_time` of tensorc.driver counts that.
start = time.perf_counter()
step = compiler(nn.training_step(model, nn.SoftmaxLoss(), optim.Adam(1e-3), 128))
print(time.perf_counter() - start)
"""


@bench(sizes=["tensorc", "tensorc.driver"])
def import_time(package: str) -> Case:
    """A new process that imports the package, against one that imports NumPy.

    `tensorc` by itself defines tensors; `tensorc.driver` brings the compiler and LLVM.
    """

    def check() -> None:
        code = f"import sys, {package}; assert not {{'sympy', 'cuda', 'torch'}} & set(sys.modules)"
        _python(code)

    return Case(
        lambda: _python(f"import {package}"),
        check,
        {"numpy": lambda: _python("import numpy")},
        once=True,
    )


@bench(sizes=["mlp_adam"])
def compile_cold(_name: str) -> Case:
    """Building and compiling the demo's step in a new process whose cache is empty."""

    def run() -> float:
        with tempfile.TemporaryDirectory() as cache:
            return float(_python(_STEP, cache))

    return Case(run, lambda: None, once=True)


@bench(sizes=["mlp_adam"])
def compile_cached(_name: str) -> Case:
    """The same with the step in the cache on disk."""
    folder = tempfile.TemporaryDirectory()

    def check() -> None:
        _python(_STEP, folder.name)
        assert any(Path(folder.name).rglob("*")), "compiling left nothing in the cache"

    return Case(lambda: float(_python(_STEP, folder.name)), check, once=True)


def _python(code: str, cache: str | None = None) -> str:
    """Run `code` in a new process; the kernel cache is the folder `cache`."""
    environment = dict(os.environ)
    if cache is not None:
        environment["TENSORC_CACHE_DIR"] = cache
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True
    )
    return done.stdout
