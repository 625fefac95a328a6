from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tensorc.dtypes import bool_, float16, float32, float64, int8, int32, int64, uint8
from tensorc.errors import DTypeError, IRError, ShapeError, TensorcError
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Call,
    Compare,
    CompareOp,
    Const,
    Expr,
    Let,
    Load,
    Reduce,
    Reducer,
    Select,
    Unary,
    UnaryOp,
    Var,
    Where,
    as_expr,
    as_shape,
    call,
    cast,
    const,
    const_int,
    is_const,
    maximum,
    where,
)
from tensorc.ir.printer import show
from tensorc.ir.reducers import builtin
from tensorc.ir.stmt import (
    Accumulate,
    Block,
    Check,
    For,
    If,
    Param,
    Program,
    Role,
    Store,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.dtypes import DType

I, J = Var("i"), Var("j")  # noqa: E741
X, D, H, U, B = (
    Var("x", float32),
    Var("d", float64),
    Var("h", float16),
    Var("u", uint8),
    Var("b", bool_),
)
A = Buffer("A", (as_expr(4), as_expr(4)), float32)
S = Buffer("s", (), float32)
ONE = Const(1.0, float32)


@pytest.mark.parametrize(
    ("expr", "text", "dtype"),
    [
        (1 + I, "1 + i", int64),
        (1 - I, "1 - i", int64),
        (2 * I, "2 * i", int64),
        (7 // I, "7 // i", int64),
        (7 % I, "7 % i", int64),
        (1.0 / X, "1.0 / x", float32),
        (I / J, "float32(i) / float32(j)", float32),
        (I * X, "float32(i) * x", float32),
        (X * D, "float64(x) * d", float64),
        (H + X, "float32(h) + x", float32),
        (X + 1, "x + 1.0", float32),
        (H + 0.1, "h + float16(0.1)", float16),
        (I + 0.5, "float32(i) + 0.5", float32),
        (U + 1, "u + uint8(1)", uint8),
        (U + I, "int64(u) + i", int64),
        (B + 1, "int64(b) + 1", int64),
        (X + np.float64(1.0), "float64(x) + float64(1.0)", float64),
        (I + np.int32(1), "i + 1", int64),
        (X**2, "pow(x, 2.0)", float32),
        (2**X, "pow(2.0, x)", float32),
        (abs(X), "abs(x)", float32),
        (+X, "x", float32),
        (-X, "-x", float32),
        (~B, "not b", bool_),
        (~I, "~i", int64),
        (1 & I, "1 & i", int64),
        (1 | I, "1 | i", int64),
        (1 ^ I, "1 ^ i", int64),
        (I << 2, "i << 2", int64),
        (I >> 2, "i >> 2", int64),
        (I**3, "i * i * i", int64),
        (I**0, "1", int64),
        (X // 2.0, "floor(x / 2.0)", float32),
        (X % 2.0, "x - floor(x / 2.0) * 2.0", float32),
        (X // 3.0, "float32(floor(float64(x) / float64(3.0)))", float32),
        (I == J, "i == j", bool_),
        (I != 1, "i != 1", bool_),
        (I > 2, "i > 2", bool_),
        (I <= X, "float32(i) <= x", bool_),
        (I >= 0, "i >= 0", bool_),
        (maximum(X, 0), "max(x, 0.0)", float32),
        (where(I < J, X, 0), "where(i < j, x, 0.0)", float32),
        (call("exp", I), "exp(float32(i))", float32),
        (call("isnan", X), "isnan(x)", bool_),
        (call("abs", I), "abs(i)", int64),
        (as_expr(S) + 1.0, "s[] + 1.0", float32),  # type: ignore[arg-type]
        (X.astype("int32"), "int32(x)", int32),
        (cast(X, "float32"), "x", float32),
        (cast(2, "float32"), "2.0", float32),
        (cast(const(300), "uint8"), "cast(uint8, 300)", uint8),
        (cast(const(1.5, float32), "int32"), "cast(int32, 1.5)", int32),
    ],
)  # fmt: skip
def test_an_operator_promotes_its_operands(expr: Expr, text: str, dtype: DType) -> None:
    assert (show(expr), expr.dtype) == (text, dtype)


def line_here() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def test_a_node_carries_the_users_line() -> None:
    for made in (I + J, I < J, -I, I.astype("int8"), where(I < J, I, J), as_expr(S)):  # type: ignore[arg-type]
        assert made.loc is not None
        assert made.loc.file == __file__
    expr, line = X * 2.0, line_here()
    assert expr.loc is not None
    assert str(expr.loc) == f"test_expr.py:{line}"


def test_an_expression_has_no_truth_value() -> None:
    with pytest.raises(IRError) as caught:
        bool(I == J)
    assert str(caught.value) == (
        "an expression has no truth value while it is built: i == j; "
        "use tc.where(cond, a, b), and & | ~ instead of and, or, not"
    )
    with pytest.raises(IRError):
        assert I in (J, I)
    assert len({I: 1, J: 2, Var("i"): 3}) == 3


def test_constants_are_exact_for_their_dtype() -> None:
    assert Const(0.1, float32).value == float(np.float32(0.1))
    assert Const(1e30, float16).value == np.inf
    assert Const(2.0, int64).value == 2
    assert type(Const(2.0, int64).value) is int
    assert Const(1, bool_).value is True
    assert is_const(const(2), 2)
    assert not is_const(const(2), 3)
    assert not is_const(I)
    assert (const_int(const(7)), const_int(ONE), const_int(I)) == (7, None, None)
    assert [str(s) for s in as_shape((3, np.int32(4), I))] == ["3", "4", "i"]  # type: ignore[arg-type]
    assert [str(s) for s in as_shape(5)] == ["5"]


LHS, RHS = (Var("a", float32),), (Var("b", float32),)
SUM = builtin("sum", float32)
ARGMAX = builtin("argmax", float32)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: X & X, DTypeError, "& is not defined for float32: x & x"),
        (lambda: X << 1, DTypeError, "<< is not defined for float32: x << 1.0"),
        (lambda: B + B, DTypeError, "+ of bools: cast them, or use & | ^"),
        (lambda: -B, DTypeError, "-(b): a bool has no negative; use ~ for not"),
        (lambda: ~X, DTypeError, "~ of a float32: x"),
        (lambda: Unary(UnaryOp.NEG, B), DTypeError, "- of a bool: b"),
        (
            lambda: I**-1,
            DTypeError,
            "i ** -1: integers have the powers 0 to 64, written as numbers; cast to a float for "
            "others",
        ),
        (lambda: abs(B), DTypeError, "abs is not defined for bool: b"),
        (lambda: I + A, IRError, "A has 2 dimensions: index it, as in A[i, j], or use tc.ops"),  # type: ignore[operator]
        (lambda: I + "1", DTypeError, "cannot use '1' of type str in an expression"),  # type: ignore[operator]
        (lambda: U + 256, DTypeError, "256 does not fit uint8 (0 to 255)"),
        (lambda: const(0.5), DTypeError, "0.5 is not an integer, and the dtype here is int64"),
        (lambda: const(2**63), DTypeError, "9223372036854775808 does not fit int64 "
         "(-9223372036854775808 to 9223372036854775807)"),
        (lambda: Binary(BinaryOp.ADD, I, X), IRError, "+: operands must have one dtype, got int64 "
         "and float32 in i + x"),
        (lambda: Binary(BinaryOp.DIV, I, J), DTypeError, "/ is not defined for int64: i / j"),
        (lambda: Compare(CompareOp.LT, I, X), IRError, "<: operands must have one dtype, got int64 "
         "and float32 in i < x"),
        (lambda: Call("frob", (X,), float32), IRError, None),
        (lambda: Call("exp", (X, X), float32), IRError, "exp takes 1 arguments, got 2"),
        (lambda: Load(A, (I,)), ShapeError, "A has 2 dimensions, but is indexed with 1: A[i]"),
        (lambda: Load(A, (I, X)), DTypeError, "A: an index must be an integer, got float32 x"),
        (lambda: Select(I, X, X), IRError, "Select: cond must be bool, got int64 in i"),
        (lambda: Where(B, X, I), IRError, "Where: sides must have one dtype: float32, int64"),
        (lambda: Let(I, X, X), IRError, "Let: i is int64 but its value is float32"),
        (lambda: Buffer("T", (X,), float32), ShapeError, "T: a size must be an integer, got x"),
        (lambda: Buffer("T", (const(-1),), float32), ShapeError, "T: negative size -1 in shape"),
        (lambda: as_shape((3, -1)), ShapeError, "negative size -1 in shape (3, -1)"),
        (lambda: as_shape((3, 0.5)), ShapeError, "shape (3, 0.5): 0.5 is not an integer size"),  # type: ignore[arg-type]
        (lambda: as_shape(X), ShapeError, "a size must be an integer, got float32 x"),
        (lambda: Reducer("r", LHS, (), (ONE,), LHS), IRError, "reducer r: lhs, rhs, identity and "
         "result differ in length"),
        (lambda: Reducer("r", LHS, RHS, (const(0),), LHS), IRError, "reducer r: a is float32, b is "
         "float32, its identity int64, its result float32"),
        (lambda: Reduce(ARGMAX, (I,), (X,)), IRError, "reducer argmax folds 2 values, got 1"),
        (lambda: Reduce(SUM, (I,), (I,)), IRError, "reducer sum folds float32, got int64 in i"),
        (lambda: For(I, const(0, int8), const(4), Block(())), IRError, "for i: variable int64, "
         "start int8 and extent int64 must agree"),
        (lambda: If(I, Block(())), IRError, "If: cond must be bool, got int64 in i"),
        (lambda: Check(I, "m"), IRError, "Check: cond must be bool, got int64 in i"),
        (lambda: Store(A, (I,), X), ShapeError, "A has 2 dimensions, but is indexed with 1: A[i]"),
        (lambda: Store(S, (), I), IRError, "store to s: float32 buffer, int64 value i"),
        (lambda: Accumulate(ARGMAX, (S,), (), (X,)), IRError, "reducer argmax has 2 components, "
         "got 1 buffers and 1 values"),
        (lambda: Accumulate(SUM, (S,), (), (I,)), IRError, "accumulate into s: float32 buffer, "
         "int64 value, reducer sum of float32"),
        (lambda: Program("p", (Param(S, Role.IN), Param(S, Role.OUT)), (), Block(())), IRError,
         "program p: two parameters are named s"),
    ],
)  # fmt: skip
def test_a_constructor_refuses_parts_that_do_not_fit(
    make: Callable[[], Any], kind: type[TensorcError], message: str | None
) -> None:
    with pytest.raises(kind) as caught:
        make()
    if message is None:
        assert str(caught.value).startswith("unknown intrinsic frob; there are exp, exp2, ")
    else:
        assert str(caught.value) == message
