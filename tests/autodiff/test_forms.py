"""Index arithmetic in normal form: the same values, and decisions that are never wrong."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tensorc.autodiff.forms import Forms, constant, minus
from tensorc.autodiff.intern import Interner
from tensorc.ir.expr import CompareOp, Const, Dim, Expr, Load, Var
from tensorc.ir.interp import evaluate
from tensorc.te.axis import IterVar
from tensorc.te.tensor import dim, placeholder

A, B, N = IterVar("i", extent=Const(5)), IterVar("j", extent=Const(3)), Dim("n", lower=1)
POINTS = [dict(zip((A, B, N), p, strict=True)) for p in product(range(5), range(3), range(1, 4))]


def forms() -> Forms:
    result = Forms(Interner())
    for axis in (A, B):
        result.bound(axis, {}, result.of(axis.extent))
    return result


index = st.recursive(
    st.sampled_from([A, B, N]) | st.integers(-3, 3).map(Const),
    lambda inner: (
        st.tuples(inner, inner, st.sampled_from("+-*")).map(
            lambda t: {"+": t[0] + t[1], "-": t[0] - t[1], "*": t[0] * t[1]}[t[2]]
        )
        | st.tuples(inner, st.sampled_from([Const(1), Const(2), Const(3), N])).map(
            lambda t: t[0] // t[1]
        )
        | st.tuples(inner, st.sampled_from([Const(1), Const(2), Const(3), N])).map(
            lambda t: t[0] % t[1]
        )
    ),
    max_leaves=6,
)


@settings(max_examples=150)
@given(index)
def test_the_normal_form_has_the_value_of_the_expression(expr: Expr) -> None:
    tidy = forms().tidy(expr)
    for point in POINTS:
        assert evaluate(tidy, point) == evaluate(expr, point)


@settings(max_examples=150)
@given(index, index, st.sampled_from(list(CompareOp)))
def test_a_comparison_that_is_decided_is_decided_rightly(a: Expr, b: Expr, op: CompareOp) -> None:
    space = forms()
    found = space.compare(op, minus(space.of(a), space.of(b)))
    for point in POINTS:
        x, y = int(evaluate(a, point)), int(evaluate(b, point))
        truth = {
            CompareOp.EQ: x == y,
            CompareOp.NE: x != y,
            CompareOp.LT: x < y,
            CompareOp.LE: x <= y,
            CompareOp.GT: x > y,
            CompareOp.GE: x >= y,
        }[op]
        assert (found if isinstance(found, bool) else bool(evaluate(found, point))) == truth


@settings(max_examples=100)
@given(index, index)
def test_substitution_gives_the_value_at_the_substituted_point(expr: Expr, new: Expr) -> None:
    space, new = forms(), new % 3  # What is known of j must hold of what replaces it.
    replaced = space.expr(space.substitute(space.of(expr), {B: space.of(new)}))
    for point in POINTS:
        moved = {**point, B: int(evaluate(new, point))}
        assert evaluate(replaced, point) == evaluate(expr, moved)


def test_symbolic_multiples_cancel() -> None:
    n = dim("n", lower=1)
    space = forms()
    p = IterVar("p", extent=Const(9))
    assert str(space.tidy(n * p + B - p * n)) == "j"
    space.bound(B, {}, space.of(n))
    assert str(space.tidy((p * n + B) // n)) == "p"
    assert str(space.tidy((p * n + B) % n)) == "j"


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (Const(3) - A, "3 - i"),
        (B + A * 4, "i * 4 + j"),
        ((A + 7) // 2, "(i + 1) // 2 + 3"),
        ((A // 2) // 3, "0"),
        (A % 7, "i"),
        (-A - B, "-i - j"),
    ],
)
def test_a_form_reads_as_one_would_write_it(expr: Expr, text: str) -> None:
    space = forms()
    space.of(A), space.of(B)
    assert str(space.tidy(expr)) == text


def test_equal_loads_are_one_term() -> None:
    space, idx = forms(), placeholder((9,), "int64", name="idx")
    assert not minus(space.of(idx[A + 1]), space.of(idx[1 + A]))
    assert isinstance(space.atoms[-1], Load)


def test_an_unbounded_variable_proves_nothing() -> None:
    space = forms()
    assert not space.at_least(space.of(Var("v")), 0)
    assert space.at_least(constant(0), 0)
