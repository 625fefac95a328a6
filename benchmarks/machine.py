"""What the machine can do at most: multiply-adds, and bytes read and written a second.

Each limit is the most that any of several loops reaches: tensorc's own, and NumPy's.
"""

from __future__ import annotations

import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import tensorc as tc

if TYPE_CHECKING:
    from collections.abc import Callable

_STEPS = 300_032  # Of each register in a run of multiply-adds: under 1 ms.
_SUMS = 12
_ROWS = _SUMS // 2
_DEPTH = 256  # Of the canary's operands, which the first level of cache holds.
_ELEMENTS = 1 << 25  # 128 MiB of float32, several times any cache.
_SECONDS = 0.5
_PATIENCE = 15.0  # Seconds to wait for cores that are busy with something else.
_APART = 0.9  # Threads on cores of their own reach this share of so many single ones.


@dataclass(frozen=True)
class Limits:
    """FLOP a second, and bytes a second: read alone, and read and written together."""

    flop: float
    read: float
    copy: float


class Canary:
    """A loop of multiply-adds whose operands come from cache, on as many threads as the benchmark.

    A loop in registers alone still reaches its peak beside a neighbour that loads and stores on the
    other hardware thread of the core; what a benchmark measures does not.
    """

    def __init__(self, threads: int, peak: float = 0.0, *, loads: bool = True) -> None:
        """Compile it; `peak` is the rate that it reaches on a quiet machine, 0 if unknown.

        Without `loads` the operands stay in registers.
        """
        lanes = tc.Target().vector_bytes // 4
        self.peak = peak
        self._work = 2.0 * _SUMS * lanes * _STEPS * threads
        if loads:
            text, shapes = _multiply(threads, lanes), [(_DEPTH, _ROWS), (_DEPTH, 2 * lanes)]
        else:
            text, shapes = _burn(threads, lanes), [(2, lanes)]
        operands = [np.full(shape, 0.5, np.float32) for shape in shapes]
        self._run = tc.compile(tc.parse(text), threads=threads).bind(*operands)
        self._run()

    def rate(self) -> float:
        """FLOP a second, now: the better of two runs, since the first may wake threads."""
        return self._work / min(_seconds(self._run) for _ in range(2))

    def share(self) -> float:
        """The rate as a share of the peak, which is raised where the rate is above it."""
        rate = self.rate()
        self.peak = max(self.peak, rate)
        return rate / self.peak


