"""What a user waits for before anything runs: import, and compiling a training step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache, partial
from pathlib import Path

from benchmarks import train
from benchmarks.harness import Action, Case, bench
from benchmarks.peers import LIBRARIES, installed, jax, torch

SETTINGS = {"a": train.A, "b": train.B, "c": train.C}

# From the definition of the step to its first result; imports do not count.
_OURS = """
import time
import tensorc as tc
from benchmarks import train, startup
compiler = tc.compile  # Imports the compiler: `import_time` of tensorc.driver counts that.
start = time.perf_counter()
step, task = train.make_step(startup.SETTINGS["{label}"])
compiler(step)(task.x, task.y)
print(time.perf_counter() - start)
"""
# A defined step made callable.
_COMPILE = """
import time
import tensorc as tc
from benchmarks import train, startup
compiler = tc.compile
step, task = train.make_step(startup.SETTINGS["{label}"])
start = time.perf_counter()
compiler(step)
print(time.perf_counter() - start)
"""
_THEIRS = """
import time
from benchmarks import peers, startup, steps, train
_, task = train.make_step(startup.SETTINGS["{label}"])
startup.warm_up("{library}")
start = time.perf_counter()
steps.{function}(task)()
print(time.perf_counter() - start)
"""


@bench(sizes=["tensorc", "tensorc.driver"], threaded=False, rounds=5)
def import_time(package: str) -> Case:
    """A new process that imports the package, against one that imports NumPy.

    `tensorc` by itself defines tensors; `tensorc.driver` brings the compiler and LLVM.
    """

    def check() -> None:
        code = f"import sys, {package}; assert not {{'sympy', 'cuda', 'torch'}} & set(sys.modules)"
        python(code)

    others = [name for name in LIBRARIES if installed(name)]
    return Case(
        partial(_import, package),
        check,
        {name: partial(_import, name) for name in others},
        once=True,
    )


@bench(sizes=["a", "b", "c"], threaded=False, rounds=3)
def compile_cold(label: str) -> Case:
    """From a training step's definition to its first result, in a new process, all caches empty.

    The rivals' runtimes are up: each has compiled another function before.
    """

    def run() -> float:
        with tempfile.TemporaryDirectory() as cache_folder:
            return float(python(_OURS.format(label=label), TENSORC_CACHE_DIR=cache_folder))

    rivals: dict[str, Action] = {}
    if installed("torch"):
        rivals["torch.compile"] = _once(_THEIRS, label, "torch", "torch_compiled_step")
    if installed("jax"):
        rivals["jax"] = _once(_THEIRS, label, "jax", "jax_step")
    return Case(run, lambda: None, rivals, once=True)


@bench(sizes=["a", "b", "c"], threaded=False, rounds=3)
def compile_cached(label: str) -> Case:
    """`tc.compile` of a defined step that is in tensorc's cache on disk, in a new process."""
    return _cached(_COMPILE.format(label=label))


@bench(sizes=["a", "b", "c"], threaded=False, rounds=3)
def restart(label: str) -> Case:
    """The same, with the step's definition and its first call: what `compile_cold` counts."""
    return _cached(_OURS.format(label=label))


def _cached(code: str) -> Case:
    folder = tempfile.TemporaryDirectory()

    def run() -> float:
        return float(python(code, TENSORC_CACHE_DIR=folder.name))

    def check() -> None:
        run()
        assert any(Path(folder.name).rglob("*")), "compiling left nothing in the cache"

    return Case(run, check, once=True)


def _once(code: str, label: str, library: str, function: str) -> Action:
    """A rival's compile time, measured once: some take long, and the first is representative."""

    @cache
    def run() -> float:
        text = code.format(label=label, library=library, function=function)
        return float(python(text, TORCHINDUCTOR_FORCE_DISABLE_CACHES="1"))

    return run


def warm_up(library: str) -> None:
    """Compile a small function, so that what a process does once is not counted."""
    if library == "torch":
        torch().compile(lambda x: (x + 1).relu().sum())(torch().ones(8))
    else:
        jax().jit(lambda x: (x + 1).sum())(jax().numpy.ones(8)).block_until_ready()


def _import(package: str) -> None:
    python(f"import {package}")


def python(code: str, **environment: str) -> str:
    """Run `code` in a new process; what it prints.

    Raises:
        RuntimeError: it failed; the message holds what it said.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"a process of a benchmark failed:\n{code}\n{done.stderr}")
    return done.stdout
