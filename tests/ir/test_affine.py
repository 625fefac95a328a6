"""Linear forms and strides of index expressions."""

from __future__ import annotations

from tensorc.ir.affine import Linear, coefficient, linear, to_expr
from tensorc.ir.expr import Dim, Var
from tensorc.ir.printer import show

X, J, N = Var("i"), Var("j"), Dim("n")


def test_a_sum_of_products_with_constants_is_linear() -> None:
    assert linear(X * 4 + J - 3 - X) == Linear({X: 3, J: 1}, -3)
    assert linear(-(X - 2)) == Linear({X: -1}, 2)
    assert linear(X - X) == Linear({}, 0)


def test_products_of_variables_and_divisions_are_not() -> None:
    assert linear(X * N) is None
    assert linear(X // 2) is None


def test_a_linear_form_reads_as_it_would_be_written() -> None:
    assert show(to_expr(Linear({X: 4, J: -1}, 3))) == "i * 4 - j + 3"
    assert show(to_expr(Linear({}, 0))) == "0"
    assert show(to_expr(Linear({X: 1}, -2))) == "i - 2"


def test_the_coefficient_of_a_variable_may_be_symbolic() -> None:
    found = coefficient(X * N + J, X)
    assert found is not None
    assert show(found) == "n"
    assert coefficient(X // 2, X) is None
    assert coefficient(X * X, X) is None
    zero = coefficient(J * N, X)
    assert zero is not None
    assert show(zero) == "0"
