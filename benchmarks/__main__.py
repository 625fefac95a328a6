"""Run the benchmarks: each thread count in a process of its own, which is bound to as many CPUs."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import calls, elementwise, matmul, startup, train
from benchmarks.harness import Benchmark, Result, Timing, measure
from benchmarks.report import save, table

ALL: tuple[Benchmark, ...] = (
    train.mlp_adam,
    train.mlp_sgd,
    train.softmax_sgd,
    matmul.matmul_float32,
    elementwise.fused_float32,
    elementwise.exp_float32,
    elementwise.softmax_float32,
    calls.plain_call,
    calls.bound_call,
    startup.import_time,
    startup.compile_cold,
    startup.compile_cached,
)
_SERIAL = ("plain_call", "bound_call", "import_time", "compile_cold", "compile_cached")


def main(arguments: list[str] | None = None) -> None:
    """Run what is asked for, print the table, and keep the numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", help="run these only: " + ", ".join(b.name for b in ALL)
    )
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1, and all there are")
    parser.add_argument("--rounds", type=int, default=11, help="rounds of each timing")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - {b.name for b in ALL})
    if unknown:
        parser.error(
            f"no benchmark {', '.join(unknown)}; there are {', '.join(b.name for b in ALL)}"
        )
    chosen = [b for b in ALL if not options.names or b.name in options.names]
    available = len(os.sched_getaffinity(0))
    if options.worker:
        (threads,) = options.threads
        results = [r for b in chosen for r in _run(b, threads, options.rounds)]
        options.worker.write_text(json.dumps([_plain(r) for r in results]), encoding="utf-8")
        return
    results = []
    for threads in options.threads or sorted({1, available}):
        names = [b.name for b in chosen if threads == 1 or b.name not in _SERIAL]
        if names:
            results += _in_process(names, threads, options.rounds)
    print(table(results))
    print(f"\nkept in {save(results, options.out)}")


def _run(benchmark: Benchmark, threads: int, rounds: int) -> list[Result]:
    results = []
    for size in benchmark.sizes:
        print(f"  {benchmark.name} {size}, {threads} threads", file=sys.stderr, flush=True)
        case = benchmark.make(size)
        results.append(measure(benchmark.name, size, case, threads=threads, rounds=rounds))
    return results


def _in_process(names: list[str], threads: int, rounds: int) -> list[Result]:
    """Run benchmarks in a new process, bound to the first `threads` CPUs that this one may use."""
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    # A BLAS must choose its kernels by the CPU it finds, and as many threads as we may use.
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"}
    environment |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "results.json")
        command = [sys.executable, "-m", "benchmarks", *names, "--threads", str(threads)]
        command += ["--rounds", str(rounds), "--worker", str(out)]
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)  # The child inherits it, before it starts any thread.
        try:
            subprocess.run(command, check=True, env=environment)
        finally:
            os.sched_setaffinity(0, before)
        return [_result(item) for item in json.loads(out.read_text(encoding="utf-8"))]


def _plain(result: Result) -> dict[str, object]:
    return {
        **vars(result),
        "ours": vars(result.ours),
        "rivals": {name: vars(timing) for name, timing in result.rivals.items()},
    }


def _result(item: dict[str, object]) -> Result:
    rivals = {name: Timing(**timing) for name, timing in item.pop("rivals").items()}  # type: ignore[attr-defined]
    return Result(ours=Timing(**item.pop("ours")), rivals=rivals, **item)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
