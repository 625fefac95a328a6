"""The stages of a compilation as text: what `inspect` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.llvm import assembly, optimized
from tensorc.errors import CompileError
from tensorc.ir.expr import Binary, BinaryOp, Const, const_int
from tensorc.ir.printer import show
from tensorc.te.graph import graph_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tensorc.driver.artifact import Artifact
    from tensorc.ir.expr import Buffer, Expr
    from tensorc.lower.memory import WorkspaceLayout
    from tensorc.target import Target
    from tensorc.te.tensor import Tensor

STAGES = {
    "te": "the definition of each tensor",
    "program": "the plain loops, one nest for each definition",
    "trace": "the steps of the schedule, as Python",
    "loops": "the scheduled loops",
    "lowered": "the loops after all passes",
    "memory": "what lies where in the workspace, and how much memory a call needs",
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


def _declaration(buffer: Buffer) -> str:
    return f"{buffer.name}: {buffer.dtype}[{', '.join(map(show, buffer.shape))}]"


def memory_text(layout: WorkspaceLayout) -> str:
    """What a call holds in memory, where in the workspace, and from which step to which.

    A step is a nest, or whatever else a call runs as a whole before it goes on.
    """
    shared, part = layout.shared, layout.slice
    arguments = _sum(layout.arguments.values())
    common = [b for b, slot in layout.slots.items() if not slot.per_thread]
    private = [b for b, slot in layout.slots.items() if slot.per_thread]
    lines = [
        f"workspace: {show(shared)} bytes, and {show(part)} for each thread",
        f"arguments: {show(arguments)} bytes",
        f"peak: {show(_sum((arguments, shared, part)))} bytes on one thread",
    ]
    if common:
        lines += ["", "workspace, by address", *_places(layout, common)]
    if private:
        lines += ["", "the part of each thread", *_places(layout, private)]
    known = {*common, *layout.arguments}
    written = [", ".join(b.name for b in step if b in known) for step in layout.steps]
    lines += ["", "what each step writes", *(f"{i:6}  {names}" for i, names in enumerate(written))]
    sizes = [(show(size), b) for b, size in layout.arguments.items()]
    lines += ["", "arguments", *_columns([(size, _declaration(b)) for size, b in sizes])]
    return "\n".join(lines)


def _places(layout: WorkspaceLayout, buffers: Sequence[Buffer]) -> list[str]:
    """One line for each buffer, the lowest address first; symbolic addresses last."""
    rows = []
    for buffer in buffers:
        slot = layout.slots[buffer]
        first, last = layout.lives.get(buffer, (0, 0))
        copies = f", {slot.copies} copies" if slot.copies > 1 else ""
        order = (const_int(slot.offset) is None, const_int(slot.offset) or 0, first)
        size, steps = show(layout.size(buffer)), str(first) if first == last else f"{first}-{last}"
        rows.append((order, (show(slot.offset), size, steps, f"{_declaration(buffer)}{copies}")))
    rows.sort(key=lambda row: row[0])
    return _columns([("at", "bytes", "steps", "buffer"), *(row for _, row in rows)])


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """`rows` with all columns but the last one aligned at the right."""
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:-1]]
    return [
        "  " + "  ".join([*(c.rjust(w) for c, w in zip(row, widths, strict=False)), row[-1]])
        for row in rows
    ]


def _sum(sizes: Iterable[Expr]) -> Expr:
    """The sum, numbers added up and put last."""
    terms = list(sizes)
    total: Expr = Const(sum(const_int(t) or 0 for t in terms))
    for term in terms:
        if const_int(term) is None:
            total = term if const_int(total) == 0 else Binary(BinaryOp.ADD, term, total)
    return total
