"""Element by element, with NumPy's names, broadcasting and promotion (see `dtypes`).

Functions of one tensor take integers too, as float32. Where several operands are taken, each may
be a tensor or a number, and at least one is a tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.dtypes import DType, as_dtype, bool_
from tensorc.errors import DTypeError
from tensorc.ir import expr as ir
from tensorc.ir.expr import BinaryOp, CompareOp, Expr, ExprLike, Select, as_expr, call, match_dtypes
from tensorc.te.tensor import Tensor, TensorLike, elementwise

if TYPE_CHECKING:
    from collections.abc import Callable


def _unary(name: str, x: Tensor) -> Tensor:
    return elementwise(lambda v: call(name, v), x, name=name)


def _binary(op: BinaryOp, a: TensorLike, b: TensorLike, name: str) -> Tensor:
    return elementwise(lambda x, y: ir.binary(op, x, y), a, b, name=name)


def _compare(op: CompareOp, a: TensorLike, b: TensorLike, name: str) -> Tensor:
    return elementwise(lambda x, y: ir.compare(op, x, y), a, b, name=name)


# --- functions of one tensor ----------------------------------------------------------------


def exp(x: Tensor) -> Tensor:
    """`e ** x`."""
    return _unary("exp", x)


def exp2(x: Tensor) -> Tensor:
    """`2 ** x`."""
    return _unary("exp2", x)


def expm1(x: Tensor) -> Tensor:
    """`e ** x - 1`, exact near 0."""
    return _unary("expm1", x)


def log(x: Tensor) -> Tensor:
    """The natural logarithm; NaN below 0, -inf at 0."""
    return _unary("log", x)


def log2(x: Tensor) -> Tensor:
    """The logarithm to base 2."""
    return _unary("log2", x)


def log1p(x: Tensor) -> Tensor:
    """`log(1 + x)`, exact near 0."""
    return _unary("log1p", x)


def sqrt(x: Tensor) -> Tensor:
    """The square root; NaN below 0."""
    return _unary("sqrt", x)


def rsqrt(x: Tensor) -> Tensor:
    """`1 / sqrt(x)`."""
    return _unary("rsqrt", x)


def sin(x: Tensor) -> Tensor:
    """The sine of radians."""
    return _unary("sin", x)


def cos(x: Tensor) -> Tensor:
    """The cosine of radians."""
    return _unary("cos", x)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return _unary("tanh", x)


def sigmoid(x: Tensor) -> Tensor:
    """`1 / (1 + exp(-x))`, without overflow."""
    return _unary("sigmoid", x)


def erf(x: Tensor) -> Tensor:
    """The error function."""
    return _unary("erf", x)


def floor(x: Tensor) -> Tensor:
    """Toward minus infinity."""
    return _unary("floor", x)


def ceil(x: Tensor) -> Tensor:
    """Toward infinity."""
    return _unary("ceil", x)


def round(x: Tensor) -> Tensor:
    """To the nearest integer, ties to even."""
    return _unary("round", x)


def trunc(x: Tensor) -> Tensor:
    """Toward zero."""
    return _unary("trunc", x)


def abs(x: Tensor) -> Tensor:
    """The magnitude; the least integer stays itself, as in NumPy."""
    return _unary("abs", x)


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1; NaN of NaN."""
    return _unary("sign", x)


def negative(x: Tensor) -> Tensor:
    """`-x`."""
    return elementwise(lambda v: -as_expr(v), x, name="negative")


def square(x: Tensor) -> Tensor:
    """`x * x`."""
    return elementwise(lambda v: as_expr(v) * v, x, name="square")


def reciprocal(x: Tensor) -> Tensor:
    """`1 / x`."""
    return elementwise(lambda v: 1.0 / as_expr(v), x, name="reciprocal")


def isnan(x: Tensor) -> Tensor:
    """Whether each element is not a number, as bool."""
    return _unary("isnan", x)


def isinf(x: Tensor) -> Tensor:
    """Whether each element is plus or minus infinity, as bool."""
    return _unary("isinf", x)


def isfinite(x: Tensor) -> Tensor:
    """Whether each element is neither NaN nor infinite, as bool."""
    return _unary("isfinite", x)


def logical_not(x: Tensor) -> Tensor:
    """Whether each element is 0, as bool."""
    return elementwise(lambda v: ~ir.cast(v, bool_), x, name="logical_not")


def invert(x: Tensor) -> Tensor:
    """`~x`: not of bools, bitwise of integers."""
    return elementwise(lambda v: ~as_expr(v), x, name="invert")


def astype(x: Tensor, dtype: DType | str) -> Tensor:
    """Every element converted: floats to integers toward zero, anything to bool by `!= 0`."""
    to = as_dtype(dtype)
    return elementwise(lambda v: ir.cast(v, to), x, name="cast")


def stop_gradient(x: Tensor) -> Tensor:
    """`x`, taken as a constant by `grad`."""
    return _unary("stop_gradient", x)


