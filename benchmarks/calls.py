"""What a call costs beyond its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import tensorc as tc
from benchmarks.harness import Case, bench

if TYPE_CHECKING:
    from benchmarks.cases import Array
    from tensorc.driver import CompiledFunction


@bench(sizes=["2 inputs"], threaded=False)
def plain_call(_size: str) -> Case:
    """Eight numbers added: a call with arguments checked and `out=` given, against numpy.add."""
    a, b, out = _arrays(3)
    kernel = _sum(2)
    return Case(
        lambda: kernel(a, b, out=out),
        lambda: np.testing.assert_array_equal(kernel(a, b), a + b),
        {"numpy": lambda: np.add(a, b, out=out)},
    )


@bench(sizes=["2 inputs"], threaded=False)
def bound_call(_size: str) -> Case:
    """The same call bound to its arrays, against numpy.add."""
    a, b, out = _arrays(3)
    bound = _sum(2).bind(a, b, out=out)

    def check() -> None:
        bound()
        np.testing.assert_array_equal(out, a + b)

    return Case(bound, check, {"numpy": lambda: np.add(a, b, out=out)})


@bench(sizes=["10 inputs"], threaded=False)
def wide_call(_size: str) -> Case:
    """A plain call with ten arrays, which returns a new one."""
    arrays = _arrays(10)
    kernel = _sum(10)
    return Case(
        lambda: kernel(*arrays),
        lambda: np.testing.assert_array_equal(kernel(*arrays), np.sum(arrays, axis=0)),
    )


def _arrays(count: int) -> list[Array]:
    return [np.arange(8, dtype=np.float32) + start for start in range(count)]


def _sum(count: int) -> CompiledFunction:
    inputs = [tc.placeholder(8, name=f"x{n}") for n in range(count)]
    total = inputs[0]
    for x in inputs[1:]:
        total = total + x
    return tc.compile([total], inputs=inputs)
