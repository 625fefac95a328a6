"""The body of a program, with each loop nest as a function of its own.

LLVM's time then grows with the number of nests and not faster, nests may be compiled apart, and
those that do the same to other buffers are one function: the layers of a network mostly are.

A nest's function gets a pointer for each buffer that it touches, and an integer for each value
from around it, both in order of first use, so that nests alike have the same text. All pointers
are `noalias`, since a nest touches a buffer through its own pointer alone and what it touches
lies apart; there is no barrier inside, so no other thread writes meanwhile what this one reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.llvm.access import Place
from tensorc.codegen.llvm.builder import Builder, Module
from tensorc.codegen.llvm.stmt import StmtEmitter
from tensorc.codegen.llvm.types import Poly, Value
from tensorc.ir.expr import Buffer, Var
from tensorc.ir.stmt import Allocate, For, Stmt
from tensorc.lower.memory import ALIGNMENT, WorkspaceLayout

if TYPE_CHECKING:
    from collections.abc import Sequence


class Nests:
    """The functions of nests: `texts` holds each by its name, in order of first call."""

    def __init__(self, module: Module, name: str, layout: WorkspaceLayout) -> None:
        """Start with none; `name` is the program's."""
        self.module, self.name, self.layout = module, name, layout
        self.texts: dict[str, str] = {}
        self._known: dict[str, str] = {}

    def add(self, text: str) -> str:
        """The name of the function with this text, which is new or one of before.

        Args:
            text: from the opening bracket of the formal arguments on.
        """
        name = self._known.get(text)
        if name is None:
            name = self._known[text] = f"{self.name}.nest{len(self._known)}"
            self.texts[name] = text
        return name


class BodyEmitter(StmtEmitter):
    """Emits the body of a program: leaves and guards in place, nests as calls."""

    def __init__(self, b: Builder, checks: dict[int, int], nests: Nests) -> None:
        """Start with nothing bound."""
        super().__init__(b, checks, "%status", "%error_info", "%leave")
        self.nests = nests

    def emit(self, stmt: Stmt) -> None:
        """Emit one statement; a local buffer goes with the nests that use it."""
        match stmt:
            case For():
                self.call(stmt)
            case Allocate(buffer, _) if buffer not in self.places:
                self.call(stmt)
            case _:
                super().emit(stmt)

    def call(self, stmt: Stmt, threads: Sequence[str] = ()) -> None:
        """Call the function of a nest.

        Args:
            stmt: the nest.
            threads: the number of this thread and of all, where they share the outer loop.
        """
        assert not self.b.lanes, "a nest starts outside all vector loops"
        nest = _NestEmitter(self)
        if threads:
            assert isinstance(stmt, For), "threads share the iterations of a loop"
            nest.chunk(stmt)
        else:
            nest.emit(stmt)
        formals, args = nest.arguments(threads)
        text = "\n".join((f"({formals}) #0 {{", *nest.finish(), "}", ""))
        self.b.line(f"call void @{self.nests.add(text)}({args})")
        if nest.fails:
            go = self.b.new_label("go")
            status = self.b.op(f"load i32, ptr {self.status}")
            self.b.branch(self.b.op(f"icmp eq i32 {status}, 0"), go, self.failed)
            self.b.label(go)


class _NestEmitter(StmtEmitter):
    """Emits the function of one nest; what it needs from outside becomes an argument."""

    def __init__(self, body: BodyEmitter) -> None:
        super().__init__(
            Builder(body.b.module), body.checks, "%status", "%error_info", "%leave"
        )
        self.body = body
        self.pointers: dict[str, Buffer] = {}
        self.integers: dict[str, str] = {}
        self.fails = False
        self.env = _Values(self)
        self.places = _Places(self)
        self.b.label("%start")

    def finish(self) -> list[str]:
        """All lines of the function."""
        self.b.jump("%leave")
        self.b.label("%leave")
        self.b.line("ret void")
        self.b.entry.append("  br label %start")
        return self.b.body()

    def arguments(self, threads: Sequence[str]) -> tuple[str, str]:
        """The formal arguments and those of the call."""
        formals, args = [], []
        slots, overlaps = self.body.nests.layout.slots, self.body.nests.layout.overlaps
        for name, buffer in self.pointers.items():
            others = (b for b in self.pointers.values() if b is not buffer)
            own = "" if any(overlaps(buffer, b) for b in others) else "noalias "
            align = ALIGNMENT if buffer in slots else buffer.dtype.bytes
            formals.append(f"ptr {own}align {align} {name}")
            args.append(f"ptr {self.body.places[buffer].pointer}")
        for outer, name in self.integers.items():
            formals.append(f"i64 {name}")
            args.append(f"i64 {outer}")
        for name, outer in zip(("%thread", "%threads"), threads, strict=False):
            formals.append(f"i64 {name}")
            args.append(f"i64 {outer}")
        if self.fails:
            for pointer in (self.status, self.error):
                formals.append(f"ptr {pointer}")
                args.append(f"ptr {pointer}")
        return ", ".join(formals), ", ".join(args)

    def chunk(self, loop: For) -> None:
        """Thread t of T runs n // T iterations, one more if t < n % T."""
        b = self.b
        with self.statement():
            start, extent = self.poly(loop.start), self.poly(loop.extent)
        count = b.integer(extent).text
        each = b.op(f"sdiv i64 {count}, %threads")
        rest = b.op(f"srem i64 {count}, %threads")
        early = b.op(f"icmp slt i64 %thread, {rest}")
        one = b.op(f"zext i1 {early} to i64")
        b.module.declare("llvm.smin.i64", "i64", ["i64", "i64"])
        skipped = b.op(f"call i64 @llvm.smin.i64(i64 %thread, i64 {rest})")
        first = b.op(f"add i64 {b.op(f'mul i64 %thread, {each}')}, {skipped}")
        mine = b.op(f"add i64 {each}, {one}")
        with b.scope():
            self.serial(loop.var, start + b.named(first), b.named(mine), loop.body)

    def place(self, buffer: Buffer) -> Place:
        """The place of a buffer from outside, through an argument of its own."""
        outer = self.body.places[buffer]
        name = f"%p{len(self.pointers)}"
        self.pointers[name] = buffer
        strides = tuple(map(self.outer, outer.strides))
        return Place(buffer, name, strides, outer.private, outer.room)

    def outer(self, value: Value) -> Poly:
        """An integer of the body: itself where it is constant, else an argument."""
        assert isinstance(value, Poly), "what is bound around a nest is an index"
        if value.const is not None:
            return value
        text = self.body.b.integer(value).text
        name = self.integers.get(text)
        if name is None:
            name = self.integers[text] = f"%x{len(self.integers)}"
        return self.b.argument(name)

    def _fail(self, index: int, values: Sequence[object]) -> None:
        self.fails = True
        super()._fail(index, values)


class _Values(dict[Var, Value]):
    """The variables of a nest; those from around it become arguments when first asked for."""

    def __init__(self, nest: _NestEmitter) -> None:
        super().__init__()
        self.nest = nest

    def __missing__(self, var: Var) -> Value:
        value = self[var] = self.nest.outer(self.nest.body.env[var])
        return value


class _Places(dict[Buffer, Place]):
    """The buffers of a nest; those from around it become arguments when first asked for."""

    def __init__(self, nest: _NestEmitter) -> None:
        super().__init__()
        self.nest = nest

    def __missing__(self, buffer: Buffer) -> Place:
        place = self[buffer] = self.nest.place(buffer)
        return place

    def __contains__(self, buffer: object) -> bool:
        return super().__contains__(buffer) or buffer in self.nest.body.places
