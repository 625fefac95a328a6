"""Indices of fused loops told as one place in memory, and copies of squares along them."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc as tc
from tensorc.codegen.llvm.pattern import flattened
from tensorc.dtypes import int64
from tensorc.ir.expr import Const, Expr, Var
from tensorc.ir.printer import show
from tensorc.schedule.schedule import Schedule
from tensorc.te.build import build

Q = Var("q", int64)
P = Var("p", int64)


def shown(shape: tuple[int, ...], *indices: Expr | int) -> list[str]:
    found = flattened(
        tuple(Const(n) for n in shape),
        tuple(Const(i) if isinstance(i, int) else i for i in indices),
    )
    return [show(i) for i in found]


def test_digits_of_one_number_are_its_place() -> None:
    assert shown((4, 3), Q // 3, Q % 3) == ["0", "q"]
    assert shown((4, 3, 3), Q // 9, Q // 3 % 3, Q % 3) == ["0", "0", "q"]
    assert shown((4, 3, 3), Q // 3 // 3, Q // 3 % 3, Q % 3) == ["0", "0", "q"]
    assert shown((4, 3, 3), Q // 9, Q % 9 // 3, Q % 9 % 3) == ["0", "0", "q"]
    assert shown((2, 4, 3, 5), P, Q // 3, Q % 3, P) == ["p", "0", "q", "p"]
    assert shown((2, 4, 2, 4), P // 4, P % 4, Q // 4, Q % 4) == ["0", "p", "0", "q"]


@pytest.mark.parametrize(
    ("shape", "indices"),
    [
        ((4, 5), (Q // 3, Q % 3)),
        ((4, 3), (P // 3, Q % 3)),
        ((4, 3), (Q // 6, Q % 3)),
        ((4, 3, 3), (Q // 9, Q % 3, Q % 3)),
        ((4, 2, 3), (Q // 9, Q // 3 % 3, Q % 3)),
        ((2, 3), (Q // 3 % 2, Q % 3)),
        ((4, 3), (Q, P)),
    ],
)
def test_what_is_not_all_of_one_number_stays(
    shape: tuple[int, ...], indices: tuple[Expr, ...]
) -> None:
    assert shown(shape, *indices) == [show(i) for i in indices]


def test_filters_are_turned_by_shuffles_along_all_that_lies_together() -> None:
    w = tc.placeholder((16, 8, 3, 3), name="w")
    turned = tc.compute((8, 3, 3, 16), lambda c, u, v, o: w[o, c, u, v], name="turned")
    s = Schedule(build([turned]))
    c, u, v, o = s.loops("turned")
    inside = s.fuse(s.fuse(c, u), v)
    far, near = s.split(inside, 8)
    outer, inner = s.split(o, 8)
    s.reorder(far, outer, near, inner)
    s.vectorize(inner)
    s.unroll(near)
    f = tc.compile(s, target=tc.Target(cpu="native"))
    assert "shufflevector <8 x float>" in f.inspect("llvm")
    a = np.arange(16 * 72, dtype=np.float32).reshape(16, 8, 3, 3)
    np.testing.assert_array_equal(f(a), a.transpose(1, 2, 3, 0))
