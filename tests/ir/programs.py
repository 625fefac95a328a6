"""Random expressions and well-formed programs, for the tests of every layer above.

`programs()` stay in bounds, read nothing unwritten, have no race and end whatever the data, so
any two ways to run one must agree. Floats are never cast to integers, since what does not fit is
unspecified there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from tensorc.dtypes import (
    ALL_DTYPES,
    DType,
    bool_,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
)
from tensorc.ir import scalars
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Call,
    Cast,
    Compare,
    CompareOp,
    Const,
    Dim,
    Expr,
    Let,
    Load,
    Select,
    Unary,
    UnaryOp,
    Var,
    Where,
)
from tensorc.ir.interp import run
from tensorc.ir.intrinsics import INTRINSICS
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.ir.reducers import builtin
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Check,
    For,
    ForKind,
    If,
    Param,
    Program,
    Role,
    Stmt,
    Store,
    block,
)
from tensorc.ir.walk import free_vars, same, substitute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import DrawFn

Arrays = dict[str, np.ndarray[Any, Any]]

ARITHMETIC = (BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, BinaryOp.MIN, BinaryOp.MAX)
BITWISE = (BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR)
BINARY_OF = {
    "f": (*ARITHMETIC, BinaryOp.DIV),
    "i": (*ARITHMETIC, *BITWISE, BinaryOp.FLOORDIV, BinaryOp.MOD, BinaryOp.SHL, BinaryOp.SHR),
    "b": (*BITWISE, BinaryOp.MIN, BinaryOp.MAX),
}
BINARY_OF["u"] = BINARY_OF["i"]
# Those that every backend computes to the last bit.
EXACT_CALLS = ("abs", "sign", "floor", "ceil", "round", "trunc", "sqrt", "stop_gradient")


@dataclass(frozen=True)
class Scope:
    """What an expression may use: variables, and loads that are in bounds wherever it stands."""

    variables: tuple[Var, ...] = ()
    loads: tuple[Load, ...] = ()

    def of(self, dtype: DType) -> list[Expr]:
        known: tuple[Expr, ...] = (*self.variables, *self.loads)
        return [e for e in known if e.dtype == dtype]


FREE = Scope((Var("i"), Var("j"), *(Var(f"x_{d.name}", d) for d in ALL_DTYPES)))


def constants(dtype: DType) -> st.SearchStrategy[Const]:
    """Constants of `dtype`: the ends of its range, small ones, infinities and NaN."""
    if dtype.is_bool:
        return st.booleans().map(lambda v: Const(v, dtype))
    if dtype.is_int:
        low, high = int(dtype.min_value), int(dtype.max_value)
        small = st.integers(max(low, -4), 9)
        return (small | st.integers(low, high)).map(lambda v: Const(v, dtype))
    special = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.1, 1e-45, np.inf, -np.inf, np.nan])
    return (special | st.floats(width=16) | st.floats()).map(lambda v: Const(v, dtype))


@st.composite
def expressions(
    draw: DrawFn,
    dtype: DType,
    scope: Scope = FREE,
    depth: int = 3,
    calls: Sequence[str] = EXACT_CALLS,
) -> Expr:
    """An expression of `dtype` over what `scope` has, at most `depth` operations deep.

    `calls` are the intrinsics of one operand and one dtype that it may hold.
    """
    known = scope.of(dtype)
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        if draw(st.booleans()) and known:
            return draw(st.sampled_from(known))
        return draw(constants(dtype))

    def part(of: DType = dtype, inner: Scope = scope) -> Expr:
        return draw(expressions(of, inner, depth - 1, calls))

    match draw(st.sampled_from(["binary"] * 4 + ["own", "own", "choice", "let", "cast"])):
        case "binary":
            return Binary(draw(st.sampled_from(BINARY_OF[dtype.kind])), part(), part())
        case "own" if dtype.is_bool:
            if draw(st.booleans()):
                return Unary(UnaryOp.NOT, part())
            operand = draw(st.sampled_from([float32, int64, uint8]))
            return Compare(draw(st.sampled_from(CompareOp)), part(operand), part(operand))
        case "own":
            if draw(st.booleans()):
                ops = [UnaryOp.NEG] if dtype.is_float else list(UnaryOp)
                return Unary(draw(st.sampled_from(ops)), part())
            names = [n for n in calls if dtype.is_float or INTRINSICS[n].domain != "float"]
            return Call(draw(st.sampled_from(names)), (part(),), dtype) if names else part()
        case "choice":
            parts = (part(bool_), part(), part())
            return Select(*parts) if draw(st.booleans()) else Where(*parts)
        case "let":
            var = Var(f"v{depth}", draw(st.sampled_from([dtype, int64])))
            return Let(
                var, part(var.dtype), part(inner=Scope((*scope.variables, var), scope.loads))
            )
        case _:
            sources = [d for d in (bool_, int8, int32, int64, uint8) if d != dtype]
            sources += [d for d in (float32, float64) if d != dtype and not dtype.is_int]
            return Cast(part(draw(st.sampled_from(sources))), dtype)


def environment(expr: Expr, seed: int) -> dict[Var, Any]:
    """A value for each free variable of `expr`, small as often as any."""
    rng = np.random.default_rng(seed)
    return {v: value_of(v.dtype, rng) for v in free_vars(expr)}


def value_of(dtype: DType, rng: np.random.Generator) -> Any:
    with scalars.exact():
        if dtype.is_float:
            value = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, *rng.normal(size=6)])
            return scalars.scalar(float(value), dtype)
        small, wide = int(rng.integers(-3, 9)), int(rng.integers(-(2**63), 2**63 - 1))
        return scalars.scalar(
            bool(small % 2) if dtype.is_bool else int(rng.choice([small, wide])), dtype
        )


# --- programs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Nest:
    """Loops over a shape: each index expression runs over its whole axis, outermost first."""

    loops: tuple[tuple[Var, Expr, Expr, ForKind], ...]
    indices: tuple[Expr, ...]

    def around(self, body: Stmt) -> Stmt:
        for var, start, extent, kind in reversed(self.loops):
            body = For(var, start, extent, body, kind)
        return body

    @property
    def variables(self) -> tuple[Var, ...]:
        return tuple(loop[0] for loop in self.loops)


def zero() -> Const:
    return Const(0, int64)


@st.composite
def nests(draw: DrawFn, shape: tuple[Expr, ...]) -> Nest:
    loops, indices = [], []
    for name, extent in zip("ij", shape, strict=False):
        var, start = Var(name), Const(draw(st.sampled_from([0, 0, 0, 3])), int64)
        kind = (
            draw(st.sampled_from([k for k in ForKind if k is not ForKind.BOUND]))
            if isinstance(extent, Const)
            else draw(st.sampled_from([ForKind.SERIAL, ForKind.PARALLEL]))
        )
        loops.append((var, start, extent, kind))
        indices.append(var if start.value == 0 else var - start)
    return Nest(tuple(loops), tuple(indices))


@st.composite
def in_bounds(draw: DrawFn, buffer: Buffer, variables: tuple[Var, ...]) -> Load:
    """A load at any place of `buffer`: an affine index modulo its size."""
    indices: list[Expr] = []
    for size in buffer.shape:
        index: Expr = Const(draw(st.integers(0, 3)), int64)
        for var in variables:
            index = index + var * draw(st.integers(-2, 3))
        indices.append(index % size)
    return Load(buffer, tuple(indices))


@st.composite
def programs(
    draw: DrawFn,
    dtypes: Sequence[DType] = (float32, float64, int32, int64, uint8),
    calls: Sequence[str] = EXACT_CALLS,
    depth: int = 2,
) -> Program:
    """A program of one to three parameters besides its output, constant and symbolic sizes.

    A temporary is filled, then the output reduced from it, then part of it is overwritten.
    """
    dtype = draw(st.sampled_from(dtypes))
    n = Dim("n", lower=1)
    choices: list[Expr] = [n, Const(1, int64), Const(3, int64), Const(4, int64)]
    sizes = st.sampled_from(choices)
    shape = tuple(draw(st.lists(sizes, min_size=0, max_size=2)))
    source = Buffer("A", (n, *draw(st.lists(sizes, max_size=1))), dtype)
    index = Buffer("I", (n,), int32)
    state = Buffer("S", shape, dtype)
    out = Buffer("B", shape, dtype)
    scope = draw(st.sampled_from(["global", "local"]))
    temp = Buffer("T", shape, dtype, scope)

    def inside(nest: Nest, buffers: Sequence[Buffer], more: Sequence[Expr] = ()) -> Scope:
        loads = [Load(b, nest.indices) for b in (state, *more_own(buffers))]
        loads += [draw(in_bounds(b, nest.variables)) for b in (source, index)]
        extra = tuple(v for v in more if isinstance(v, Var))
        return Scope((n, *nest.variables, *extra), tuple(loads))

    def more_own(buffers: Sequence[Buffer]) -> list[Buffer]:
        return [b for b in buffers if b.shape == shape]

    def value(inner: Scope, of: DType = dtype) -> Expr:
        return draw(expressions(of, inner, depth, calls))

    fill, fold, patch = draw(nests(shape)), draw(nests(shape)), draw(nests(shape))
    first = fill.around(Store(temp, fill.indices, value(inside(fill, ()))))

    k = Var("k")
    names = ["all", "any"] if dtype.is_bool else ["sum", "prod", "max", "min"]
    reducer = builtin(draw(st.sampled_from(names)), dtype)
    step = Accumulate(reducer, (out,), fold.indices, (value(inside(fold, (temp, out), [k])),))
    extent = draw(sizes)
    second = fold.around(
        block([Store(out, fold.indices, reducer.identity[0]), For(k, zero(), extent, step)])
    )
    third = patch.around(
        If(
            value(inside(patch, (temp, out)), bool_),
            Store(out, patch.indices, value(inside(patch, (temp, out)))),
            draw(
                st.sampled_from(
                    [None, Store(state, patch.indices, Load(temp, patch.indices)), block(())]
                )
            ),
        )
    )
    check = Check(n >= 1, "n is {0}, below 1", (n,))
    body = block([check, Allocate(temp, block([first, second, third]))])
    params = (
        Param(source, Role.IN),
        Param(index, Role.IN),
        Param(state, Role.INOUT),
        Param(out, Role.OUT),
    )
    return Program("generated", params, (n,), body)


def arrays_for(program: Program, n: int = 3, seed: int = 0) -> Arrays:
    """Random arguments for `program`, every symbolic size being `n`."""
    rng = np.random.default_rng(seed)
    result: Arrays = {}
    for param in program.params:
        buffer = param.buffer
        sizes = [substitute(s, {d: Const(n, d.dtype) for d in program.dims}) for s in buffer.shape]
        shape = tuple(int(s.value) for s in sizes if isinstance(s, Const))
        numbers = (
            rng.integers(0, 9, size=shape) if not buffer.dtype.is_float else rng.normal(size=shape)
        )
        result[buffer.name] = np.asarray(numbers).astype(buffer.dtype.numpy)
    return result


def results(program: Program, arrays: Arrays, **options: Any) -> Arrays:
    """What the interpreter leaves in copies of `arrays`."""
    copies = {name: array.copy() for name, array in arrays.items()}
    run(program, copies, **options)
    return copies


def assert_same_results(a: Program, b: Program, n: int = 3, seed: int = 0) -> None:
    """Both programs leave the same bits, NaN for NaN, in the same arrays."""
    arrays = arrays_for(a, n, seed)
    left, right = results(a, arrays), results(b, arrays)
    for name, array in left.items():
        assert_same_bits(array, right[name], f"{name} differs\n{show(a)}\n{show(b)}")


def assert_same_bits(a: Any, b: Any, message: str) -> None:
    a, b = np.asarray(a), np.asarray(b)
    assert a.dtype == b.dtype, message
    nan = (a != a) & (b != b)
    bits = f"u{a.dtype.itemsize}"
    alike = nan | (np.atleast_1d(a).view(bits) == np.atleast_1d(b).view(bits)).reshape(a.shape)
    assert alike.all(), f"{message}: {a} and {b}"


def assert_round_trip(program: Program) -> None:
    """The text of `program` parses back to it."""
    text = show(program)
    again = parse(text)
    assert same(program, again), text
    assert show(again) == text