def measure_limits(threads: int) -> Limits:
    """Measure this machine with so many threads; takes a few seconds."""
    flop = _most_flop(threads)
    source = np.ones((threads, _ELEMENTS // threads), np.float32)
    other, target = source.copy(), np.empty_like(source)
    lanes = tc.Target().vector_bytes // 4
    a, b = (tc.placeholder(source.shape, name=name) for name in "ab")
    read = tc.compile(tc.parse(_read(threads, lanes)), threads=threads)
    copy = tc.compile([a + 0.0], inputs=[a], threads=threads)
    triad = tc.compile([a + b * 3.0], inputs=[a, b], threads=threads)
    shaped = source.reshape(threads, -1, 8 * lanes)
    with ThreadPoolExecutor(threads) as pool:

        def split(work: Callable[[int], object]) -> Callable[[], object]:
            return lambda: list(pool.map(work, range(threads)))

        reads: list[tuple[Callable[[], object], int]] = [
            (read.bind(shaped), 1),
            (split(lambda n: np.dot(source[n], other[n])), 2),
        ]
        writes: list[tuple[Callable[[], object], int]] = [
            (copy.bind(source, out=target), 2),
            (triad.bind(source, other, out=target), 3),
            (split(lambda n: np.copyto(target[n], source[n])), 2),
        ]
        size = float(source.nbytes)
        best_read = max(size * times / _least(run) for run, times in reads)
        best_copy = max(size * times / _least(run) for run, times in writes)
    return Limits(flop, best_read, best_copy)


def _most_flop(threads: int) -> float:
    """The best rate of multiply-adds; tried for a while where it is less than one thread's is.

    Threads may share a core, or wait for one, for seconds at a time.
    """
    one, all_ = Canary(1, loads=False), Canary(threads, loads=False)
    best = [0.0, 0.0]
    start = time.perf_counter()
    while time.perf_counter() - start < (
        _SECONDS if best[1] > _APART * threads * best[0] > 0 else _PATIENCE
    ):
        for position, canary in enumerate((one, all_)):
            best[position] = max(best[position], *(canary.rate() for _ in range(10)))
    return best[1]


def describe() -> dict[str, object]:
    """The machine, as far as it says what it is."""
    target = tc.Target().resolved()
    info = _read_text("/proc/cpuinfo")
    model = next((x.split(":")[1].strip() for x in info.splitlines() if "model name" in x), "")
    return {
        "cpu": target.cpu,
        "model": model or platform.processor(),
        "cpus": target.threads,
        "vector_bits": tc.Target().vector_bytes * 8,
        "l3_bytes": last_cache_bytes(),
        "huge_pages": _read_text("/sys/kernel/mm/transparent_hugepage/enabled").strip(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def last_cache_bytes() -> int:
    """The size of the last level of cache, 32 MiB where the system does not tell."""
    text = _read_text("/sys/devices/system/cpu/cpu0/cache/index3/size").strip()
    units = {"K": 1 << 10, "M": 1 << 20}
    return int(text[:-1]) * units[text[-1]] if text[-1:] in units else 32 << 20


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _least(run: Callable[[], object]) -> float:
    """The least time of a run, over as many as fit the budget, three at least."""
    run()
    samples: list[float] = []
    while len(samples) < 3 or sum(samples) < _SECONDS:
        samples.append(_seconds(run))
    return min(samples)


def _burn(threads: int, lanes: int) -> str:
    result = f"float32[{threads}, {_SUMS}, {lanes}]"
    return f"""program canary(A: in float32[2, {lanes}], C: out {result}):
  for t in parallel({threads}):
    alloc sums: float32[{_SUMS}, {lanes}] local
      for i in unrolled({_SUMS}):
        for l in vectorized({lanes}):
          sums[i, l] = 0.0
      for step in range({_STEPS}):
        for i_1 in unrolled({_SUMS}):
          for l_1 in vectorized({lanes}):
            sums[i_1, l_1] += A[0, l_1] * A[1, l_1]
      for i_2 in unrolled({_SUMS}):
        for l_2 in vectorized({lanes}):
          C[t, i_2, l_2] = sums[i_2, l_2]
"""


def _multiply(threads: int, lanes: int) -> str:
    """Products of two small matrices, tile by tile as a fast matrix product does them."""
    columns = 2 * lanes
    at = f"i_1, h_1 * {lanes} + l_1"
    a, b = (f"float32[{_DEPTH}, {n}]" for n in (_ROWS, columns))
    c = f"float32[{threads}, {_ROWS}, {columns}]"
    return f"""program canary(A: in {a}, B: in {b}, C: out {c}):
  for t in parallel({threads}):
    alloc sums: float32[{_ROWS}, {columns}] local
      for i in unrolled({_ROWS}):
        for h in unrolled(2):
          for l in vectorized({lanes}):
            sums[i, h * {lanes} + l] = 0.0
      for step in range({_STEPS // _DEPTH}):
        for k in range({_DEPTH}):
          for i_1 in unrolled({_ROWS}):
            for h_1 in unrolled(2):
              for l_1 in vectorized({lanes}):
                sums[{at}] += A[k, i_1] * B[k, h_1 * {lanes} + l_1]
      for i_2 in unrolled({_ROWS}):
        for h_2 in unrolled(2):
          for l_2 in vectorized({lanes}):
            C[t, i_2, h_2 * {lanes} + l_2] = sums[i_2, h_2 * {lanes} + l_2]
"""


def _read(threads: int, lanes: int) -> str:
    rows = _ELEMENTS // threads // (8 * lanes)
    source, result = (f"float32[{threads}, {n}{8 * lanes}]" for n in (f"{rows}, ", ""))
    return f"""program read(A: in {source}, C: out {result}):
  for t in parallel({threads}):
    alloc sums: float32[8, {lanes}] local
      for i in unrolled(8):
        for l in vectorized({lanes}):
          sums[i, l] = 0.0
      for row in range({rows}):
        for i_1 in unrolled(8):
          for l_1 in vectorized({lanes}):
            sums[i_1, l_1] += A[t, row, i_1 * {lanes} + l_1]
      for i_2 in unrolled(8):
        for l_2 in vectorized({lanes}):
          C[t, i_2 * {lanes} + l_2] = sums[i_2, l_2]
"""
