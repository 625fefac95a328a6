"""`compile`: tensors, a schedule, a program or a training step, to a native function.

    tensors --build--> plain program --schedule--> loops --lower--> lowered --emit--> LLVM IR
    --LLVM--> object --load--> function

The kernel cache is asked as soon as the program is known: for tensors and steps that is before it
is scheduled.
"""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from tensorc.codegen.llvm import compile_objects, emit_module, load_objects
from tensorc.driver import cache as disk
from tensorc.driver.artifact import Artifact, make_artifact
from tensorc.driver.features import check_target, required_features
from tensorc.driver.function import CompiledFunction, ForeignFunction, is_c_name
from tensorc.driver.stages import definitions_text, memory_text
from tensorc.errors import CompileError
from tensorc.ir.expr import Expr, const_int
from tensorc.ir.printer import show
from tensorc.ir.stmt import Check, Program
from tensorc.ir.walk import walk_stmts
from tensorc.lower.memory import plan_memory
from tensorc.lower.pipeline import lower
from tensorc.schedule.auto import auto_schedule
from tensorc.target import Target, as_target
from tensorc.te.build import build
from tensorc.te.tensor import Tensor
from tensorc_runtime.function import NativeCode
from tensorc_runtime.machine import why_not_here
from tensorc_runtime.manifest import DimInfo, Manifest, ParamInfo, TargetInfo
from tensorc_runtime.openmp import load_openmp
from tensorc_runtime.threads import available_threads

if TYPE_CHECKING:
    import numpy.typing as npt

    from tensorc_runtime.sizes import Size

OPT_LEVEL = 3
# Each temporary of a program nests the rest of it, and each pass recurses: Python's own limit of
# 1000 frames is reached by a network of some thirty layers.
_RECURSION = 5000
_IN_PROCESS = 256


@runtime_checkable
class ScheduleLike(Protocol):
    """A program as it has been scheduled, and the steps that led there."""

    program: Program

    @property
    def trace(self) -> object:
        """The steps; as text they are Python."""


@runtime_checkable
class StepLike(Protocol):
    """A program with state: a training step.

    `state` holds an array for each parameter of the program that a call does not pass.
    """

    state: dict[str, npt.NDArray[Any]]

    def lower_to_program(self) -> Program:
        """The plain program."""


Compilable: TypeAlias = Tensor | Sequence[Tensor] | Program | ScheduleLike | StepLike


@dataclass(frozen=True, slots=True)
class _Source:
    """What is to be compiled: a program, whether to schedule it, and where it came from."""

    program: Program
    scheduled: bool
    trace: Callable[[], str]
    definitions: Callable[[], str] | None
    state: Mapping[str, npt.NDArray[Any]]
    named: bool


# What this process has compiled or loaded, the least recently used first.
_loaded: OrderedDict[str, tuple[Artifact, NativeCode | None]] = OrderedDict()
_lock = Lock()


