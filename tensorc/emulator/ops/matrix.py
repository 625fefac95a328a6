"""Matrix fragments of a warp: ldmatrix, stmatrix, movmatrix, mma.sync."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tensorc.emulator.types import UnsupportedPtxError, c_type

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer

FORMATS = {
    "f16": "kF16",
    "bf16": "kBf16",
    "tf32": "kTf32",
    "f32": "kF32",
    "s8": "kS8",
    "u8": "kU8",
    "s32": "kS32",
    "f64": "kF64",
}
# (shape, type of A): registers of D, A and B.
_MMA = {
    ("m16n8k16", "f16"): (4, 4, 2),
    ("m16n8k16", "bf16"): (4, 4, 2),
    ("m16n8k8", "f16"): (4, 2, 1),
    ("m16n8k8", "bf16"): (4, 2, 1),
    ("m16n8k8", "tf32"): (4, 4, 2),
    ("m16n8k4", "tf32"): (4, 2, 1),
    ("m16n8k16", "s8"): (4, 2, 1),
    ("m16n8k16", "u8"): (4, 2, 1),
    ("m16n8k32", "s8"): (4, 4, 2),
    ("m16n8k32", "u8"): (4, 4, 2),
    ("m8n8k4", "f64"): (2, 1, 1),
}


def _is_plain_matrix(op: Opcode) -> None:
    if "m8n8" not in op.mods or op.type != "b16":
        raise UnsupportedPtxError(f"{op.name}.{'.'.join(op.mods)}")


def _ldmatrix(w: Writer, op: Opcode, args: list[str]) -> str:
    _is_plain_matrix(op)
    targets = w.vector(args[0])
    row = w.address(args[1], "shared")
    call = f"self->rt->ldmatrix(self, q_, {len(targets)}, {row}, {int(op.has('trans'))}, {w.site});"
    writes = " ".join(w.write(target, "b32", f"q_[{i}]") for i, target in enumerate(targets))
    return f"uint32_t q_[4]; {call} {writes}"


def _stmatrix(w: Writer, op: Opcode, args: list[str]) -> str:
    _is_plain_matrix(op)
    values = w.reads(w.vector(args[1]), "b32")
    row = w.address(args[0], "shared")
    return (
        f"uint32_t q_[4] = {{{', '.join(values)}}}; "
        f"self->rt->stmatrix(self, q_, {len(values)}, {row}, {int(op.has('trans'))}, {w.site});"
    )


def _movmatrix(w: Writer, op: Opcode, args: list[str]) -> str:
    call = f"self->rt->movmatrix(self, {w.read(args[1], 'b32')}, {w.site})"
    return w.write(args[0], "b32", call)


def _mma(w: Writer, op: Opcode, args: list[str]) -> str:
    shape = op.pick(*(mod for mod in op.mods if re.fullmatch(r"m\d+n\d+k\d+", mod)))
    d_type, a_type, b_type, c_type_ = op.mods[-4:]
    counts = _MMA.get((shape, a_type))
    layouts = op.mods[op.mods.index(shape) + 1 :][:2] == ("row", "col") if shape else False
    if counts is None or not layouts or d_type != c_type_ or op.has("sp"):
        raise UnsupportedPtxError(f"mma.{'.'.join(op.mods)}")
    if op.has("satfinite") or {a_type, b_type} - {a_type} - {"s8", "u8"}:
        raise UnsupportedPtxError(f"mma.{'.'.join(op.mods)}")
    accumulators, a_count, b_count = counts
    if d_type == "f16":
        accumulators //= 2
    d_register = {"f32": "f32", "f16": "b32", "s32": "s32", "f64": "f64"}[d_type]
    operand = "f64" if a_type == "f64" else "b32"
    d, a, b, c = (w.vector(arg) for arg in args[:4])
    if (len(d), len(a), len(b)) != (accumulators, a_count, b_count):
        raise UnsupportedPtxError(f"mma with fragments of {len(d)}, {len(a)} and {len(b)}")
    m, n, k = re.findall(r"\d+", shape)
    formats = ", ".join(FORMATS[kind] for kind in (a_type, b_type, d_type))
    code = f"static const MmaShape s_ = {{{m}, {n}, {k}, {formats}}}; "
    code += f"{c_type(d_register)} d_[] = {{{', '.join(w.reads(c, d_register))}}}; "
    code += f"{c_type(operand)} a_[] = {{{', '.join(w.reads(a, operand))}}}, "
    code += f"b_[] = {{{', '.join(w.reads(b, operand))}}}; "
    code += f"self->rt->mma(self, &s_, d_, a_, b_, {w.site}); "
    return code + " ".join(w.write(x, d_register, f"d_[{i}]") for i, x in enumerate(d))


HANDLERS = {"ldmatrix": _ldmatrix, "stmatrix": _stmatrix, "movmatrix": _movmatrix, "mma": _mma}
