"""Tensors: functions of their indices. A tensor is a buffer that knows its definition.

A definition says what every element is, never in which order anything runs.
"""

from __future__ import annotations

import inspect
import keyword
import re
from dataclasses import dataclass, field
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

from tensorc.dtypes import DType, accumulator, as_dtype, float32, int64, promote
from tensorc.errors import ArgumentError, IRError, ShapeError
from tensorc.ir.affine import linear
from tensorc.ir.expr import (
    BinaryOp,
    Buffer,
    CompareOp,
    Const,
    Dim,
    Expr,
    ExprBase,
    ExprLike,
    Load,
    Reduce,
    Var,
    as_expr,
    as_shape,
    binary,
    call,
    cast,
    compare,
    shorten,
)
from tensorc.ir.latex import equation, latex, symbol
from tensorc.ir.loc import Loc, caller_loc
from tensorc.ir.printer import KEYWORDS
from tensorc.ir.walk import free_vars, loads, walk
from tensorc.te.axis import ZERO, reduce_extents
from tensorc.te.axis import IterVar as IterVar
from tensorc.te.bounds import check_accesses
from tensorc.te.dispatch import imperative_among
from tensorc.te.keys import Keys
from tensorc.te.reduce import reduce_axis
from tensorc.te.reduce import sum as reduce_sum

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tensorc.te.rule import Rule


