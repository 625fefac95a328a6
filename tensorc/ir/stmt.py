"""Statements and programs: in which order everything runs.

There is no block structure beside the loops: the domain and the accesses of a statement are read
off what stands around it, when someone asks (`sets`). A statement never changes, so what is found
about it once (`facts`) is kept with it, in `memo`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from tensorc.dtypes import bool_
from tensorc.errors import IRError
from tensorc.ir.expr import Buffer, Const, Dim, Expr, Reducer, Var, check_indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.loc import Loc


class ForKind(Enum):
    """How the iterations of a loop run.

    SERIAL: one after the other. PARALLEL: in any order, on several threads. VECTORIZED: together,
    as lanes of vector registers. UNROLLED: one after the other, written out. BOUND: in any order,
    each the block or thread of a grid with that number on one axis.
    """

    SERIAL = "serial"
    PARALLEL = "parallel"
    VECTORIZED = "vectorized"
    UNROLLED = "unrolled"
    BOUND = "bound"


Hint: TypeAlias = int | bool | str

# What a BOUND loop may run over: the axes of a CUDA grid, and of its blocks.
GRID_AXES = (*("block.x", "block.y", "block.z"), *("thread.x", "thread.y", "thread.z"))


@dataclass(frozen=True, slots=True, eq=False)
class For:
    """`body` for each value of `var` in `start <= var < start + extent`.

    `axis` is what a BOUND loop runs over, one of `GRID_AXES`. `annotations` are hints, by key, that
    change no result; a backend ignores those it does not know.
    """

    var: Var
    start: Expr
    extent: Expr
    body: Stmt
    kind: ForKind = ForKind.SERIAL
    axis: str | None = field(default=None, kw_only=True)
    annotations: tuple[tuple[str, Hint], ...] = field(default=(), kw_only=True)
    loc: Loc | None = field(default=None, kw_only=True)
    memo: object = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if (self.kind is ForKind.BOUND) != (self.axis in GRID_AXES):
            raise IRError(
                f"for {self.var.name}: a loop is bound to one of {', '.join(GRID_AXES)}, or to "
                f"nothing; got {self.kind.value}, {self.axis}"
            )
        if not (self.var.dtype == self.start.dtype == self.extent.dtype):
            raise IRError(
                f"for {self.var.name}: variable {self.var.dtype}, start {self.start.dtype} and "
                f"extent {self.extent.dtype} must agree"
            )


@dataclass(frozen=True, slots=True, eq=False)
class If:
    """`body` where `cond` holds, else `orelse` if there is one."""

    cond: Expr
    body: Stmt
    orelse: Stmt | None = None
    loc: Loc | None = field(default=None, kw_only=True)
    memo: object = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.cond.dtype != bool_:
            raise IRError(f"If: cond must be bool, got {self.cond.dtype} in {self.cond}")


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """`buffer[indices] = value`."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr
    loc: Loc | None = field(default=None, kw_only=True)
    memo: object = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_indices(self.buffer, self.indices)
        if self.value.dtype != self.buffer.dtype:
            raise IRError(
                f"store to {self.buffer.name}: {self.buffer.dtype} buffer, "
                f"{self.value.dtype} value {self.value}"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Accumulate:
    """`buffers[c][indices] = result_c(lhs=buffers[:][indices], rhs=values)` for each component c.

    One step of a reduction. All components are read before any is written.
    """

    reducer: Reducer
    buffers: tuple[Buffer, ...]
    indices: tuple[Expr, ...]
    values: tuple[Expr, ...]
    loc: Loc | None = field(default=None, kw_only=True)
    memo: object = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not len(self.buffers) == len(self.values) == self.reducer.arity:
            raise IRError(
                f"reducer {self.reducer.name} has {self.reducer.arity} components, got "
                f"{len(self.buffers)} buffers and {len(self.values)} values"
            )
        for buffer, value, var in zip(self.buffers, self.values, self.reducer.lhs, strict=True):
            check_indices(buffer, self.indices)
            if not buffer.dtype == value.dtype == var.dtype:
                raise IRError(
                    f"accumulate into {buffer.name}: {buffer.dtype} buffer, {value.dtype} value, "
                    f"reducer {self.reducer.name} of {var.dtype}"
                )


@dataclass(frozen=True, slots=True, eq=False)
class Check:
    """End the call with an error that says `message` unless `cond` holds here.

    `values` are integers that the message shows in place of its `{0}`, `{1}`...
    """

    cond: Expr
    message: str
    values: tuple[Expr, ...] = ()
    loc: Loc | None = field(default=None, kw_only=True)
    memo: object = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.cond.dtype != bool_:
            raise IRError(f"Check: cond must be bool, got {self.cond.dtype} in {self.cond}")


@dataclass(frozen=True, slots=True, eq=False)
class Allocate:
    """`body` with storage for `buffer`, uninitialized on entry and gone after."""

    buffer: Buffer
    body: Stmt
    loc: Loc | None = field(default=None, kw_only=True)
    memo: object = field(default=None, init=False, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Statements one after the other; an empty block does nothing."""

    stmts: tuple[Stmt, ...]
    loc: Loc | None = field(default=None, kw_only=True)
    memo: object = field(default=None, init=False, repr=False)


Stmt: TypeAlias = For | If | Store | Accumulate | Check | Allocate | Block
Leaf: TypeAlias = Store | Accumulate | Check
Node: TypeAlias = Expr | Stmt


class Role(Enum):
    """What a call does with an argument: reads it, writes all of it, or updates it in place."""

    IN = "in"
    OUT = "out"
    INOUT = "inout"


@dataclass(frozen=True, slots=True, eq=False)
class Param:
    """One argument of a program."""

    buffer: Buffer
    role: Role


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A compiled function to be: its arguments, the symbolic sizes in their shapes, its body."""

    name: str
    params: tuple[Param, ...]
    dims: tuple[Dim, ...]
    body: Stmt

    def __post_init__(self) -> None:
        names: set[str] = set()
        for param in self.params:
            if param.buffer.name in names:
                raise IRError(f"program {self.name}: two parameters are named {param.buffer.name}")
            names.add(param.buffer.name)


def block(stmts: Sequence[Stmt]) -> Stmt:
    """The statements as one: nested blocks are flattened, a single one stands alone."""
    flat: list[Stmt] = []
    for stmt in stmts:
        flat.extend(stmt.stmts if isinstance(stmt, Block) else (stmt,))
    return flat[0] if len(flat) == 1 else Block(tuple(flat))


def loop(var: Var, extent: Expr, body: Stmt, kind: ForKind = ForKind.SERIAL) -> For:
    """A loop from 0."""
    return For(var, Const(0, var.dtype), extent, body, kind)
