"""Runs tensors on NumPy arrays, by the interpreter or compiled, for the tests of ops."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from tensorc.dtypes import as_dtype
from tensorc.ir.expr import Dim, Expr, Var, as_expr
from tensorc.ir.interp import evaluate as evaluate_expr
from tensorc.ir.interp import run as interpret
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.verify import verify
from tensorc.ir.walk import same
from tensorc.te.build import build
from tensorc.te.reference import evaluate
from tensorc.te.tensor import Tensor, dim, placeholder

Array = np.ndarray[Any, Any]
Feeds = Mapping[Tensor, Array]

has_llvm = importlib.util.find_spec("tensorc.driver") is not None
backends = pytest.mark.parametrize(
    "backend",
    [
        "interp",
        pytest.param(
            "llvm", marks=pytest.mark.skipif(not has_llvm, reason="there is no tensorc.driver")
        ),
    ],
)


def run(outputs: Sequence[Tensor], feeds: Feeds, backend: str = "interp") -> list[Array]:
    """The values of `outputs`.

    "interp" runs the built program in the interpreter, and asserts that it is valid, that its text
    parses back, and that it agrees bit for bit with the evaluator of tensor definitions.
    """
    if backend == "llvm":
        driver = importlib.import_module("tensorc.driver")
        compiled = driver.compile(list(outputs), inputs=list(feeds), cache=False)
        result = compiled(*feeds.values())
        return list(result) if isinstance(result, tuple | list) else [result]
    program = build(outputs, list(feeds))
    verify(program)
    assert same(parse(show(program)), program), show(program)
    names = [p.buffer.name for p in program.params]
    arrays = dict(zip(names, (a.copy() for a in feeds.values()), strict=False))
    env: dict[Var, Any] = {
        size: np.int64(n)
        for t, a in feeds.items()
        for size, n in zip(t.shape, a.shape, strict=True)
        if isinstance(size, Dim)
    }
    results = []
    for name, out in zip(names[len(feeds) :], outputs, strict=True):
        shape = tuple(int(evaluate_expr(s, env)) for s in out.shape)
        assert all(s >= 0 for s in shape), f"{out} has shape {shape}"
        arrays[name] = np.zeros(shape, out.dtype.numpy)
        results.append(arrays[name])
    interpret(program, arrays)
    for found, expected in zip(results, evaluate(outputs, feeds), strict=True):
        np.testing.assert_array_equal(found, expected)
    return results


class Sizes:
    """Shapes of tensors for given shapes of arrays: the numbers, or one symbol for each number.

    A 1 stays a number, since only that broadcasts.
    """

    def __init__(self, symbolic: bool) -> None:
        self.symbolic = symbolic
        self.known: dict[int, Dim] = {}

    def of(self, shape: Sequence[int]) -> tuple[Expr, ...]:
        return tuple(self.size(n) for n in shape)

    def size(self, n: int) -> Expr:
        if not self.symbolic or n == 1:
            return as_expr(n)
        return self.known.setdefault(n, dim(f"n{n}", lower=min(n, 1)))

    def like(self, array: Array) -> Tensor:
        """A placeholder for `array`."""
        return placeholder(self.of(array.shape), as_dtype(array.dtype))


sizes = st.sampled_from([0, 1, 2, 3, 5])
shapes = st.lists(sizes, max_size=3).map(tuple)
filled_shapes = st.lists(st.sampled_from([1, 2, 3, 5]), max_size=3).map(tuple)


def normal(shape: Sequence[int], seed: int = 0, dtype: str = "float32") -> Array:
    """Normal numbers of a fixed seed, integers three times as wide."""
    rng = np.random.default_rng([seed, *shape])
    values = rng.standard_normal(tuple(shape)) * (1 if dtype.startswith("float") else 3)
    return np.asarray(values > 0 if dtype == "bool" else values).astype(dtype)


def gamma(n: int, unit: float = 2.0**-24) -> float:
    """The relative error of a sum of n products against the sum of magnitudes (Higham, 3.1)."""
    return n * unit / (1 - n * unit)