def compile(
    what: Compilable,
    *,
    target: Target | str = "cpu",
    name: str | None = None,
    inputs: Sequence[Tensor] | None = None,
    updates: Sequence[tuple[Tensor, Tensor]] = (),
    threads: int | None = None,
    cache: bool = True,
) -> CompiledFunction:
    """Compile `what` to a native function.

    Args:
        what: the output tensor or tensors; or a schedule; or a program, which is compiled as it
            stands; or a training step, whose state the function keeps. Tensors and steps are
            scheduled by rule.
        target: the machine to compile for, this one by default. For another kind of machine the
            result can be inspected and exported, not called.
        name: of the function and its C symbols; by default that of the first output, or of the
            program.
        inputs: the placeholders in the order of the arguments; by default that of first use.
        updates: pairs (placeholder, new value): arguments that a call updates in place.
        threads: how many threads a call uses at most; by default the target's.
        cache: whether to look for, and keep, the result in the kernel cache.

    Raises:
        CompileError: an argument does not fit `what`, or the target cannot do what was asked.
        IRError: the tensors make no program (names that clash, an input that is missing...).
    """
    if sys.getrecursionlimit() < _RECURSION:
        sys.setrecursionlimit(_RECURSION)
    timing: dict[str, float] = {}
    wanted = as_target(target)
    if threads is not None:
        if isinstance(threads, bool) or not isinstance(threads, int):
            raise CompileError(f"compile: threads must be an integer, got {threads!r}")
        wanted = replace(wanted, threads=threads)
    native = wanted.cpu == "native" and not wanted.features and not wanted.triple
    wanted = wanted.resolved()
    if not native or wanted.is_cuda:
        check_target(wanted)
    with _timed(timing, "build"):
        source = _source(what, name, inputs, updates)
        program = source.program
        text = show(program)
    key = disk.kernel_key("scheduled" if source.scheduled else "auto", text, wanted, OPT_LEVEL)
    info = TargetInfo(
        wanted.triple, wanted.cpu, wanted.features, wanted.threads, required_features(wanted)
    )
    runs_here = why_not_here(info) is None
    artifact, code = _obtain(key, source, text, wanted, cache, runs_here, timing)
    manifest = Manifest(
        program.name,
        _params(program, source.state),
        tuple(DimInfo(d.name, d.lower) for d in program.dims),
        artifact.checks,
        info,
    )
    kind = CompiledFunction if code is not None else ForeignFunction
    return kind(
        manifest,
        code or NativeCode(0, 0, None),
        source.state or None,
        artifact=artifact,
        target=wanted,
        opt_level=OPT_LEVEL,
        timing=timing,
        definitions=source.definitions,
        named=source.named,
    )


