"""Digits of loops' sums: the same values, and plain where the limits tell them."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedule.nests import assert_same_results
from tensorc.dtypes import int64
from tensorc.ir.affine import Linear, split_digits
from tensorc.ir.expr import Var
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.verify import verify
from tensorc.lower.radix import split_radix

X, Y, Z = (Var(name, int64) for name in "xyz")
LIMITS = {X: (0, 5), Y: (-2, 7), Z: (0, 2)}

TEXT = """program copy(A: in float32[16, 16], B: out float32[8, 8]):
  for o in range({outer}):
    for l in vectorized(8):
      B[o, l] = A[{row}, {column}]
"""


@given(
    coefficients=st.tuples(*[st.integers(-40, 40)] * 3),
    const=st.integers(-50, 50),
    by=st.integers(1, 64),
)
def test_digits_make_the_sum(coefficients: tuple[int, int, int], const: int, by: int) -> None:
    terms = {v: c for v, c in zip(LIMITS, coefficients, strict=True) if c}
    form = Linear(terms, const)
    step, high, low = split_digits(form, by, LIMITS)
    assert by % step == 0
    for point in itertools.product(*(range(a, b + 1) for a, b in LIMITS.values())):
        at = dict(zip(LIMITS, point, strict=True))
        whole, upper, lower = (
            x.const + sum(c * at[v] for v, c in x.coeffs.items()) for x in (form, high, low)
        )
        assert whole == step * upper + lower
        assert step == 1 or 0 <= lower < step


@pytest.mark.parametrize(
    ("row", "column", "outer", "expected"),
    [
        ("(o * 8 + l) // 16", "(o * 8 + l) % 16", 8, "A[o // 2, o % 2 * 8 + l]"),
        ("(o * 8 + l) // 8", "(o * 8 + l) % 8", 8, "A[o, l]"),
        ("(o * 8 + l + 8) // 16 % 4", "l", 8, "A[(o + 1) // 2 % 4, l]"),
        ("(o * 8 + l) // 64", "(o * 8 + l) // 4 % 4", 8, "A[0, (o * 8 + l) // 4 % 4]"),
        ("(o * 6 + l) // 12", "(o * 6 + l) % 12", 8, "A[(o * 6 + l) // 12, (o * 6 + l) % 12]"),
    ],
)
def test_quotients_and_remainders_are_told(
    row: str, column: str, outer: int, expected: str
) -> None:
    program = parse(TEXT.format(row=row, column=column, outer=outer))
    plain = split_radix(program)
    verify(plain)
    assert_same_results(program, plain)
    assert show(plain).strip().endswith(f"= {expected}")
