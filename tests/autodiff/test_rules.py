"""Every row of the derivative table against sympy, and the choices where no derivative exists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorc.autodiff import grad
from tensorc.autodiff.rules import BINARY, INTRINSIC, REFUSED, UNARY
from tensorc.dtypes import float64
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Call,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    UnaryOp,
    Where,
    call,
    maximum,
    minimum,
)
from tensorc.ir.intrinsics import INTRINSICS
from tensorc.te.reference import evaluate
from tensorc.te.tensor import Tensor, compute, placeholder

X = [placeholder((), float64, name=n) for n in "xyz"]
SYMBOLS = sympy.symbols("x y z", positive=True)
G = sympy.Symbol("g")
COTANGENT = placeholder((), float64, name="g")

FORMULAS = {
    "exp": sympy.exp,
    "exp2": lambda x: sympy.Integer(2) ** x,
    "expm1": lambda x: sympy.exp(x) - 1,
    "log": sympy.log,
    "log2": lambda x: sympy.log(x) / sympy.log(2),
    "log1p": lambda x: sympy.log(1 + x),
    "sqrt": sympy.sqrt,
    "rsqrt": lambda x: 1 / sympy.sqrt(x),
    "sin": sympy.sin,
    "cos": sympy.cos,
    "tanh": sympy.tanh,
    "sigmoid": lambda x: 1 / (1 + sympy.exp(-x)),
    "erf": sympy.erf,
    "pow": lambda x, y: x**y,
    "abs": sympy.Abs,
    "sign": sympy.sign,
    "fma": lambda x, y, z: x * y + z,
}
OPERATORS = {
    BinaryOp.ADD: lambda a, b: a + b,
    BinaryOp.SUB: lambda a, b: a - b,
    BinaryOp.MUL: lambda a, b: a * b,
    BinaryOp.DIV: lambda a, b: a / b,
}


def formula(expr: Expr) -> sympy.Expr:
    """`expr` as sympy sees it, for x, y, z > 0, where the conditions of `pow` do not arise."""
    match expr:
        case Const(value):
            return sympy.nsimplify(value, [sympy.log(2), sympy.sqrt(sympy.pi)], tolerance=1e-14)
        case Load(buffer, _):
            return G if buffer is COTANGENT else SYMBOLS[[b.name for b in X].index(buffer.name)]
        case Unary(UnaryOp.NEG, x):
            return -formula(x)
        case Binary(op, a, b):
            return OPERATORS[op](formula(a), formula(b))
        case Call(name, args, _):
            return FORMULAS[name](*map(formula, args))
        case Where(_, Const(0.0), live) | Where(_, live, Const(0.0)):
            return formula(live)
        case _:
            raise AssertionError(f"not a formula: {expr}")


def operands(count: int) -> list[Expr]:
    return [t[()] for t in X[:count]]


ROUNDING = ("tf32",)  # Whose slope is by decree that of what they round.


@pytest.mark.parametrize(
    "name", [n for n, row in INTRINSIC.items() if row is not None and n not in ROUNDING]
)
def test_an_intrinsic_has_the_derivative_that_sympy_finds(name: str) -> None:
    row = INTRINSIC[name]
    args = operands(INTRINSICS[name].arity)
    y = call(name, *args)
    assert row is not None
    assert len(row) == len(args)
    for partial, symbol in zip(row, SYMBOLS, strict=False):
        ours = formula(partial(COTANGENT[()], y, *args))
        theirs = G * sympy.diff(FORMULAS[name](*SYMBOLS[: len(args)]), symbol)
        assert sympy.simplify(ours - theirs) == 0, f"{name}: {ours} is not {theirs}"


@pytest.mark.parametrize("op", list(OPERATORS))
def test_an_operator_has_the_derivative_that_sympy_finds(op: BinaryOp) -> None:
    a, b = operands(2)
    row = BINARY[op]
    assert row is not None
    for partial, symbol in zip(row, SYMBOLS, strict=False):
        ours = formula(partial(COTANGENT[()], Binary(op, a, b), a, b))
        theirs = G * sympy.diff(OPERATORS[op](*SYMBOLS[:2]), symbol)
        assert sympy.simplify(ours - theirs) == 0


def test_a_negative_has_a_negative_derivative() -> None:
    (x,) = operands(1)
    row = UNARY[UnaryOp.NEG]
    assert row is not None
    assert formula(row[0](COTANGENT[()], -x, x)) == -G


def test_the_table_covers_every_intrinsic_and_operator() -> None:
    assert {*INTRINSIC, *REFUSED} == set(INTRINSICS)
    assert set(BINARY) == set(BinaryOp)
    assert set(UNARY) == set(UnaryOp)


def slope(fn: object, *at: float) -> list[float]:
    """The derivatives of a scalar function at a point."""
    tensors = X[: len(at)]
    y = compute((), lambda: fn(*(t[()] for t in tensors)), name="f")  # type: ignore[operator]
    feeds = {t: np.array(v) for t, v in zip(tensors, at, strict=True)}
    return [float(g) for g in evaluate(grad(y, tensors), feeds)]


def test_ties_of_two_variables_share_equally() -> None:
    assert slope(maximum, 2.0, 2.0) == [0.5, 0.5]
    assert slope(minimum, 2.0, 2.0) == [0.5, 0.5]
    assert slope(maximum, 1.0, 2.0) == [0.0, 1.0]


def test_a_tie_with_a_constant_gives_nothing() -> None:
    assert slope(lambda x: maximum(x, 0.0), 0.0) == [0.0]
    assert slope(lambda x: minimum(x, 6.0), 6.0) == [0.0]
    assert slope(lambda x: maximum(0.0, x), 1.0) == [1.0]


def test_kinks_and_steps_have_slope_zero() -> None:
    assert slope(abs, 0.0) == [0.0]
    for name in ("sign", "floor", "ceil", "round", "trunc", "stop_gradient"):
        assert slope(lambda x, name=name: call(name, x), 1.25) == [0.0]


def test_rounding_to_tf32_has_the_slope_of_what_it_rounds() -> None:
    x = placeholder((), "float32", name="x")
    y = compute((), lambda: call("tf32", x[()]) * call("tf32", x[()]), name="f")
    (g,) = evaluate(grad(y, [x]), {x: np.array(2049.0, np.float32)})
    assert g == 2 * 2050.0


def test_a_power_at_zero_is_as_in_torch() -> None:
    assert slope(lambda x, y: x**y, 0.0, 0.0) == [0.0, 0.0]
    assert slope(lambda x, y: x**y, 0.0, 2.0) == [0.0, 0.0]
    assert slope(lambda x: x**2.0, 0.0) == [0.0]
    assert slope(lambda x: x**3.0, -2.0) == [12.0]


def test_nan_does_not_leak_from_a_side_that_is_not_taken() -> None:
    assert slope(lambda x: Where(x > 0.0, call("sqrt", x), x * 0.0), 0.0) == [0.0]
    assert slope(lambda x: Select(x > 0.0, call("log", x), x * 2.0), 0.0) == [2.0]
    assert slope(lambda x, y: maximum(x, call("sqrt", y)), 1.0, 0.0) == [1.0, 0.0]


@settings(max_examples=20)
@given(st.floats(0.1, 3.0), st.floats(0.1, 3.0))
def test_one_expression_used_under_several_conditions_adds_up(x: float, y: float) -> None:
    def f(a: Expr, b: Expr) -> Expr:
        s = a * b
        low = Where(s > 1.0, s * s, s * 3.0)
        return Where(a > b, low + s, low * 2.0)

    s = x * y
    slope_of_low = 2 * s if s > 1 else 3.0
    outer = slope_of_low + 1 if x > y else 2 * slope_of_low
    assert np.allclose(slope(f, x, y), [outer * y, outer * x], rtol=1e-14)


SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324]


@pytest.mark.parametrize("limit", [0.0, -0.0, 1.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pick", [maximum, minimum])
@pytest.mark.parametrize("mine_first", [True, False])
def test_a_result_that_is_asked_who_won_says_what_its_operand_would(
    pick: Any, limit: float, mine_first: bool
) -> None:
    x, g = placeholder(len(SPECIAL), float64, name="x"), placeholder(len(SPECIAL), float64)
    kept = compute(x.shape, lambda i: x[i] * 1.0, name="kept")

    def result(of: Tensor) -> Tensor:
        bound = Const(limit, float64)
        return compute(x.shape, lambda i: pick(of[i], bound) if mine_first else pick(bound, of[i]))

    by_result, by_operand = grad(result(kept), kept, g), grad(result(x), x, g)
    assert len(by_result.op.inputs) == 2  # type: ignore[union-attr]
    assert kept not in set(by_result.op.inputs)  # type: ignore[union-attr]
    assert x in set(by_operand.op.inputs)  # type: ignore[union-attr]
    values = {x: np.array(SPECIAL), g: np.arange(1.0, 1.0 + len(SPECIAL))}
    found, expected = evaluate([by_result, by_operand], values)
    np.testing.assert_array_equal(found, expected)
    with np.errstate(invalid="ignore"):
        won = values[x] > limit if pick is maximum else values[x] < limit
    np.testing.assert_array_equal(found, np.where(won, values[g], 0.0))


def test_the_second_derivative_of_relu_is_that_of_its_linear_pieces() -> None:
    x = placeholder(4, float64, name="x")
    kept = compute((4,), lambda i: x[i] * x[i] * x[i], name="kept")
    relu = compute((4,), lambda i: maximum(kept[i], 0.0), name="relu")
    ones = compute((4,), lambda _: Const(1.0, float64))
    (second,) = evaluate([grad(grad(relu, x, ones), x, ones)], {x: np.array([-2.0, 0.0, 1.0, 2.0])})
    np.testing.assert_array_equal(second, [0.0, 0.0, 6.0, 12.0])


def test_what_is_clipped_on_both_sides_is_asked_itself() -> None:
    x, g = placeholder(3, float64, name="x"), placeholder(3, float64, name="g")
    kept = compute((3,), lambda i: x[i] * 1.0, name="kept")
    clip = compute((3,), lambda i: minimum(maximum(kept[i], 0.0), 6.0), name="clip")
    by_kept = grad(clip, kept, g)
    assert set(by_kept.op.inputs) == {kept, g}  # type: ignore[union-attr]
    found = evaluate([by_kept], {x: np.array([-1.0, 3.0, 9.0]), g: np.ones(3)})[0]
    np.testing.assert_array_equal(found, [0.0, 1.0, 0.0])
