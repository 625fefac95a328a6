"""The body of a program as threads run it together.

Every thread walks the statements of the program. The iterations of a nest whose outer loop is
PARALLEL are shared among the threads (see `claims`); a serial loop, an `If`, a block or an
allocation with such a nest inside is walked by all; everything else is run by thread 0. So is
a parallel nest that holds a Check, since the first failure in loop order must end the call.
Between two statements stands a barrier where one touches memory that the other writes, unless
thread 0 ran both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tensorc.ir.stmt import Accumulate, Allocate, Block, Check, For, ForKind, If, Node, Stmt, Store
from tensorc.ir.walk import loads, walk_stmts
from tensorc.lower.memory import WorkspaceLayout, touched, units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.codegen.llvm.nest import BodyEmitter
    from tensorc.ir.expr import Buffer, Expr


def has_parallel(stmt: Stmt) -> bool:
    """Whether some loop of `stmt` is run by several threads."""
    return any(
        isinstance(s, For) and s.kind is ForKind.PARALLEL and not _has_check(s)
        for s in walk_stmts(stmt)
    )


def leading_checks(body: Stmt) -> list[Stmt]:
    """The units at the start of a program that do nothing but check its arguments."""
    found: list[Stmt] = []
    for unit in units(body):
        if touched(unit)[1] or not _has_check(unit):
            break
        found.append(unit)
    return found


def _has_check(stmt: Stmt) -> bool:
    return any(isinstance(s, Check) for s in walk_stmts(stmt))


@dataclass
class _Pending:
    """What was touched since the last barrier: by thread 0 alone, and by all threads."""

    reads: dict[Buffer, bool] = field(default_factory=dict)
    writes: dict[Buffer, bool] = field(default_factory=dict)

    def note(self, reads: Sequence[Buffer], writes: Sequence[Buffer], shared: bool) -> None:
        for table, buffers in ((self.reads, reads), (self.writes, writes)):
            for buffer in buffers:
                table[buffer] = table.get(buffer, False) or shared

    def clear(self) -> None:
        self.reads.clear()
        self.writes.clear()


class RegionEmitter:
    """Walks a program with all threads (see the module's first lines)."""

    def __init__(
        self,
        emitter: BodyEmitter,
        layout: WorkspaceLayout,
        done: Sequence[Stmt],
    ) -> None:
        """Walk with `emitter`; `done` holds statements that ran before the region."""
        self.e = emitter
        self.b = emitter.b
        self.layout = layout
        self.executions = emitter.b.alloca("i64")  # Of parallel loops, by this thread.
        emitter.b.line(f"store i64 0, ptr {self.executions}")
        self.done = done
        self.pending = _Pending()

    def walk(self, stmt: Stmt) -> None:
        """Emit `stmt` for all threads."""
        if any(stmt is d for d in self.done):
            return
        match stmt:
            case Block(stmts):
                for s in stmts:
                    self.walk(s)
            case Allocate(buffer, body) if self._is_shared(buffer):
                self.walk(body)
            case For(_, _, _, _, ForKind.PARALLEL) if not _has_check(stmt):
                self._shared(stmt)
            case For() if has_parallel(stmt):
                self._serial(stmt)
            case If(cond, body, orelse) if has_parallel(stmt):
                self._if(cond, body, orelse)
            case _:
                self._alone(stmt)

    # --- the kinds of statement ------------------------------------------------------------

    def _shared(self, loop: For) -> None:
        self._before(loop, shared=True)
        b = self.b
        number = b.op(f"add i64 {b.op(f'load i64, ptr {self.executions}')}, 1")
        b.line(f"store i64 {number}, ptr {self.executions}")
        self.e.call(loop, ("ptr %claims", f"i64 {number}", "i64 %thread", "i64 %threads"))

    def _serial(self, loop: For) -> None:
        b, e = self.b, self.e
        self._barrier_if_pending()
        start, extent = e.limits(loop)
        with e.counter(start, extent) as value:
            if value is not None:
                e.env[loop.var] = value
                self.walk(loop.body)
                self._barrier_if_pending()
        assert not b.lanes, "a parallel loop inside a vector loop is not walked by threads"

    def _if(self, cond: Expr, body: Stmt, orelse: Stmt | None) -> None:
        b, e = self.b, self.e
        self._before(cond, shared=True)
        with e.statement():
            test = e.val(cond)
        self._barrier_if_pending()  # Both sides start from a clean slate, and end with one.
        then, other, after = b.new_label("then"), b.new_label("else"), b.new_label("end")
        b.branch(test.text, then, other)
        for label, side in ((then, body), (other, orelse)):
            b.label(label)
            if side is not None:
                with e.region(None):
                    self.walk(side)
                    self._barrier_if_pending()
            b.jump(after)
        b.label(after)

    def _alone(self, stmt: Stmt) -> None:
        b, e = self.b, self.e
        self._before(stmt, shared=False)
        checked = _has_check(stmt)
        if checked:
            self._barrier()
        run, after = b.new_label("first"), b.new_label("joined")
        b.branch(b.op("icmp eq i64 %thread, 0"), run, after)
        b.label(run)
        outer, e.failed = e.failed, after
        with e.region(None):
            e.emit(stmt)
        e.failed = outer
        b.jump(after)
        b.label(after)
        if checked:
            self._barrier()
            go = b.new_label("go")
            status = b.op(f"load i32, ptr {e.status}")
            b.branch(b.op(f"icmp eq i32 {status}, 0"), go, e.failed)
            b.label(go)

    def _is_shared(self, buffer: Buffer) -> bool:
        return buffer.scope != "local" or buffer in self.layout.slots

    # --- barriers --------------------------------------------------------------------------

    def _before(self, node: Node, *, shared: bool) -> None:
        """A barrier where `node` touches what is pending, and `node` becomes pending."""
        if isinstance(node, For | If | Store | Accumulate | Check | Allocate | Block):
            reads, writes = touched(node)
        else:
            reads, writes = list(dict.fromkeys(x.buffer for x in loads(node))), []
        if self._conflict(reads, writes, shared):
            self._barrier()
        self.pending.note(
            [r for r in reads if self._is_shared(r)],
            [w for w in writes if self._is_shared(w)],
            shared,
        )

    def _conflict(self, reads: list[Buffer], writes: list[Buffer], shared: bool) -> bool:
        pairs = (
            (self.pending.writes, reads + writes),
            (self.pending.reads, writes),
        )
        return any(
            (shared or before_shared) and self.layout.overlaps(a, c)
            for table, touching in pairs
            for a, before_shared in table.items()
            for c in touching
        )

    def _barrier_if_pending(self) -> None:
        if self.pending.writes or self.pending.reads:
            self._barrier()

    def _barrier(self) -> None:
        b = self.b
        b.module.declare("GOMP_barrier", "void", [], "extern_weak")
        wait, after = b.new_label("wait"), b.new_label("on")
        b.branch(b.op("icmp sgt i64 %threads, 1"), wait, after)
        b.label(wait)
        b.line("call void @GOMP_barrier()")
        b.memory.clear()  # Other threads have written.
        b.jump(after)
        b.label(after)
        self.pending.clear()
