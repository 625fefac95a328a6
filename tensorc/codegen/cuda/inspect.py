"""Reading compiled kernels: machine instructions, what they are, and a table of resources."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensorc.codegen.cuda.resources import occupancy
from tensorc.errors import CompileError
from tensorc.target import ARCHS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc.codegen.cuda.nvrtc import CudaBinary
    from tensorc_runtime.cuda.plan import CudaPlan

_SECONDS = 60.0
MISSING = (
    "the machine instructions of a kernel are read with nvdisasm, which is not here; install it "
    "with pip install 'tensorc[inspect]'"
)
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)")
_FUNCTION = re.compile(r"^\s*\.text\.(\w+):")


def disassemble(cubin: bytes) -> str:
    """The machine code as text (SASS).

    Raises:
        CompileError: nvdisasm is not installed, or does not know the code.
    """
    tool = _nvdisasm()
    with tempfile.TemporaryDirectory(prefix="tensorc-sass-") as folder:
        path = Path(folder) / "kernels.cubin"
        path.write_bytes(cubin)
        try:
            done = subprocess.run(
                [tool, "-c", str(path)], capture_output=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompileError(f"nvdisasm: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise CompileError(f"nvdisasm refused the machine code: {said}")
    return done.stdout.decode(errors="replace")


def _nvdisasm() -> str:
    found = shutil.which("nvdisasm")
    if found is None:
        found = _from_wheel()
    if found is None:
        raise CompileError(MISSING)
    return found


def _from_wheel() -> str | None:
    """The program inside of NVIDIA's package, as `cuda.pathfinder` finds it."""
    try:
        pathfinder = import_module("cuda.pathfinder")  # Optional: it comes with the extras.
    except ImportError:
        return None
    find: Any = getattr(pathfinder, "find_nvidia_binary_utility", None)
    path = find("nvdisasm") if find is not None else None
    return None if path is None else str(path)


def instruction_mix(sass: str) -> dict[str, Counter[str]]:
    """How often each instruction stands in each kernel, by its name without what follows a dot.

    >>> text = '''.text.k:
    ...  /*0000*/ LDG.E.128 R4, [R2] ;
    ...  /*0010*/ @P0 FFMA R0, R4, R5, R0 ;'''
    >>> instruction_mix(text)
    {'k': Counter({'LDG': 1, 'FFMA': 1})}
    """
    return {
        name: Counter(full.split(".")[0] for full in found.elements())
        for name, found in instructions(sass).items()
    }


def instructions(sass: str) -> dict[str, Counter[str]]:
    """How often each instruction stands in each kernel, by its full name (`LDG.E.128`)."""
    mixes: dict[str, Counter[str]] = {}
    current: Counter[str] = Counter()
    for line in sass.splitlines():
        function = _FUNCTION.match(line)
        if function:
            current = mixes.setdefault(function.group(1), Counter())
        instruction = _INSTRUCTION.match(line)
        if instruction:
            current[instruction.group(1)] += 1
    return mixes


def resources_text(binary: CudaBinary, plan: CudaPlan) -> str:
    """A table: what each kernel takes, and how well it fills a multiprocessor."""
    arch = ARCHS[binary.arch]
    rows: list[tuple[str, ...]] = [
        (
            "kernel", "threads", "registers", "spilled", "stack", "shared", "dynamic",
            "barriers", f"occupancy on {arch.name}",
        )
    ]  # fmt: skip
    for launch in plan.launches:
        r = binary.resources[launch.kernel]
        threads = launch.block[0] * launch.block[1] * launch.block[2]
        held = occupancy(arch, threads, r.registers, r.shared + launch.shared)
        numbers = (threads, r.registers, r.spill_stores + r.spill_loads, r.stack, r.shared)
        more = (launch.shared, r.barriers)
        rows.append((launch.kernel, *map(str, (*numbers, *more)), str(held)))
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if c in (0, len(row) - 1) else cell.rjust(w)
            for c, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def occupancies(binary: CudaBinary, plan: CudaPlan, archs: Mapping[str, Any] = ARCHS) -> str:
    """How each kernel would fill a multiprocessor of each architecture, with these registers."""
    lines: list[str] = []
    for launch in plan.launches:
        r = binary.resources[launch.kernel]
        threads = launch.block[0] * launch.block[1] * launch.block[2]
        lines.append(launch.kernel)
        for arch in archs.values():
            held = occupancy(arch, threads, r.registers, r.shared + launch.shared)
            lines.append(f"  {arch.name:8} {held}")
    return "\n".join(lines)