@contextmanager
def _timed(timing: dict[str, float], phase: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    timing[phase] = time.perf_counter() - start


# --- what was asked ----------------------------------------------------------------------------


def _source(
    what: Compilable,
    name: str | None,
    inputs: Sequence[Tensor] | None,
    updates: Sequence[tuple[Tensor, Tensor]],
) -> _Source:
    if name is not None and not (isinstance(name, str) and is_c_name(name)):
        raise CompileError(f"compile: name {name!r} cannot be the name of a C function")
    tensors = _tensors(what)
    if tensors is not None:
        return _tensor_source(tensors, name, inputs, updates)
    if inputs is not None or updates:
        raise CompileError(
            f"compile: inputs= and updates= go with tensors; {_kind(what)} states its own"
        )
    if isinstance(what, Program):
        return _Source(_named(what, name), True, str, None, {}, _is_named(what, name))
    if isinstance(what, ScheduleLike):
        program, trace = what.program, what.trace
        return _Source(
            _named(program, name), True, lambda: str(trace), None, {}, _is_named(program, name)
        )
    if isinstance(what, StepLike):
        program = _named(what.lower_to_program(), name)
        params = [p.buffer.name for p in program.params]
        unknown = [key for key in what.state if key not in params]
        if unknown:
            raise CompileError(
                f"compile: {program.name}: state {unknown[0]!r} is no parameter of its program; "
                f"there are {', '.join(params)}"
            )
        # A step made of tensors, as those of nn are, can show their definitions.
        defined = [*getattr(what, "outputs", ()), *(v for _, v in getattr(what, "updates", ()))]
        show_them = (lambda: definitions_text(defined)) if defined else None
        return _Source(program, False, str, show_them, dict(what.state), _is_named(program, name))
    raise CompileError(
        f"compile: expected tensors, a schedule, a program or a training step, got {_kind(what)}"
    )


def _tensors(what: object) -> list[Tensor] | None:
    if isinstance(what, Tensor):
        return [what]
    if not isinstance(what, list | tuple):
        return None
    wrong = next((x for x in what if not isinstance(x, Tensor)), None)
    if wrong is not None:
        raise CompileError(f"compile: the outputs must be tensors, got {_kind(wrong)}")
    return list(what)


def _tensor_source(
    tensors: list[Tensor],
    name: str | None,
    inputs: Sequence[Tensor] | None,
    updates: Sequence[tuple[Tensor, Tensor]],
) -> _Source:
    chosen = name
    if chosen is None:
        first = next((t.name for t in (*tensors, *(old for old, _ in updates))), "main")
        chosen = first if is_c_name(first) else "main"
    program = build(tensors, inputs, name=chosen, updates=updates)
    everything = [*tensors, *(value for _, value in updates)]
    return _Source(program, False, str, lambda: definitions_text(everything), {}, name is not None)


def _named(program: Program, name: str | None) -> Program:
    if name is not None and name != program.name:
        return replace(program, name=name)
    if name is None and program.name != "main" and not is_c_name(program.name):
        raise CompileError(
            f"compile: program {program.name!r} has a name that no C function can have; give name="
        )
    return program


def _is_named(program: Program, name: str | None) -> bool:
    return name is not None or program.name != "main"


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


# --- the result --------------------------------------------------------------------------------


def _obtain(
    key: str,
    source: _Source,
    text: str,
    target: Target,
    cached: bool,
    runs_here: bool,
    timing: dict[str, float],
) -> tuple[Artifact, NativeCode | None]:
    """The artifact, from the caches where it is there, and its code where this machine runs it."""
    if cached:
        with _lock:
            if key in _loaded:
                _loaded.move_to_end(key)
                return _loaded[key]
    folder = disk.cache_folder() if cached else None
    artifact = None
    if folder is not None:
        with _timed(timing, "cache"):
            artifact = disk.load(folder, key)
    fresh = artifact is None
    if artifact is None:
        artifact = _compile(source, text, target, runs_here, timing)
    code = None
    if runs_here:
        with _timed(timing, "load"):
            code = _load(artifact, source.program.name)
    if fresh and folder is not None:
        disk.store(folder, key, artifact)
    if cached:
        with _lock:
            _loaded[key] = (artifact, code)
            if len(_loaded) > _IN_PROCESS:
                _loaded.popitem(last=False)
    return artifact, code


def _compile(
    source: _Source, text: str, target: Target, runs_here: bool, timing: dict[str, float]
) -> Artifact:
    program, trace = source.program, source.trace
    if not source.scheduled:
        with _timed(timing, "schedule"):
            schedule = auto_schedule(program, target)
            program = schedule.program
            trace = lambda: str(schedule.trace)  # noqa: E731
    with _timed(timing, "lower"):
        lowered = lower(program, target)
        layout = plan_memory(lowered)
    with _timed(timing, "emit"):
        llvm = emit_module(lowered, target, layout)
    with _timed(timing, "LLVM"):
        # What is for another machine will be exported, as one object.
        parts = llvm.parts() if runs_here else (llvm.whole(),)
        objects = compile_objects(parts, target, OPT_LEVEL, available_threads())
    with _timed(timing, "texts"):
        texts = {
            "program": text,
            "trace": trace(),
            "loops": show(program),
            "lowered": show(lowered),
            "memory": memory_text(layout),
            "llvm": llvm.whole(),
        }
        if source.scheduled:
            del texts["program"]
        checks = tuple(s.message for s in walk_stmts(lowered.body) if isinstance(s, Check))
        return make_artifact(objects, checks, dict(timing), texts)


def _load(artifact: Artifact, name: str) -> NativeCode:
    load_openmp()
    code = load_objects(artifact.objects)
    return NativeCode(code.address(f"{name}_run"), code.address(f"{name}_workspace"), code)


def _params(program: Program, state: Mapping[str, object]) -> tuple[ParamInfo, ...]:
    return tuple(
        ParamInfo(
            p.buffer.name,
            p.buffer.dtype.name,
            tuple(map(_size, p.buffer.shape)),
            p.role.value,
            p.buffer.name in state,
        )
        for p in program.params
    )


def _size(size: Expr) -> Size:
    value = const_int(size)
    return show(size) if value is None else value
