"""Recurrences over one axis: `S[t, j] = f(S[t - 1, j], t, j)`.

Each element is defined once, from the one before it along the axis, so nothing is overwritten that
a gradient would need. In a body the element before is a variable, a *state*; programs read it from
the tensor itself:

    for t in range(n):
      for j in range(m):
        S[t, j] = where(t == 0, init, S[t - 1, j]) + x[t, j]

The axis runs in order, every other axis may be tiled, run in lanes or on threads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, overload

from tensorc.dtypes import DType, accumulator, as_dtype, float32, int64
from tensorc.errors import DTypeError, IRError, ShapeError
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Compare,
    CompareOp,
    Const,
    Expr,
    ExprBase,
    ExprLike,
    Load,
    Reduce,
    Var,
    Where,
    as_expr,
    as_shape,
    cast,
    const_int,
    shorten,
)
from tensorc.ir.loc import caller_loc
from tensorc.ir.walk import free_vars, loads, substitute, walk
from tensorc.te.axis import ZERO, IterVar
from tensorc.te.bounds import check_accesses
from tensorc.te.tensor import Compute, Tensor, axis_names, check_scope, elementwise, output_names

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Init: TypeAlias = "ExprLike | Callable[..., ExprLike]"


@dataclass(frozen=True, slots=True, eq=False)
class Scan(Compute):
    """The definition of tensors whose elements follow from those before them along one axis.

    Attributes:
        states: the variables in `bodies` that stand for the element before, one for each component.
        inits: what they are at the first element, over the other axes.
        axis: the dimension along which the recurrence runs.
        reverse: whether it runs from the last element to the first.
        tensors: one for each component.
    """

    states: tuple[Var, ...] = field(kw_only=True)
    inits: tuple[Expr, ...] = field(kw_only=True)
    axis: int = field(kw_only=True)
    reverse: bool = field(default=False, kw_only=True)
    tensors: tuple[Tensor, ...] = field(default=(), init=False)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The tensors that the bodies and the first values read, each once."""
        found: dict[Tensor, None] = {}
        for part in (*self.bodies, *self.inits):
            for load in loads(part):
                assert isinstance(load.buffer, Tensor), "a definition reads tensors only"
                found[load.buffer] = None
        return tuple(found)

    @property
    def line(self) -> IterVar:
        """The axis of the recurrence."""
        return self.axes[self.axis]

    def is_first(self) -> Expr:
        """Whether a point is the first of its line."""
        edge = last_of(self.line.extent) if self.reverse else ZERO
        return Compare(CompareOp.EQ, self.line, edge)

    def before(self, steps: int = 1) -> tuple[Expr, ...]:
        """The point that lies `steps` before that at the axes."""
        op = BinaryOp.SUB if self.reverse == (steps < 0) else BinaryOp.ADD
        moved = Binary(op, self.line, Const(abs(steps), int64))
        return tuple(moved if d == self.axis else a for d, a in enumerate(self.axes))

    def unrolled(
        self, bodies: Sequence[Expr], inits: Sequence[Expr], tensors: Sequence[Buffer]
    ) -> tuple[Expr, ...]:
        """`bodies` with reads of `tensors` in place of the states."""
        first, point = self.is_first(), self.before()
        read: dict[Var, Expr] = {
            state: Where(first, init, Load(t, point))
            for state, init, t in zip(self.states, inits, tensors, strict=True)
        }
        return tuple(substitute(b, read) for b in bodies)


def last_of(extent: Expr) -> Expr:
    """The index of the last of `extent` elements."""
    size = const_int(extent)
    return extent - 1 if size is None else Const(size - 1, int64)


