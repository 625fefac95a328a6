"""What a call costs beyond its work: eight numbers, added."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import tensorc as tc
from benchmarks.harness import Case, bench

if TYPE_CHECKING:
    from tensorc.driver import CompiledFunction


@bench(sizes=[8])
def plain_call(n: int) -> Case:
    """A call with arguments checked and `out=` given, against numpy.add."""
    a, b, out = _arrays(n)
    kernel = _add(n)
    return Case(
        lambda: kernel(a, b, out=out),
        lambda: np.testing.assert_array_equal(kernel(a, b), a + b),
        {"numpy": lambda: np.add(a, b, out=out)},
    )


@bench(sizes=[8])
def bound_call(n: int) -> Case:
    """A call bound to its arrays, against numpy.add."""
    a, b, out = _arrays(n)
    bound = _add(n).bind(a, b, out=out)

    def check() -> None:
        bound()
        np.testing.assert_array_equal(out, a + b)

    return Case(bound, check, {"numpy": lambda: np.add(a, b, out=out)})


def _arrays(n: int) -> list[np.ndarray[tuple[int], np.dtype[np.float32]]]:
    return [np.arange(n, dtype=np.float32) + start for start in range(3)]


def _add(n: int) -> CompiledFunction:
    x, y = tc.placeholder(n, name="x"), tc.placeholder(n, name="y")
    return tc.compile([x + y], inputs=[x, y])
