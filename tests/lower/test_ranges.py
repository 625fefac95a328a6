"""Limits of indices, against all their values."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tensorc.dtypes import float32, int64
from tensorc.ir.expr import Binary, BinaryOp, Buffer, Const, Expr, Load, Var
from tensorc.ir.interp import evaluate
from tensorc.lower.ranges import range_of, reads_inside

i, j = Var("i", int64), Var("j", int64)
RANGES = {i: (-3, 4), j: (2, 6)}
OPS = (
    *(BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, BinaryOp.MIN, BinaryOp.MAX),
    *(BinaryOp.FLOORDIV, BinaryOp.MOD),
)
leaves = st.one_of(
    st.sampled_from([i, j]), st.builds(lambda n: Const(n, int64), st.integers(-5, 9))
)
indices = st.recursive(
    leaves, lambda inner: st.builds(Binary, st.sampled_from(OPS), inner, inner), max_leaves=4
)


@given(expr=indices)
def test_every_value_of_an_index_is_within_its_limits(expr: Expr) -> None:
    limits = range_of(expr, RANGES)
    if limits is None:
        assert any(f" {op} " in str(expr) for op in ("//", "%"))
        return
    spans = [range(low, high + 1) for low, high in RANGES.values()]
    for x, y in itertools.product(*spans):
        value = int(evaluate(expr, {i: x, j: y}))
        assert limits[0] <= value <= limits[1]


def test_a_read_is_inside_where_all_its_indices_are() -> None:
    buffer = Buffer("B", (Const(8, int64), Const(7, int64)), float32)
    assert reads_inside(Load(buffer, (i + 3, j)), RANGES)
    assert not reads_inside(Load(buffer, (i + 2, j)), RANGES)
    assert not reads_inside(Load(buffer, (i + 3, j + 1)), RANGES)
    assert not reads_inside(Load(buffer, (i + 3, j)), {i: (-3, 4)})
