"""The kernel that the second tutorial schedules by hand, against the machine's peak."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from pathlib import Path

import numpy as np

import tensorc as tc
from benchmarks.cases import dot_error_bound, normal, verify
from benchmarks.harness import Case, bench
from benchmarks.peers import rivals

TUTORIAL = Path(__file__).parent.parent / "tutorials" / "02_schedule_gemm.py"
SMALL = 384  # The tutorial runs at this size; its trace is replayed at that of the row.


@bench(sizes=[1024])
def tutorial(n: int) -> Case:
    """The last kernel of tutorials/02_schedule_gemm.py, made of schedule steps by hand."""
    kernel = tc.compile(scheduled(n))
    a, b, out = normal(n, n), normal(n, n, seed=1), np.zeros((n, n), np.float32)
    ours = kernel.bind(a, b, out=out)
    exact, bound = a.astype(np.float64) @ b.astype(np.float64), dot_error_bound(a, b)
    theirs = np.zeros_like(out)
    others = rivals(
        [[a, b]],
        numpy=lambda x, y, result: np.matmul(x, y, out=result),
        jax_function=lambda _: lambda x, y: x @ y,
        outs=[theirs],
    )

    def check() -> None:
        ours()
        verify("tensorc", out, exact, bound)
        for name, action in others.items():
            result = action()
            verify(name, theirs if name == "numpy" else result, exact, bound)

    return Case(ours, check, others, flop=2.0 * n**3)


def scheduled(n: int) -> tc.Schedule:
    """The tutorial's schedule, taken from its own run, on a product of n cubed."""
    arguments = sys.argv
    sys.argv = [str(TUTORIAL), str(SMALL)]
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            trace = runpy.run_path(str(TUTORIAL))["s"].trace
    finally:
        sys.argv = arguments
    a, b = tc.placeholder((n, n), name="A"), tc.placeholder((n, n), name="B")
    k = tc.reduce_axis(n, name="k")
    c = tc.compute((n, n), lambda i, j: tc.sum(a[i, k] * b[k, j], axis=k), name="C")
    schedule = tc.Schedule([c], args=[a, b])
    schedule.replay(trace)
    return schedule
