"""PTX instructions on arrays: one thread for each element, one kernel for each instruction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from emulator.harness import run
from tensorc.emulator import EmulatedModule

if TYPE_CHECKING:
    from collections.abc import Sequence

Array: TypeAlias = np.ndarray[Any, Any]

_REGISTERS = {"8": "b16", "16": "b16", "32": "b32", "64": "b64"}
DTYPES: dict[str, Any] = {
    "u8": np.uint8,
    "s8": np.int8,
    "u16": np.uint16,
    "s16": np.int16,
    "b16": np.uint16,
    "u32": np.uint32,
    "s32": np.int32,
    "b32": np.uint32,
    "u64": np.uint64,
    "s64": np.int64,
    "b64": np.uint64,
    "f32": np.float32,
    "f64": np.float64,
    "pred": np.uint8,
}
THREADS = 256


@dataclass(frozen=True)
class Instruction:
    """`text` computes %d, of type `to`, from %a, %b and %c, of the types `sources`."""

    text: str
    to: str
    sources: tuple[str, ...]

    @property
    def name(self) -> str:
        return "k_" + "".join(char if char.isalnum() else "_" for char in self.text)


def _register(kind: str) -> str:
    if kind == "pred":
        return "pred"
    return kind if kind in ("f32", "f64") else _REGISTERS[kind[1:]]


def _kernel(instruction: Instruction) -> str:
    names = "abc"[: len(instruction.sources)]
    params = ", ".join(f".param .u64 p_{name}" for name in (*names, "d"))
    lines = [f".visible .entry {instruction.name}({params}, .param .u32 p_n)", "{"]
    lines += [".reg .b32 %i<8>;", ".reg .b64 %q<8>;", ".reg .pred %p<8>;", ".reg .b16 %h;"]
    for name, kind in zip(names, instruction.sources, strict=True):
        lines.append(f".reg .{_register(kind)} %{name};")
    lines.append(f".reg .{_register(instruction.to)} %d;")
    lines += ["mov.u32 %i0, %ctaid.x;", "mov.u32 %i1, %ntid.x;", "mov.u32 %i2, %tid.x;"]
    lines += ["mad.lo.s32 %i3, %i0, %i1, %i2;", "ld.param.u32 %i4, [p_n];"]
    lines += ["setp.ge.u32 %p1, %i3, %i4;", "@%p1 bra DONE;"]
    for name, kind in (*zip(names, instruction.sources, strict=True), ("d", instruction.to)):
        size = np.dtype(DTYPES[kind]).itemsize
        lines.append(f"ld.param.u64 %q1, [p_{name}];")
        lines.append(f"mad.wide.u32 %q2, %i3, {size}, %q1;")
        if name != "d":
            lines.append(f"ld.global.{kind} %{name}, [%q2];")
    lines.append(instruction.text)
    if instruction.to == "pred":
        lines += ["selp.b16 %h, 1, 0, %d;", "st.global.u8 [%q2], %h;"]
    else:
        lines.append(f"st.global.{instruction.to} [%q2], %d;")
    return "\n".join([*lines, "DONE:", "ret;", "}"])


@cache
def module(instructions: tuple[Instruction, ...]) -> EmulatedModule:
    """One module with a kernel for each."""
    head = ".version 8.0\n.target sm_90\n.address_size 64\n"
    return EmulatedModule(head + "\n".join(map(_kernel, dict.fromkeys(instructions))))


def evaluate(built: EmulatedModule, instruction: Instruction, operands: Sequence[Array]) -> Array:
    """The results for each row of operands."""
    count = len(operands[0])
    out = np.zeros(count, DTYPES[instruction.to])
    arrays = [
        np.ascontiguousarray(values, DTYPES[kind])
        for values, kind in zip(operands, instruction.sources, strict=True)
    ]
    grid = (-(-count // THREADS),)
    result = run(built, instruction.name, grid, (THREADS,), *arrays, out, np.uint32(count))
    assert result.ok, result.describe()
    return out


def grid_of(values: Sequence[Any], operands: int, kind: str, limit: int = 2000) -> list[Array]:
    """All combinations of `values`, or as many of them at random."""
    array = np.array(values, DTYPES[kind])
    if len(values) ** operands <= limit:
        return [axis.ravel() for axis in np.meshgrid(*[array] * operands, indexing="ij")]
    rng = np.random.default_rng(7)
    return [rng.choice(array, limit) for _ in range(operands)]


def integers(kind: str, seed: int = 0) -> list[int]:
    """Values at the ends of a type, and some in between."""
    info = np.iinfo(DTYPES[kind])
    ends = [info.min, info.min + 1, info.max, info.max - 1, 0, 1, 2, 3, 5, 31, 32, 33, 64, 255]
    if info.min < 0:
        ends += [-1, -2, -31]
    rng = np.random.default_rng(seed)
    inner = [int(v) for v in rng.integers(info.min, info.max, 12, DTYPES[kind], endpoint=True)]
    return [value for value in (*ends, *inner) if info.min <= value <= info.max]
