"""What one schedule step costs: the proof, and the rewriting of the program.

Each sample is one step on a schedule that was made for it alone. *Cold*: the answers of the
integer-set library that the compiler keeps are forgotten right before the step. *Warm*: the same
step has been taken before, on another schedule of the same program.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import tensorc as tc
from benchmarks.harness import Case, bench
from benchmarks.models import conv2d
from tensorc.ir import sets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

N = 256
LAYERS = 17  # Three nests each, but for the last, which has two: fifty.


@dataclass(frozen=True)
class Nest:
    """A contraction in a program, and what stands around it.

    Attributes:
        schedule: makes a schedule of the plain program.
        stage: what the contraction computes.
        rows: its loop over rows; `columns` the loop over columns, right inside of it.
        reduced: its outermost loop of the sum.
        operand: what it reads that does not depend on the rows.
        producer: an element-wise temporary that it reads.
        consumer: what reads its result, element by element.
    """

    schedule: Callable[[], tc.Schedule]
    stage: str
    rows: str
    columns: str
    reduced: str
    operand: str
    producer: str
    consumer: str


def _layers(count: int, chosen: int) -> Nest:
    """Products of N cubed, each between a temporary before it and an activation after it."""
    x = tc.placeholder((N, N), name="X")
    weights = [tc.placeholder((N, N), name=f"W{n}") for n in range(count)]
    value = x
    for n, weight in enumerate(weights):
        scaled = tc.compute((N, N), lambda i, j, v=value: v[i, j] * 2.0, name=f"S{n}")
        k = tc.reduce_axis(N, name="k")
        value = tc.compute(
            (N, N),
            lambda i, j, v=scaled, w=weight, k=k: tc.sum(v[i, k] * w[k, j], axis=k),
            name=f"C{n}",
        )
        if n + 1 < max(count, 2):
            value = tc.compute((N, N), lambda i, j, v=value: tc.maximum(v[i, j], 0.0), name=f"D{n}")
    names = (f"C{chosen}", "i", "j", "k", f"W{chosen}", f"S{chosen}", f"D{chosen}")
    return Nest(lambda: tc.Schedule([value], args=[x, *weights]), *names)


@cache
def matmul() -> Nest:
    """One such layer by itself."""
    return _layers(1, 0)


@cache
def one_of_fifty() -> Nest:
    """The same nest in the middle of a program of fifty."""
    return _layers(LAYERS, LAYERS // 2)


@cache
def conv_backward() -> Nest:
    """The backward pass of a convolution of stride 2 and padding 1, by input and by weights.

    The gradient by the weights is the nest: strided reads of the input, under a guard.
    """
    x = tc.placeholder((8, 16, 56, 56), name="X")
    w = tc.placeholder((32, 16, 3, 3), name="W")
    seed = tc.placeholder((8, 32, 28, 28), name="G")
    scaled = tc.compute(x.shape, lambda *i: x[i] * 2.0, name="scaled")
    dx, dw = tc.grad(tc.ops.sum(conv2d(scaled, w, stride=2, padding=1) * seed), [x, w])
    stepped = tc.compute(w.shape, lambda *i: w[i] - 0.1 * dw[i], name="stepped")
    names = (dw.name, "c", "o", "i", "G", "scaled", f"{dw.name}_1")
    return Nest(lambda: tc.Schedule([stepped, dx], args=[x, w, seed]), *names)


class Tiled:
    """A fresh schedule whose contraction is tiled, and its loops by their part in it."""

    def __init__(self, nest: Nest, rows: int = 16, columns: int = 8) -> None:
        """Cut rows and columns, and the sum by 8; the sum still runs inside."""
        self.nest = nest
        self.s = s = nest.schedule()
        stage = s[nest.stage]
        self.rows, self.columns = stage.loop(nest.rows), stage.loop(nest.columns)
        self.io, self.jo, self.ii, self.ji = s.tile(self.rows, self.columns, rows, columns)
        self.ko, self.ki = s.split(stage.loop(nest.reduced), 8)

    def sum_outside(self) -> Tiled:
        """The sum runs outside of the tile."""
        self.s.reorder(self.ko, self.ki, self.ii, self.ji)
        return self

    def copied(self, at_sum: bool = False) -> str:
        """Copy the operand, for each tile or for each block of the sum; the copy's name."""
        return self.s.cache_read(self.nest.operand, self.ko if at_sum else self.jo).name


def _tile(nest: Nest) -> Callable[[], object]:
    s = nest.schedule()
    rows, columns = s[nest.stage].loop(nest.rows), s[nest.stage].loop(nest.columns)
    return lambda: s.tile(rows, columns, 16, 8)


def _fuse_with(nest: Nest) -> Callable[[], object]:
    s = nest.schedule()
    first, second = s.loops(nest.stage)[0], s.loops(nest.consumer)[0]
    return lambda: s.fuse_with(first, second)


def _relax_guard(nest: Nest) -> Callable[[], object]:
    t = Tiled(nest, 13, 11).sum_outside()
    t.s.cache_write(nest.stage, t.jo)
    local = f"{nest.stage}.local"
    loop = t.s[local].loop(f"{t.ji.name}.init")
    return lambda: t.s.relax_guard(local, loop)


