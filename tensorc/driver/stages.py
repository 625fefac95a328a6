"""The stages of a compilation as text: what `inspect` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.llvm import assembly, optimized
from tensorc.errors import CompileError
from tensorc.ir.printer import show
from tensorc.te.graph import graph_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.driver.artifact import Artifact
    from tensorc.lower.memory import WorkspaceLayout
    from tensorc.target import Target
    from tensorc.te.tensor import Tensor

STAGES = {
    "te": "the definition of each tensor",
    "program": "the plain loops, one nest for each definition",
    "trace": "the steps of the schedule, as Python",
    "loops": "the scheduled loops",
    "lowered": "the loops after all passes",
    "memory": "what lies where in the workspace",
    "llvm": "the LLVM IR that we emit",
    "optimized": "the LLVM IR after LLVM's passes",
    "asm": "the assembly",
    "timing": "how long each phase took",
}


def stage_text(stage: str, name: str, artifact: Artifact, target: Target, opt_level: int) -> str:
    """The text of a stage.

    Raises:
        CompileError: there is no such stage, or this function did not pass through it.
    """
    if stage not in STAGES:
        known = "".join(f"\n  {s:10}{what}" for s, what in STAGES.items())
        raise CompileError(f"{name}: no stage {stage!r} to inspect; there are{known}")
    texts = artifact.texts
    match stage:
        case "asm":
            return assembly(texts["llvm"], target, opt_level)
        case "optimized":
            return optimized(texts["llvm"], target, opt_level)
        case "timing":
            return timing_text(artifact.timing)
        case _ if stage in texts:
            return texts[stage]
        case _:
            raise CompileError(
                f"{name}: there is no stage {stage!r}: it was compiled from a "
                f"{'schedule or program' if stage == 'te' else 'program as it stands'}; "
                f"there are {', '.join(s for s in STAGES if s in texts or s in _MADE)}"
            )


_MADE = ("asm", "optimized", "timing")


def timing_text(timing: dict[str, float]) -> str:
    """One line for each phase, in milliseconds, and their sum."""
    rows = [*timing.items(), ("total", sum(timing.values()))]
    return "\n".join(f"{phase:10}{1e3 * seconds:10.2f} ms" for phase, seconds in rows)


def definitions_text(outputs: Sequence[Tensor]) -> str:
    """Every tensor that `outputs` depend on, inputs first, with its definition."""
    graph = graph_of(tuple(outputs))
    placeholders = [f"{t} = placeholder" for t in map(_declaration, graph.placeholders)]
    computed = []
    for tensor in graph.tensors():
        index = ", ".join(axis.name for axis in tensor.axes)
        computed.append(f"{_declaration(tensor)}\n  [{index}] = {show(tensor.body)}")
    return "\n".join((*placeholders, *computed))


def _declaration(tensor: Tensor) -> str:
    return f"{tensor.name}: {tensor.dtype}[{', '.join(map(show, tensor.shape))}]"


def memory_text(layout: WorkspaceLayout) -> str:
    """Where each temporary lies, and how large the workspace is."""
    lines = [f"workspace: {show(layout.shared)} bytes, and {show(layout.slice)} for each thread"]
    for buffer, slot in layout.slots.items():
        shape = ", ".join(map(show, buffer.shape))
        copies = f", {slot.copies} copies" if slot.copies > 1 else ""
        where = "in each thread's part" if slot.per_thread else "shared"
        shared = ", ".join(b.name for b in layout.sharing.get(buffer, ()))
        memory = f", over the memory of {shared}" if shared else ""
        lines.append(
            f"  {buffer.name}: {buffer.dtype}[{shape}] at {show(slot.offset)}, "
            f"{where}{copies}{memory}"
        )
    return "\n".join(lines)
