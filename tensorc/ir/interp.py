"""The reference interpreter: slow and obvious, the oracle of the tests.

Each node becomes one Python closure over a table of variables. Every access is checked against
its buffer's shape, and no element of an allocation or of an `out` argument may be read before it
is written: breaking either is a mistake of the compiler, so it is an `assert`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np

from tensorc.errors import CheckFailed
from tensorc.ir import scalars
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Call,
    Cast,
    Compare,
    Const,
    Dim,
    Expr,
    Let,
    Load,
    Reduce,
    Select,
    Unary,
    Var,
    Where,
)
from tensorc.ir.printer import builtin_name, show
from tensorc.ir.scalars import Scalar
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    ForKind,
    If,
    Program,
    Role,
    Stmt,
    Store,
)

__all__ = ["evaluate", "evaluator", "is_fused", "run"]

Env: TypeAlias = MutableMapping[Var, Scalar]
Read: TypeAlias = Callable[[Buffer, tuple[int, ...]], Scalar]
Fold: TypeAlias = Callable[[Reduce, Env], Scalar]
Value: TypeAlias = Callable[[Env], Scalar]
Action: TypeAlias = Callable[[Env], None]
Order: TypeAlias = Literal["forward", "reverse"]


def run(
    program: Program,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    dims: Mapping[str, int] | None = None,
    order: Order = "forward",
) -> None:
    """Run `program` on `arrays`, by parameter name, writing its results in place.

    Args:
        program: what to run.
        arrays: one array for each parameter, of its dtype and shape.
        dims: symbolic sizes by name; those missing are read off the arrays' shapes.
        order: "reverse" runs each parallel or bound loop backwards, which exposes a race.

    Raises:
        CheckFailed: a `Check` that does not hold.
        AssertionError: arrays that do not fit, or a mistake in the program.
    """
    env = _bind_dims(program, arrays, dims or {})
    memory = _Memory()
    with scalars.exact():
        for param in program.params:
            buffer, array = param.buffer, arrays[param.buffer.name]
            shape = tuple(int(evaluate(size, env)) for size in buffer.shape)
            assert (array.shape, array.dtype) == (shape, buffer.dtype.numpy), (
                f"{buffer.name}: expected {buffer.dtype}{list(shape)}, "
                f"got {array.dtype}{list(array.shape)}"
            )
            written = np.zeros(shape, np.bool_) if param.role is Role.OUT else None
            memory.areas[buffer] = (array, written)
        _Runner(memory, order).stmt(program.body)(env)
    for param in program.params:
        written = memory.areas[param.buffer][1]
        if written is not None and not written.all():
            missing = np.argwhere(~written)[0].tolist()
            raise AssertionError(f"out parameter {param.buffer.name}{missing} was never written")


def evaluate(
    expr: Expr, env: Mapping[Var, Scalar], read: Read | None = None, fold: Fold | None = None
) -> Scalar:
    """The value of `expr`, a NumPy scalar; see `evaluator`, which is faster for many points."""
    with scalars.exact():
        return evaluator(expr, read, fold)(dict(env))


def evaluator(expr: Expr, read: Read | None = None, fold: Fold | None = None) -> Value:
    """A function from the values of the free variables to the value of `expr`.

    Call it inside `scalars.exact()`. It writes the variables of a `Let` into the table it gets.

    Args:
        expr: what to evaluate.
        read: gives an element of a buffer; needed where `expr` loads.
        fold: gives the value of a `Reduce`; needed where `expr` holds one.
    """
    return _Evaluator(read, fold).expr(expr)


def is_fused(stmt: Accumulate) -> bool:
    """Whether the step is a fused multiply-add: a sum of floats whose value is a product."""
    value = stmt.values[0]
    product = isinstance(value, Binary) and value.op is BinaryOp.MUL and value.dtype.is_float
    return product and builtin_name(stmt.reducer) == "sum"


def _bind_dims(
    program: Program, arrays: Mapping[str, np.ndarray[Any, Any]], dims: Mapping[str, int]
) -> Env:
    env: Env = {d: scalars.scalar(dims[d.name], d.dtype) for d in program.dims if d.name in dims}
    for param in program.params:
        name = param.buffer.name
        assert name in arrays, f"program {program.name}: no array for parameter {name}"
        for size, given in zip(param.buffer.shape, arrays[name].shape, strict=False):
            if isinstance(size, Dim):
                env.setdefault(size, scalars.scalar(int(given), size.dtype))
    for dim in program.dims:
        assert dim in env, f"program {program.name}: no array's shape gives {dim.name}"
        assert env[dim] >= dim.lower, f"{dim.name} is {env[dim]}, below {dim.lower}"
    return env


class _Memory:
    """The live buffers: each an array, and which elements were written (None: all)."""

    def __init__(self) -> None:
        self.areas: dict[
            Buffer, tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.bool_]] | None]
        ] = {}

    def read(self, buffer: Buffer, index: tuple[int, ...]) -> Scalar:
        array, written = self.area(buffer, index, "load")
        assert written is None or written[index], (
            f"load {buffer.name}{list(index)}: it was never written"
        )
        return array[index]

    def write(self, buffer: Buffer, index: tuple[int, ...], value: Scalar) -> None:
        array, written = self.area(buffer, index, "store")
        array[index] = value
        if written is not None:
            written[index] = True

    def copy(self, to: Buffer, at: tuple[int, ...], source: Buffer, index: tuple[int, ...]) -> None:
        """A plain copy: of an element never written it makes another one."""
        array, written = self.area(source, index, "load")
        if written is None or written[index]:
            self.write(to, at, array[index])
        else:
            target = self.area(to, at, "store")[1]
            assert target is not None, f"copy to {to.name}{list(at)} of what was never written"
            target[at] = False

    def area(
        self, buffer: Buffer, index: tuple[int, ...], what: str
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, np.dtype[np.bool_]] | None]:
        area = self.areas.get(buffer)
        assert area is not None, f"{what} {buffer.name}: there is no such buffer here"
        for i, size in zip(index, area[0].shape, strict=True):
            assert 0 <= i < size, (
                f"{what} {buffer.name}{list(index)} is outside its shape {list(area[0].shape)}"
            )
        return area


class _Evaluator:
    """Expressions to closures; a shared node makes one closure."""

    def __init__(self, read: Read | None, fold: Fold | None) -> None:
        self.read, self.fold = read, fold
        self.memo: dict[int, tuple[Expr, Value]] = {}

    def expr(self, e: Expr) -> Value:
        known = self.memo.get(id(e))
        if known is None:
            known = self.memo[id(e)] = (e, self.build(e))
        return known[1]

    def all(self, exprs: tuple[Expr, ...]) -> list[Value]:
        return [self.expr(e) for e in exprs]

    def build(self, e: Expr) -> Value:
        match e:
            case Const(number, dtype):
                value = scalars.scalar(number, dtype)
                return lambda _: value
            case Var():
                return lambda env: env[e]
            case Unary(uop, operand):
                return self.unary(scalars.UNARY[uop], operand)
            case Binary(bop, lhs, rhs):
                return self.binary(scalars.BINARY[bop], lhs, rhs)
            case Compare(cop, lhs, rhs):
                return self.binary(scalars.COMPARE[cop], lhs, rhs)
            case Cast(operand, dtype):
                return self.unary(lambda x: scalars.convert(x, dtype), operand)
            case Call(name, args, dtype):
                function, parts = scalars.intrinsic(name, dtype), self.all(args)
                return lambda env: function(*[part(env) for part in parts])
            case Load(buffer, indices):
                return self.load(buffer, indices)
            case Select(cond, a, b):
                c, x, y = self.all((cond, a, b))

                def select(env: Env) -> Scalar:
                    on_true, on_false = x(env), y(env)  # Both, so that both are checked.
                    return on_true if c(env) else on_false

                return select
            case Where(cond, a, b):
                c, x, y = self.all((cond, a, b))
                return lambda env: x(env) if c(env) else y(env)
            case Let(var, inner, body):
                return self.let(var, inner, body)
            case Reduce():
                fold = self.fold
                assert fold is not None, f"a reduction is not for loop programs: {show(e)}"
                return lambda env: fold(e, env)

    def unary(self, function: Callable[[Scalar], Scalar], operand: Expr) -> Value:
        x = self.expr(operand)
        return lambda env: function(x(env))

    def binary(self, function: Callable[[Scalar, Scalar], Scalar], a: Expr, b: Expr) -> Value:
        x, y = self.expr(a), self.expr(b)
        return lambda env: function(x(env), y(env))

    def load(self, buffer: Buffer, indices: tuple[Expr, ...]) -> Value:
        read, parts = self.read, self.all(indices)
        assert read is not None, f"nothing to read {buffer.name} from"
        return lambda env: read(buffer, tuple([int(part(env)) for part in parts]))

    def let(self, var: Var, inner: Expr, body: Expr) -> Value:
        x, y = self.expr(inner), self.expr(body)

        def let(env: Env) -> Scalar:
            env[var] = x(env)
            return y(env)

        return let


class _Runner(_Evaluator):
    """Statements to closures."""

    def __init__(self, memory: _Memory, order: Order) -> None:
        super().__init__(memory.read, None)
        self.memory, self.order = memory, order

    def stmt(self, s: Stmt) -> Action:
        match s:
            case Block(stmts):
                actions = [self.stmt(part) for part in stmts]

                def block(env: Env) -> None:
                    for action in actions:
                        action(env)

                return block
            case For():
                return self.loop(s)
            case If():
                return self.branch(s)
            case Store():
                return self.store(s)
            case Accumulate():
                return self.accumulate(s)
            case Check():
                return self.check(s)
            case Allocate():
                return self.allocate(s)

    def loop(self, s: For) -> Action:
        start, extent, body = self.expr(s.start), self.expr(s.extent), self.stmt(s.body)
        var, number = s.var, s.var.dtype.numpy.type
        concurrent = s.kind in (ForKind.PARALLEL, ForKind.BOUND)
        backwards = concurrent and self.order == "reverse"

        def loop(env: Env) -> None:
            first, steps = int(start(env)), int(extent(env))
            domain = range(first, first + steps)
            for i in reversed(domain) if backwards else domain:
                env[var] = number(i)
                body(env)

        return loop

    def branch(self, s: If) -> Action:
        cond, body = self.expr(s.cond), self.stmt(s.body)
        orelse = self.stmt(s.orelse) if s.orelse is not None else lambda _: None

        def branch(env: Env) -> None:
            (body if cond(env) else orelse)(env)

        return branch

    def store(self, s: Store) -> Action:
        indices, memory = self.all(s.indices), self.memory
        match s.value:
            case Load(source, at):
                return self.copy(s, source, at)
            case Where(cond, Load(source, at), pad):
                inside, copy = self.expr(cond), self.copy(s, source, at)
                padding = self.store(replace(s, value=pad))
                return lambda env: copy(env) if inside(env) else padding(env)
            case _:
                value = self.expr(s.value)

        def store(env: Env) -> None:
            index = tuple([int(i(env)) for i in indices])
            memory.write(s.buffer, index, value(env))

        return store

    def copy(self, s: Store, source: Buffer, at: tuple[Expr, ...]) -> Action:
        """A store of `source[at]`, which may never have been written."""
        indices, places, memory = self.all(s.indices), self.all(at), self.memory

        def copy(env: Env) -> None:
            index = tuple([int(i(env)) for i in indices])
            memory.copy(s.buffer, index, source, tuple([int(i(env)) for i in places]))

        return copy

    def accumulate(self, s: Accumulate) -> Action:
        indices, memory = self.all(s.indices), self.memory
        step = self.fused(s) if is_fused(s) else self.folded(s)

        def accumulate(env: Env) -> None:
            index = tuple([int(i(env)) for i in indices])
            old = [memory.read(buffer, index) for buffer in s.buffers]
            for buffer, new in zip(s.buffers, step(env, old), strict=True):
                memory.write(buffer, index, new)

        return accumulate

    def fused(self, s: Accumulate) -> Callable[[Env, list[Scalar]], list[Scalar]]:
        product = s.values[0]
        assert isinstance(product, Binary), "a fused step adds a product"
        a, b = self.expr(product.lhs), self.expr(product.rhs)
        return lambda env, old: [scalars.fma(a(env), b(env), old[0])]

    def folded(self, s: Accumulate) -> Callable[[Env, list[Scalar]], list[Scalar]]:
        reducer, values, results = s.reducer, self.all(s.values), self.all(s.reducer.result)

        def step(env: Env, old: list[Scalar]) -> list[Scalar]:
            new = [value(env) for value in values]
            inner: Env = dict(zip((*reducer.lhs, *reducer.rhs), (*old, *new), strict=True))
            return [result(inner) for result in results]

        return step

    def check(self, s: Check) -> Action:
        cond, values = self.expr(s.cond), self.all(s.values)

        def check(env: Env) -> None:
            if not cond(env):
                shown = [str(int(value(env))) for value in values]
                raise CheckFailed(re.sub(r"\{(\d+)\}", lambda m: shown[int(m[1])], s.message))

        return check

    def allocate(self, s: Allocate) -> Action:
        buffer, areas = s.buffer, self.memory.areas
        sizes, body = self.all(buffer.shape), self.stmt(s.body)

        def allocate(env: Env) -> None:
            shape = tuple([int(size(env)) for size in sizes])
            assert all(size >= 0 for size in shape), f"alloc {buffer.name}: shape {list(shape)}"
            areas[buffer] = (np.empty(shape, buffer.dtype.numpy), np.zeros(shape, np.bool_))
            body(env)
            del areas[buffer]

        return allocate
