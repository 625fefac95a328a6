"""Element-wise work that stays in the cache."""

from __future__ import annotations

import numpy as np

import tensorc as tc
from benchmarks.cases import Array, make_case, normal
from benchmarks.harness import Case, bench


@bench(sizes=[10_000, 1_000_000])
def fused(n: int) -> Case:
    """A product, a sum and a maximum in one pass."""
    a, b, c = (normal(n, seed=seed) for seed in range(3))

    def by_numpy(x: Array, y: Array, z: Array, out: Array) -> None:
        np.multiply(x, y, out=out)
        np.add(out, z, out=out)
        np.maximum(out, 0, out=out)

    wide = [x.astype(np.float64) for x in (a, b, c)]
    return make_case(
        lambda x, y, z: tc.ops.relu(x * y + z),
        [a, b, c],
        np.maximum(wide[0] * wide[1] + wide[2], 0),
        2.0**-23 * (np.abs(wide[0] * wide[1]) + np.abs(wide[2])),
        {
            "numpy": by_numpy,
            "torch_compiled": lambda _: lambda x, y, z: (x * y + z).relu(),
            "jax_function": lambda jax: lambda x, y, z: jax.numpy.maximum(x * y + z, 0),
        },
    )


@bench(sizes=[1_000_000])
def exp(n: int) -> Case:
    """The exponential function of a million numbers."""
    x = normal(n)
    exact = np.exp(x.astype(np.float64))
    return make_case(
        tc.ops.exp,
        [x],
        exact,
        4 * 2.0**-23 * exact,
        {
            "numpy": lambda a, out: np.exp(a, out=out),
            "torch_eager": lambda torch: torch.exp,
            "torch_compiled": lambda torch: torch.exp,
            "jax_function": lambda jax: jax.numpy.exp,
        },
    )
