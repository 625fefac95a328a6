"""A program to the text of an LLVM module.

    NAME(args, workspace, workspace_bytes, num_threads, error_info) -> i32    checks, then runs
    NAME_workspace(dims, num_threads) -> i64                                  bytes needed
    NAME_run(data, dims, workspace, num_threads, error_info) -> i32           runs unchecked

`NAME_run` calls the body once; with several threads and an OpenMP runtime at hand, once a thread,
in one parallel region (`GOMP_parallel`, weak: where no runtime is linked, the call is serial).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.llvm.access import Place
from tensorc.codegen.llvm.builder import Builder, Module
from tensorc.codegen.llvm.claims import LINE
from tensorc.codegen.llvm.entry import (
    emit_entry,
    emit_workspace_size,
    function,
)
from tensorc.codegen.llvm.helpers import HELPERS
from tensorc.codegen.llvm.jit import target_machine
from tensorc.codegen.llvm.nest import ATTRIBUTES, BodyEmitter, Nest, Nests
from tensorc.codegen.llvm.parts import Parts
from tensorc.codegen.llvm.region import RegionEmitter, has_parallel, leading_checks
from tensorc.codegen.llvm.types import Poly, number
from tensorc.ir.stmt import Check, Program, Stmt, block
from tensorc.ir.walk import walk_stmts
from tensorc.lower.features import features

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tensorc.codegen.llvm.parts import Wrap
    from tensorc.ir.expr import Buffer
    from tensorc.lower.memory import WorkspaceLayout
    from tensorc.target import Target


@dataclass(frozen=True, slots=True)
class ModuleText:
    """The text of a program, as one module and cut into parts that are compiled apart.

    Attributes:
        whole: one module, where nests are internal; its last function checks what C passes.
        nests: each function that the body calls for a loop nest.
        parts: modules whose objects make the whole when linked, but for the entry for C.
    """

    whole: str
    nests: tuple[Nest, ...]
    parts: tuple[str, ...]


def emit_module(
    program: Program,
    target: Target,
    layout: WorkspaceLayout,
    ready: Callable[[str], object] = len,
) -> ModuleText:
    """LLVM IR for a lowered program, the same text for the same program, target and layout.

    `ready` is told each part as soon as its text is known, while others are still to be emitted.

    Raises:
        CompileError: a symbolic size that no argument determines.
    """
    module = Module(features(target))
    checks = {
        id(s): i for i, s in enumerate(x for x in walk_stmts(program.body) if isinstance(x, Check))
    }
    wrap = _wrapper(module, program.name, target)
    parts = Parts(wrap, ready)
    emit = _Functions(module, program, Nests(module, program.name, layout, parts.add), checks)
    text = [emit_workspace_size(module, program, layout)]
    if has_parallel(program.body):
        first = leading_checks(program.body)
        if first:
            text.append(emit.body("checks", block(first), (), threaded=False))
        text.append(emit.body("body", program.body, first, threaded=True))
        text.append(emit.thread())
        text.append(emit.run_parallel(bool(first)))
    else:
        text.append(emit.body("body", program.body, (), threaded=False))
        text.append(emit.run_serial())
    main, nests = "\n".join(text), emit.nests.found
    cut = parts.finish(main, nests)
    entry = "\n".join((HELPERS, emit_entry(module, program)))
    whole = wrap("internal", main, entry, *(n.definition("internal") for n in nests))
    return ModuleText(whole, tuple(nests), cut)


def _wrapper(module: Module, name: str, target: Target) -> Wrap:
    """What makes a module of functions, with the helpers and all else that nests need so far."""
    machine = target_machine(target)
    head = (
        f'source_filename = "{name}"',
        f'target datalayout = "{machine.target_data}"',
        f'target triple = "{machine.triple}"',
        "",
    )

    def wrap(linkage: str | None, *functions: str) -> str:
        helpers = (
            h.declaration() if linkage is None else h.definition(linkage) for h in module.helpers
        )
        return "\n".join((*head, *helpers, *functions, _tail(module)))

    return wrap


def _tail(module: Module) -> str:
    """What stands below all functions so far."""
    declared = sorted(module.declarations.values())
    return "\n".join((*declared, "", ATTRIBUTES, "", *module.metadata, ""))


class _Functions:
    """The functions of one program that share its arguments."""

    def __init__(
        self, module: Module, program: Program, nests: Nests, checks: dict[int, int]
    ) -> None:
        self.module, self.program, self.layout = module, program, nests.layout
        self.checks = checks
        self.name = program.name
        self.nests = nests

    # --- the body --------------------------------------------------------------------------

    def _formals(self) -> list[str]:
        """The arguments: data, sizes, and what every call has."""
        data = [f"ptr %arg.{p.buffer.name}" for p in self.program.params]
        dims = [f"i64 %dim.{d.name}" for d in self.program.dims]
        rest = ["ptr align 64 %workspace", "i64 %thread", "i64 %threads", "ptr %claims"]
        return [*data, *dims, *rest, "ptr %status", "ptr %error_info"]

    def body(self, name: str, stmt: Stmt, done: Sequence[Stmt], *, threaded: bool) -> str:
        b = Builder(self.module)
        b.label("%start")
        e = BodyEmitter(b, self.checks, self.nests)
        for dim in self.program.dims:
            e.env[dim] = b.named(f"%dim.{dim.name}")
        for param in self.program.params:
            buffer = param.buffer
            e.places[buffer] = self._place(e, buffer, f"%arg.{buffer.name}", False)
        self._place_workspace(e)
        if threaded:
            RegionEmitter(e, self.layout, done).walk(stmt)
        else:
            e.emit(stmt)
        b.jump("%leave")
        b.label("%leave")
        b.line("ret void")
        b.entry.append("  br label %start")
        formals = ", ".join(self._formals())
        head = f"define internal void @{self.name}.{name}({formals}) noinline nounwind"
        return function(head, b.body())

    def _place(self, e: BodyEmitter, buffer: Buffer, pointer: str, private: bool) -> Place:
        strides: list[Poly] = []
        run = number(1)
        for size in reversed(buffer.shape):
            strides.insert(0, run)
            run = run * e.poly(size)
        return Place(buffer, pointer, tuple(strides), private)

    def _place_workspace(self, e: BodyEmitter) -> None:
        b = e.b
        for buffer, slot in self.layout.slots.items():
            offset = e.poly(slot.offset)
            if slot.per_thread:
                part = e.poly(self.layout.slice) * b.named("%thread")
                offset = offset + e.poly(self.layout.shared) + part
            pointer = b.op(f"getelementptr i8, ptr %workspace, i64 {b.integer(offset).text}")
            e.places[buffer] = self._place(e, buffer, pointer, slot.copies > 1)

    # --- callers of the body ---------------------------------------------------------------

    def _call(
        self, b: Builder, name: str, thread: str, threads: str, status: str, claims: str = "null"
    ) -> None:
        args = []
        for i in range(len(self.program.params)):
            at = b.op(f"getelementptr ptr, ptr %data, i64 {i}")
            args.append(f"ptr {b.op(f'load ptr, ptr {at}')}")
        for i in range(len(self.program.dims)):
            at = b.op(f"getelementptr i64, ptr %dims, i64 {i}")
            args.append(f"i64 {b.op(f'load i64, ptr {at}')}")
        args += ["ptr %workspace", f"i64 {thread}", f"i64 {threads}", f"ptr {claims}"]
        args += [f"ptr {status}", "ptr %error_info"]
        b.line(f"call void @{self.name}.{name}({', '.join(args)})")

    def _run_head(self) -> str:
        return (
            f"define i32 @{self.name}_run(ptr %data, ptr %dims, ptr %workspace, "
            "i32 %num_threads, ptr %error_info)"
        )

    def run_serial(self) -> str:
        b = Builder(self.module)
        status = b.alloca("i32")
        b.line(f"store i32 0, ptr {status}")
        self._call(b, "body", "0", "1", status)
        b.line(f"ret i32 {b.op(f'load i32, ptr {status}')}")
        return function(self._run_head(), b.body())

    def run_parallel(self, checks: bool) -> str:
        b = Builder(self.module)
        status, context = b.alloca("i32"), b.alloca("ptr", 6)
        b.line(f"store i32 0, ptr {status}")
        together, alone, end = b.new_label("together"), b.new_label("alone"), b.new_label("end")
        if checks:
            self._call(b, "checks", "0", "1", status)
            go = b.new_label("go")
            failed = b.op(f"icmp ne i32 {b.op(f'load i32, ptr {status}')}, 0")
            b.branch(failed, end, go)
            b.label(go)
        b.module.declare("GOMP_parallel", "void", ["ptr", "ptr", "i32", "i32"], "extern_weak")
        several = b.op("icmp sgt i32 %num_threads, 1")
        runtime = b.op("icmp ne ptr @GOMP_parallel, null")
        b.branch(b.op(f"and i1 {several}, {runtime}"), together, alone)
        b.label(together)
        threads = b.op("zext i32 %num_threads to i64")
        claims = self._claims(b, threads)
        given = ("%data", "%dims", "%workspace", status, "%error_info", claims)
        for i, text in enumerate(given):
            b.line(f"store ptr {text}, ptr {b.op(f'getelementptr ptr, ptr {context}, i64 {i}')}")
        b.line(
            f"call void @GOMP_parallel(ptr @{self.name}.thread, ptr {context}, "
            "i32 %num_threads, i32 0)"
        )
        b.jump(end)
        b.label(alone)
        self._call(b, "body", "0", "1", status, self._claims(b, "1"))
        b.jump(end)
        b.label(end)
        b.line(f"ret i32 {b.op(f'load i32, ptr {status}')}")
        return function(self._run_head(), b.body())

    def _claims(self, b: Builder, threads: str) -> str:
        """A counter for each thread, on the stack, all zero."""
        size = b.op(f"mul i64 {threads}, {LINE}")
        claims = b.op(f"alloca i8, i64 {size}, align {LINE}")
        name = b.module.declare("llvm.memset.p0.i64", "void", ["ptr", "i8", "i64", "i1"])
        b.line(f"call void @{name}(ptr align {LINE} {claims}, i8 0, i64 {size}, i1 false)")
        return claims

    def thread(self) -> str:
        """What each thread of the region runs."""
        b = Builder(self.module)
        names = ("data", "dims", "workspace", "status", "error_info", "claims")
        for i, name in enumerate(names):
            at = b.op(f"getelementptr ptr, ptr %context, i64 {i}")
            b.line(f"%{name} = load ptr, ptr {at}")
        numbers = []
        for name in ("omp_get_thread_num", "omp_get_num_threads"):
            b.module.declare(name, "i32", [], "extern_weak")
            numbers.append(b.op(f"sext i32 {b.op(f'call i32 @{name}()')} to i64"))
        self._call(b, "body", numbers[0], numbers[1], "%status", "%claims")
        b.line("ret void")
        return function(f"define internal void @{self.name}.thread(ptr %context)", b.body())
