"""Formulas of sympy as kernels with gradients, and definitions as formulas of sympy."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sympy

import tensorc as tc
from autodiff.directions import assert_derivatives
from tensorc import symbolic
from tensorc.errors import IRError, TensorcError
from tensorc.te.reference import evaluate

if TYPE_CHECKING:
    from collections.abc import Callable

X, A = sympy.symbols("x a", positive=True)

FORMULAS: dict[str, Any] = {
    "gaussian": sympy.exp(-A * X**2),
    "rational": (X**3 - 2 * X + A) / (1 + X**2) ** 2,
    "roots": sympy.sqrt(X) + 1 / sympy.sqrt(A + X) + X ** sympy.Rational(5, 3),
    "powers": X**A + 2**X + X**-3 + X**11,
    "waves": sympy.sin(X) * sympy.cos(A) + sympy.tan(X / 4),
    "hyperbolic": sympy.tanh(X) + sympy.sinh(X / 2) * sympy.cosh(A / 2),
    "error function": sympy.erf(X) - sympy.erfc(A),
    "extremes": sympy.Max(X, A, 1) * sympy.Min(X, A),
    "pieces": sympy.Piecewise((X**2, X < 1), (A * X, sympy.And(X < 2, A > 1)), (A, True)),
    "logarithm": sympy.log(1 + sympy.exp(X)) / 3 + sympy.pi,
    "black-scholes": X * (1 + sympy.erf(sympy.log(X / A) / sympy.sqrt(2))) / 2,
}


def feeds(dtype: str = "float64") -> tuple[tc.Tensor, tc.Tensor, Any, Any]:
    x, a = tc.placeholder((3, 4), dtype, name="x"), tc.placeholder((4,), dtype, name="a")
    rng = np.random.default_rng(4)
    kind = np.dtype(dtype)
    values = rng.uniform(0.3, 2.5, (3, 4)).astype(kind), rng.uniform(0.3, 2.5, 4).astype(kind)
    return x, a, *values


@pytest.mark.parametrize("name", list(FORMULAS))
def test_a_formula_becomes_a_kernel_with_its_gradient(name: str) -> None:
    formula = FORMULAS[name]
    x, a, at_x, at_a = feeds()
    y = tc.from_sympy(formula, {X: x, "a": a})
    (found,) = evaluate([y], {x: at_x, a: at_a})
    expected = np.vectorize(sympy.lambdify((X, A), formula, "math"))(at_x, at_a)
    # Both evaluate the same few operations in double precision, in another order.
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert_derivatives(y, [x, a], {x: at_x, a: at_a}, second=False)


@pytest.mark.parametrize("name", [n for n in FORMULAS if n not in ("extremes", "pieces")])
def test_the_gradient_of_a_formula_is_the_formula_of_its_derivative(name: str) -> None:
    formula = FORMULAS[name]
    x, a, at_x, at_a = feeds()
    one = tc.placeholder((3, 4), "float64", name="one")
    ours = tc.grad(tc.from_sympy(formula, {X: x, A: a}), x, one)
    theirs = tc.from_sympy(sympy.diff(formula, X), {X: x, A: a})
    found, expected = evaluate([ours, theirs], {x: at_x, a: at_a, one: np.ones((3, 4))})
    # A few dozen operations on numbers of like magnitude.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


def test_a_formula_compiles_in_the_dtype_of_its_tensors() -> None:
    x, a, at_x, at_a = feeds("float32")
    y = tc.from_sympy(FORMULAS["gaussian"] / 3, {X: x, A: a}, name="bell")
    assert (y.name, y.dtype.name) == ("bell", "float32")
    found = tc.compile([y], inputs=[x, a])(at_x, at_a)
    # Five roundings, and exp within 2 ulp of an argument whose error it multiplies.
    np.testing.assert_allclose(found, np.exp(-at_a * at_x**2) / 3, rtol=64 * 2.0**-24)


K = tc.reduce_axis(5, "k")
N = tc.dim("n")
T = tc.placeholder((4, 5), name="T")
LONG = tc.reduce_axis(N, "m")
L = tc.placeholder((N,), name="L")
MIX: Callable[..., Any] = tc.reducer(lambda a, b: a * b + a + b, 0.0, name="mix")
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "symbol": (
        lambda: tc.from_sympy(X + A, {X: T}),
        "from_sympy: a + x has a, and tensors are given for x",
    ),
    "function": (
        lambda: tc.from_sympy(sympy.gamma(X), {X: T}),
        "from_sympy: gamma in gamma(x) has no counterpart; there are Abs, And, Equality, "
        "GreaterThan, Heaviside, LessThan, Max, Min, Not, Or, StrictGreaterThan, StrictLessThan, "
        "Unequality, ceiling, cos, cosh, erf, erfc, exp, floor, log, sign, sin, sinh, tan, tanh",
    ),
    "complex": (lambda: tc.from_sympy(sympy.I * X, {X: T}), "from_sympy: I is no real number"),
    "number": (
        lambda: tc.from_sympy(sympy.pi, {X: T}),
        "from_sympy: pi has no symbol, so it has no shape; use tc.compute",
    ),
    "maximum": (
        lambda: tc.to_sympy(tc.max(L[LONG], axis=LONG)),
        "to_sympy: max over m, from 0 to n - 1: sympy takes a maximum of so many values as are "
        "known",
    ),
    "reducer": (
        lambda: tc.to_sympy(MIX(T[0, K], K)),
        "to_sympy: sympy has no word for mix(T[0, k], axis=k)",
    ),
    "thing": (
        lambda: tc.to_sympy("T"),  # type: ignore[arg-type]
        "to_sympy: a tensor or an expression is needed, got 'T'",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_has_no_counterpart_is_refused(name: str) -> None:
    ask, message = REFUSED[name]
    with pytest.raises(IRError) as error:
        ask()
    assert str(error.value) == message


def test_a_definition_is_a_formula_of_indexed_symbols() -> None:
    a, b = tc.placeholder((4, 5), name="A"), tc.placeholder((5, 3), name="B")
    c = tc.compute((4, 3), lambda i, j: tc.sum(a[i, K] * b[K, j], axis=K), name="C")
    i, j, k = sympy.symbols("i j k", integer=True)
    at_a, at_b = sympy.IndexedBase("A"), sympy.IndexedBase("B")
    assert tc.to_sympy(c) == sympy.Sum(at_a[i, k] * at_b[k, j], (k, 0, 4))
    d = tc.compute((4, 3), lambda i, j: tc.exp(c[i, j]) * 2.0, name="D")
    assert tc.to_sympy(d) == 2 * sympy.exp(tc.to_sympy(c))
    assert tc.to_sympy(d, expand=False) == 2 * sympy.exp(sympy.IndexedBase("C")[i, j])
    seed = tc.placeholder((4, 3), name="s")
    gradient = tc.grad(c, a, seed)
    expected = sympy.Sum(at_b[k, j] * sympy.IndexedBase("s")[i, j], (j, 0, 2))
    assert tc.to_sympy(gradient) == expected


def test_sums_inside_of_sums_keep_their_symbols_apart() -> None:
    a = tc.placeholder((5,), name="A")
    s = tc.compute((5,), lambda i: tc.sum(a[K] * a[i], axis=K), name="S")
    k = tc.reduce_axis(5, "k")
    total = tc.compute((), lambda: tc.sum(s[k] * s[k], axis=k), name="total")
    values = dict(zip((sympy.IndexedBase("A")[n] for n in range(5)), (1, 2, -3, 5, 7), strict=True))
    found = tc.to_sympy(total).doit().subs(values)
    x = np.array([1, 2, -3, 5, 7])
    assert found == (x.sum() * x) @ (x.sum() * x)


def test_a_formula_goes_there_and_back() -> None:
    x, a, _, _ = feeds()
    y = tc.from_sympy(FORMULAS["rational"], {X: x, A: a})
    i0, i1 = sympy.symbols("i0 i1", integer=True)
    back = tc.to_sympy(y).subs({sympy.IndexedBase("x")[i0, i1]: X, sympy.IndexedBase("a")[i1]: A})
    assert sympy.simplify(back - FORMULAS["rational"]) == 0


def test_sympy_is_imported_with_its_first_use_alone() -> None:
    code = "import sys, tensorc as tc; tc.to_sympy; tc.from_sympy; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_where_sympy_is_missing_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sympy", None)
    symbolic._sympy.cache_clear()
    with pytest.raises(TensorcError) as error:
        tc.to_sympy(T)
    assert str(error.value) == (
        "to_sympy needs sympy, which is not installed: pip install 'tensorc[sympy]'"
    )
    symbolic._sympy.cache_clear()
