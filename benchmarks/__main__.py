"""Run the benchmarks: each group and thread count in a process of its own, bound to its CPUs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import traceback
import warnings
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks import (
    calls,
    elementwise,
    footprint,
    gemm,
    imperative,
    matmul,
    memory,
    networks,
    page,
    primitives,
    report,
    scaling,
    startup,
    train,
    transformer,
)
from benchmarks.harness import Benchmark, Result, measure
from benchmarks.machine import Canary, Limits, measure_limits
from benchmarks.peers import MISSING, versions

ALL: tuple[Benchmark, ...] = (
    matmul.matmul,
    matmul.matmul_bfloat16,
    gemm.tutorial,
    networks.conv2d,
    networks.conv2d_backward,
    networks.attention,
    memory.softmax,
    memory.cross_entropy,
    memory.layernorm,
    memory.sums,
    memory.bias_relu,
    elementwise.fused,
    elementwise.exp,
    train.train,
    transformer.train_transformer,
    calls.plain_call,
    calls.bound_call,
    calls.wide_call,
    imperative.imperative_step,
    startup.import_time,
    startup.compile_cold,
    startup.compile_cached,
    startup.restart,
    footprint.peak_memory,
    primitives.primitives,
    scaling.by_width,
    scaling.by_depth,
    scaling.compile_by_depth,
)
# Tuning that a library takes from the environment would make it another rival than users have.
_REMOVED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_VERBOSE", "MKL_ENABLE_INSTRUCTIONS")
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: list[str] | None = None) -> None:
    """Run what is asked for, print the table, and keep the numbers."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Time tensorc against its rivals, each answer checked first.",
        epilog="Benchmarks: "
        + "; ".join(f"{b.name}{' (slow)' if b.slow else ''}" for b in ALL)
        + ". Groups: "
        + ", ".join(_groups(ALL)),
    )
    parser.add_argument(
        "names", nargs="*", help="benchmarks or groups; all that are not slow if left out"
    )
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1, and all there are")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of each timing")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--page", type=Path, help="write the tables and plots to this page too")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--limits", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    known = {b.name for b in ALL} | set(_groups(ALL))
    unknown = sorted(set(options.names) - known)
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    names = set(options.names)
    chosen = [b for b in ALL if {b.name, b.group} & names or not (names or b.slow)]
    if options.worker:
        (threads,) = options.threads
        peak = Limits(*json.loads(options.limits)) if options.limits else None
        options.worker.write_text(
            json.dumps(_work(chosen, threads, options.rounds, peak)), encoding="utf-8"
        )
        return
    results, limits, failed = _run(chosen, options.threads, options.rounds, options.out)
    path = report.save(results, limits, options.out)
    print(report.table(results, limits))
    for name, version in versions().items():
        if version == MISSING:
            print(f"{name} is {version}: its rows are missing")
    print(f"\nkept in {path}")
    if options.page:
        page.write(path, options.page)
        print(f"tables and plots in {options.page}")
    if failed:
        sys.exit("\n".join(f"FAILED {text}" for text in failed))


def _groups(benchmarks: tuple[Benchmark, ...] | list[Benchmark]) -> list[str]:
    return list(dict.fromkeys(b.group for b in benchmarks))


def _run(
    chosen: list[Benchmark], asked: list[int] | None, rounds: int, folder: Path
) -> tuple[list[Result], dict[int, Limits], list[str]]:
    """Run each group in processes of its own, one for each number of threads; and what failed.

    What a group gave is kept in `folder` at once, so that an interrupted run loses one group.
    """
    results: list[Result] = []
    failed: list[str] = []
    limits: dict[int, Limits] = {}
    for threads in asked or sorted({1, len(os.sched_getaffinity(0))}):
        wanted = [b for b in chosen if threads == 1 or b.threaded]
        if not wanted:
            continue
        limits[threads] = Limits(*_in_process([], threads, rounds, None)["limits"])
        for group in _groups(wanted):
            names = [b.name for b in wanted if b.group == group]
            done = _in_process(names, threads, rounds, limits[threads])
            results += [report.as_result(item) for item in done["results"]]
            failed += done["failed"]
            # The canaries of a whole run find the quiet moments that the first seconds may lack.
            flop = max(limits[threads].flop, *done["flop"])
            limits[threads] = replace(limits[threads], flop=flop)
            report.save(results, limits, folder)
    return results, limits, failed


def _work(
    chosen: list[Benchmark], threads: int, rounds: int, limits: Limits | None
) -> dict[str, object]:
    """What a process of its own does: without limits it measures them, and nothing else."""
    if limits is None:
        return {"limits": list(asdict(measure_limits(threads)).values())}
    warnings.filterwarnings("ignore", module="torch")
    canary = Canary(threads, limits.flop)
    results, failed = [], []
    for benchmark in chosen:
        for size in benchmark.sizes:
            print(f"  {benchmark.name} {size}, {threads} threads", file=sys.stderr, flush=True)
            try:
                result = measure(
                    benchmark.name,
                    size,
                    benchmark.make(size),
                    threads=threads,
                    rounds=min(rounds, benchmark.rounds),
                    canary=canary,
                )
                results.append(asdict(result))
            except Exception:
                # One row that fails must not cost the others; it is reported at the end.
                failed.append(
                    f"{benchmark.name} {size}, {threads} threads:\n{traceback.format_exc()}"
                )
    return {"results": results, "failed": failed, "flop": [canary.peak]}


def _in_process(
    names: list[str], threads: int, rounds: int, limits: Limits | None
) -> dict[str, list]:  # type: ignore[type-arg]
    """Run benchmarks in a new process, bound to the last `threads` CPUs that this one may use."""
    cpus = sorted(os.sched_getaffinity(0))[-threads:]
    environment = {k: v for k, v in os.environ.items() if k not in _REMOVED}
    environment |= dict.fromkeys(_THREADS, str(threads))
    if threads == 1:
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
        environment["XLA_FLAGS"] = flags.strip()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "results.json")
        command = [sys.executable, "-m", "benchmarks", *names, "--threads", str(threads)]
        command += ["--rounds", str(rounds), "--worker", str(out)]
        if limits is not None:
            command += ["--limits", json.dumps(list(asdict(limits).values()))]
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)  # The child inherits it, before it starts any thread.
        try:
            done = subprocess.run(command, check=False, env=environment)
        finally:
            os.sched_setaffinity(0, before)
        if done.returncode and limits is not None:
            what = f"{', '.join(names)}, {threads} threads"
            ended = f"{what}: the process ended with {done.returncode}"
            return {"results": [], "failed": [ended], "flop": [limits.flop]}
        content: dict[str, list] = json.loads(out.read_text(encoding="utf-8"))  # type: ignore[type-arg]
        return content


if __name__ == "__main__":
    main()
