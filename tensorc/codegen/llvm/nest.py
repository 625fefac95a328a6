"""The body of a program, with each loop nest as a function of its own.

LLVM's time then grows with the number of nests and not faster, nests may be compiled apart, and
those that do the same to other buffers are one function: the layers of a network mostly are.

A nest's function gets a pointer for each buffer that it touches, and an integer for each value
from around it, both in order of first use, so that nests alike have the same text. All pointers
are `noalias`, since a nest touches a buffer through its own pointer alone and what it touches
lies apart; there is no barrier inside, so no other thread writes meanwhile what this one reads.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.llvm.access import Place
from tensorc.codegen.llvm.builder import Builder, Module
from tensorc.codegen.llvm.claims import CLAIM, SHARING
from tensorc.codegen.llvm.jit import PLAIN, SCHEDULED
from tensorc.codegen.llvm.prefetch import tile_ahead
from tensorc.codegen.llvm.stmt import StmtEmitter
from tensorc.codegen.llvm.types import Poly, Val, Value
from tensorc.ir.alike import pattern
from tensorc.ir.expr import Buffer, Var
from tensorc.ir.stmt import Allocate, For, ForKind, Stmt
from tensorc.ir.walk import walk_stmts
from tensorc.lower.memory import ALIGNMENT, WorkspaceLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


ATTRIBUTES = f"""\
attributes {PLAIN} = {{ noinline nounwind }}
attributes {SCHEDULED} = {{ noinline nounwind "scheduled" }}"""


@dataclass(frozen=True, slots=True)
class Nest:
    """The function of a nest: its name, the types of its arguments, and the text after the name.

    `scheduled` says that its loops have vectors.
    """

    name: str
    types: tuple[str, ...]
    text: str
    scheduled: bool

    def definition(self, linkage: str) -> str:
        """The function."""
        return f"define {linkage} void @{self.name}{self.text}"

    def declaration(self) -> str:
        """What a module says that calls it, where it is of another."""
        return f"declare hidden void @{self.name}({', '.join(self.types)}) {PLAIN}"


@dataclass(frozen=True, slots=True)
class _Alike:
    """How to call the function of nests alike: its pointers, as places among their buffers."""

    name: str
    pointers: tuple[int, ...]


class Nests:
    """The functions of nests, in order of first call."""

    def __init__(
        self,
        module: Module,
        name: str,
        layout: WorkspaceLayout,
        ready: Callable[[Nest], object],
    ) -> None:
        """Start with none; `name` is the program's, and `ready` is told each new function."""
        self.module, self.name, self.layout, self._ready = module, name, layout, ready
        self.found: list[Nest] = []
        self.alike: dict[object, _Alike] = {}
        self._known: dict[str, Nest] = {}

    def add(self, formals: Sequence[str], body: Sequence[str], scheduled: bool) -> str:
        """The name of the function of these arguments and lines: a new one, or one of before."""
        kind = SCHEDULED if scheduled else PLAIN
        text = "\n".join((f"({', '.join(formals)}) {kind} {{", *body, "}", ""))
        nest = self._known.get(text)
        if nest is None:
            types = tuple(f.split(" ", 1)[0] for f in formals)
            name = f"{self.name}.nest{len(self.found)}"
            nest = self._known[text] = Nest(name, types, text, scheduled)
            self.found.append(nest)
            self._ready(nest)
        return nest.name


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

    def call(self, stmt: Stmt, sharing: Sequence[str] = ()) -> None:
        """Call the function of a nest.

        Args:
            stmt: the nest.
            sharing: what `SHARING` names, where threads share the outer loop.
        """
        assert not self.b.lanes, "a nest starts outside all vector loops"
        self.b.memory.clear()  # The nest writes.
        key, used = self._key(stmt, bool(sharing))
        same = self.nests.alike.get(key) if key is not None else None
        if same is not None:
            given = [f"ptr {self.places[used[i]].pointer}" for i in same.pointers]
            given += sharing
            self.b.line(f"call void @{same.name}({', '.join(given)})")
            return
        nest = _NestEmitter(self)
        nest.scheduled = _has_vectors(stmt)
        if sharing:
            assert isinstance(stmt, For), "threads share the iterations of a loop"
            nest.shared(stmt)
        else:
            nest.emit(stmt)
        formals, args = nest.arguments(sharing)
        name = self.nests.add(formals, nest.finish(), nest.scheduled)
        if key is not None and not nest.integers and not nest.fails:
            order = {x: i for i, x in enumerate(used)}
            pointers = tuple(order[x] for x in nest.pointers.values())
            self.nests.alike[key] = _Alike(name, pointers)
        self.b.line(f"call void @{name}({', '.join(args)})")
        if nest.fails:
            go = self.b.new_label("go")
            status = self.b.op(f"load i32, ptr {self.status}")
            self.b.branch(self.b.op(f"icmp eq i32 {status}, 0"), go, self.failed)
            self.b.label(go)

    def _key(
        self, stmt: Stmt, shared: bool
    ) -> tuple[object, tuple[Buffer, ...]] | tuple[None, tuple[()]]:
        """What nests alike have in common, and the buffers, those from outside and others.

        None where values from around the nest matter, or buffers that share memory.
        """
        shape, used = pattern(stmt)
        buffers = tuple(x for x in used if isinstance(x, Buffer))
        if any(isinstance(x, Var) and x in self.env for x in used):
            return None, ()
        layout = self.nests.layout
        if any(layout.overlaps(a, b) for a, b in itertools.combinations(buffers, 2)):
            return None, ()
        places = (self.places.get(b) for b in buffers)
        outside = tuple(
            None if p is None else (p.private, p.buffer in layout.slots) for p in places
        )
        return (shared, shape, outside), buffers