# --- functions of two tensors ---------------------------------------------------------------


def add(a: TensorLike, b: TensorLike) -> Tensor:
    """`a + b`."""
    return _binary(BinaryOp.ADD, a, b, "add")


def subtract(a: TensorLike, b: TensorLike) -> Tensor:
    """`a - b`."""
    return _binary(BinaryOp.SUB, a, b, "subtract")


def multiply(a: TensorLike, b: TensorLike) -> Tensor:
    """`a * b`."""
    return _binary(BinaryOp.MUL, a, b, "multiply")


def divide(a: TensorLike, b: TensorLike) -> Tensor:
    """`a / b`; of integers it is float32."""
    return _binary(BinaryOp.DIV, a, b, "divide")


def floor_divide(a: TensorLike, b: TensorLike) -> Tensor:
    """`a // b`, toward minus infinity; 0 of integers where b is 0.

    Of floats, the floor of their quotient in float64: of float64 itself it is so 10 for 1.0 // 0.1,
    where NumPy, which takes the remainder first, has 9.
    """
    return _binary(BinaryOp.FLOORDIV, a, b, "floor_divide")


def mod(a: TensorLike, b: TensorLike) -> Tensor:
    """`a % b`, with the sign of `b`; 0 of integers where b is 0.

    Of floats, `a - floor_divide(a, b) * b` in float64.
    """
    return _binary(BinaryOp.MOD, a, b, "mod")


def minimum(a: TensorLike, b: TensorLike) -> Tensor:
    """The lesser; NaN where either is NaN."""
    return _binary(BinaryOp.MIN, a, b, "minimum")


def maximum(a: TensorLike, b: TensorLike) -> Tensor:
    """The greater; NaN where either is NaN."""
    return _binary(BinaryOp.MAX, a, b, "maximum")


def power(a: TensorLike, b: TensorLike) -> Tensor:
    """`a ** b` of floats, as C's `pow`; of integers for a number `b` from 0 to 64."""
    return elementwise(lambda x, y: as_expr(x) ** y, a, b, name="power")


def equal(a: TensorLike, b: TensorLike) -> Tensor:
    """`a == b`, as bool."""
    return _compare(CompareOp.EQ, a, b, "equal")


def not_equal(a: TensorLike, b: TensorLike) -> Tensor:
    """`a != b`, as bool."""
    return _compare(CompareOp.NE, a, b, "not_equal")


def less(a: TensorLike, b: TensorLike) -> Tensor:
    """`a < b`, as bool."""
    return _compare(CompareOp.LT, a, b, "less")


def less_equal(a: TensorLike, b: TensorLike) -> Tensor:
    """`a <= b`, as bool."""
    return _compare(CompareOp.LE, a, b, "less_equal")


def greater(a: TensorLike, b: TensorLike) -> Tensor:
    """`a > b`, as bool."""
    return _compare(CompareOp.GT, a, b, "greater")


def greater_equal(a: TensorLike, b: TensorLike) -> Tensor:
    """`a >= b`, as bool."""
    return _compare(CompareOp.GE, a, b, "greater_equal")


def _logical(fn: Callable[[Expr, Expr], Expr], a: TensorLike, b: TensorLike, name: str) -> Tensor:
    def body(x: ExprLike, y: ExprLike) -> Expr:
        return fn(ir.cast(as_expr(x), bool_), ir.cast(as_expr(y), bool_))

    return elementwise(body, a, b, name=name)


def logical_and(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether both are not 0, as bool."""
    return _logical(lambda x, y: x & y, a, b, "logical_and")


def logical_or(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether either is not 0, as bool."""
    return _logical(lambda x, y: x | y, a, b, "logical_or")


def logical_xor(a: TensorLike, b: TensorLike) -> Tensor:
    """Whether exactly one is not 0, as bool."""
    return _logical(lambda x, y: x ^ y, a, b, "logical_xor")


# --- choices --------------------------------------------------------------------------------


def where(cond: Tensor, a: TensorLike, b: TensorLike) -> Tensor:
    """`a` where `cond` holds, `b` elsewhere; all three broadcast.

    Raises:
        DTypeError: `cond` is not bool; compare with 0 first.
    """
    if cond.dtype != bool_:
        raise DTypeError(f"where: the condition {cond} must be bool, as in {cond.name} != 0")

    def body(c: Expr, x: ExprLike, y: ExprLike) -> Expr:
        return Select(c, *match_dtypes(x, y))

    return elementwise(body, cond, a, b, name="where")


def clip(x: Tensor, low: TensorLike | None = None, high: TensorLike | None = None) -> Tensor:
    """`x` brought into `low .. high`; where they cross, `high` wins, as in NumPy."""

    def body(v: Expr, *limits: ExprLike) -> Expr:
        rest = list(limits)
        if low is not None:
            v = ir.maximum(v, rest.pop(0))
        return v if high is None else ir.minimum(v, rest.pop(0))

    return elementwise(body, x, *(e for e in (low, high) if e is not None), name="clip")
