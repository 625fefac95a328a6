"""Scalar expressions: typed, immutable nodes that carry the user's source line.

`==` and its kin build a comparison, and `bool()` of an expression raises. Inside the compiler
identity is `is`, structure is `walk.same(a, b)`, and hashes are by identity.

A `Load` reads a `Buffer`. At the tensor level the buffer is a `te.Tensor`, a buffer that knows its
definition; at the loop level it is plain storage. `Reduce` stands at the tensor level only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tensorc.dtypes import (
    DType,
    as_dtype,
    bool_,
    float32,
    float64,
    int64,
    promote,
)
from tensorc.errors import DTypeError, IRError, ShapeError
from tensorc.ir.intrinsics import INTRINSICS
from tensorc.ir.loc import Loc, caller_loc

if TYPE_CHECKING:
    from tensorc.ir.swizzle import Swizzle


class ExprBase:
    """What all expressions share: Python's operators, each building a node."""

    __slots__ = ()

    dtype: DType
    loc: Loc | None
    __array_ufunc__ = None  # `np.float32(2) * expr` is ours to build.

    def __bool__(self) -> bool:
        raise IRError(
            f"an expression has no truth value while it is built: {self}; "
            "use tc.where(cond, a, b), and & | ~ instead of and, or, not"
        )

    __hash__ = object.__hash__

    def __str__(self) -> str:
        return _SHOW[0](self)

    def __repr__(self) -> str:
        return f"<{self.dtype} {self}>"

    def __add__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.ADD, self, other)

    def __radd__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.ADD, other, self)

    def __sub__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.SUB, self, other)

    def __rsub__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.SUB, other, self)

    def __mul__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.MUL, self, other)

    def __rmul__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.MUL, other, self)

    def __truediv__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.DIV, self, other)

    def __rtruediv__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.DIV, other, self)

    def __floordiv__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.FLOORDIV, self, other)

    def __rfloordiv__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.FLOORDIV, other, self)

    def __mod__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.MOD, self, other)

    def __rmod__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.MOD, other, self)

    def __and__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.AND, self, other)

    def __rand__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.AND, other, self)

    def __or__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.OR, self, other)

    def __ror__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.OR, other, self)

    def __xor__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.XOR, self, other)

    def __rxor__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.XOR, other, self)

    def __lshift__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.SHL, self, other)

    def __rshift__(self, other: ExprLike) -> Expr:
        return binary(BinaryOp.SHR, self, other)

    def __pow__(self, other: ExprLike) -> Expr:
        a, b = match_dtypes(self, other)
        if a.dtype.is_int:
            if not isinstance(b, Const) or not 0 <= b.value <= 64:
                raise DTypeError(
                    f"{self} ** {other}: integers have the powers 0 to 64, written as numbers; "
                    "cast to a float for others"
                )
            return math.prod([a] * (int(b.value) - 1), start=a) if b.value else Const(1, a.dtype)
        return call("pow", a, b)

    def __rpow__(self, other: ExprLike) -> Expr:
        return as_expr(other, self.dtype) ** self

    def __neg__(self) -> Expr:
        if self.dtype.is_bool:
            raise DTypeError(f"-({self}): a bool has no negative; use ~ for not")
        return Unary(UnaryOp.NEG, _expr(self), loc=caller_loc())

    def __pos__(self) -> Expr:
        return _expr(self)

    def __abs__(self) -> Expr:
        return call("abs", _expr(self))

    def __invert__(self) -> Expr:
        return Unary(UnaryOp.NOT, _expr(self), loc=caller_loc())

    def __eq__(self, other: ExprLike) -> Expr:  # type: ignore[override]
        return compare(CompareOp.EQ, self, other)

    def __ne__(self, other: ExprLike) -> Expr:  # type: ignore[override]
        return compare(CompareOp.NE, self, other)

    def __lt__(self, other: ExprLike) -> Expr:
        return compare(CompareOp.LT, self, other)

    def __le__(self, other: ExprLike) -> Expr:
        return compare(CompareOp.LE, self, other)

    def __gt__(self, other: ExprLike) -> Expr:
        return compare(CompareOp.GT, self, other)

    def __ge__(self, other: ExprLike) -> Expr:
        return compare(CompareOp.GE, self, other)

    def astype(self, dtype: DType | str) -> Expr:
        """This value converted: floats to integers toward zero, as `numpy.astype` does."""
        return cast(_expr(self), dtype)


