"""`compile`: tensors, a schedule, a program or a training step, to a native function.

    tensors --build--> plain program --schedule--> loops --lower--> lowered --emit--> LLVM IR
    --LLVM--> object --load--> function

The kernel cache is asked as soon as the program is known: for tensors and steps that is before it
is scheduled.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, overload

from tensorc.codegen.llvm import Objects, emit_module, load_objects
from tensorc.driver import cache as disk
from tensorc.driver.artifact import Artifact, packed_texts
from tensorc.driver.features import check_target, required_features
from tensorc.driver.function import CompiledFunction, ForeignFunction
from tensorc.driver.obtain import obtain, timed
from tensorc.driver.source import Compilable, Source, manifest_of, scheduled, source_of
from tensorc.driver.stages import memory_text
from tensorc.errors import CompileError
from tensorc.ir.printer import show
from tensorc.ir.stmt import Check
from tensorc.ir.walk import walk_stmts
from tensorc.lower.memory import plan_memory
from tensorc.lower.pipeline import lower
from tensorc.target import Target, as_target
from tensorc_runtime.function import NativeCode
from tensorc_runtime.machine import why_not_here
from tensorc_runtime.manifest import TargetInfo
from tensorc_runtime.openmp import load_openmp
from tensorc_runtime.threads import available_threads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.driver.cuda import CudaCompiledFunction
    from tensorc.te.tensor import Tensor

OPT_LEVEL = 3
# Each temporary of a program nests the rest of it, and each pass recurses: Python's own limit of
# 1000 frames is reached by a network of some thirty layers.
_RECURSION = 5000


@overload
def compile(
    what: Compilable,
    *,
    target: Literal["cuda", "cuda-emu"],
    name: str | None = None,
    inputs: Sequence[Tensor] | None = None,
    updates: Sequence[tuple[Tensor, Tensor]] = (),
    threads: int | None = None,
    precision: str | None = None,
    cache: bool = True,
) -> CudaCompiledFunction: ...


@overload
def compile(
    what: Compilable,
    *,
    target: Target | str = "cpu",
    name: str | None = None,
    inputs: Sequence[Tensor] | None = None,
    updates: Sequence[tuple[Tensor, Tensor]] = (),
    threads: int | None = None,
    precision: str | None = None,
    cache: bool = True,
) -> CompiledFunction: ...


def compile(
    what: Compilable,
    *,
    target: Target | str = "cpu",
    name: str | None = None,
    inputs: Sequence[Tensor] | None = None,
    updates: Sequence[tuple[Tensor, Tensor]] = (),
    threads: int | None = None,
    precision: str | None = None,
    cache: bool = True,
) -> CompiledFunction:
    """Compile `what` to a native function.

    Args:
        what: the output tensor or tensors; or a schedule; or a program, which is compiled as it
            stands; or a training step, whose state the function keeps. Tensors and steps are
            scheduled by rule.
        target: the machine to compile for, this one by default. For another kind of machine the
            result can be inspected and exported, not called. "cuda" is an NVIDIA GPU, "cuda-emu"
            the emulator of one: these give a `CudaCompiledFunction`.
        name: of the function and its C symbols; by default that of the first output, or of the
            program.
        inputs: the placeholders in the order of the arguments; by default that of first use.
        updates: pairs (placeholder, new value): arguments that a call updates in place.
        threads: how many threads a call uses at most; by default the target's.
        precision: "tf32" lets the schedule of a GPU round the operands of float32 products for
            tensor cores, "float32" does not; by default the target's.
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
    if precision is not None:
        wanted = replace(wanted, precision=precision)
    if wanted.is_cuda:
        # What is for GPUs alone costs others nothing.
        from tensorc.driver.cuda import cuda_function  # noqa: PLC0415

        return cuda_function(what, name, inputs, updates, wanted, cache)
    native = wanted.cpu == "native" and not wanted.features and not wanted.triple
    wanted = wanted.resolved()
    if not native:
        check_target(wanted)
    with timed(timing, "build"):
        source = source_of(what, name, inputs, updates)
        text = show(source.program)
    return _native_function(source, text, wanted, cache, timing)


def _native_function(
    source: Source, text: str, target: Target, cached: bool, timing: dict[str, float]
) -> CompiledFunction:
    key = disk.kernel_key("scheduled" if source.scheduled else "auto", text, target, OPT_LEVEL)
    info = TargetInfo(
        target.triple, target.cpu, target.features, target.threads, required_features(target)
    )
    runs_here = why_not_here(info) is None
    artifact, code = obtain(
        key,
        lambda: _compile(source, text, target, timing),
        (lambda artifact: _load(artifact, source.program.name)) if runs_here else None,
        cached,
        timing,
    )
    kind = CompiledFunction if code is not None else ForeignFunction
    return kind(
        manifest_of(source, artifact.checks, info),
        code or NativeCode(0, 0, None),
        source.state or None,
        artifact=artifact,
        target=target,
        opt_level=OPT_LEVEL,
        timing=timing,
        definitions=source.definitions,
        named=source.named,
    )


def _compile(source: Source, text: str, target: Target, timing: dict[str, float]) -> Artifact:
    program, trace = scheduled(source, target, timing)
    with timed(timing, "lower"):
        lowered = lower(program, target)
        layout = plan_memory(lowered)
    with Objects(target, OPT_LEVEL, available_threads()) as objects:
        # LLVM compiles a part while the next ones are emitted, and while texts are made.
        with timed(timing, "emit"):
            llvm = emit_module(lowered, target, layout, objects.add)
        with timed(timing, "texts"):
            texts = {
                "program": text,
                "trace": trace(),
                "loops": show(program),
                "lowered": show(lowered),
                "memory": memory_text(layout),
                "llvm": llvm.whole,
            }
            if source.scheduled:
                del texts["program"]
            packed = packed_texts(texts)
        with timed(timing, "LLVM"):
            made = objects.result()
    checks = tuple(s.message for s in walk_stmts(lowered.body) if isinstance(s, Check))
    return Artifact(made, checks, dict(timing), packed)


def _load(artifact: Artifact, name: str) -> NativeCode:
    load_openmp()
    code = load_objects(artifact.objects)
    return NativeCode(code.address(f"{name}_run"), code.address(f"{name}_workspace"), code)
