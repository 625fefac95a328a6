"""A program to CUDA C, to PTX and machine code, and to a function.

tensors --build--> plain program --schedule--> loops --lower--> lowered --emit--> CUDA C, plan
--NVRTC--> PTX, CUBIN --load, with the first call--> function
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.cuda import emit_cuda
from tensorc.codegen.cuda.inspect import resources_text
from tensorc.codegen.cuda.nvrtc import compile_cuda, nvrtc_version
from tensorc.codegen.cuda.resources import warn_of
from tensorc.driver import cache as disk
from tensorc.driver.artifact import Artifact, packed_texts
from tensorc.driver.cuda.function import CudaCompiledFunction
from tensorc.driver.cuda.stages import arena_text, barriers_text
from tensorc.driver.cuda.systems import for_device
from tensorc.driver.obtain import obtain, timed
from tensorc.driver.source import manifest_of, scheduled, source_of
from tensorc.ir.printer import show
from tensorc.lower.memory import plan_arena
from tensorc.lower.pipeline import lower
from tensorc_runtime.manifest import TargetInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.driver.source import Compilable, Source
    from tensorc.target import Target
    from tensorc.te.tensor import Tensor

TRIPLE = "nvptx64-nvidia-cuda"


def cuda_function(
    what: Compilable,
    name: str | None,
    inputs: Sequence[Tensor] | None,
    updates: Sequence[tuple[Tensor, Tensor]],
    target: Target,
    cached: bool,
) -> CudaCompiledFunction:
    """What `compile` gives for a target of kind "cuda" or "cuda-emu".

    Raises:
        CompileError: see `compile`; or the packages that CUDA needs are not there.
    """
    timing: dict[str, float] = {}
    wanted = for_device(target)
    with timed(timing, "build"):
        source = source_of(what, name, inputs, updates)
        text = show(source.program)
    tools = ".".join(map(str, nvrtc_version()))
    kind = f"{'scheduled' if source.scheduled else 'auto'}, NVRTC {tools}"
    key = disk.kernel_key(kind, text, wanted, 0)
    artifact, _ = obtain(key, lambda: _compile(source, text, wanted, timing), None, cached, timing)
    return CudaCompiledFunction(
        manifest_of(source, artifact.checks, TargetInfo(TRIPLE, wanted.arch)),
        source.state or None,
        artifact=artifact,
        target=wanted,
        timing=timing,
        definitions=source.definitions,
    )


def _compile(source: Source, text: str, target: Target, timing: dict[str, float]) -> Artifact:
    program, trace = scheduled(source, target, timing)
    with timed(timing, "lower"):
        lowered = lower(program, target)
        layout = plan_arena(lowered)
    with timed(timing, "emit"):
        module = emit_cuda(lowered, target, layout)
    with timed(timing, "NVRTC"):
        # The emulator names lines of the source in what it reports.
        binary = compile_cuda(module.source, target.arch, lines=target.kind == "cuda-emu")
    warn_of(binary.log, binary.resources)
    with timed(timing, "texts"):
        texts = {
            "program": text,
            "trace": trace(),
            "loops": show(program),
            "lowered": show(lowered),
            "memory": arena_text(layout),
            "cuda": module.source,
            "plan": module.plan.to_json(),
            "barriers": barriers_text(module.barriers),
            "resources": resources_text(binary, module.plan),
        }
        if source.scheduled:
            del texts["program"]
        objects = (binary.ptx, binary.cubin)
        return Artifact(objects, module.plan.checks, dict(timing), packed_texts(texts))