@overload
def scan(
    shape: int | Expr | Sequence[int | Expr],
    step: Callable[..., ExprLike | tuple[ExprLike, ...]],
    init: Init = 0.0,
    *,
    axis: int = 0,
    reverse: bool = False,
    dtype: DType | str | None = None,
    name: str | Sequence[str] | None = None,
) -> Tensor: ...
@overload
def scan(
    shape: int | Expr | Sequence[int | Expr],
    step: Callable[..., ExprLike | tuple[ExprLike, ...]],
    init: tuple[Init, ...],
    *,
    axis: int = 0,
    reverse: bool = False,
    dtype: DType | str | None = None,
    name: str | Sequence[str] | None = None,
) -> tuple[Tensor, ...]: ...
def scan(
    shape: int | Expr | Sequence[int | Expr],
    step: Callable[..., ExprLike | tuple[ExprLike, ...]],
    init: Init | tuple[Init, ...] = 0.0,
    *,
    axis: int = 0,
    reverse: bool = False,
    dtype: DType | str | None = None,
    name: str | Sequence[str] | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """A tensor whose element at (t, j, ...) is `step(before, t, j, ...)`.

    `before` is the element at t - 1 (at t + 1 if `reverse`), and `init` where there is none. A
    step may be any expression of it; a running sum is `lambda s, t: s + x[t]`, a linear recurrence
    `lambda s, t: a[t] * s + x[t]`. Of several values that follow from each other `init` is a tuple,
    `before` too, and `step` returns one; the result is then a tuple of tensors.

    The recurrence runs in order along `axis`; all other axes are independent. Its gradient is a
    recurrence that runs the other way.

    Args:
        shape: of the result.
        step: of the element before and the indices.
        init: a number, an expression, or a function of the other indices.
        axis: along which the recurrence runs.
        reverse: run from the last element to the first.
        dtype: of the elements; by default that of `init`, float32 for a plain number.
        name: of the tensor; names, or one, of several.

    Raises:
        ShapeError: no such axis, or a function of another number of indices.
        DTypeError: a step that gives another dtype than the state has.
        IRError: a state that is read inside of a reduction.
        BoundsError: an access that can leave its tensor.
    """
    sizes = as_shape(shape)
    if not isinstance(axis, int) or not -len(sizes) <= axis < len(sizes):
        raise ShapeError(f"scan: axis {axis!r} of a result of {len(sizes)} dimensions")
    axis %= len(sizes)
    names = axis_names(step, sizes, 1, "scan", "step")
    axes = tuple(IterVar(n, int64, ZERO, size) for n, size in zip(names, sizes, strict=True))
    several = isinstance(init, tuple)
    given = init if isinstance(init, tuple) else (init,)
    inits = tuple(_init(i, axes, axis, dtype) for i in given)
    states = tuple(Var(f"before{c}" if several else "before", i.dtype) for c, i in enumerate(inits))
    value = step(states if several else states[0], *axes)
    values = value if isinstance(value, tuple) else (value,)
    if len(values) != len(inits) or isinstance(value, tuple) != several:
        raise IRError(
            f"scan: init has {len(inits)} values, and the step returns "
            f"{len(values) if isinstance(value, tuple) else 'one, not in a tuple'}; one new value "
            "for each is needed"
        )
    bodies = tuple(as_expr(v, i.dtype) for v, i in zip(values, inits, strict=True))
    made = define_scan(axes, bodies, states, inits, axis, reverse=reverse, name=name)
    return made if several else made[0]


def _init(given: Init, axes: Sequence[IterVar], axis: int, dtype: DType | str | None) -> Expr:
    others = [a for d, a in enumerate(axes) if d != axis]
    if isinstance(given, Tensor):
        given = given[tuple(others)]
    elif callable(given) and not isinstance(given, ExprBase):
        axis_names(given, [a.extent for a in others], 0, "scan", "first value")
        given = given(*others)
    plain = not isinstance(given, ExprBase)
    wanted = as_dtype(dtype) if dtype is not None else float32 if plain else None
    value = as_expr(given, wanted)
    return value if wanted is None else cast(value, wanted)


def define_scan(
    axes: tuple[IterVar, ...],
    bodies: tuple[Expr, ...],
    states: tuple[Var, ...],
    inits: tuple[Expr, ...],
    axis: int,
    *,
    reverse: bool,
    name: str | Sequence[str] | None = None,
    default_name: str = "scan",
) -> tuple[Tensor, ...]:
    """The tensors of a recurrence: what `scan` does once it has the parts."""
    for body, state in zip(bodies, states, strict=True):
        if body.dtype != state.dtype:
            raise DTypeError(
                f"scan: the step gives {body.dtype}, and the state that it follows from is "
                f"{state.dtype}; state the dtype, as in dtype={body.dtype.name!r}"
            )
        for node in walk(body):
            if isinstance(node, Reduce) and any(s in set(free_vars(node)) for s in states):
                raise IRError(
                    f"scan: the step reads its state inside of {node.reducer.name}, {node}; a "
                    "step may use the element before, not a reduction over such elements"
                )
    check_scope((*axes, *states), (*bodies, *inits))
    for init in inits:
        if axes[axis] in set(free_vars(init)):
            raise IRError(f"scan: the first value {init} depends on {axes[axis].name}")
    check_accesses(axes, (*bodies, *inits))
    op = Scan(axes, bodies, caller_loc(), states=states, inits=inits, axis=axis, reverse=reverse)
    shape = tuple(a.extent for a in axes)
    labels = output_names(name, default_name, len(bodies))
    made = tuple(
        Tensor(n, shape, b.dtype, op=op, component=c, given_name=name is not None)
        for c, (n, b) in enumerate(zip(labels, bodies, strict=True))
    )
    object.__setattr__(op, "tensors", made)  # They name the definition that holds them.
    return made


def cumsum(x: Tensor, axis: int = -1, *, reverse: bool = False) -> Tensor:
    """The running sum along `axis`, from the last element on if `reverse`.

    float16 and bfloat16 are summed in float32 and rounded once for each element; bools and
    integers of fewer than 32 bits give int32 or uint32, as in `sum`.
    """
    return _cumulative(x, axis, reverse, BinaryOp.ADD, 0, "cumsum")


def cumprod(x: Tensor, axis: int = -1, *, reverse: bool = False) -> Tensor:
    """The running product along `axis`; otherwise as `cumsum`."""
    return _cumulative(x, axis, reverse, BinaryOp.MUL, 1, "cumprod")


def _cumulative(x: Tensor, axis: int, reverse: bool, op: BinaryOp, unit: int, name: str) -> Tensor:
    if not isinstance(x, Tensor):
        raise DTypeError(f"{name}: x must be a tensor, got {shorten(x)}")
    if not x.ndim:
        raise ShapeError(f"{name} of {x.name}: a single number has no axis to run along")
    if not isinstance(axis, int) or not -x.ndim <= axis < x.ndim:
        raise ShapeError(f"{name} of {x}: there is no axis {axis!r}")
    wide = accumulator(x.dtype)
    axes = tuple(IterVar(f"i{d}", int64, ZERO, size) for d, size in enumerate(x.shape))
    state, init = Var("before", wide), cast(Const(unit), wide)
    body = Binary(op, state, cast(Load(x, axes), wide))
    (made,) = define_scan(
        axes, (body,), (state,), (init,), axis % x.ndim, reverse=reverse, default_name=name
    )
    if wide == x.dtype or not x.dtype.is_float:
        return made
    return elementwise(lambda e: cast(e, x.dtype), made, name=name)
