"""wgmma: matrix products of a warpgroup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tensorc.emulator.ops.matrix import FORMATS
from tensorc.emulator.types import UnsupportedPtxError, c_type

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer

_DEPTH = {"f16": 16, "bf16": 16, "tf32": 8, "s8": 32, "u8": 32}


def _wgmma(w: Writer, op: Opcode, args: list[str]) -> str:
    if op.has("fence"):
        return f"self->rt->wgmma_fence(self, {w.site});"
    if op.has("commit_group"):
        return f"self->rt->wgmma_commit(self, {w.site});"
    if op.has("wait_group"):
        return f"self->rt->wgmma_wait(self, {int(args[0], 0)}, {w.site});"
    if not op.has("mma_async") or op.has("sp"):
        raise UnsupportedPtxError(f"wgmma.{'.'.join(op.mods)}")
    return _product(w, op, args)


def _product(w: Writer, op: Opcode, args: list[str]) -> str:
    shape = next((m for m in op.mods if re.fullmatch(r"m64n\d+k\d+", m)), "")
    d_type, a_type, b_type = op.mods[op.mods.index(shape) + 1 :][:3] if shape else ("", "", "")
    _, n, k = (int(x) for x in re.findall(r"\d+", shape)) if shape else (0, 0, 0)
    known = d_type in ("f32", "f16", "s32") and a_type == b_type and _DEPTH.get(a_type) == k
    if not known or op.has("satfinite") or n % 8 or not 8 <= n <= 256:
        raise UnsupportedPtxError(f"wgmma.{'.'.join(op.mods)}")
    d, a_registers = w.vector(args[0]), args[1].startswith("{")
    scale_a, scale_b, trans_a, trans_b = _immediates(args[4:], a_registers)
    d_register = {"f32": "f32", "s32": "s32", "f16": "b32"}[d_type]
    if len(d) != n // (4 if d_type == "f16" else 2):
        raise UnsupportedPtxError(f"wgmma with an accumulator of {len(d)} registers")
    code = f"static const WgmmaShape s_ = {{{n}, {k}, {FORMATS[a_type]}, {FORMATS[d_type]}, "
    code += f"{scale_a}, {scale_b}, {trans_a}, {trans_b}}}; "
    code += f"{c_type(d_register)} d_[] = {{{', '.join(w.reads(d, d_register))}}}; "
    if a_registers:
        code += f"uint32_t a_[] = {{{', '.join(w.reads(w.vector(args[1]), 'b32'))}}}; "
    a = "0, a_" if a_registers else f"{w.read(args[1], 'u64')}, 0"
    b, accumulate = w.read(args[2], "u64"), w.read(args[3], "pred")
    code += f"self->rt->wgmma(self, &s_, d_, {a}, {b}, {accumulate}, {w.site}); "
    return code + " ".join(w.write(x, d_register, f"d_[{i}]") for i, x in enumerate(d))


def _immediates(args: list[str], a_registers: bool) -> tuple[int, int, int, int]:
    """Signs of A and B, then whether they are transposed; A in registers cannot be."""
    values = [int(arg, 0) for arg in args]
    signs = (*values[:2], 1, 1)[:2]
    flags = values[2:]
    if a_registers:
        flags = [0, *flags]
    trans_a, trans_b = (*flags, 0, 0)[:2]
    return signs[0], signs[1], trans_a, trans_b


HANDLERS = {"wgmma": _wgmma}