# The printer registers itself here when it is imported, which keeps expr below it.
_SHOW: list[Callable[[Any], str]] = [lambda e: object.__repr__(e)]


class BinaryOp(Enum):
    """A binary operation on two values of one dtype; the result has that dtype.

    FLOORDIV and MOD are Python's on integers (round toward minus infinity; the sign of the
    divisor), DIV is a float's. MIN and MAX are NumPy's `minimum` and `maximum`: NaN wins. AND, OR
    and XOR are logical on bools and bitwise on integers. Integers wrap.
    """

    ADD = "+"
    SUB = "-"
    MUL = "*"
    DIV = "/"
    FLOORDIV = "//"
    MOD = "%"
    MIN = "min"
    MAX = "max"
    AND = "&"
    OR = "|"
    XOR = "^"
    SHL = "<<"
    SHR = ">>"


class UnaryOp(Enum):
    """NEG: the negative of a number; NOT: logical on bools, bitwise on integers."""

    NEG = "-"
    NOT = "~"


class CompareOp(Enum):
    """A comparison; with NaN all but NE are False, as in NumPy."""

    EQ = "=="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Storage: a name, a row-major shape in elements, a dtype and a scope.

    Scopes: "global" (parameters and the workspace), "local" (registers or stack of one thread),
    "shared" (one thread block's). A shared one may have its rows permuted in memory: `swizzle`.
    """

    name: str
    shape: tuple[Expr, ...]
    dtype: DType
    scope: str = "global"
    swizzle: Swizzle | None = None

    def __post_init__(self) -> None:
        for size in self.shape:
            if not size.dtype.is_int:
                raise ShapeError(f"{self.name}: a size must be an integer, got {size}")
            if isinstance(size, Const) and size.value < 0:
                raise ShapeError(f"{self.name}: negative size {size.value} in shape")
        if self.swizzle is not None:
            sizes = [const_int(size) for size in self.shape]
            problem = self.swizzle.misfit(self.scope, sizes, self.dtype.bytes)
            if problem is not None:
                raise ShapeError(f"{self.name}: {self.swizzle}: {problem}")

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Const(ExprBase):
    """A number. Its Python value is exact for the dtype (a float32 constant is rounded)."""

    value: int | float | bool
    dtype: DType = int64
    loc: Loc | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _exact(self.value, self.dtype))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Var(ExprBase):
    """A scalar variable: a loop's, an axis's, a let's, or a size's. Identity is the object."""

    name: str
    dtype: DType = int64
    loc: Loc | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Dim(Var):
    """A symbolic size of at least `lower`, bound at each call by the shapes of the arguments."""

    lower: int = 0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Unary(ExprBase):
    """`-x` or `~x`, of the operand's dtype."""

    op: UnaryOp
    operand: Expr
    dtype: DType = field(init=False)
    loc: Loc | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        dtype = self.operand.dtype
        if (dtype.is_bool and self.op is UnaryOp.NEG) or (
            dtype.is_float and self.op is UnaryOp.NOT
        ):
            raise DTypeError(f"{self.op.value} of a {dtype}: {self.operand}")
        object.__setattr__(self, "dtype", dtype)


_FLOAT_ONLY = {BinaryOp.DIV}
_INT_ONLY = {BinaryOp.FLOORDIV, BinaryOp.MOD, BinaryOp.SHL, BinaryOp.SHR}
_BITWISE = {BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Binary(ExprBase):
    """`lhs op rhs`, both of one dtype (see `BinaryOp` for the meaning of each)."""

    op: BinaryOp
    lhs: Expr
    rhs: Expr
    dtype: DType = field(init=False)
    loc: Loc | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        dtype = self.lhs.dtype
        if dtype != self.rhs.dtype:
            raise IRError(
                f"{self.op.value}: operands must have one dtype, got {dtype} and "
                f"{self.rhs.dtype} in {self.lhs} {self.op.value} {self.rhs}"
            )
        if (
            (self.op in _FLOAT_ONLY and not dtype.is_float)
            or (self.op in _INT_ONLY and not dtype.is_int)
            or (self.op in _BITWISE and dtype.is_float)
            or (dtype.is_bool and self.op not in (*_BITWISE, BinaryOp.MIN, BinaryOp.MAX))
        ):
            raise DTypeError(
                f"{self.op.value} is not defined for {dtype}: {self.lhs} {self.op.value} {self.rhs}"
            )
        object.__setattr__(self, "dtype", dtype)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Compare(ExprBase):
    """`lhs op rhs` as a bool, both operands of one dtype."""

    op: CompareOp
    lhs: Expr
    rhs: Expr
    loc: Loc | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.lhs.dtype != self.rhs.dtype:
            raise IRError(
                f"{self.op.value}: operands must have one dtype, got {self.lhs.dtype} and "
                f"{self.rhs.dtype} in {self.lhs} {self.op.value} {self.rhs}"
            )

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """The type of the value."""
        return bool_


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Cast(ExprBase):
    """The value converted to `dtype`: floats to integers toward zero; anything to bool by != 0.

    A float that the integer type cannot hold (NaN included) gives an unspecified value, as C and
    NumPy do.
    """

    operand: Expr
    dtype: DType
    loc: Loc | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Call(ExprBase):
    """A named intrinsic from `INTRINSICS`, of the dtype that its row states."""

    name: str
    args: tuple[Expr, ...]
    dtype: DType
    loc: Loc | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        row = INTRINSICS.get(self.name)
        if row is None:
            raise IRError(f"unknown intrinsic {self.name}; there are {', '.join(INTRINSICS)}")
        if len(self.args) != row.arity:
            raise IRError(f"{self.name} takes {row.arity} arguments, got {len(self.args)}")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Load(ExprBase):
    """The element of `buffer` at `indices`, integers, one for each dimension."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    loc: Loc | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_indices(self.buffer, self.indices)

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """The type of the value."""
        return self.buffer.dtype


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Select(ExprBase):
    """`on_true` where `cond` holds, `on_false` elsewhere; a backend may evaluate both.

    So neither side may hold a load that is legal only under `cond`: that is a `Where`.
    """

    cond: Expr
    on_true: Expr
    on_false: Expr
    loc: Loc | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_choice("Select", self.cond, self.on_true, self.on_false)

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """The type of the value."""
        return self.on_true.dtype


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Where(ExprBase):
    """`on_true` where `cond` holds, `on_false` elsewhere; the other side is never evaluated.

    A load in a branch needs to be in bounds only where the branch is taken.
    """

    cond: Expr
    on_true: Expr
    on_false: Expr
    loc: Loc | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_choice("Where", self.cond, self.on_true, self.on_false)

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """The type of the value."""
        return self.on_true.dtype


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Let(ExprBase):
    """`body` with `var` standing for `value`, which is evaluated once."""

    var: Var
    value: Expr
    body: Expr
    loc: Loc | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.var.dtype != self.value.dtype:
            raise IRError(
                f"Let: {self.var.name} is {self.var.dtype} but its value is {self.value.dtype}"
            )

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """The type of the value."""
        return self.body.dtype


@dataclass(frozen=True, slots=True, eq=False)
class Reducer:
    """A way to fold values into one: an identity and a combination of two partial results.

    `lhs` and `rhs` are variables for two partial results of `len(lhs)` components each, `result`
    the combined components over them. Declared associative and commutative, a reduction may be
    reordered (floats then differ by rounding). `empty` says whether folding nothing is allowed,
    giving the identity: it is for a sum, it is not for a maximum.
    """

    name: str
    lhs: tuple[Var, ...]
    rhs: tuple[Var, ...]
    identity: tuple[Expr, ...]
    result: tuple[Expr, ...]
    associative: bool = True
    commutative: bool = True
    empty: bool = True

    def __post_init__(self) -> None:
        sizes = {len(self.lhs), len(self.rhs), len(self.identity), len(self.result)}
        if len(sizes) != 1:
            raise IRError(f"reducer {self.name}: lhs, rhs, identity and result differ in length")
        for left, right, unit, out in zip(
            self.lhs, self.rhs, self.identity, self.result, strict=True
        ):
            if not left.dtype == right.dtype == unit.dtype == out.dtype:
                raise IRError(
                    f"reducer {self.name}: {left.name} is {left.dtype}, {right.name} is "
                    f"{right.dtype}, its identity {unit.dtype}, its result {out.dtype}"
                )

    @property
    def arity(self) -> int:
        """How many components a partial result has."""
        return len(self.lhs)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Reduce(ExprBase):
    """Component `index` of the fold of `values` over `axes`, at points where `where` holds.

    Each axis is a `te.IterVar` of kind reduce: a `Var` with `start` and `extent`. Only at the
    tensor level; building a program turns it into an `Accumulate`.
    """

    reducer: Reducer
    axes: tuple[Var, ...]
    values: tuple[Expr, ...]
    where: Expr | None = None
    index: int = 0
    loc: Loc | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if len(self.values) != self.reducer.arity:
            raise IRError(
                f"reducer {self.reducer.name} folds {self.reducer.arity} values, "
                f"got {len(self.values)}"
            )
        for value, var in zip(self.values, self.reducer.lhs, strict=True):
            if value.dtype != var.dtype:
                raise IRError(
                    f"reducer {self.reducer.name} folds {var.dtype}, got {value.dtype} in {value}"
                )

    @property
    def dtype(self) -> DType:  # type: ignore[override]
        """The type of the value."""
        return self.values[self.index].dtype


Expr: TypeAlias = (
    Const | Var | Unary | Binary | Compare | Cast | Call | Load | Select | Where | Let | Reduce
)
ExprLike: TypeAlias = "Expr | ExprBase | int | float | bool | np.generic"


# --- intrinsics ------------------------------------------------------------------------------


def call(name: str, *args: ExprLike) -> Expr:
    """The intrinsic `name` of `args`, which are brought to one dtype first.

    Raises:
        DTypeError: the intrinsic is not defined for that dtype.
    """
    row = INTRINSICS[name]
    exprs = match_dtypes(*args)
    dtype = exprs[0].dtype
    if row.domain == "float" and not dtype.is_float:
        exprs = tuple(cast(e, float32) for e in exprs)
        dtype = float32
    one = row.domain in ("float32", "int32") and dtype.name != row.domain
    if one or (row.domain == "number" and dtype.is_bool):
        raise DTypeError(f"{name} is not defined for {dtype}: {exprs[0]}")
    return Call(name, exprs, bool_ if row.result == "bool" else dtype, loc=caller_loc())


# --- building by Python values ------------------------------------------------------------------


def _exact(value: Any, dtype: DType) -> int | float | bool:
    if dtype.is_bool:
        return bool(value)
    if dtype.is_int:
        if isinstance(value, float) and not value.is_integer():
            raise DTypeError(f"{value} is not an integer, and the dtype here is {dtype}")
        value = int(value)
        if not dtype.min_value <= value <= dtype.max_value:
            raise DTypeError(
                f"{value} does not fit {dtype} ({dtype.min_value} to {dtype.max_value})"
            )
        return int(value)
    with np.errstate(over="ignore"):
        return float(np.asarray(float(value), dtype=np.float64).astype(dtype.numpy))


def const(value: int | float | bool, dtype: DType | str = int64) -> Const:
    """A constant of `dtype` (a float is rounded to it; an integer must fit)."""
    return Const(value, as_dtype(dtype))


def as_expr(value: ExprLike, dtype: DType | None = None) -> Expr:
    """`value` as an expression; a Python number takes `dtype`, where it can hold it.

    Without `dtype`, or where it cannot (a float beside integers), a Python bool, int and float
    become bool, int64 and float32. A NumPy scalar keeps its own dtype. A tensor without
    dimensions stands for its one element.
    """
    if isinstance(value, ExprBase):
        return _expr(value)
    if isinstance(value, bool | np.bool_):
        return Const(bool(value), dtype if dtype is not None and not dtype.is_bool else bool_)
    if isinstance(value, np.generic):
        return Const(value.item(), as_dtype(value.dtype))
    if isinstance(value, int):
        usable = dtype is not None and not dtype.is_bool
        return Const(value, dtype if usable and dtype is not None else int64)
    if isinstance(value, float):
        return Const(value, dtype if dtype is not None and dtype.is_float else float32)
    if isinstance(value, Buffer):
        if value.ndim == 0:
            return Load(value, (), loc=caller_loc())
        raise IRError(
            f"{value.name} has {value.ndim} dimensions: index it, as in {value.name}"
            f"[{', '.join('ijklmnopq'[: value.ndim])}], or use tc.ops"
        )
    hint = ""
    if isinstance(value, np.ndarray | list):
        hint = "; make it a tc.placeholder, and pass the values to the compiled function"
    raise DTypeError(
        f"cannot use {shorten(value)} of type {type(value).__name__} in an expression{hint}"
    )


def shorten(value: object) -> str:
    """The repr of any object, cut in its middle where it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:40]}...{text[-17:]}"


