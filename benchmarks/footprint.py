"""How much memory training steps need."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import tensorc as tc
from benchmarks import peers, steps, train
from benchmarks.harness import Action, Case, bench
from benchmarks.startup import SETTINGS, python, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS = 5
_CODE = """
from benchmarks import footprint
print(footprint.growth("{name}", "{label}"))
"""


@bench(sizes=["planned", "process"], threaded=False, rounds=3)
def peak_memory(how: str) -> Case:
    """Bytes of training step (b).

    *planned*: state, batch and workspace, against the bytes of parameters, moments, batch and
    live activations. *process*: how much larger a new process is at its peak in five steps, after a
    first one, than when its library had compiled a small function; ours comes from the cache.
    """
    if how == "planned":
        planned, least = _planned()
        return Case(
            lambda: planned,
            lambda: None,
            {"least": lambda: least},
            once=True,
            unit="B",
        )
    rivals: dict[str, Action] = {
        name: partial(_growth, name)
        for name, library in (
            ("numpy", "numpy"),
            ("torch", "torch"),
            ("torch.compile", "torch"),
            ("jax", "jax"),
        )
        if peers.installed(library)
    }
    _growth("tensorc")  # Fills the cache.
    return Case(partial(_growth, "tensorc"), lambda: None, rivals, once=True, unit="B")


def _growth(name: str) -> float:
    return float(python(_CODE.format(name=name, label="b")))


def _planned() -> tuple[float, float]:
    """The bytes that our step holds, and those that it cannot do without."""
    step, task = train.make_step(SETTINGS["b"])
    compiled = tc.compile(step)
    held = sum(a.nbytes for a in step.state.values()) + task.x.nbytes + task.y.nbytes
    hidden = sum(task.sizes[1:]) * len(task.x) * 4  # Each layer's output, kept for the backward.
    return float(held + compiled.workspace_bytes()), float(held + hidden)


def growth(name: str, label: str) -> int:
    """By how many bytes this process has grown at its peak while it takes some steps."""
    if name == "tensorc":
        small = tc.placeholder(8, name="x")
        tc.compile([small + 1.0])(np.ones(8, np.float32))
    elif name != "numpy":
        warm_up("torch" if name.startswith("torch") else "jax")
    before = _status("VmRSS")
    step, task = train.make_step(SETTINGS[label])
    if name == "tensorc":
        before += sum(p.nbytes for p in task.start)  # Copies, which only the rivals start from.
        compiled = tc.compile(step)
        run: Callable[[], object] = partial(compiled, task.x, task.y)
    else:
        before = _status("VmRSS")
        run = {
            "numpy": steps.NumpyStep,
            "torch": steps.torch_step,
            "torch.compile": steps.torch_compiled_step,
            "jax": steps.jax_step,
        }[name](task)
    run()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # The peak is counted anew.
    for _ in range(_STEPS):
        run()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    """A number of bytes that Linux tells about this process."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    assert found is not None, f"Linux tells {name}"
    return int(found[1]) * 1024
