"""Arithmetic of integers; `add` and its kin pass floats on to `floats`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.emulator.ops import floats
from tensorc.emulator.types import INTEGERS, UnsupportedPtxError, c_type, type_bytes

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer

_SIMPLE = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "neg": "0 - {0}",
    "abs": "abs_int<{T}>({0})",
    "min": "min_int<{T}>({0}, {1})",
    "max": "max_int<{T}>({0}, {1})",
    "div": "div_int<{T}>({0}, {1})",
    "rem": "rem_int<{T}>({0}, {1})",
    "sad": "({0} < {1} ? {1} - {0} : {0} - {1}) + {2}",
}


def _is_integer(op: Opcode) -> bool:
    return op.type in INTEGERS


def _arithmetic(w: Writer, op: Opcode, args: list[str]) -> str:
    if not _is_integer(op):
        return floats.arithmetic(w, op, args)
    if op.has("cc"):
        return _carry(w, op, args)
    op.only("sat")
    values = w.reads(args[1:], op.type)
    if op.has("sat"):
        if op.name not in ("add", "sub") or op.type != "s32":
            raise UnsupportedPtxError(f"{op.name}.sat.{op.type}")
        return w.write(args[0], op.type, f"{op.name}_saturated<int32_t>({values[0]}, {values[1]})")
    return w.write(args[0], op.type, _SIMPLE[op.name].format(*values, T=c_type(op.type)))


def _carry(w: Writer, op: Opcode, args: list[str]) -> str:
    """add.cc, addc, sub.cc and subc: the carry is a variable of the thread."""
    op.only("cc")
    unsigned = "u" + op.type[1:]
    a, b = w.reads(args[1:3], unsigned)
    call = "add_carry" if op.name.startswith("add") else "sub_borrow"
    carry_in = "carry" if op.name.endswith("c") else "0"
    out = "&carry" if op.has("cc") else "&dropped"
    value = f"{call}<{c_type(unsigned)}>({a}, {b}, {carry_in}, {out})"
    return f"uint32_t dropped; {w.write(args[0], unsigned, value)}"


def _product_types(op: Opcode) -> tuple[str, str]:
    bits = 8 * type_bytes(op.type)
    wide = f"{op.type[0]}{2 * bits}"
    return wide, c_type(wide) if bits < 64 else "__int128"


def _mul(w: Writer, op: Opcode, args: list[str]) -> str:
    if not _is_integer(op):
        return floats.arithmetic(w, op, args)
    op.only("lo", "hi", "wide")
    a, b = w.reads(args[1:3], op.type)
    if op.has("wide"):
        wide, ctype = _product_types(op)
        return w.write(args[0], wide, f"({ctype}){a} * ({ctype}){b}")
    if op.has("hi"):
        return w.write(args[0], op.type, f"mul_hi<{c_type(op.type)}>({a}, {b})")
    unsigned = c_type("u" + op.type[1:])
    # 16-bit operands would be promoted to int, whose products can overflow.
    widened = "uint32_t" if unsigned == "uint16_t" else unsigned
    return w.write(args[0], op.type, f"({widened}){a} * ({widened}){b}")


def _mad(w: Writer, op: Opcode, args: list[str]) -> str:
    if not _is_integer(op):
        return floats.fused(w, op, args)
    if op.has("cc") or op.name == "madc":
        return _mad_carry(w, op, args)
    op.only("lo", "hi", "wide", "sat")
    a, b = w.reads(args[1:3], op.type)
    if op.has("wide"):
        wide, ctype = _product_types(op)
        return w.write(args[0], wide, f"({ctype}){a} * ({ctype}){b} + {w.read(args[3], wide)}")
    c = w.read(args[3], op.type)
    if op.has("hi"):
        if op.has("sat"):
            return w.write(args[0], op.type, f"mad_hi_saturated({a}, {b}, {c})")
        return w.write(args[0], op.type, f"mul_hi<{c_type(op.type)}>({a}, {b}) + {c}")
    unsigned = c_type("u" + op.type[1:])
    widened = "uint32_t" if unsigned == "uint16_t" else unsigned
    return w.write(args[0], op.type, f"({widened}){a} * ({widened}){b} + ({widened}){c}")


def _mad_carry(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only("lo", "hi", "cc")
    a, b = w.reads(args[1:3], op.type)
    unsigned = "u" + op.type[1:]
    ctype = c_type(unsigned)
    product = f"mul_hi<{c_type(op.type)}>({a}, {b})" if op.has("hi") else f"{a} * {b}"
    carry_in = "carry" if op.name == "madc" else "0"
    out = "&carry" if op.has("cc") else "&dropped"
    c = w.read(args[3], unsigned)
    value = f"add_carry<{ctype}>(({ctype})({product}), {c}, {carry_in}, {out})"
    return f"uint32_t dropped; {w.write(args[0], unsigned, value)}"


def _mul24(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only("lo", "hi")
    half = "hi" if op.has("hi") else "lo"
    a, b = w.reads(args[1:3], op.type)
    value = f"mul24_{half}<{c_type(op.type)}>({a}, {b})"
    if op.name == "mad24":
        value += f" + {w.read(args[3], op.type)}"
    return w.write(args[0], op.type, value)


def _dot(w: Writer, op: Opcode, args: list[str]) -> str:
    """dp4a and dp2a: `.atype.btype` are the types of the packed operands."""
    kinds = {"u32": "uint8_t", "s32": "int8_t"}
    a_type, b_type = kinds[op.mods[-2]], kinds[op.mods[-1]]
    a, b, c = w.reads(args[1:4], "u32")
    if op.name == "dp4a":
        return w.write(args[0], "u32", f"dp4a<{a_type}, {b_type}>({a}, {b}, {c})")
    a_type = a_type.replace("8", "16")
    high = "true" if op.has("hi") else "false"
    return w.write(args[0], "u32", f"dp2a<{a_type}, {b_type}>({a}, {b}, {c}, {high})")


HANDLERS = {
    **dict.fromkeys(("add", "sub", "neg", "abs", "min", "max", "div", "rem", "sad"), _arithmetic),
    **dict.fromkeys(("addc", "subc"), _carry),
    "mul": _mul,
    **dict.fromkeys(("mad", "madc"), _mad),
    **dict.fromkeys(("mul24", "mad24"), _mul24),
    **dict.fromkeys(("dp4a", "dp2a"), _dot),
}