def _floored(op: BinaryOp, lhs: Expr, rhs: Expr) -> Expr:
    """`//` and `%` of floats: in float64, where a quotient of lesser floats is as good as exact."""
    dtype = lhs.dtype
    if not (isinstance(rhs, Const) and abs(math.frexp(rhs.value)[0]) == 0.5):  # No power of 2.
        lhs, rhs = cast(lhs, float64), cast(rhs, float64)
    quotient = call("floor", Binary(BinaryOp.DIV, lhs, rhs, loc=caller_loc()))
    return cast(quotient if op is BinaryOp.FLOORDIV else lhs - quotient * rhs, dtype)


def _expr(value: ExprBase) -> Expr:
    return value  # type: ignore[return-value]


def cast(value: ExprLike, dtype: DType | str) -> Expr:
    """`value` converted to `dtype`; itself where it has that dtype already."""
    dtype = as_dtype(dtype)
    expr = as_expr(value, dtype)
    if expr.dtype == dtype:
        return expr
    if isinstance(expr, Const) and not (expr.dtype.is_float and dtype.is_int):
        return (
            Const(expr.value, dtype, loc=expr.loc)
            if _fits(expr.value, dtype)
            else Cast(expr, dtype, loc=caller_loc())
        )
    return Cast(expr, dtype, loc=caller_loc())


