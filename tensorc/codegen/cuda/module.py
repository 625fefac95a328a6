"""A program to CUDA C, and the plan of a call: which kernels run on what, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.emit import KernelEmitter, KernelText
from tensorc.codegen.cuda.helpers import helper_texts
from tensorc.codegen.cuda.kernel import Kernel, grid_size, is_kernel, make_kernel
from tensorc.codegen.cuda.names import Names, identifier
from tensorc.codegen.cuda.rounding import rounded_buffers
from tensorc.errors import CompileError
from tensorc.ir.expr import Expr, const_int
from tensorc.ir.printer import show
from tensorc.ir.stmt import Allocate, Block, Check, If, Program, Stmt, block
from tensorc.ir.walk import loads, walk_stmts
from tensorc_runtime.cuda.plan import (
    ARENA_ALIGNMENT,
    PARAM_ALIGNMENT,
    CudaPlan,
    KernelArg,
    Launch,
    Temp,
    TensorMap,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc.codegen.cuda.barriers import Barrier
    from tensorc.codegen.cuda.handshakes import Signal
    from tensorc.codegen.cuda.tma import MapSpec
    from tensorc.ir.expr import Buffer
    from tensorc.lower.memory import WorkspaceLayout
    from tensorc.target import Target
    from tensorc_runtime.sizes import Size


@dataclass(frozen=True, slots=True)
class CudaModule:
    """What a program becomes.

    Attributes:
        source: the CUDA C text, all kernels.
        plan: the launches of a call.
        barriers: for each kernel, by name, the barriers placed and what each is for; then what
            copies of boxes wait for, and what waits for them.
        static_shared: for each kernel, by name, the bytes of shared memory that it declares.
    """

    source: str
    plan: CudaPlan
    barriers: Mapping[str, tuple[Barrier | Signal, ...]]
    static_shared: Mapping[str, int]


def emit_cuda(
    program: Program,
    target: Target,
    layout: WorkspaceLayout,
    *,
    drop_barrier: int | None = None,
) -> CudaModule:
    """CUDA C for a lowered program, and how to call it.

    Args:
        program: lowered for `target`.
        target: of kind "cuda" or "cuda-emu".
        layout: where the program's temporaries lie (`plan_arena`).
        drop_barrier: leave out the barrier of this number, counted over all kernels in the order of
            `CudaModule.barriers`: what a test does to see that none is there in vain.

    Raises:
        CompileError: the program has a form that no kernel has; the message says what to do.
    """
    kernels = [make_kernel(u) for u in _nests(program)]
    checks = _numbers(program)
    emitter = _Emitter(program, target.resolved(), layout, checks, drop_barrier)
    for kernel in kernels:
        emitter.add(kernel)
    return emitter.module()


def _numbers(program: Program) -> dict[int, int]:
    every = [s for s in walk_stmts(program.body) if isinstance(s, Check)]
    return {id(s): i for i, s in enumerate(every)}


def _nests(program: Program) -> list[Stmt]:
    """The nests that become kernels: each with bound loops, and what stands between them."""
    found: list[Stmt] = []
    alone: list[Stmt] = []

    def close() -> None:
        if alone:
            found.append(block(list(alone)))
            alone.clear()

    for unit in _units(program.body):
        if is_kernel(unit):
            close()
            found.append(unit)
        else:
            alone.append(unit)
    close()
    return found


def _units(stmt: Stmt) -> list[Stmt]:
    """The statements of a call; a condition around several nests is put around each of them."""
    match stmt:
        case Block(stmts):
            return [unit for s in stmts for unit in _units(s)]
        case Allocate(buffer, body) if buffer.scope == "global":
            return _units(body)
        case If(cond, Block() as body, None) if is_kernel(stmt) and not loads(cond):
            return [u for s in _units(body) for u in _units(If(cond, s, loc=stmt.loc))]
        case _:
            return [stmt]


class _Emitter:
    """Collects the kernels of a program."""

    def __init__(
        self,
        program: Program,
        target: Target,
        layout: WorkspaceLayout,
        checks: dict[int, int],
        drop: int | None,
    ) -> None:
        self.program, self.target, self.layout = program, target, layout
        self.checks, self.drop = checks, drop
        self.names = Names()
        self.texts: list[KernelText] = []
        self.launches: list[Launch] = []
        self.maps: list[TensorMap] = []
        # Calls are queued: nothing may run after a failed check of an earlier one.
        self.stops = bool(checks)
        self.rounded = rounded_buffers(program)
        self.params = {p.buffer: i for i, p in enumerate(program.params)}
        self.temps = {b: i for i, b in enumerate(layout.slots)}
        self.dims = {d: i for i, d in enumerate(program.dims)}

    def add(self, kernel: Kernel) -> None:
        stages = "_".join(list(dict.fromkeys(map(identifier, kernel.stages)))[:3])
        name = self.names.fresh(f"{self.program.name}_{stages or 'check'}")
        before = sum(len(t.barriers) for t in self.texts)
        drop = None if self.drop is None else self.drop - before
        align = dict.fromkeys(self.params, PARAM_ALIGNMENT) | dict.fromkeys(
            self.temps, ARENA_ALIGNMENT
        )
        emitter = KernelEmitter(
            kernel, name, align, self.checks, self.target, self.stops, self.layout.overlaps
        )
        emitter.e.rounded = self.rounded
        text = emitter.emit(drop)
        self.texts.append(text)
        self.launches.append(self._launch(kernel, text))

    def _launch(self, kernel: Kernel, text: KernelText) -> Launch:
        args = [self._arg(b) for b in text.buffers]
        args += [KernelArg("map", self._map(m)) for m in text.maps]
        args += [KernelArg("dim", self.dims[d]) for d in text.dims]
        if text.status:
            args.append(KernelArg("status"))
        x, y, z = (1 if e is None else self._size(e, f"the grid of {text.name}")
                   for e in grid_size(kernel))  # fmt: skip
        return Launch(text.name, (x, y, z), (text.threads, 1, 1), text.dynamic, tuple(args))

    def _map(self, spec: MapSpec) -> int:
        """The number of a tensor map in the plan."""
        sizes = tuple(self._size(n, spec.source.name) for n in reversed(spec.source.shape))
        box, dtype = tuple(reversed(spec.box)), spec.source.dtype.name
        made = TensorMap(self._arg(spec.source), dtype, sizes, box, spec.swizzle)
        if made not in self.maps:
            self.maps.append(made)
        return self.maps.index(made)

    def _arg(self, buffer: Buffer) -> KernelArg:
        if buffer in self.params:
            return KernelArg("param", self.params[buffer])
        if buffer not in self.temps:
            raise CompileError(
                f"buffer {buffer.name} has scope {buffer.scope!r}, and stands outside of all "
                "kernels; set_scope it to 'global', or compute it inside of the loops that use it"
            )
        return KernelArg("temp", self.temps[buffer])

    def _size(self, expr: Expr, what: str) -> Size:
        value = const_int(expr)
        if value is not None:
            return value
        if loads(expr):
            raise CompileError(f"{what} depends on data: {expr}")
        return show(expr)

    def module(self) -> CudaModule:
        temps = tuple(
            Temp(b.name, self._size(self.layout.size(b), b.name), self._size(s.offset, b.name))
            for b, s in self.layout.slots.items()
        )
        plan = CudaPlan(
            arch=self.target.arch,
            launches=tuple(self.launches),
            temps=temps,
            arena=self._size(self.layout.shared, "the arena"),
            checks=tuple(s.message for s in walk_stmts(self.program.body) if isinstance(s, Check)),
            params=len(self.program.params),
            dims=tuple(d.name for d in self.program.dims),
            maps=tuple(self.maps),
        )
        kernels = "\n\n".join(t.text for t in self.texts)
        head = f"// {self.program.name}: CUDA C by tensorc, for {self.target.arch}."
        source = "\n\n".join([head, *helper_texts(kernels), kernels]) + "\n"
        return CudaModule(
            source,
            plan,
            {t.name: t.barriers for t in self.texts},
            {t.name: t.shared for t in self.texts},
        )
