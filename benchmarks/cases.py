"""From a definition, inputs and rivals to a case: compile, bind, rotate, check."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

import tensorc as tc
from benchmarks.harness import Case
from benchmarks.machine import last_cache_bytes
from benchmarks.peers import rivals, rotated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tensorc import Tensor

Array: TypeAlias = np.ndarray[Any, Any]


def normal(*shape: int, seed: int = 0) -> Array:
    """Float32 numbers of the standard normal distribution."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def make_case(
    build: Callable[..., Tensor],
    inputs: Sequence[Array],
    exact: Array,
    bound: Array | float,
    theirs: Mapping[str, Callable[..., Any]],
    *,
    flop: float = 0.0,
    memory: bool = False,
    writes: bool = True,
    fresh: bool = False,
    kept: bool = False,
) -> Case:
    """A case of one operation.

    Args:
        build: from placeholders like the inputs to the result.
        inputs: of one call.
        exact: the result in float64.
        bound: the largest error that rounding explains, for us and for the rivals.
        theirs: the rivals' functions: see `peers.rivals`.
        flop: of one call, where arithmetic is the limit.
        memory: memory is the limit: inputs and outputs rotate over more than the last cache holds.
        writes: whether the bytes written count among those of one call.
        fresh: each of our results is a new array; otherwise all functions that can fill kept ones.
        kept: torch and JAX fill kept arrays too.
    """
    placeholders = [
        tc.placeholder(a.shape, str(a.dtype), name=name)
        for a, name in zip(inputs, "abcdefgh", strict=False)
    ]
    kernel = tc.compile([build(*placeholders)], inputs=placeholders)
    moved = float(sum(a.nbytes for a in inputs) + exact.size * 4)
    count = max(2, math.ceil(3 * last_cache_bytes() / moved)) if memory else 1
    copies = [inputs, *([a.copy() for a in inputs] for _ in range(count - 1))]
    outs = [np.zeros(exact.shape, np.float32) for _ in range(count)]
    if fresh:
        ours = rotated([partial(kernel, *a) for a in copies])
    else:
        bound_calls = [kernel.bind(*a, out=o) for a, o in zip(copies, outs, strict=True)]
        ours = rotated(bound_calls)
    spare = None if fresh or "numpy" not in theirs else [np.zeros_like(o) for o in outs]
    others = rivals(copies, outs=spare, kept=kept, **theirs)

    def check() -> None:
        for _ in range(count):
            got = ours()
        results = [got] if fresh else outs
        for result in results:
            verify("tensorc", result, exact, bound)
        for name, action in others.items():
            value = action()
            if name == "numpy" and spare is not None:
                value = spare[0]
            verify(name, np.asarray(value), exact, bound)

    return Case(ours, check, others, flop=flop, bytes=moved if memory else 0.0, writes=writes)


def verify(name: str, got: Any, exact: Array, bound: Array | float) -> None:
    """Whether a result is that of the float64 reference, up to rounding.

    Raises:
        AssertionError: it is not.
    """
    error = np.abs(np.asarray(got, np.float64) - exact)
    wrong = ~(error <= bound)
    assert not wrong.any(), (
        f"{name}: {wrong.sum()} of {wrong.size} numbers are off by up to {np.nanmax(error):.3g}"
    )


def dot_error_bound(lhs: Array, rhs: Array, unit_roundoff: float = 2.0**-24) -> Array:
    """Bound the rounding error of `lhs @ rhs`, whatever order the products are summed in.

    |fl(x.y) - x.y| <= gamma |x|.|y| with gamma = k u / (1 - k u): N. J. Higham, "Accuracy and
    Stability of Numerical Algorithms", 2nd ed., SIAM 2002, section 3.1.
    """
    rounding = lhs.shape[-1] * unit_roundoff
    product: Array = np.abs(lhs).astype(np.float64) @ np.abs(rhs).astype(np.float64)
    bound: Array = rounding / (1 - rounding) * product
    return bound