def _fits(value: int | float | bool, dtype: DType) -> bool:
    return not dtype.is_int or dtype.min_value <= value <= dtype.max_value


def match_dtypes(*values: ExprLike) -> tuple[Expr, ...]:
    """The values as expressions of one dtype, by `dtypes.promote`; Python numbers are weak."""
    dtype: DType | None = None
    for value in values:
        if not isinstance(value, int | float) or isinstance(value, np.generic):
            d = as_expr(value).dtype
            dtype = d if dtype is None else promote(dtype, d)
    for value in values:  # A Python float beside integers makes float32; an int beside bools int64.
        if isinstance(value, float) and not isinstance(value, np.generic):
            dtype = float32 if dtype is None or not dtype.is_float else dtype
        elif isinstance(value, int) and not isinstance(value, bool):
            dtype = int64 if dtype is None or dtype.is_bool else dtype
        elif isinstance(value, bool):
            dtype = bool_ if dtype is None else dtype
    assert dtype is not None, "match_dtypes of nothing"
    return tuple(cast(as_expr(v, dtype), dtype) for v in values)


def binary(op: BinaryOp, a: ExprLike, b: ExprLike) -> Expr:
    """`a op b` after promotion; `/` of integers is float32, as in JAX.

    Raises:
        DTypeError: the operation is not defined for the promoted dtype.
    """
    if (isinstance(b, Buffer) and b.ndim) or (isinstance(a, Buffer) and a.ndim):
        as_expr(a), as_expr(b)
    lhs, rhs = match_dtypes(a, b)
    if op is BinaryOp.DIV and not lhs.dtype.is_float:
        lhs, rhs = cast(lhs, float32), cast(rhs, float32)
    if lhs.dtype.is_float and op in (BinaryOp.FLOORDIV, BinaryOp.MOD):
        return _floored(op, lhs, rhs)
    if lhs.dtype.is_bool and op in (BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL):
        raise DTypeError(f"{op.value} of bools: cast them, or use & | ^")
    return Binary(op, lhs, rhs, loc=caller_loc())


