"""Expressions as LaTeX."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import tensorc as tc
from tensorc.ir.latex import latex, symbol

if TYPE_CHECKING:
    from tensorc.ir.expr import Expr

A, B = tc.placeholder((4, 5), name="A"), tc.placeholder((5, 3), name="B")
I, J = tc.reduce_axis(4, "i"), tc.reduce_axis(3, "j")  # noqa: E741
K, R = tc.reduce_axis(5, "k"), tc.reduce_axis((1, 4), "r")
X, Y = A[I, K], B[K, J]


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (X + Y * 2.0, r"{A}_{i,k} + {B}_{k,j} \cdot 2"),
        ((X + Y) * X, r"\left({A}_{i,k} + {B}_{k,j}\right) {A}_{i,k}"),
        (X - (Y - X), r"{A}_{i,k} - \left({B}_{k,j} - {A}_{i,k}\right)"),
        (-(X + Y), r"-\left({A}_{i,k} + {B}_{k,j}\right)"),
        (X / (Y + 1.0), r"\frac{{A}_{i,k}}{{B}_{k,j} + 1}"),
        (tc.exp(-X) + tc.sqrt(Y), r"e^{-{A}_{i,k}} + \sqrt{{B}_{k,j}}"),
        (
            tc.tanh(X) * tc.erf(Y),
            r"\tanh\left({A}_{i,k}\right) \operatorname{erf}\left({B}_{k,j}\right)",
        ),
        (tc.abs(X) ** 3.5, r"\left|{A}_{i,k}\right|^{3.5}"),
        (tc.maximum(X, 0.0), r"\max\left({A}_{i,k}, 0\right)"),
        (
            tc.where(X > 1e-9, X, 0.0),
            r"\begin{cases} {A}_{i,k} & {A}_{i,k} > 1 \cdot 10^{-9} \\ 0 & \text{otherwise} "
            r"\end{cases}",
        ),
        (A[I // 2, K % 3], r"{A}_{\left\lfloor \frac{i}{2} \right\rfloor,k \bmod 3}"),
        (tc.sum(X * Y, axis=K), r"\sum_{0 \le k < 5} {A}_{i,k} {B}_{k,j}"),
        (
            tc.prod(A[I, R], axis=(I, R), where=R < I),
            r"\prod_{\substack{0 \le i < 4 \\ 1 \le r < 1 + 3 \\ r < i}} {A}_{i,r}",
        ),
        (tc.argmax(X, K), r"\operatorname*{argmax}_{0 \le k < 5} \left({A}_{i,k}, k\right)_{(1)}"),
        ((I < 2) & (K >= 1), r"\left(i < 2\right) \land \left(k \ge 1\right)"),
    ],
)
def test_an_expression_reads_as_one_would_write_it(expr: Expr, expected: str) -> None:
    assert latex(expr) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x", "x"),
        ("W1", "W_{1}"),
        ("i_2", "i_{2}"),
        ("loss", r"\mathrm{loss}"),
        ("row_sum", r"\mathrm{row\_sum}"),
        ("d.W1", r"\bar{W_{1}}"),
        ("t.x", r"\dot{x}"),
    ],
)
def test_a_name_is_a_symbol(name: str, expected: str) -> None:
    assert symbol(name) == expected


def test_a_notebook_shows_a_definition_and_its_gradient() -> None:
    k = tc.reduce_axis(5, "k")
    c = tc.compute((4, 3), lambda i, j: tc.sum(A[i, k] * B[k, j], axis=k), name="C")
    assert A._repr_latex_() == r"$A \in \mathrm{float32}^{4 \times 5}$"
    assert c._repr_latex_() == r"${C}_{i,j} = \sum_{0 \le k < 5} {A}_{i,k} {B}_{k,j}$"
    gradient = tc.grad(c, A, tc.placeholder((4, 3), name="s"))
    assert gradient._repr_latex_() == (
        r"${\bar{A}}_{i,k} = \sum_{0 \le j < 3} {s}_{i,j} {B}_{k,j}$"
    )
