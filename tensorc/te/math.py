"""The intrinsics as functions, of scalar expressions and, elementwise, of whole tensors.

A scalar function of a definition's body (`tc.exp(A[i])`) gives an expression; of a tensor with
dimensions it gives a tensor. Integers are converted to float32 where only floats have the
function; the bounds in ulp of compiled code stand in `lower.math`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

from tensorc.ir import expr as ir
from tensorc.ir.expr import Expr, ExprBase, ExprLike, as_expr, call
from tensorc.te.dispatch import Imperative, imperative_among
from tensorc.te.tensor import Tensor, TensorLike, elementwise

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.dtypes import DType


@overload
def _apply(name: str, x: Tensor) -> Tensor: ...
@overload
def _apply(name: str, x: ExprLike) -> Expr: ...
def _apply(name: str, x: ExprLike | Tensor) -> Expr | Tensor:
    if isinstance(x, Imperative):
        return x.apply(_apply, (name, x), {})
    if isinstance(x, Tensor):
        return elementwise(lambda v: call(name, v), x, name=name)
    return call(name, x)


@overload
def exp(x: Tensor) -> Tensor: ...
@overload
def exp(x: ExprLike) -> Expr: ...
def exp(x: ExprLike | Tensor) -> Expr | Tensor:
    """E ** x."""
    return _apply("exp", x)


@overload
def exp2(x: Tensor) -> Tensor: ...
@overload
def exp2(x: ExprLike) -> Expr: ...
def exp2(x: ExprLike | Tensor) -> Expr | Tensor:
    """2 ** x."""
    return _apply("exp2", x)


@overload
def expm1(x: Tensor) -> Tensor: ...
@overload
def expm1(x: ExprLike) -> Expr: ...
def expm1(x: ExprLike | Tensor) -> Expr | Tensor:
    """E ** x - 1, exact near 0."""
    return _apply("expm1", x)


@overload
def log(x: Tensor) -> Tensor: ...
@overload
def log(x: ExprLike) -> Expr: ...
def log(x: ExprLike | Tensor) -> Expr | Tensor:
    """The natural logarithm."""
    return _apply("log", x)


@overload
def log2(x: Tensor) -> Tensor: ...
@overload
def log2(x: ExprLike) -> Expr: ...
def log2(x: ExprLike | Tensor) -> Expr | Tensor:
    """The logarithm to base 2."""
    return _apply("log2", x)


@overload
def log1p(x: Tensor) -> Tensor: ...
@overload
def log1p(x: ExprLike) -> Expr: ...
def log1p(x: ExprLike | Tensor) -> Expr | Tensor:
    """log(1 + x), exact near 0."""
    return _apply("log1p", x)


@overload
def sqrt(x: Tensor) -> Tensor: ...
@overload
def sqrt(x: ExprLike) -> Expr: ...
def sqrt(x: ExprLike | Tensor) -> Expr | Tensor:
    """The square root."""
    return _apply("sqrt", x)


@overload
def rsqrt(x: Tensor) -> Tensor: ...
@overload
def rsqrt(x: ExprLike) -> Expr: ...
def rsqrt(x: ExprLike | Tensor) -> Expr | Tensor:
    """1 / sqrt(x)."""
    return _apply("rsqrt", x)


@overload
def sin(x: Tensor) -> Tensor: ...
@overload
def sin(x: ExprLike) -> Expr: ...
def sin(x: ExprLike | Tensor) -> Expr | Tensor:
    """The sine of radians."""
    return _apply("sin", x)


@overload
def cos(x: Tensor) -> Tensor: ...
@overload
def cos(x: ExprLike) -> Expr: ...
def cos(x: ExprLike | Tensor) -> Expr | Tensor:
    """The cosine of radians."""
    return _apply("cos", x)


@overload
def tanh(x: Tensor) -> Tensor: ...
@overload
def tanh(x: ExprLike) -> Expr: ...
def tanh(x: ExprLike | Tensor) -> Expr | Tensor:
    """The hyperbolic tangent."""
    return _apply("tanh", x)


@overload
def sigmoid(x: Tensor) -> Tensor: ...
@overload
def sigmoid(x: ExprLike) -> Expr: ...
def sigmoid(x: ExprLike | Tensor) -> Expr | Tensor:
    """1 / (1 + exp(-x))."""
    return _apply("sigmoid", x)


@overload
def erf(x: Tensor) -> Tensor: ...
@overload
def erf(x: ExprLike) -> Expr: ...
def erf(x: ExprLike | Tensor) -> Expr | Tensor:
    """The error function."""
    return _apply("erf", x)


@overload
def floor(x: Tensor) -> Tensor: ...
@overload
def floor(x: ExprLike) -> Expr: ...
def floor(x: ExprLike | Tensor) -> Expr | Tensor:
    """The greatest integer not above x."""
    return _apply("floor", x)


@overload
def ceil(x: Tensor) -> Tensor: ...
@overload
def ceil(x: ExprLike) -> Expr: ...
def ceil(x: ExprLike | Tensor) -> Expr | Tensor:
    """The least integer not below x."""
    return _apply("ceil", x)


@overload
def trunc(x: Tensor) -> Tensor: ...
@overload
def trunc(x: ExprLike) -> Expr: ...
def trunc(x: ExprLike | Tensor) -> Expr | Tensor:
    """X rounded toward zero."""
    return _apply("trunc", x)


@overload
def tf32(x: Tensor) -> Tensor: ...
@overload
def tf32(x: ExprLike) -> Expr: ...
def tf32(x: ExprLike | Tensor) -> Expr | Tensor:
    """The float32 x with 10 bits of fraction, to nearest, ties away from zero.

    It is what tensor cores multiply as TF32. Its derivative is taken as that of x.

    Raises:
        DTypeError: x is of another dtype than float32.
    """
    return _apply("tf32", x)


@overload
def isnan(x: Tensor) -> Tensor: ...
@overload
def isnan(x: ExprLike) -> Expr: ...
def isnan(x: ExprLike | Tensor) -> Expr | Tensor:
    """Whether x is not a number."""
    return _apply("isnan", x)


@overload
def isinf(x: Tensor) -> Tensor: ...
@overload
def isinf(x: ExprLike) -> Expr: ...
def isinf(x: ExprLike | Tensor) -> Expr | Tensor:
    """Whether x is plus or minus infinity."""
    return _apply("isinf", x)


@overload
def isfinite(x: Tensor) -> Tensor: ...
@overload
def isfinite(x: ExprLike) -> Expr: ...
def isfinite(x: ExprLike | Tensor) -> Expr | Tensor:
    """Whether x is neither NaN nor infinite."""
    return _apply("isfinite", x)


@overload
def sign(x: Tensor) -> Tensor: ...
@overload
def sign(x: ExprLike) -> Expr: ...
def sign(x: ExprLike | Tensor) -> Expr | Tensor:
    """-1, 0 or 1, NaN of NaN."""
    return _apply("sign", x)


@overload
def stop_gradient(x: Tensor) -> Tensor: ...
@overload
def stop_gradient(x: ExprLike) -> Expr: ...
def stop_gradient(x: ExprLike | Tensor) -> Expr | Tensor:
    """x, whose derivative is taken as zero."""
    return _apply("stop_gradient", x)


@overload
def abs_(x: Tensor) -> Tensor: ...
@overload
def abs_(x: ExprLike) -> Expr: ...
def abs_(x: ExprLike | Tensor) -> Expr | Tensor:
    """The magnitude."""
    return _apply("abs", x)


@overload
def round_(x: Tensor) -> Tensor: ...
@overload
def round_(x: ExprLike) -> Expr: ...
def round_(x: ExprLike | Tensor) -> Expr | Tensor:
    """The nearest integer, ties to even."""
    return _apply("round", x)


@overload
def pow_(x: Tensor, y: TensorLike) -> Tensor: ...
@overload
def pow_(x: ExprLike, y: Tensor) -> Tensor: ...
@overload
def pow_(x: ExprLike, y: ExprLike) -> Expr: ...
def pow_(x: TensorLike, y: TensorLike) -> Expr | Tensor:
    """X ** y, as C's pow."""
    return _join(_power, "pow", x, y)