def compare(op: CompareOp, a: ExprLike, b: ExprLike) -> Expr:
    """`a op b` as a bool, after promotion."""
    lhs, rhs = match_dtypes(a, b)
    return Compare(op, lhs, rhs, loc=caller_loc())


def minimum(a: ExprLike, b: ExprLike) -> Expr:
    """The lesser value; NaN where either is NaN, as `numpy.minimum`."""
    return binary(BinaryOp.MIN, a, b)


def maximum(a: ExprLike, b: ExprLike) -> Expr:
    """The greater value; NaN where either is NaN, as `numpy.maximum`."""
    return binary(BinaryOp.MAX, a, b)


def where(cond: ExprLike, on_true: ExprLike, on_false: ExprLike) -> Expr:
    """`on_true` where `cond` holds, else `on_false`; the side not taken is never evaluated.

    So an access may leave its buffer in the side that is not taken there: `where` is a guard.
    """
    a, b = match_dtypes(on_true, on_false)
    return Where(cast(as_expr(cond), bool_), a, b, loc=caller_loc())


def all_of(conds: Sequence[Expr]) -> Expr | None:
    """The conjunction of `conds`, None of nothing."""
    result: Expr | None = None
    for cond in conds:
        result = cond if result is None else Binary(BinaryOp.AND, result, cond, loc=cond.loc)
    return result