@dataclass(frozen=True, slots=True, eq=False)
class Placeholder:
    """The definition of an input: its values come with a call."""

    loc: Loc | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Compute:
    """The definition of one or more tensors of one shape: an expression each over the axes.

    `rule` states the derivative, where it is not the one that follows from the bodies. `again` is
    the definition that this one computes again, once what stands in `after` is there.
    """

    axes: tuple[IterVar, ...]
    bodies: tuple[Expr, ...]
    loc: Loc | None = None
    rule: Rule | None = field(default=None, kw_only=True)
    again: Compute | None = field(default=None, kw_only=True)
    after: tuple[Tensor, ...] = field(default=(), kw_only=True)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that the bodies read, each once, in order of first use."""
        found: dict[Tensor, None] = {}
        for body in self.bodies:
            for load in loads(body):
                assert isinstance(load.buffer, Tensor), "a definition reads tensors only"
                found[load.buffer] = None
        return tuple(found)


Operation: TypeAlias = Placeholder | Compute
TensorLike: TypeAlias = "Tensor | ExprBase | int | float | bool | np.generic"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tensor(Buffer):
    """A tensor: name, shape, dtype and the operation that makes it.

    Indexed with one integer expression for each dimension it gives a scalar expression.
    Arithmetic between whole tensors is elementwise, with NumPy's broadcasting. Attributes:

        op: `Placeholder` or `Compute`.
        component: which output of `op` this is.
        given_name: whether the user chose the name; a chosen one must be unique in a program.
    """

    op: Operation = field(default_factory=Placeholder)
    component: int = 0
    given_name: bool = False

    __hash__ = object.__hash__
    __array_ufunc__ = None  # NumPy then leaves `np.float32(2) * tensor` to us.

    @property
    def body(self) -> Expr:
        """The defining expression over `axes`.

        Raises:
            IRError: the tensor is a placeholder.
        """
        if isinstance(self.op, Placeholder):
            raise IRError(f"{self.name} is a placeholder: it has no definition")
        return self.op.bodies[self.component]

    @property
    def axes(self) -> tuple[IterVar, ...]:
        """The spatial axes of the definition; none for a placeholder."""
        return self.op.axes if isinstance(self.op, Compute) else ()

    def __getitem__(self, indices: ExprLike | tuple[ExprLike, ...]) -> Expr:
        given = indices if isinstance(indices, tuple) else (indices,)
        part = any(isinstance(i, slice | EllipsisType | None) for i in given)
        if part or len(given) < self.ndim:
            raise ShapeError(
                f"{self.name}: a tensor is indexed with one integer for each of its "
                f"{self.ndim} dimensions; use tc.ops.slice for parts"
            )
        return Load(self, tuple(_index(self, d, i) for d, i in enumerate(given)), loc=caller_loc())

    def __setitem__(self, indices: object, value: object) -> NoReturn:
        raise ArgumentError(
            f"{self.name}: elements are not assigned, a definition gives all of them, as in "
            "tc.compute(shape, lambda i: tc.where(i == 0, value, x[i]))"
        )

    def __call__(self, *indices: ExprLike) -> Expr:
        """The element at `indices`, as `tensor[indices]`."""
        return self[indices]

    def __len__(self) -> int:
        raise ShapeError(f"{self.name}: use {self.name}.shape[0], a tensor is no sequence")

    def __iter__(self) -> object:
        raise ShapeError(f"{self.name}: a tensor cannot be iterated over; index it")

    def __bool__(self) -> bool:
        raise IRError(f"{self.name}: a tensor has no truth value while it is built")

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"

    def __repr__(self) -> str:
        return f"<Tensor {self}>"

    def _repr_latex_(self) -> str:
        """The definition in index notation, for notebooks."""
        if isinstance(self.op, Placeholder):
            sizes = " \\times ".join(map(latex, self.shape))
            return f"${symbol(self.name)} \\in \\mathrm{{{self.dtype}}}^{{{sizes or 1}}}$"
        return f"${equation(self.name, self.axes, self.body)}$"

    def astype(self, dtype: DType | str) -> Tensor:
        """Every element converted to `dtype`."""
        to = as_dtype(dtype)
        return elementwise(lambda x: cast(x, to), self, name="cast")

    def __add__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.ADD, self, other)

    def __radd__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.ADD, other, self)

    def __sub__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.SUB, self, other)

    def __rsub__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.SUB, other, self)

    def __mul__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.MUL, self, other)

    def __rmul__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.MUL, other, self)

    def __truediv__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.DIV, self, other)

    def __rtruediv__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.DIV, other, self)

    def __floordiv__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.FLOORDIV, self, other)

    def __rfloordiv__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.FLOORDIV, other, self)

    def __mod__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.MOD, self, other)

    def __rmod__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.MOD, other, self)

    def __and__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.AND, self, other)

    def __rand__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.AND, other, self)

    def __or__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.OR, self, other)

    def __ror__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.OR, other, self)

    def __xor__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.XOR, self, other)

    def __rxor__(self, other: TensorLike) -> Tensor:
        return _arith(BinaryOp.XOR, other, self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return matmul(self, other) if isinstance(other, Tensor) else NotImplemented

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's name.
        """The tensor with the order of its dimensions reversed."""
        axes = tuple(IterVar(f"i{d}", int64, ZERO, n) for d, n in enumerate(self.shape[::-1]))
        body = Load(self, axes[::-1], loc=caller_loc())
        return define(axes, (body,), default_name="transpose")[0]

    def __pow__(self, other: TensorLike) -> Tensor:
        return elementwise(lambda a, b: as_expr(a) ** b, self, other, name="pow")

    def __rpow__(self, other: TensorLike) -> Tensor:
        return elementwise(lambda a, b: as_expr(a) ** b, other, self, name="pow")

    def __neg__(self) -> Tensor:
        return elementwise(lambda x: -as_expr(x), self, name="neg")

    def __invert__(self) -> Tensor:
        return elementwise(lambda x: ~as_expr(x), self, name="invert")

    def __abs__(self) -> Tensor:
        return elementwise(lambda x: call("abs", x), self, name="abs")

    def __eq__(self, other: TensorLike) -> Tensor:  # type: ignore[override]
        return _compare(CompareOp.EQ, self, other)

    def __ne__(self, other: TensorLike) -> Tensor:  # type: ignore[override]
        return _compare(CompareOp.NE, self, other)

    def __lt__(self, other: TensorLike) -> Tensor:
        return _compare(CompareOp.LT, self, other)

    def __le__(self, other: TensorLike) -> Tensor:
        return _compare(CompareOp.LE, self, other)

    def __gt__(self, other: TensorLike) -> Tensor:
        return _compare(CompareOp.GT, self, other)

    def __ge__(self, other: TensorLike) -> Tensor:
        return _compare(CompareOp.GE, self, other)


def _index(tensor: Tensor, dim: int, index: ExprLike) -> Expr:
    if isinstance(index, float | np.floating | bool):
        raise ShapeError(f"{tensor.name}: index {index!r} of dimension {dim} is not an integer")
    return as_expr(index)


def dim(name: str, lower: int = 0) -> Dim:
    """A symbolic size: one compiled function serves every value of at least `lower`.

    Raises:
        IRError: a name that a formula such as `2 * n` cannot hold.
        ShapeError: a least value below 0.
    """
    _check_name(name)
    if not name.isidentifier() or keyword.iskeyword(name) or name in KEYWORDS:
        raise IRError(
            f"{name!r} cannot name a size: formulas of sizes take plain identifiers that are no "
            "words of Python or of the programs' text"
        )
    if isinstance(lower, bool) or not isinstance(lower, int | np.integer):
        raise ShapeError(f"dim {name}: lower must be an integer, got {shorten(lower)}")
    if lower < 0:
        raise ShapeError(f"dim {name}: a size is never below 0, so lower={lower} says nothing")
    return Dim(name, int64, lower, loc=caller_loc())


def placeholder(
    shape: int | Expr | Sequence[int | Expr], dtype: DType | str = float32, name: str | None = None
) -> Tensor:
    """An input tensor of `shape` (integers or `dim`s) and `dtype`."""
    if name is not None:
        _check_name(name)
    op = Placeholder(caller_loc())
    return Tensor(name or "x", as_shape(shape), as_dtype(dtype), op=op, given_name=name is not None)


def compute(
    shape: int | Expr | Sequence[int | Expr],
    body: Callable[..., ExprLike | tuple[ExprLike, ...]],
    name: str | Sequence[str] | None = None,
    *,
    default_name: str = "t",
) -> Tensor:
    """A tensor of `shape` whose element at (i, j, ...) is `body(i, j, ...)`.

    `body` may return a tuple; the result is then a tuple of tensors, computed together (see
    `computes`, which is typed so). Reductions may stand anywhere in the body. The axes are named as
    the parameters of `body`.

    Raises:
        BoundsError: an access can leave its tensor; the message holds index values that do.
        ShapeError: `body` takes another number of indices than `shape` has.
    """
    made = _compute(shape, body, name, default_name)
    return made[0] if len(made) == 1 else made  # type: ignore[return-value]


def computes(
    shape: int | Expr | Sequence[int | Expr],
    body: Callable[..., tuple[ExprLike, ...]],
    names: Sequence[str] | None = None,
    *,
    default_name: str = "t",
) -> tuple[Tensor, ...]:
    """Several tensors of one `shape`, computed together: `body` returns a tuple (see `compute`)."""
    return _compute(shape, body, names, default_name)


def _compute(
    shape: int | Expr | Sequence[int | Expr],
    body: Callable[..., ExprLike | tuple[ExprLike, ...]],
    name: str | Sequence[str] | None,
    default_name: str,
) -> tuple[Tensor, ...]:
    sizes = as_shape(shape)
    axes = tuple(
        IterVar(n, int64, ZERO, size)
        for n, size in zip(axis_names(body, sizes), sizes, strict=True)
    )
    value = body(*axes)
    if isinstance(value, list) or value is None:
        raise IRError(
            f"compute: the body returned {shorten(value)}; return an expression, or a tuple of "
            "them for several outputs"
        )
    bodies = tuple(as_expr(v) for v in (value if isinstance(value, tuple) else (value,)))
    return define(axes, bodies, name, default_name=default_name)


def define(
    axes: tuple[IterVar, ...],
    bodies: tuple[Expr, ...],
    name: str | Sequence[str] | None = None,
    *,
    default_name: str = "t",
) -> tuple[Tensor, ...]:
    """The tensors with the given axes and bodies: what `compute` does once it has both."""
    if not bodies:
        raise IRError("compute: the body returned an empty tuple")
    try:
        check_scope(axes, bodies)
        check_accesses(axes, bodies)
    except RecursionError:
        raise IRError(
            "compute: the body nests its operations too deeply; make a tensor of a part of it"
        ) from None
    names = output_names(name, default_name, len(bodies))
    op = Compute(axes, bodies, caller_loc())
    shape = tuple(axis.extent for axis in axes)
    return tuple(
        Tensor(n, shape, b.dtype, op=op, component=c, given_name=name is not None)
        for c, (n, b) in enumerate(zip(names, bodies, strict=True))
    )


def output_names(name: str | Sequence[str] | None, default: str, count: int) -> list[str]:
    """The names of the outputs of one definition, given or made."""
    if name is None:
        return [default] if count == 1 else [f"{default}.{c}" for c in range(count)]
    chosen: list[Any] = list(name) if isinstance(name, tuple | list) else [name]
    for n in chosen:
        _check_name(n)
    if isinstance(name, str) and count > 1:
        return [f"{name}.{c}" for c in range(count)]
    if len(chosen) != count:
        raise IRError(f"compute: {count} outputs but {len(chosen)} names: {', '.join(chosen)}")
    return chosen


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not re.fullmatch(
        r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*", name
    ):
        raise IRError(f"{name!r} cannot be a name: use letters, digits, _ and .")


def axis_names(
    body: Callable[..., object],
    sizes: Sequence[Expr],
    skip: int = 0,
    asked: str = "compute",
    role: str = "body",
) -> list[str]:
    """The names of the parameters of `body` that are indices of `sizes`, `skip` others in front."""
    try:
        params = list(inspect.signature(body).parameters.values())[skip:]
    except (TypeError, ValueError):  # No function, or one that does not tell.
        raise IRError(
            f"{asked}: the {role} must be a function of the indices, got {shorten(body)}"
        ) from None
    if any(p.kind is p.VAR_POSITIONAL for p in params):
        return [f"i{d}" for d in range(len(sizes))]
    names = [p.name for p in params if p.default is p.empty]
    if len(names) != len(sizes):
        raise ShapeError(
            f"{asked}: shape ({', '.join(map(str, sizes))}) has {len(sizes)} dimensions, but the "
            f"{role} takes {len(names)} indices ({', '.join(names)})"
        )
    return names


def check_scope(axes: Sequence[Var], bodies: tuple[Expr, ...]) -> None:
    """Every variable must be an axis, an enclosing reduction's, a let's, or a size."""
    own = frozenset(axes)  # A set: `in` of a tuple would ask `==` of expressions.
    for body in bodies:
        inner = [a for n in walk(body) if isinstance(n, Reduce) for a in n.axes]
        for extent in reduce_extents((body,)):
            if loads(extent):
                raise IRError(
                    f"the range of a reduce axis is read from a tensor: {extent}; give it a fixed "
                    "range and a condition, as in tc.reduce_axis(n, where=...)"
                )
        used = [v for e in (body, *reduce_extents((body,))) for v in free_vars(e)]
        for var in used:
            if isinstance(var, Dim) or var in own or var in frozenset(inner):
                continue
            reduced = isinstance(var, IterVar) and var.reduce
            hint = ": reduce over it, as in tc.sum(..., axis=...)" if reduced else ""
            kind = "reduce axis" if reduced else "variable"
            raise IRError(f"{kind} {var.name} is used outside its scope in {body}{hint}")


# --- whole tensors --------------------------------------------------------------------------


def broadcast_shapes(*shapes: tuple[Expr, ...]) -> tuple[Expr, ...]:
    """The shape of an elementwise operation on operands of `shapes`, by NumPy's rule.

    Sizes must be equal (symbolic ones: the same expression) or 1, aligned at the last dimension.

    Raises:
        ShapeError: two sizes that are neither.
    """
    rank = max((len(s) for s in shapes), default=0)
    result: list[Expr] = []
    for d in range(-rank, 0):
        size: Expr = Const(1, int64)
        for shape in shapes:
            if -d <= len(shape) and not _is_one(shape[d]):
                if _is_one(size):
                    size = shape[d]
                elif not same_size(size, shape[d]):
                    texts = ", ".join("(" + ", ".join(map(str, s)) + ")" for s in shapes)
                    raise ShapeError(
                        f"cannot broadcast shapes {texts}: {size} and {shape[d]} in dimension {d}"
                    )
        result.append(size)
    return tuple(result)


def _is_one(size: Expr) -> bool:
    return isinstance(size, Const) and size.value == 1


def same_size(a: Expr, b: Expr) -> bool:
    """Whether two sizes are equal for every value of their symbols."""
    if a is b:
        return True
    difference = linear(a - b)
    if difference is not None:
        return not difference.coeffs and difference.const == 0
    keys = Keys()
    return keys.of(a) == keys.of(b)


def broadcast_load(tensor: Tensor, axes: Sequence[Expr]) -> Expr:
    """The element of `tensor` that stands at `axes` of a broadcast result."""
    own = axes[len(axes) - tensor.ndim :]
    index = [ZERO if _is_one(s) else i for s, i in zip(tensor.shape, own, strict=True)]
    return Load(tensor, tuple(index), loc=caller_loc())


def elementwise(fn: Callable[..., ExprLike], *operands: TensorLike, name: str = "t") -> Tensor:
    """The tensor of `fn` applied to the operands' elements, broadcast against each other.

    Python numbers and 0-d values pass through; at least one operand must be a tensor.
    """
    found = imperative_among(operands, {})
    if found is not None:
        return found.apply(elementwise, (fn, *operands), {"name": name})  # type: ignore[no-any-return]
    shape = broadcast_shapes(*(x.shape for x in operands if isinstance(x, Tensor)))
    axes = tuple(IterVar(f"i{d}", int64, ZERO, size) for d, size in enumerate(shape))
    scalars = [broadcast_load(x, axes) if isinstance(x, Tensor) else x for x in operands]
    return define(axes, (as_expr(fn(*scalars)),), default_name=name)[0]


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """The matrix product of (..., m, k) and (..., k, n); `tensorc.ops.matmul` says all of it."""
    if a.ndim == 0 or b.ndim == 0:
        raise ShapeError(f"matmul: {a} and {b} must have dimensions; use * for scalars")
    k, rows_of_b = a.shape[-1], b.shape[-2] if b.ndim > 1 else b.shape[0]
    if not same_size(k, rows_of_b):
        texts = [
            "(" + ", ".join(map(str, t.shape)) + ("," if t.ndim == 1 else "") + ")" for t in (a, b)
        ]
        raise ShapeError(
            f"matmul: shapes {texts[0]} and {texts[1]} do not fit: "
            f"{k} columns meet {rows_of_b} rows"
        )
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.ndim > 1 else ()
    axes = tuple(
        IterVar(f"i{d}", int64, ZERO, size) for d, size in enumerate((*lead, *rows, *columns))
    )
    r = reduce_axis(k, "k")
    row = axes[len(lead) : len(lead) + len(rows)]
    left = broadcast_load(a, (*axes[: len(lead)], *row, r))
    right = broadcast_load(b, (*axes[: len(lead)], r, *axes[len(lead) + len(rows) :]))
    return define(axes, (sum_of_products((left, right), (r,)),), default_name="matmul")[0]


def sum_of_products(
    factors: Sequence[Expr], axes: Sequence[IterVar], where: Expr | None = None
) -> Expr:
    """The sum over `axes`, where `where` holds, of the product of `factors`.

    It is summed in the accumulator of their dtype: float16 and bfloat16 are rounded once, at the
    end; small integers stay in their accumulator.
    """
    dtype = factors[0].dtype
    for factor in factors[1:]:
        dtype = promote(dtype, factor.dtype)
    wide = accumulator(dtype)
    product = cast(factors[0], wide)
    for factor in factors[1:]:
        product = product * cast(factor, wide)
    total = reduce_sum(product, axes, where) if axes else product
    return cast(total, dtype) if dtype.is_float else total


_OP_NAMES: Mapping[BinaryOp, str] = {
    BinaryOp.ADD: "add",
    BinaryOp.SUB: "sub",
    BinaryOp.MUL: "mul",
    BinaryOp.DIV: "div",
    BinaryOp.FLOORDIV: "floordiv",
    BinaryOp.MOD: "mod",
    BinaryOp.AND: "and_",
    BinaryOp.OR: "or_",
    BinaryOp.XOR: "xor",
}


def _arith(op: BinaryOp, a: TensorLike, b: TensorLike) -> Tensor:
    if isinstance(a, ExprBase) or isinstance(b, ExprBase):
        return binary(op, a, b)  # type: ignore[arg-type, return-value]
    return elementwise(lambda x, y: binary(op, x, y), a, b, name=_OP_NAMES[op])


def _compare(op: CompareOp, a: TensorLike, b: TensorLike) -> Tensor:
    if isinstance(a, ExprBase) or isinstance(b, ExprBase):
        return compare(op, a, b)  # type: ignore[arg-type, return-value]
    return elementwise(lambda x, y: compare(op, x, y), a, b, name=op.name.lower())