@overload
def maximum(a: Tensor, b: TensorLike) -> Tensor: ...
@overload
def maximum(a: ExprLike, b: Tensor) -> Tensor: ...
@overload
def maximum(a: ExprLike, b: ExprLike) -> Expr: ...
def maximum(a: TensorLike, b: TensorLike) -> Expr | Tensor:
    """The greater value; NaN where either is NaN, as `numpy.maximum`."""
    return _join(ir.maximum, "maximum", a, b)


@overload
def minimum(a: Tensor, b: TensorLike) -> Tensor: ...
@overload
def minimum(a: ExprLike, b: Tensor) -> Tensor: ...
@overload
def minimum(a: ExprLike, b: ExprLike) -> Expr: ...
def minimum(a: TensorLike, b: TensorLike) -> Expr | Tensor:
    """The lesser value; NaN where either is NaN, as `numpy.minimum`."""
    return _join(ir.minimum, "minimum", a, b)


@overload
def where(cond: Tensor, on_true: TensorLike, on_false: TensorLike) -> Tensor: ...
@overload
def where(cond: ExprLike, on_true: ExprLike, on_false: ExprLike) -> Expr: ...
def where(cond: TensorLike, on_true: TensorLike, on_false: TensorLike) -> Expr | Tensor:
    """`on_true` where `cond` holds, else `on_false`; the side not taken is never evaluated.

    So an access may leave its tensor in the side that is not taken there: `where` is a guard.
    """
    return _join(ir.where, "where", cond, on_true, on_false)


@overload
def cast(value: Tensor, dtype: DType | str) -> Tensor: ...
@overload
def cast(value: ExprLike, dtype: DType | str) -> Expr: ...
def cast(value: TensorLike, dtype: DType | str) -> Expr | Tensor:
    """`value` converted to `dtype`; itself where it has that dtype already."""
    if isinstance(value, Tensor):
        return value.astype(dtype)
    if isinstance(value, Imperative):
        return value.apply(cast, (value, dtype), {})  # type: ignore[no-any-return]
    return ir.cast(value, dtype)


def _join(fn: Callable[..., Expr], name: str, *values: TensorLike) -> Expr | Tensor:
    """`fn` of the values: an expression where one is an expression, else of tensors a tensor."""
    found = imperative_among(values, {})
    if found is not None:
        return found.apply(_join, (fn, name, *values), {})  # type: ignore[no-any-return]
    tensors = any(isinstance(v, Tensor) for v in values)
    if tensors and not any(isinstance(v, ExprBase) for v in values):
        return elementwise(fn, *values, name=name)
    return fn(*values)


def _power(a: ExprLike, b: ExprLike) -> Expr:
    return as_expr(a) ** b
