"""The verifier: what a constructor cannot see, because it lies in what stands around a node.

The tests run it after every pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.dtypes import bool_
from tensorc.errors import IRError
from tensorc.ir.expr import Buffer, Call, Dim, Expr, Let, Load, Reduce, Reducer, Var
from tensorc.ir.intrinsics import INTRINSICS
from tensorc.ir.printer import show
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    If,
    Program,
    Role,
    Stmt,
    Store,
)
from tensorc.ir.walk import children, free_vars

if TYPE_CHECKING:
    from collections.abc import Iterable

SCOPES = ("global", "local", "shared")


def verify(program: Program) -> None:
    """Refuse a program that breaks a rule of the loop level.

    Every variable is bound around its use, once on each path; every buffer is a parameter or
    allocated around its use; what is only read is never written; sizes and loop variables are
    integers; nothing of the tensor level is left; a call has the dtype of its intrinsic.

    Raises:
        IRError: naming the statement, in the program's own text.
    """
    _Verifier(program).run()


class _Verifier:
    """What is in scope at the place that is looked at."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.bound: set[Var] = set()
        self.buffers: dict[Buffer, Role] = {}
        self.reducers: set[Reducer] = set()
        self.seen: set[int] = set()
        self.place: Stmt | None = None

    def fail(self, problem: str) -> IRError:
        place = "" if self.place is None else f" in {show(self.place).splitlines()[0].strip()}"
        return IRError(f"program {self.program.name}: {problem}{place}")

    def require(self, holds: bool, problem: str) -> None:
        if not holds:
            raise self.fail(problem)

    def run(self) -> None:
        for dim in self.program.dims:
            self.require(isinstance(dim, Dim), f"{dim.name} is no Dim")
            self.bind(dim)
        for param in self.program.params:
            buffer = param.buffer
            self.require(buffer not in self.buffers, f"parameter {buffer.name} stands twice")
            self.require(buffer.scope == "global", f"parameter {buffer.name} is {buffer.scope}")
            self.storage(buffer)
            self.buffers[buffer] = param.role
        self.stmt(self.program.body)

    def bind(self, var: Var) -> None:
        self.require(var not in self.bound, f"{var.name} is bound twice")
        self.require(var.dtype.is_int, f"{var.name} is {var.dtype}, not an integer")
        self.bound.add(var)

    def storage(self, buffer: Buffer) -> None:
        self.require(
            type(buffer) is Buffer, f"{buffer.name} is a {type(buffer).__name__}, not plain storage"
        )
        self.require(buffer.scope in SCOPES, f"{buffer.name} has unknown scope {buffer.scope}")
        self.exprs(buffer.shape)

    # --- statements ------------------------------------------------------------------------------

    def stmt(self, stmt: Stmt) -> None:
        self.place = stmt
        match stmt:
            case Block(stmts):
                for part in stmts:
                    self.stmt(part)
            case For(var, start, extent, body):
                self.exprs((start, extent))
                self.bind(var)
                self.stmt(body)
                self.bound.remove(var)
            case If(cond, body, orelse):
                self.exprs((cond,))
                self.stmt(body)
                if orelse is not None:
                    self.stmt(orelse)
            case Store(buffer, indices, value):
                self.exprs((*indices, value))
                self.written(buffer)
            case Accumulate(reducer, buffers, indices, values):
                self.exprs((*indices, *values))
                self.reducer(reducer)
                for position, buffer in enumerate(buffers):
                    self.written(buffer)
                    self.require(
                        buffer not in buffers[:position], f"two components in {buffer.name}"
                    )
            case Check(cond, _, values):
                self.exprs((cond, *values))
                for value in values:
                    self.require(value.dtype.is_int, f"value {value} is {value.dtype}")
            case Allocate(buffer, body):
                self.storage(buffer)
                self.require(buffer not in self.buffers, f"{buffer.name} is allocated twice")
                self.buffers[buffer] = Role.INOUT
                self.stmt(body)
                del self.buffers[buffer]

    def written(self, buffer: Buffer) -> None:
        self.access(buffer)
        self.require(
            self.buffers[buffer] is not Role.IN, f"write to {buffer.name}, which is only read"
        )

    def access(self, buffer: Buffer) -> None:
        self.require(buffer in self.buffers, f"{buffer.name} is neither a parameter nor allocated")

    def reducer(self, reducer: Reducer) -> None:
        """A reducer's own expressions may use its two operands and nothing else."""
        if reducer in self.reducers:
            return
        self.reducers.add(reducer)
        own = (*reducer.lhs, *reducer.rhs)
        self.require(len(set(own)) == len(own), f"reducer {reducer.name} repeats an operand")
        for parts, allowed in ((reducer.identity, ()), (reducer.result, own)):
            for part in parts:
                for var in free_vars(part):
                    self.require(
                        any(var is known for known in allowed),
                        f"reducer {reducer.name} uses {var.name}, which is not its operand",
                    )

    # --- expressions -----------------------------------------------------------------------------

    def exprs(self, exprs: Iterable[Expr]) -> None:
        self.seen = set()
        for expr in exprs:
            self.expr(expr)

    def expr(self, e: Expr) -> None:
        if id(e) in self.seen:
            return
        self.seen.add(id(e))
        match e:
            case Var():
                self.require(e in self.bound, f"{e.name} is not bound")
            case Load(buffer):
                self.access(buffer)
            case Call():
                self.call(e)
            case Reduce():
                raise self.fail(f"a reduction is left: {e}")
            case Let():
                self.let(e)
                return
            case _:
                pass
        for part in children(e):
            self.expr(part)  # type: ignore[arg-type]

    def let(self, e: Let) -> None:
        self.expr(e.value)
        self.require(e.var not in self.bound, f"{e.var.name} is bound twice")
        # What is seen inside may use the variable, so it is looked at again outside.
        outside = set(self.seen)
        self.bound.add(e.var)
        self.expr(e.body)
        self.bound.remove(e.var)
        self.seen = outside

    def call(self, e: Call) -> None:
        row = INTRINSICS[e.name]
        first = e.args[0].dtype
        operands = {
            "float": first.is_float,
            "float32": first.name == "float32",
            "int32": first.name == "int32",
            "number": not first.is_bool,
            "any": True,
        }
        results = {
            "same": e.dtype == first,
            "bool": e.dtype == bool_,
            "given": e.dtype.bytes == first.bytes and not (e.dtype.is_bool or first.is_bool),
        }
        fits = operands[row.domain] and all(arg.dtype == first for arg in e.args)
        self.require(
            fits and results[row.result],
            f"{e.name} of {', '.join(arg.dtype.name for arg in e.args)} gives no {e.dtype}: {e}",
        )
