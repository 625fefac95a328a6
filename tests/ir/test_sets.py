"""Proofs about index expressions: what holds, what does not, and the numbers that show it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tensorc.dtypes import float32, int32, uint8
from tensorc.ir.expr import (
    Buffer,
    Const,
    Dim,
    Expr,
    Load,
    Var,
    as_shape,
    cast,
    maximum,
    minimum,
    where,
)
from tensorc.ir.sets import bounds, prove

X, J, N = Var("i"), Var("j"), Dim("n")


def in_tile() -> list[Expr]:
    return [X >= 0, X < N, J >= 0, J < 4]


def test_a_claim_that_holds_at_every_point() -> None:
    assert prove(X + 1 < 11, [X >= 0, X < 10]).holds


def test_a_claim_that_fails_shows_the_point() -> None:
    verdict = prove(X + 1 < 10, [X >= 0, X < 10])
    assert not verdict.holds
    assert verdict.witness == {X: 9}


def test_division_and_remainder_are_exact() -> None:
    assert prove((X * 4 + J) // 4 == X, in_tile()).holds
    assert prove((X * 4 + J) % 4 == J, in_tile()).holds


def test_a_symbolic_size_is_at_least_its_lower_limit() -> None:
    assert prove(N >= 0).holds
    assert prove(Dim("m", lower=3) > 2).holds
    assert not prove(N > 0).holds


def test_minimum_and_maximum_are_exact() -> None:
    assert prove(minimum(X * 8, N - 8) + 7 < N, [X >= 0, X < N, N >= 8]).holds
    assert prove(maximum(X, 3) >= 3).holds


def test_a_choice_is_exact() -> None:
    assert prove(where(X > 5, 5, X) <= 5).holds


def test_what_is_not_affine_proves_nothing_and_shows_nothing() -> None:
    verdict = prove(X * N + J < N * N, in_tile())
    assert not verdict.holds
    assert verdict.witness is None


def test_a_load_may_have_any_value_of_its_type() -> None:
    small = Load(Buffer("a", as_shape(4), uint8), (Const(0),))
    wide = Load(Buffer("b", as_shape(4), int32), (Const(0),))
    assert prove(cast(small, "int64") < 256).holds
    assert not prove(cast(small, "int64") < 255).holds
    assert not prove(cast(wide, "int64") >= 0).holds


def test_a_condition_on_data_is_no_knowledge() -> None:
    data = Load(Buffer("x", as_shape(4), float32), (X,))
    assert not prove(X < 3, [X >= 0, X < 4, data > 0.0]).holds
    assert prove(X < 3, [X >= 0, X < 4, (data > 0.0) & (X < 2)]).holds
    assert not prove(X < 3, [X >= 0, X < 4, (data > 0.0) | (X < 2)]).holds


def test_bounds_of_an_expression() -> None:
    assert bounds(X * 4 + J, [X >= 0, X < 7, J >= 0, J < 4]) == (0, 27)
    assert bounds(X, [X >= 2]) == (2, None)


@given(
    a=st.integers(-5, 5),
    b=st.integers(-5, 5),
    c=st.integers(-9, 9),
    d=st.integers(1, 6),
    limit=st.integers(-20, 20),
)
def test_proofs_agree_with_counting(a: int, b: int, c: int, d: int, limit: int) -> None:
    """`(a i + b j + c) // d + (...) % d <= limit` over a small box."""
    value = X * a + J * b + c
    verdict = prove(value // d + value % d <= limit, [X >= 0, X < 5, J >= 0, J < 6])
    truth = all(
        (a * i + b * j + c) // d + (a * i + b * j + c) % d <= limit
        for i in range(5)
        for j in range(6)
    )
    assert verdict.holds == truth
    if not truth:
        assert verdict.witness is not None
        i, j = verdict.witness.get(X, 0), verdict.witness.get(J, 0)
        point = a * i + b * j + c
        assert point // d + point % d > limit
