"""Statements alike: equal keys, and one made of another's variables and buffers."""

from __future__ import annotations

from tensorc.dtypes import int64
from tensorc.ir.alike import Remade, pattern
from tensorc.ir.expr import Buffer, Let, Var
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.stmt import Block, Stmt
from tensorc.ir.walk import same, walk_stmts

TWO = """
program two(A: in float32[8], B: in float32[8], C: out float32[8], D: out float32[8]):
  for i in range(8):
    alloc T: float32[1] local
      T[0] = A[i] * 2.0 + A[i]
      if i < 4:
        C[i] = T[0]
  for j in range(8):
    alloc U: float32[1] local
      U[0] = B[j] * 2.0 + B[j]
      if j < 4:
        D[j] = U[0]
  for k in range(8):
    check A[k] > 0.0, "positive: {0}", (k)
"""


def nests() -> tuple[Stmt, ...]:
    body = parse(TWO).body
    assert isinstance(body, Block)
    return body.stmts


def test_a_statement_of_other_variables_and_buffers_is_the_one_alike() -> None:
    first, second, _ = nests()
    (key, used), (other, meant) = pattern(first), pattern(second)
    assert key == other
    pairs = list(zip(used, meant, strict=True))
    made = Remade(
        {a: b for a, b in pairs if isinstance(a, Var) and isinstance(b, Var)},
        {a: b for a, b in pairs if isinstance(a, Buffer) and isinstance(b, Buffer)},
    ).stmt(first)
    assert show(made) == show(second)
    assert same(made, second)


def test_what_the_mappings_leave_out_is_named_anew_and_nothing_is_shared() -> None:
    for nest in nests():
        made = Remade({}, {}, lambda name: f"{name}.new").stmt(nest)
        assert not {id(s) for s in walk_stmts(made)} & {id(s) for s in walk_stmts(nest)}
        text = show(nest)
        for name in "ijkTU":
            text = text.replace(f"{name}[", f"{name}.new[").replace(f"{name}:", f"{name}.new:")
            for before, after in ((" ", " "), ("[", "]"), ("(", ")")):
                text = text.replace(f"{before}{name}{after}", f"{before}{name}.new{after}")
        assert show(made) == text


def test_what_an_expression_binds_is_made_anew_with_what_reads_it() -> None:
    x, y, a, b = Var("x", int64), Var("y", int64), Var("a", int64), Var("b", int64)
    made = Remade({x: y, a: b}, {}).expr(Let(x, a + 1, x * x))
    assert show(made) == show(Let(y, b + 1, y * y))
    assert isinstance(made, Let)
    assert made.var is y
