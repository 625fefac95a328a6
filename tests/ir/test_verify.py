from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from ir.programs import programs
from tensorc.dtypes import float32, int32
from tensorc.errors import IRError
from tensorc.ir.expr import (
    Buffer,
    Call,
    Const,
    Let,
    Load,
    Reduce,
    Reducer,
    Var,
    as_expr,
    const,
)
from tensorc.ir.reducers import builtin
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    Param,
    Program,
    Role,
    Stmt,
    Store,
    block,
    loop,
)
from tensorc.ir.verify import verify

if TYPE_CHECKING:
    from tensorc.ir.expr import Expr

I, J, X = Var("i"), Var("j"), Var("x", float32)  # noqa: E741
FOUR = as_expr(4)
A, B = Buffer("A", (FOUR,), float32), Buffer("B", (FOUR,), float32)
ONE = Const(1.0, float32)
PARAMS = (Param(A, Role.IN), Param(B, Role.OUT))


class Leftover(Buffer):
    """A buffer with a definition, as the tensor level has them."""


def store(value: Expr, index: Expr = I) -> Store:
    return Store(B, (index,), value)


@given(programs())
@settings(max_examples=30)
def test_generated_programs_are_well_formed(program: Program) -> None:
    verify(program)


def test_siblings_may_bind_one_variable() -> None:
    verify(Program("p", PARAMS, (), block([loop(I, FOUR, store(ONE)), loop(I, FOUR, store(ONE))])))


def test_a_shared_expression_may_stand_under_two_lets() -> None:
    shared = X * X
    value = Let(X, ONE, shared)
    other = Let(X, Load(A, (I,)), shared)
    verify(Program("p", PARAMS, (), loop(I, FOUR, block([store(value), store(other)]))))


NESTED = loop(I, FOUR, loop(I, FOUR, store(ONE)))
LOCAL = Buffer("T", (FOUR,), float32, "local")
WILD = Buffer("T", (FOUR,), float32, "texture")
SUM = builtin("sum", float32)
P, Q = Var("a", float32), Var("b", float32)
OPEN = Reducer("open", (P,), (Q,), (ONE,), (P + X,))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (store(ONE), "i is not bound in B[i] = 1.0"),
        (NESTED, "i is bound twice in for i in range(4):"),
        (loop(I, I, store(ONE)), "i is not bound in for i in range(i):"),
        (loop(I, FOUR, store(Let(I, const(1), ONE))), "i is bound twice in B[i] = "
         "let i = 1 in 1.0"),
        (loop(I, FOUR, store(Let(X, ONE, X) + X)), "x is not bound in B[i] = "
         "(let x = 1.0 in x) + x"),
        (loop(I, FOUR, store(Let(X, X, ONE))), "x is not bound in B[i] = let x = x in 1.0"),
        (loop(I, FOUR, Store(A, (I,), ONE)), "write to A, which is only read in A[i] = 1.0"),
        (loop(I, FOUR, Accumulate(SUM, (A,), (I,), (ONE,))), "write to A, which is only read in "
         "A[i] += 1.0"),
        (Store(LOCAL, (FOUR,), ONE), "T is neither a parameter nor allocated in T[4] = 1.0"),
        (store(Load(LOCAL, (FOUR,)), FOUR), "T is neither a parameter nor allocated in "
         "B[4] = T[4]"),
        (block([Allocate(LOCAL, Block(())), Store(LOCAL, (FOUR,), ONE)]), "T is neither a "
         "parameter nor allocated in T[4] = 1.0"),
        (Allocate(LOCAL, Allocate(LOCAL, Block(()))), "T is allocated twice in "
         "alloc T: float32[4] local"),
        (Allocate(WILD, Block(())), "T has unknown scope texture in alloc T: float32[4] texture"),
        (Allocate(Buffer("T", (J,), float32), Block(())), "j is not bound in alloc T: float32[j]"),
        (store(Reduce(SUM, (J,), (ONE,)), FOUR), "a reduction is left: sum(1.0, axis=j) in "
         "B[4] = sum(1.0, axis=j)"),
        (Allocate(Leftover("L", (FOUR,), float32), Block(())), "L is a Leftover, not plain storage "
         "in alloc L: float32[4]"),
        (store(Call("exp", (ONE * ONE,), float32), I), "i is not bound in B[i] = exp(1.0 * 1.0)"),
        (Check(Call("isnan", (ONE,), float32) < 1.0, "m"), "isnan of float32 gives no float32: "
         "isnan(1.0) in check isnan(1.0) < 1.0, \"m\""),
        (Check(FOUR < 5, "m", (ONE,)), "value 1.0 is float32 in check 4 < 5, \"m\", (1.0)"),
        (Accumulate(OPEN, (B,), (FOUR,), (ONE,)), "reducer open uses x, which is not its operand "
         "in B[4] open= 1.0"),
        (For(X, ONE, ONE, Block(())), "x is float32, not an integer in "
         "for x: float32 in range(1.0, 2.0):"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_refused(body: Stmt, message: str) -> None:
    with pytest.raises(IRError) as caught:
        verify(Program("p", PARAMS, (), body))
    assert str(caught.value) == f"program p: {message}"


def test_a_parameter_stands_once_and_is_global() -> None:
    with pytest.raises(IRError, match=r"^program p: parameter T is local$"):
        verify(Program("p", (Param(LOCAL, Role.OUT),), (), Block(())))
    sized = Buffer("S", (J,), int32)
    with pytest.raises(IRError, match=r"^program p: j is not bound$"):
        verify(Program("p", (Param(sized, Role.OUT),), (), Block(())))
    with pytest.raises(IRError, match=r"^program p: j is no Dim$"):
        verify(Program("p", (), (J,), Block(())))  # type: ignore[arg-type]
