"""The stages of a compilation for CUDA as text: what `inspect` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.driver.stages import memory_text
from tensorc.errors import CompileError
from tensorc.ir.printer import show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.lower.memory import WorkspaceLayout
    from tensorc_runtime.cuda.plan import CudaPlan, KernelArg
    from tensorc_runtime.manifest import Manifest

CUDA_STAGES = {
    "te": "the definition of each tensor",
    "program": "the plain loops, one nest for each definition",
    "trace": "the steps of the schedule, as Python",
    "loops": "the scheduled loops",
    "lowered": "the loops after all passes",
    "memory": "what lies where in the arena, and how much memory a call needs",
    "plan": "the launches of a call, with their grids, blocks and arguments",
    "cuda": "the CUDA C that we emit",
    "barriers": "where the threads of a block wait for each other, and what for",
    "ptx": "the PTX that NVRTC makes of it",
    "sass": "the machine code",
    "resources": "registers, spills and memory of each kernel, and how many blocks fit",
    "timing": "how long each phase took",
}


def no_stage(name: str, stage: str, there: Mapping[str, object]) -> CompileError:
    """The error for a stage that is not known, or that this function did not pass through."""
    if stage in CUDA_STAGES:
        known = ", ".join(s for s in CUDA_STAGES if s in there)
        what = "schedule or program" if stage == "te" else "program as it stands"
        return CompileError(
            f"{name}: there is no stage {stage!r}: it was compiled from a {what}; there are {known}"
        )
    listed = "".join(f"\n  {s:10}{what}" for s, what in CUDA_STAGES.items())
    return CompileError(f"{name}: no stage {stage!r} to inspect; there are{listed}")


def arena_text(layout: WorkspaceLayout) -> str:
    """What a call holds in the device's memory: where in the arena, and from which step to which.

    A step is a kernel.
    """
    text = memory_text(layout)
    head, _, rest = text.partition("\n")
    assert head.startswith("workspace:"), head
    return "\n".join((f"arena: {show(layout.shared)} bytes", rest.replace(" on one thread", "", 1)))


def barriers_text(barriers: Mapping[str, Sequence[object]]) -> str:
    """The barriers of each kernel."""
    lines = []
    for kernel, placed in barriers.items():
        lines.append(f"{kernel}: {len(placed) or 'no'} barrier{'' if len(placed) == 1 else 's'}")
        lines += [f"  {line}" for barrier in placed for line in str(barrier).splitlines()]
    return "\n".join(lines)


def plan_text(plan: CudaPlan, manifest: Manifest) -> str:
    """One line for each launch, in order."""
    lines = [f"{manifest.name}: {len(plan.launches)} launches, compiled for {plan.arch}"]
    for i, launch in enumerate(plan.launches):
        grid = ", ".join(map(str, launch.grid))
        block = ", ".join(map(str, launch.block))
        shared = f", {launch.shared} bytes of dynamic shared memory" if launch.shared else ""
        args = ", ".join(_argument(a, plan, manifest) for a in launch.args)
        lines.append(f"{i:4}  {launch.kernel}({args})")
        lines.append(f"      grid ({grid}), block ({block}){shared}")
    if plan.temps:
        lines.append(f"arena: {plan.arena} bytes")
        lines += [f"      {t.name}: {t.bytes} bytes at {t.offset}" for t in plan.temps]
    return "\n".join(lines)


def _argument(arg: KernelArg, plan: CudaPlan, manifest: Manifest) -> str:
    match arg.kind:
        case "param":
            return manifest.params[arg.index].name
        case "temp":
            return plan.temps[arg.index].name
        case "dim":
            return plan.dims[arg.index]
        case _:
            return "status"
