"""Check every answer, time it against its rivals, print a table and keep the numbers."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from dataclasses import asdict
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

import tensorc as tc
from benchmarks.cases import Array, verify
from benchmarks.gpu import training
from benchmarks.gpu.cases import CASES, Case
from benchmarks.gpu.timing import (
    Row,
    copy_bandwidth,
    host_microseconds,
    median_and_spread,
    milliseconds,
)
from benchmarks.peers import MISSING, installed
from benchmarks.train import CHECKED, Setting, make_step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESULTS = Path(__file__).parent.parent / "results"
LIBRARIES = ("llvmlite", "numpy", "torch", "triton", "cuda-bindings")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 where every answer is right."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("names", nargs="*", help="rows whose names begin so; all by default")
    parser.add_argument("--emulated", action="store_true", help="small sizes, answers alone")
    parser.add_argument("--check", action="store_true", help="the same on the device")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the numbers")
    options = parser.parse_args(arguments)
    wanted = [c for c in CASES if _is_wanted(c.name, options.names)]
    steps = _is_wanted("training", options.names)
    reason = None if options.emulated else tc.cuda.why_not_available()
    if reason is not None:
        print(f"no device: {reason}", file=sys.stderr)
        return 2
    if not options.emulated:
        # Code of an architecture with an "a" runs on devices of just that one.
        here = tc.cuda.device(0).arch
        wanted = [c for c in wanted if c.arch.rstrip("a") in ("", here)]
    if options.emulated or options.check:
        target = "cuda-emu" if options.emulated else "cuda"
        for case in wanted:
            check_case(case, case.small, target)
            print(f"right: {case.name}")
        if steps:
            check_step(training.SMALL, target)
            print("right: training step")
        return 0
    return _on_device(wanted, options.out, steps=steps)


def _is_wanted(name: str, names: Sequence[str]) -> bool:
    return not names or any(name.startswith(n) for n in names)


def check_case(case: Case, size: Any, target: str) -> None:
    """Compare our result with the float64 reference.

    Raises:
        AssertionError: it is wrong.
    """
    inputs = case.inputs(size)
    exact, bound = case.exact(*(x.astype(np.float64) for x in inputs))
    verify("tensorc", _compiled(case, inputs, target)(*inputs), exact, bound)


def check_step(setting: Setting, target: str) -> None:
    """Compare the losses of our training step with the float64 reference.

    Raises:
        AssertionError: one is wrong.
    """
    step, task = make_step(setting)
    train = tc.compile(step, target=target)
    losses = [float(train(task.x, task.y)) for _ in range(CHECKED)]
    training.check_losses(task, {"tensorc": losses})


def _compiled(case: Case, inputs: Sequence[Array], target: str) -> Any:
    placeholders = [
        tc.placeholder(x.shape, x.dtype.name, name=name)
        for x, name in zip(inputs, "abc", strict=False)
    ]
    where = tc.Target(target, arch=case.arch) if case.arch else target
    built = case.build(*placeholders)
    if isinstance(built, tc.Schedule):
        return tc.compile(built, target=where)
    return tc.compile([built], inputs=placeholders, target=where)


# --- on a device -----------------------------------------------------------------------------


def _on_device(cases: Sequence[Case], out: Path, *, steps: bool) -> int:
    torch: Any = import_module("torch")  # Optional, and takes seconds to import.
    bandwidth = copy_bandwidth(torch)
    rows: list[Row] = []
    wrong: list[str] = []
    jobs: list[tuple[str, Callable[[], Row]]] = [
        (f"{c.name} {_shown(size)}", partial(_measured, torch, c, size))
        for c in cases
        for size in c.sizes
    ]
    if steps:
        jobs += [(str(s), partial(_measured_step, torch, s)) for s in training.SETTINGS]
    for label, job in jobs:
        try:
            rows.append(job())
        except (AssertionError, tc.TensorcError) as error:
            wrong.append(f"{label}: {error}")
            print(f"FAILED {wrong[-1]}", flush=True)
            continue
        print(_line(rows[-1], bandwidth), flush=True)
    path = _keep(torch, rows, wrong, bandwidth, out)
    print(f"\ncopies: {bandwidth / 1e9:.0f} GB/s\nkept in {path}")
    return 1 if wrong else 0


def _measured(torch: Any, case: Case, size: Any) -> Row:
    inputs = case.inputs(size)
    exact, bound = case.exact(*(x.astype(np.float64) for x in inputs))
    tensors = [_to_torch(torch, x) for x in inputs]
    arrays = [tc.cuda.device_array(t) for t in tensors]
    result = tc.cuda.empty(exact.shape, inputs[0].dtype)
    ours = _compiled(case, inputs, "cuda").bind(*arrays, out=result)
    ours()
    verify("tensorc", result.numpy(), exact, bound)
    actions: dict[str, Callable[[], object]] = {"tensorc": ours}
    failed: dict[str, str] = {}
    for name, rival in case.rivals(torch).items():
        try:
            got = rival(*tensors).float().cpu().numpy()
        except Exception as error:  # Whatever a rival raises is its result.
            failed[name] = f"{type(error).__name__}: {error}"[:300]
            continue
        verify(name, got, exact, bound)
        actions[name] = partial(rival, *tensors)
    return _timed(torch, case.name, _shown(size), actions, failed, *case.work(size))


def _measured_step(torch: Any, setting: Setting) -> Row:
    task, ours, loss = training.our_step(setting, "cuda", tc.cuda.device_array)

    def first_loss() -> float:
        ours()
        return loss()

    losses: dict[str, Sequence[float]] = {"tensorc": [first_loss() for _ in range(CHECKED)]}
    others = training.torch_steps(torch, task)
    losses |= {name: step.losses() for name, step in others.items()}
    training.check_losses(task, losses)
    actions: dict[str, Callable[[], object]] = {"tensorc": ours, **others}
    return _timed(torch, "training step", str(setting), actions, {}, task.flop, 0.0)


def _timed(
    torch: Any,
    name: str,
    size: str,
    actions: Mapping[str, Callable[[], object]],
    failed: Mapping[str, str],
    flop: float,
    moved: float,
) -> Row:
    samples = milliseconds(torch, actions)
    ours, spread = median_and_spread(samples.pop("tensorc"))
    rivals = {key: median_and_spread(values)[0] for key, values in samples.items()}
    host = host_microseconds(torch, actions["tensorc"])
    return Row(name, size, ours, spread, rivals, flop, moved, host, failed)


def _to_torch(torch: Any, array: Array) -> Any:
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).bfloat16().cuda()
    return torch.from_numpy(array).cuda()


def _shown(size: Any) -> str:
    return " x ".join(map(str, size)) if isinstance(size, tuple) else f"{size}"


def _line(row: Row, bandwidth: float) -> str:
    rate = ""
    if row.flop:
        rate = f"{row.flop / row.ours / 1e9:8.2f} TFLOP/s"
    elif row.bytes:
        reached = row.bytes / row.ours * 1e3
        rate = f"{reached / 1e9:6.0f} GB/s, {reached / bandwidth:.0%} of a copy"
    others = "  ".join(f"{name} {ms:.4f}" for name, ms in row.rivals.items())
    return (
        f"{row.name:16} {row.size:34} {row.ours:9.4f} ms ±{row.spread:.0%} {rate:28} "
        f"best rival / ours {row.ratio:5.2f}  ({others})  host {row.host_us:.1f} us"
    )


def _keep(
    torch: Any, rows: Sequence[Row], wrong: Sequence[str], bandwidth: float, out: Path
) -> Path:
    properties = torch.cuda.get_device_properties(0)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    name = "-".join(properties.name.lower().split())
    found = {
        "device": {
            "name": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
        },
        "versions": {x: metadata.version(x) if _has(x) else MISSING for x in LIBRARIES},
        "measured": today,
        "copy_bytes_per_second": bandwidth,
        "rows": [asdict(r) | {"ratio": r.ratio} for r in rows],
        "wrong": list(wrong),
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{today}-{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def _has(distribution: str) -> bool:
    return installed("cuda.bindings" if distribution == "cuda-bindings" else distribution)


if __name__ == "__main__":
    sys.exit(main())