def terms_of(cond: Expr) -> list[Expr]:
    """What a conjunction is made of, in order."""
    terms: list[Expr] = []
    stack = [cond]
    while stack:
        match stack.pop():
            case Binary(BinaryOp.AND, lhs, rhs):
                stack += (rhs, lhs)
            case term:
                terms.append(term)
    return terms


def as_shape(shape: int | Expr | Sequence[int | Expr]) -> tuple[Expr, ...]:
    """`shape` as int64 expressions.

    Raises:
        ShapeError: a size that is negative or not an integer.
    """
    sizes = shape if isinstance(shape, Sequence) else (shape,)
    result: list[Expr] = []
    for size in sizes:
        if isinstance(size, bool) or not isinstance(size, int | np.integer | ExprBase):
            raise ShapeError(f"shape {shorten(shape)}: {shorten(size)} is not an integer size")
        expr = as_expr(size if isinstance(size, ExprBase) else int(size), int64)
        if not expr.dtype.is_int:
            raise ShapeError(f"a size must be an integer, got {expr.dtype} {expr}")
        if isinstance(expr, Const) and expr.value < 0:
            raise ShapeError(f"negative size {expr.value} in shape ({', '.join(map(str, sizes))})")
        result.append(cast(expr, int64))
    return tuple(result)


def check_indices(buffer: Buffer, indices: tuple[Expr, ...]) -> None:
    """Refuse an access whose rank or index dtype does not fit."""
    if len(indices) != buffer.ndim:
        raise ShapeError(
            f"{buffer.name} has {buffer.ndim} dimensions, but is indexed with {len(indices)}: "
            f"{buffer.name}[{', '.join(map(str, indices))}]"
        )
    for index in indices:
        if not index.dtype.is_int:
            raise DTypeError(
                f"{buffer.name}: an index must be an integer, got {index.dtype} {index}"
            )


def check_choice(name: str, cond: Expr, on_true: Expr, on_false: Expr) -> None:
    """Refuse a choice whose condition is no bool or whose sides differ in dtype."""
    if cond.dtype != bool_:
        raise IRError(f"{name}: cond must be bool, got {cond.dtype} in {cond}")
    if on_true.dtype != on_false.dtype:
        raise IRError(f"{name}: sides must have one dtype: {on_true.dtype}, {on_false.dtype}")


def is_const(expr: Expr, value: float | None = None) -> bool:
    """Whether `expr` is a constant, and equal to `value` where that is given."""
    return isinstance(expr, Const) and (value is None or expr.value == value)


def const_int(expr: Expr) -> int | None:
    """The value of an integer constant, else None."""
    return int(expr.value) if isinstance(expr, Const) and not expr.dtype.is_float else None
