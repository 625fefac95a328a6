"""Reductions: axes to fold over, and the reducers that fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tensorc.dtypes import DType, accumulator, as_dtype, bool_, int64
from tensorc.errors import IRError, ShapeError
from tensorc.ir.expr import (
    Buffer,
    Const,
    Expr,
    ExprLike,
    Reduce,
    Reducer,
    Var,
    all_of,
    as_expr,
    as_shape,
    cast,
    const_int,
    shorten,
)
from tensorc.ir.loc import caller_loc
from tensorc.ir.reducers import builtin
from tensorc.ir.walk import free_vars
from tensorc.te.axis import IterVar

Axes = IterVar | Sequence[IterVar]


def reduce_axis(
    extent: int | Expr | tuple[int | Expr, int | Expr],
    name: str = "r",
    where: Callable[[IterVar], ExprLike] | None = None,
) -> IterVar:
    """An axis to reduce over: `0 <= r < extent`, or `a <= r < b` of a pair (a, b).

    `where(r)` limits it to the points at which a condition holds; an access in the reduced value
    needs to be in bounds only there.

    Raises:
        ShapeError: an extent below 0, or not an integer.
    """
    if where is not None and not callable(where):
        raise IRError(
            f"reduce_axis {name}: where must be a function of the axis, got {shorten(where)}"
        )
    if isinstance(extent, tuple) and len(extent) == 2:
        start, stop = (as_expr(e, int64) for e in extent)
        low, high = const_int(start), const_int(stop)
        if low is not None and high is not None and high < low:
            raise ShapeError(f"reduce_axis {name}: range ({low}, {high}) ends before it starts")
        size = Const(high - low, int64) if low is not None and high is not None else stop - start
    else:
        sizes = as_shape(extent)
        if len(sizes) != 1:
            raise ShapeError(
                f"reduce_axis {name}: one size or a pair (first, end), got {shorten(extent)}"
            )
        start, size = Const(0, int64), sizes[0]
    axis = IterVar(name, int64, start, size, reduce=True, loc=caller_loc())
    if where is not None:  # A condition over the axis that carries it: the knot is tied here.
        object.__setattr__(axis, "where", cast(where(axis), bool_))
    return axis


def _axes(axis: Axes) -> tuple[IterVar, ...]:
    if isinstance(axis, Buffer):  # It could not be iterated over either.
        raise IRError(f"axis must be made by tc.reduce_axis, got {axis}")
    axes = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    for a in axes:
        if not isinstance(a, IterVar) or not a.reduce:
            raise IRError(f"axis must be made by tc.reduce_axis, got {shorten(a)}")
    if not axes:
        raise IRError("a reduction needs at least one axis")
    if len(frozenset(axes)) < len(axes):
        raise IRError(f"a reduction lists an axis twice: {', '.join(a.name for a in axes)}")
    for outer, a in enumerate(axes):
        used = {v for e in (a.start, a.extent) for v in free_vars(e)}
        if used.intersection(axes[outer:]):
            raise IRError(f"the range of axis {a.name} depends on a later one; list that one first")
    return axes


def _reduce(
    reducer: Reducer, values: tuple[Expr, ...], axis: Axes, where: ExprLike | None, index: int = 0
) -> Expr:
    axes = _axes(axis)
    if not reducer.empty:
        for a in axes:
            if const_int(a.extent) == 0:
                raise ShapeError(
                    f"{reducer.name} over axis {a.name}: an empty domain has no {reducer.name}"
                )
    conds = [a.where for a in axes if a.where is not None]
    if where is not None:
        conds.append(as_expr(where))
    return Reduce(reducer, axes, values, all_of(conds), index, loc=caller_loc())


def _simple(name: str, value: ExprLike, axis: Axes, where: ExprLike | None) -> Expr:
    expr = as_expr(value)
    if name not in ("sum", "prod"):
        return _reduce(builtin(name, expr.dtype), (expr,), axis, where)
    wide = accumulator(expr.dtype)
    total = _reduce(builtin(name, wide), (cast(expr, wide),), axis, where)
    return cast(total, expr.dtype) if expr.dtype.is_float else total


def sum(value: ExprLike, axis: Axes, where: ExprLike | None = None) -> Expr:
    """The sum of `value` over `axis`, at points where `where` holds; 0 of nothing.

    float16 and bfloat16 are summed in float32 and rounded once; bools and integers of fewer than 32
    bits give int32 or uint32.
    """
    return _simple("sum", value, axis, where)


def prod(value: ExprLike, axis: Axes, where: ExprLike | None = None) -> Expr:
    """The product, in the type that `sum` states; 1 of nothing."""
    return _simple("prod", value, axis, where)


def max(value: ExprLike, axis: Axes, where: ExprLike | None = None) -> Expr:
    """The greatest value, NaN if any is; the least of its dtype where `where` holds nowhere.

    Raises:
        ShapeError: an axis of extent 0. A symbolic extent is checked at each call.
    """
    return _simple("max", value, axis, where)


def min(value: ExprLike, axis: Axes, where: ExprLike | None = None) -> Expr:
    """The least value, NaN if any is; otherwise as `max`."""
    return _simple("min", value, axis, where)


def all(value: ExprLike, axis: Axes, where: ExprLike | None = None) -> Expr:
    """Whether `value` holds (is not 0) everywhere; True of nothing."""
    return _simple("all", cast(value, "bool"), axis, where)


def any(value: ExprLike, axis: Axes, where: ExprLike | None = None) -> Expr:
    """Whether `value` holds (is not 0) somewhere; False of nothing."""
    return _simple("any", cast(value, "bool"), axis, where)


def argmax(value: ExprLike, axis: IterVar, where: ExprLike | None = None) -> Expr:
    """The index along `axis` of the greatest value, int64; the first of equals, the first NaN.

    Where `where` holds nowhere it is the greatest int64, which no tensor has as an index.
    """
    return _arg("argmax", value, axis, where)[1]


def argmin(value: ExprLike, axis: IterVar, where: ExprLike | None = None) -> Expr:
    """The index along `axis` of the least value, int64; otherwise as `argmax`."""
    return _arg("argmin", value, axis, where)[1]


def max_with_index(
    value: ExprLike, axis: IterVar, where: ExprLike | None = None
) -> tuple[Expr, Expr]:
    """The greatest value and its index, from one reduction."""
    return _arg("argmax", value, axis, where)


def min_with_index(
    value: ExprLike, axis: IterVar, where: ExprLike | None = None
) -> tuple[Expr, Expr]:
    """The least value and its index, from one reduction."""
    return _arg("argmin", value, axis, where)


def _arg(name: str, value: ExprLike, axis: IterVar, where: ExprLike | None) -> tuple[Expr, Expr]:
    expr = as_expr(value)
    (var,) = _axes(axis)
    reducer = builtin(name, expr.dtype)
    first = _reduce(reducer, (expr, var), axis, where, 0)
    assert isinstance(first, Reduce)
    second = Reduce(reducer, first.axes, first.values, first.where, 1, loc=first.loc)
    return first, second


def reducer(
    combine: Callable[..., ExprLike | tuple[ExprLike, ...]],
    identity: ExprLike | tuple[ExprLike, ...],
    dtype: DType | str | tuple[DType | str, ...] = "float32",
    name: str = "fold",
    *,
    associative: bool = True,
    commutative: bool = True,
) -> Callable[..., Expr | tuple[Expr, ...]]:
    """A user's own reducer, called as `r(value, axis=k)` or, of pairs, `r((v, i), axis=k)`.

    `combine(a, b)` joins two partial results; of several components it takes a tuple each and
    returns a tuple. `combine(identity, x)` must be `x`. Declare `associative=False` or
    `commutative=False` where that does not hold: no schedule will then change the order.

    >>> either = reducer(lambda a, b: a + b - a * b, 0.0, name="either")  # Of probabilities.
    """
    if not callable(combine):
        raise IRError(
            f"reducer {name}: combine must be a function of two values, got {shorten(combine)}"
        )
    units = identity if isinstance(identity, tuple) else (identity,)
    given = dtype if isinstance(dtype, tuple) else (dtype,) * len(units)
    types = tuple(as_dtype(d) for d in given)
    if not units or len(types) != len(units):
        raise IRError(f"reducer {name}: {len(units)} identities, but {len(types)} dtypes")
    lhs = tuple(Var(f"a{c}" if len(units) > 1 else "a", d) for c, d in enumerate(types))
    rhs = tuple(Var(f"b{c}" if len(units) > 1 else "b", d) for c, d in enumerate(types))
    tupled = isinstance(identity, tuple)
    joined = combine(lhs, rhs) if tupled else combine(lhs[0], rhs[0])
    results = joined if isinstance(joined, tuple) else (joined,)
    if len(results) != len(types):
        raise IRError(
            f"reducer {name}: {len(types)} components, but combine returns {len(results)}"
        )
    made = Reducer(
        name,
        lhs,
        rhs,
        tuple(cast(u, d) for u, d in zip(units, types, strict=True)),
        tuple(cast(r, d) for r, d in zip(results, types, strict=True)),
        associative=associative,
        commutative=commutative,
    )

    def apply(
        value: ExprLike | tuple[ExprLike, ...], axis: Axes, where: ExprLike | None = None
    ) -> Expr | tuple[Expr, ...]:
        values = value if isinstance(value, tuple) else (value,)
        if len(values) != made.arity:
            raise IRError(f"reducer {name} folds {made.arity} values, got {len(values)}")
        exprs = tuple(cast(v, d) for v, d in zip(values, types, strict=True))
        first = _reduce(made, exprs, axis, where)
        assert isinstance(first, Reduce)
        if not tupled:
            return first
        return tuple(
            Reduce(made, first.axes, exprs, first.where, c, loc=first.loc)
            for c in range(made.arity)
        )

    return apply
