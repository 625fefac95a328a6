"""The reducers that tensorc knows by name, one instance for each dtype.

    sum     +    0           all  &  True          argmax, argmin: (value, index) pairs;
    prod    *    1           any  |  False         of equal values the least index wins
    max, min     the dtype's least, greatest value; not for an empty domain

As in NumPy, a NaN makes a maximum or minimum NaN, and the first NaN is where argmax points.
"""

from __future__ import annotations

from functools import cache

from tensorc.dtypes import DType, bool_, int64
from tensorc.errors import DTypeError
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Compare,
    CompareOp,
    Const,
    Expr,
    Reducer,
    Select,
    Var,
)

SIMPLE = {
    "sum": BinaryOp.ADD,
    "prod": BinaryOp.MUL,
    "max": BinaryOp.MAX,
    "min": BinaryOp.MIN,
    "all": BinaryOp.AND,
    "any": BinaryOp.OR,
}
PAIRS = {"argmax": CompareOp.GT, "argmin": CompareOp.LT}
NAMES = (*SIMPLE, *PAIRS)


def builtin(name: str, dtype: DType, index_dtype: DType = int64) -> Reducer:
    """The reducer `name` for values of `dtype`; argmax and argmin fold (value, index) pairs.

    Raises:
        DTypeError: the reducer is not defined for `dtype` (a sum of bools, `all` of floats).
    """
    return _pair(name, dtype, index_dtype) if name in PAIRS else _simple(name, dtype)


@cache
def _simple(name: str, dtype: DType) -> Reducer:
    if dtype.is_bool != (name in ("all", "any")):
        raise DTypeError(
            f"reducer {name} is not defined for {dtype}"
            + ("; cast to an integer first" if dtype.is_bool else "; compare with 0 first")
        )
    a, b = Var("a", dtype), Var("b", dtype)
    identity = Const(_identity(name, dtype), dtype)
    result = Binary(SIMPLE[name], a, b)
    return Reducer(name, (a,), (b,), (identity,), (result,), empty=name not in ("max", "min"))


def _identity(name: str, dtype: DType) -> float | int | bool:
    match name:
        case "sum" | "any":
            return 0
        case "prod" | "all":
            return 1
        case "max" | "argmax":
            return dtype.min_value
        case _:
            return dtype.max_value


@cache
def _pair(name: str, dtype: DType, index_dtype: DType) -> Reducer:
    a, i = Var("a", dtype), Var("i", index_dtype)
    b, j = Var("b", dtype), Var("j", index_dtype)
    same = Compare(CompareOp.EQ, a, b)
    better: Expr = Compare(PAIRS[name], a, b)
    if dtype.is_float:  # NaN is best of all; two NaNs are equally good.
        nan_a, nan_b = Compare(CompareOp.NE, a, a), Compare(CompareOp.NE, b, b)
        same = Binary(BinaryOp.OR, same, Binary(BinaryOp.AND, nan_a, nan_b))  # type: ignore[assignment]
        better = Binary(
            BinaryOp.OR, better, Binary(BinaryOp.AND, nan_a, Compare(CompareOp.EQ, b, b))
        )
    first = Binary(BinaryOp.AND, same, Compare(CompareOp.LE, i, j))
    keep = Binary(BinaryOp.OR, better, first)
    assert keep.dtype == bool_
    return Reducer(
        name,
        (a, i),
        (b, j),
        (Const(_identity(name, dtype), dtype), Const(index_dtype.max_value, index_dtype)),
        (Select(keep, a, b), Select(keep, i, j)),
        empty=False,
    )
