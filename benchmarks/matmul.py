"""Matrix products, in the sizes and forms that networks need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import tensorc as tc
from benchmarks.cases import dot_error_bound, make_case, normal
from benchmarks.harness import Case, bench


@dataclass(frozen=True)
class Product:
    """(m, k) times (k, n), where one of the two may be stored transposed."""

    m: int
    k: int
    n: int
    form: str = "A B"

    def __str__(self) -> str:
        return f"{self.form} {self.m}x{self.k}x{self.n}"


SIZES = [
    *(Product(n, n, n) for n in (128, 256, 512, 1024, 2048)),
    Product(3000, 2000, 1500),
    Product(128, 784, 512),
    Product(512, 512, 10),
    Product(784, 128, 512, "A^T B"),
    Product(128, 512, 784, "A B^T"),
]


@bench(sizes=SIZES)
def matmul(size: Product) -> Case:
    """Matrix products in float32; the rivals call a BLAS."""
    a = normal(size.k, size.m) if size.form == "A^T B" else normal(size.m, size.k)
    b = normal(size.n, size.k, seed=1) if size.form == "A B^T" else normal(size.k, size.n, seed=1)
    left = a.T if size.form == "A^T B" else a
    right = b.T if size.form == "A B^T" else b

    def straight(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (x.T if size.form == "A^T B" else x, y.T if size.form == "A B^T" else y)

    def ours(x: tc.Tensor, y: tc.Tensor) -> tc.Tensor:
        x = tc.ops.transpose(x) if size.form == "A^T B" else x
        return tc.ops.matmul(x, tc.ops.transpose(y) if size.form == "A B^T" else y)

    def product(x: object, y: object) -> object:
        first, second = straight(x, y)  # type: ignore[arg-type]
        return first @ second

    return make_case(
        ours,
        [a, b],
        left.astype(np.float64) @ right.astype(np.float64),
        dot_error_bound(left, right),
        {
            "numpy": lambda x, y, out: np.matmul(*straight(x, y), out=out),
            "torch_eager": lambda _: product,
            "torch_compiled": lambda _: product,
            "jax_function": lambda _: product,
        },
        flop=2.0 * size.m * size.k * size.n,
    )


@bench(sizes=[512])
def matmul_bfloat16(n: int) -> Case:
    """A product of bfloat16, summed in float32 and rounded; torch has no fast one without AMX."""
    a, b = (normal(n, n, seed=i).astype(tc.bfloat16.numpy) for i in (0, 1))
    left, right = a.astype(np.float64), b.astype(np.float64)
    exact = left @ right
    return make_case(
        lambda x, y: tc.ops.matmul(x, y).astype("float32"),
        [a, b],
        exact,
        dot_error_bound(left, right) + 2.0**-8 * np.abs(exact),
        {"jax_function": lambda jax: lambda x, y: (x @ y).astype(jax.numpy.float32)},
        flop=2.0 * n**3,
    )