def _has_vectors(stmt: Stmt) -> bool:
    return any(isinstance(s, For) and s.kind is ForKind.VECTORIZED for s in walk_stmts(stmt))


class _NestEmitter(StmtEmitter):
    """Emits the function of one nest; what it needs from outside becomes an argument."""

    def __init__(self, body: BodyEmitter) -> None:
        super().__init__(Builder(body.b.module), body.checks, "%status", "%error_info", "%leave")
        self.body = body
        self.pointers: dict[str, Buffer] = {}
        self.integers: dict[str, str] = {}
        self.fails = False
        self.env = _Values(self)
        self.ranges = body.ranges
        self.places = _Places(self)
        self.b.label("%start")

    def finish(self) -> list[str]:
        """All lines of the function."""
        self.b.jump("%leave")
        self.b.label("%leave")
        fence = self.b.module.features.fence
        if self.bypasses and fence:
            self.b.line(f"call void @{self.b.module.declare(fence, 'void', [])}()")
        self.b.line("ret void")
        self.b.entry.append("  br label %start")
        return self.b.body()

    def arguments(self, sharing: Sequence[str]) -> tuple[list[str], list[str]]:
        """The formal arguments and those of the call."""
        formals: list[str] = []
        args: list[str] = []
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
        if sharing:
            formals += SHARING
            args += sharing
        if self.fails:
            for pointer in (self.status, self.error):
                formals.append(f"ptr {pointer}")
                args.append(f"ptr {pointer}")
        return formals, args

    def shared(self, loop: For) -> None:
        """The iterations that this thread claims, part by part."""
        b = self.b
        b.module.declare("llvm.smin.i64", "i64", ["i64", "i64"])
        b.module.define(CLAIM)
        start, extent = self.limits(loop)
        count = b.integer(extent).text
        claimed = b.alloca("i64")
        claim, run, done = b.new_label("claim"), b.new_label("run"), b.new_label("claimed")
        b.jump(claim)
        b.label(claim)
        with b.scope():
            asked = ", ".join((*SHARING, f"i64 {count}", f"ptr {claimed}"))
            mine = b.op(f"call i64 @tensorc.claim({asked})")
            b.branch(b.op(f"icmp sgt i64 {mine}, 0"), run, done)
            b.label(run)
            begin = b.op(f"load i64, ptr {claimed}")
            first, tile = start + b.named(begin), tile_ahead(loop)
            self.serial(loop.var, first, b.named(mine), loop.body, tile=tile)
        b.jump(claim)
        b.label(done)

    def place(self, buffer: Buffer) -> Place:
        """The place of a buffer from outside, through an argument of its own."""
        outer = self.body.places[buffer]
        name = f"%p{len(self.pointers)}"
        self.pointers[name] = buffer
        strides = tuple(map(self.outer, outer.strides))
        return Place(buffer, name, strides, outer.private, room=outer.room)

    def is_apart(self, buffer: Buffer, written: Iterable[Buffer]) -> bool:
        """Whether the layout puts a buffer apart from others."""
        return not any(self.body.nests.layout.overlaps(buffer, x) for x in written)

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

    def _fail(self, index: int, values: Sequence[Val]) -> None:
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
