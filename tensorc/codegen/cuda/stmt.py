"""Statements to C: loops, conditions, stores, accumulations, checks."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tensorc.codegen.cuda import arith, vector
from tensorc.codegen.cuda.expr import ExprEmitter
from tensorc.codegen.cuda.guards import padded
from tensorc.codegen.cuda.places import Place
from tensorc.codegen.cuda.ranges import INT32, within
from tensorc.codegen.cuda.types import ATOM, Text
from tensorc.errors import CompileError
from tensorc.ir.expr import Binary, BinaryOp, Buffer, Expr, Load, Var, const_int
from tensorc.ir.interp import is_fused
from tensorc.ir.printer import builtin_name
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Accumulate, Allocate, Block, Check, For, ForKind, If, Stmt, Store
from tensorc.ir.walk import free_vars, loads, walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tensorc.codegen.cuda.names import Names
    from tensorc.dtypes import DType

UNROLL_LIMIT = 128
STATUS_VALUES = 3
_SIMPLE = ("sum", "prod", "all", "any", "max", "min")
_IN_PLACE = {"sum": "+=", "prod": "*="}


class StmtEmitter(ExprEmitter):
    """Writes statements; `checks` numbers every Check of the program in text order."""

    def __init__(self, names: Names, checks: dict[int, int]) -> None:
        """Start with nothing bound."""
        super().__init__(names)
        self.leave = ""  # The label to go to from a failed check; else the thread ends.
        self.called: dict[Var, str] = {}  # What loops are to be called.
        self.checks = checks
        self.rounded: frozenset[Buffer] = frozenset()  # What holds numbers of tf32 alone.
        self.asynchronous = False  # Whether copies to shared memory are issued, not waited for.

    def emit(self, stmt: Stmt) -> None:
        """Write one statement."""
        match stmt:
            case For():
                self._for(stmt)
            case If():
                self._if(stmt)
            case Store() if self.asynchronous:
                self._issue(stmt)
            case Store(buffer, indices, value):
                with self.statement(*indices, value):
                    self.store(buffer, indices, self.value(value))
            case Accumulate():
                with self.statement(*stmt.indices, *stmt.values):
                    self._accumulate(stmt)
            case Check():
                with self.statement(stmt.cond, *stmt.values):
                    self._check(stmt)
            case Allocate(buffer, body):
                if buffer not in self.places:
                    self.allocate(buffer)
                self.emit(body)
            case Block(stmts):
                for s in stmts:
                    self.emit(s)

    # --- loops -------------------------------------------------------------------------------

    def _for(self, loop: For) -> None:
        if loop.kind is ForKind.VECTORIZED and vector.emit(self, loop):
            return
        extent = const_int(loop.extent)
        if extent is not None and extent <= 0:
            return
        with self.looping(loop):
            self.emit(loop.body)

    @contextmanager
    def looping(self, loop: For, *, unroll: bool = True) -> Iterator[None]:
        """A serial loop; what is written within is its body."""
        found = self.ranges.enter(loop)
        last = simplify(Binary(BinaryOp.ADD, loop.start, loop.extent))
        ends = self.ranges.of(last)
        ctype = "int" if within((found[0], max(found[1], ends[1])), INT32) else "long long"
        with self.statement(loop.start, last):
            start, stop = self.value(loop.start), self.value(last)
        if loads(loop.extent) or loads(loop.start):  # Not to be read again in each iteration.
            stop = self.named(f"{loop.var.name}.end", stop)
        if unroll and self.is_unrolled(loop):
            self.out.line("#pragma unroll")
        with self.region(), self.scope():
            name = self.names.fresh(self.called.get(loop.var, loop.var.name))
            self.vars[loop.var] = Text(name, ATOM, ctype)
            head = f"for ({ctype} {name} = {start.text}; {name} < {stop.text}; ++{name})"
            with self.out.inside(head):
                yield

    @contextmanager
    def looping_all(self, loops: Iterable[For]) -> Iterator[None]:
        """Serial loops inside of each other, which the C compiler writes out."""
        with ExitStack() as stack:
            for loop in loops:
                self.out.line("#pragma unroll")
                stack.enter_context(self.looping(loop, unroll=False))
            yield

    def is_unrolled(self, loop: For) -> bool:
        """Whether a loop is written out by the C compiler: as told, or to index registers."""
        extent = const_int(loop.extent)
        if extent is None:
            return False
        if loop.kind in (ForKind.UNROLLED, ForKind.VECTORIZED):
            return True
        return extent <= UNROLL_LIMIT and _indexes_registers(loop)

    # --- conditions --------------------------------------------------------------------------

    def _if(self, stmt: If) -> None:
        with self.statement(stmt.cond):
            test = self.condition(stmt.cond)
        with self.region(), self.scope(), self.out.inside(f"if ({test})"):
            self.emit(stmt.body)
        if stmt.orelse is not None:
            with self.region(), self.scope(), self.out.inside("else"):
                self.emit(stmt.orelse)

    # --- stores ------------------------------------------------------------------------------

    def store(self, buffer: Buffer, indices: Sequence[Expr], value: Text) -> None:
        """`buffer[indices] = value`."""
        target = self.element(buffer, indices).text
        self.out.line(f"{target} = {arith.to_memory(value, buffer.dtype)};")

    def _issue(self, stmt: Store) -> None:
        """An asynchronous copy of one element, or of zeros where it is padded."""
        copy = padded(stmt.value)
        assert copy is not None, "an asynchronous phase is of copies"
        cond, load = copy
        with self.statement(*stmt.indices, stmt.value):
            to = self.element(stmt.buffer, stmt.indices)
            source = self.element(load.buffer, load.indices)
            args, call = f"&{to.text}, &{source.text}", f"cp_async{stmt.buffer.dtype.bytes}"
            if cond is not None:
                args, call = f"{args}, {self.condition(cond)}", f"{call}_or_zeros"
            self.out.line(f"{call}({args});")

    def _accumulate(self, stmt: Accumulate) -> None:
        """One step of a reduction: `acc = fmaf(a, b, acc)`, `m = maximum(m, x)`, ..."""
        value = stmt.values[0]
        if is_fused(stmt) and isinstance(value, Binary):
            old = self.load(stmt.buffers[0], stmt.indices)
            new = arith.fused_multiply_add(self, value.lhs, value.rhs, old)
            self.store(stmt.buffers[0], stmt.indices, new)
            return
        new_values = [self.value(v) for v in stmt.values]
        sign = _IN_PLACE.get(builtin_name(stmt.reducer) or "")
        if sign and _is_plain(value.dtype):
            target = self.element(stmt.buffers[0], stmt.indices).text
            self.out.line(f"{target} {sign} {new_values[0].text};")
            return
        old_values = [self.load(b, stmt.indices) for b in stmt.buffers]
        results = self.combine(stmt, old_values, new_values)
        if len(results) > 1:  # All components are read before any is written.
            results = [self.named(b.name, r) for b, r in zip(stmt.buffers, results, strict=True)]
        for buffer, result in zip(stmt.buffers, results, strict=True):
            self.store(buffer, stmt.indices, result)

    def combine(self, stmt: Accumulate, left: Sequence[Text], right: Sequence[Text]) -> list[Text]:
        """Two partial results as one, by the reducer of `stmt`."""
        reducer = stmt.reducer
        simple = builtin_name(reducer) in _SIMPLE
        for var, text in zip((*reducer.lhs, *reducer.rhs), (*left, *right), strict=True):
            name = text.text.replace("_", "a")
            short = simple or name.isalnum()
            self.vars[var] = text if short else self.named(var.name, text)
        with self.statement(*reducer.result):
            return [self.value(r) for r in reducer.result]

    # --- checks and storage ------------------------------------------------------------------

    def _check(self, stmt: Check) -> None:
        number = self.checks[id(stmt)]
        good = self.condition(stmt.cond)
        values = [self.integer(v, "long long").text for v in stmt.values[:STATUS_VALUES]]
        with self.out.inside(f"if (!({good}))"):
            with self.out.inside(f"if (fail(status, {number}))"):
                for i, value in enumerate(values):
                    self.out.line(f"((long long*)status)[{i + 1}] = {value};")
            if self.leave:
                self.out.line("failed = true;")
            self.out.line(f"goto {self.leave};" if self.leave else "return;")

    def allocate(self, buffer: Buffer) -> None:
        """An array of the thread's own."""
        sizes = [const_int(s) for s in buffer.shape]
        if any(s is None for s in sizes):
            raise CompileError(
                f"local buffer {buffer.name}[{', '.join(map(str, buffer.shape))}]: its size must "
                "be constant, since it lies in registers; tile the loops that fill it"
            )
        place = Place(buffer, self.names.fresh(buffer.name), False, buffer.dtype.bytes)
        self.places[buffer] = place
        self.out.line(f"{place.declaration()};")


def _is_plain(dtype: DType) -> bool:
    """Whether C's `+=` on memory is the operation itself: nothing is rounded again or may wrap."""
    return dtype.bits >= 32 and dtype.kind != "i"


def _indexes_registers(loop: For) -> bool:
    """Whether the loop's variable is in the index of a thread's own array."""
    for node in walk(loop.body):
        match node:
            case Load(b, indices) | Store(b, indices, _):
                buffers: Sequence[Buffer] = (b,)
            case Accumulate(_, buffers, indices, _):
                pass
            case _:
                continue
        local = [b for b in buffers if b.scope == "local"]
        if local and any(loop.var in _vars(i) for i in indices):
            return True
    return False


def _vars(expr: Expr) -> set[Var]:
    return set(free_vars(expr))
