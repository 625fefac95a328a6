"""`cvt`: between integers and floats of all widths, with rounding, saturation and packing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.emulator.ops.floats import ROUNDING
from tensorc.emulator.types import (
    HALF_CLASS,
    HALVES,
    INTEGERS,
    PAIRS,
    UnsupportedPtxError,
    c_type,
    type_bytes,
)

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer

_TO_INTEGER = {"rni": "nearest_int", "rzi": "trunc_of", "rmi": "floor_of", "rpi": "ceil_of"}
_DIGITS = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}


def _cvt(w: Writer, op: Opcode, args: list[str]) -> str:
    if len(op.mods) < 2:
        raise UnsupportedPtxError("cvt without two types")
    if op.has("pack"):
        return _pack(w, op, args)
    to, source = op.mods[-2], op.mods[-1]
    op.only(to, *ROUNDING, *_TO_INTEGER, "ftz", "sat", "relu", "rna", "satfinite")
    if to in PAIRS and source == "f32":
        return _pair(w, op, args)
    if to == "tf32" and source == "f32":
        nearest_even = "false" if op.has("rna") else "true"
        return w.write(args[0], "b32", f"f32_to_tf32({w.read(args[1], 'f32')}, {nearest_even})")
    if op.has("satfinite"):
        raise UnsupportedPtxError(f"cvt.satfinite.{to}.{source}")
    value = w.read(args[1], source)
    if source in INTEGERS:
        return w.write(args[0], to, _from_integer(op, value, to, source))
    return w.write(args[0], to, _from_float(op, value, to, source))


def _pair(w: Writer, op: Opcode, args: list[str]) -> str:
    """The first source goes to the upper half."""
    high, low = (_narrow(op, w.read(arg, "f32"), op.mods[-2][:-2]) for arg in args[1:3])
    return w.write(args[0], "b32", f"pair_of({low}, {high})")


def _mode(op: Opcode) -> str:
    return ROUNDING[op.pick("rz", "rm", "rp", default="rn")]


def _narrow(op: Opcode, value: str, to: str) -> str:
    """A float32 or float64 expression to float16 or bfloat16."""
    kind = HALF_CLASS[to]
    if _mode(op) == "kNearest" and op.mods[-1] in ("f32", "f16", "bf16"):
        value = f"f32_to_{to}({value})"
    else:
        value = f"f64_to_{to}({value}, {_mode(op)})"
    if op.has("relu"):
        value = f"relu_half<{kind}>({value})"
    return f"saturate_half<{kind}>({value})" if op.has("sat") else value


def _from_integer(op: Opcode, value: str, to: str, source: str) -> str:
    if to in INTEGERS:
        return f"saturate_int<{c_type(to)}>({value})" if op.has("sat") else value
    if _mode(op) == "kNearest" and to in ("f32", "f64"):
        result = f"({c_type(to)}){value}"
        return f"saturate({result})" if op.has("sat") else result
    exact = f"integer_to_float({value}, {_DIGITS[to]}, {_mode(op)})"
    if to in HALVES:
        return f"f64_to_{to}({exact}, {_mode(op)})"
    return f"({c_type(to)}){exact}"


def _from_float(op: Opcode, value: str, to: str, source: str) -> str:
    if source in HALVES:
        value = f"{HALF_CLASS[source]}::widen({value})"
    elif source not in ("f32", "f64"):
        raise UnsupportedPtxError(f"cvt.{to}.{source}")
    if op.has("ftz") and source == "f32":
        value = f"flush({value})"
    whole = op.pick(*_TO_INTEGER)
    if whole:
        value = f"{_TO_INTEGER[whole]}({value})"
    if to in INTEGERS:
        # A target narrower than 32 bits saturates as well.
        return f"float_to_int<{c_type(to)}>({value})"
    if to in HALVES:
        return value if to == source and not whole else _narrow(op, value, to)
    if to == "f32" and source == "f64" and _mode(op) != "kNearest":
        value = f"(float)f64_to_f32({value}, {_mode(op)})"
    elif to in ("f32", "f64"):
        value = f"({c_type(to)}){value}"
    else:
        raise UnsupportedPtxError(f"cvt.{to}.{source}")
    if op.has("ftz") and to == "f32":
        value = f"flush({value})"
    return f"saturate({value})" if op.has("sat") else value


def _pack(w: Writer, op: Opcode, args: list[str]) -> str:
    """`cvt.pack.sat.s8.s32.b32 d, a, b, c`: a and b saturated, beside what c holds, shifted up."""
    packed = op.mods[op.mods.index("sat") + 1]
    bits = 8 * type_bytes(packed) if packed in INTEGERS else 0
    if bits not in (8, 16):
        raise UnsupportedPtxError(f"cvt.pack to .{packed}")
    a, b = (
        f"(uint32_t)(uint{bits}_t)saturate_int<{c_type(packed)}>({w.read(arg, 's32')})"
        for arg in args[1:3]
    )
    value = f"{a} << {bits} | {b}"
    if len(args) > 3:
        value = f"{value} | {w.read(args[3], 'b32')} << {2 * bits}"
    return w.write(args[0], "b32", value)


HANDLERS = {"cvt": _cvt}