def _on(*, outside: bool = True) -> Callable[..., Callable[[Nest], Callable[[], object]]]:
    """A recipe from a function of the tiled schedule, which returns the step to time."""

    def made(
        step: Callable[[Tiled], Callable[[], object]],
    ) -> Callable[[Nest], Callable[[], object]]:
        def prepare(nest: Nest) -> Callable[[], object]:
            tiled = Tiled(nest)
            return step(tiled.sum_outside() if outside else tiled)

        return prepare

    return made


_tiled, _inside = _on(), _on(outside=False)


def _after_copy(
    at_sum: bool, step: Callable[[Tiled, str], object]
) -> Callable[[Nest], Callable[[], object]]:
    def prepare(t: Tiled) -> Callable[[], object]:
        copy = t.copied(at_sum)
        return lambda: step(t, copy)

    return _tiled(prepare)


STEPS: Mapping[str, Callable[[Nest], Callable[[], object]]] = {
    "split": _tiled(lambda t: lambda: t.s.split(t.ii, 3)),
    "split(tail='peel')": _tiled(lambda t: lambda: t.s.split(t.ii, 3, tail="peel")),
    "tile": _tile,
    "fuse": _tiled(lambda t: lambda: t.s.fuse(t.io, t.jo)),
    "reorder": _inside(lambda t: lambda: t.s.reorder(t.ko, t.ki, t.ii, t.ji)),
    "peel": _tiled(lambda t: lambda: t.s.peel(t.ko)),
    "partition": _tiled(lambda t: lambda: t.s.partition(t.jo, 2)),
    "unroll": _tiled(lambda t: lambda: t.s.unroll(t.ii)),
    "vectorize": _tiled(lambda t: lambda: t.s.vectorize(t.ji)),
    "parallel": _tiled(lambda t: lambda: t.s.parallel(t.io)),
    "bind": _tiled(lambda t: lambda: t.s.bind(t.io, "block.x")),
    "annotate": _tiled(lambda t: lambda: t.s.annotate(t.ii, "prefetch", 4)),
    "inline": _tiled(lambda t: lambda: t.s.inline(t.nest.producer)),
    "compute_at": _tiled(lambda t: lambda: t.s.compute_at(t.nest.producer, t.io)),
    "reverse_compute_at": _tiled(lambda t: lambda: t.s.reverse_compute_at(t.nest.consumer, t.jo)),
    "fission": _tiled(lambda t: lambda: t.s.fission(t.jo, after=1)),
    "fuse_with": _fuse_with,
    "cache_read": _tiled(lambda t: lambda: t.s.cache_read(t.nest.operand, t.jo)),
    "cache_write": _tiled(lambda t: lambda: t.s.cache_write(t.nest.stage, t.jo)),
    "set_scope": _after_copy(False, lambda t, copy: t.s.set_scope(copy, "local")),
    "storage_align": _after_copy(False, lambda t, copy: t.s.storage_align(copy, 0, 16, 8)),
    "relax_guard": _relax_guard,
    "double_buffer": _after_copy(True, lambda t, copy: t.s.double_buffer(copy, t.ko)),
    "pipeline": _after_copy(True, lambda t, _copy: t.s.pipeline(t.ko, 3)),
    "rfactor": _inside(lambda t: lambda: t.s.rfactor(t.ko)),
    "decompose_reduction": _inside(lambda t: lambda: t.s.decompose_reduction(t.nest.stage, t.ii)),
    "tensorize": _tiled(lambda t: lambda: t.s.tensorize(t.ji, "fma.8")),
}


@dataclass(frozen=True)
class Asked:
    """A step on a nest; as text it is the row's name."""

    step: str
    nest: str
    warm: bool

    def __str__(self) -> str:
        return f"{self.step}, {self.nest}, {'warm' if self.warm else 'cold'}"


NESTS: Mapping[str, Callable[[], Nest]] = {
    "matmul": matmul,
    "conv backward": conv_backward,
    "one of fifty": one_of_fifty,
}


@bench(
    sizes=[Asked(step, nest, warm) for nest in NESTS for step in STEPS for warm in (False, True)],
    threaded=False,
)
def primitives(asked: Asked) -> Case:
    """A schedule step; on a nest of a program of fifty, against the same nest by itself."""
    prepare, nest = STEPS[asked.step], NESTS[asked.nest]()

    def take(nest: Nest) -> float:
        step = prepare(nest)
        if not asked.warm:
            forget()
        gc.collect()
        start = time.perf_counter()
        try:
            step()
        except tc.ScheduleError:
            refused.append(True)
        return time.perf_counter() - start

    def sample(nest: Nest) -> float:
        if asked.warm:
            take(nest)
        return take(nest)

    refused: list[bool] = []
    sample(nest)
    rivals = {}
    if asked.nest == "one of fifty":
        rivals["alone"] = lambda: sample(matmul())
    return Case(
        lambda: sample(nest),
        lambda: None,
        rivals,
        once=True,
        note="refused" if refused else "",
    )


def forget() -> None:
    """Empty the caches of what was asked of the integer-set library."""
    for value in vars(sets).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
