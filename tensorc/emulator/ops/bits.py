"""Logic, shifts, bit fields and counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.emulator.types import UnsupportedPtxError, c_type

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer

_LOGIC = {"and": "{0} & {1}", "or": "{0} | {1}", "xor": "{0} ^ {1}", "cnot": "{0} == 0"}
_PRMT_MODES = ("f4e", "b4e", "rc8", "ecl", "ecr", "rc16")


def _logic(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only()
    return w.write(args[0], op.type, _LOGIC[op.name].format(*w.reads(args[1:], op.type)))


def _not(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only()
    operator = "!" if op.type == "pred" else "~"
    return w.write(args[0], op.type, operator + w.read(args[1], op.type))


def _lop3(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only()
    a, b, c = w.reads(args[1:4], "b32")
    return w.write(args[0], "b32", f"lop3({a}, {b}, {c}, {int(args[4], 0)})")


def _shift(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only()
    value, count = w.read(args[1], op.type), w.read(args[2], "u32")
    return w.write(args[0], op.type, f"{op.name}<{c_type(op.type)}>({value}, {count})")


def _funnel(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only("l", "r", "clamp", "wrap")
    low, high, count = w.reads(args[1:4], "b32")
    wrap = "true" if op.has("wrap") else "false"
    call = f"shf_{op.pick('l', 'r')}({low}, {high}, {count}, {wrap})"
    return w.write(args[0], "b32", call)


def _prmt(w: Writer, op: Opcode, args: list[str]) -> str:
    a, b, selector = w.reads(args[1:4], "b32")
    mode = op.pick(*_PRMT_MODES)
    if mode:
        call = f"prmt_mode({a}, {b}, {selector}, {_PRMT_MODES.index(mode)})"
        return w.write(args[0], "b32", call)
    return w.write(args[0], "b32", f"prmt({a}, {b}, {selector})")


def _bfe(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only()
    start, length = w.reads(args[2:4], "u32")
    call = f"bfe<{c_type(op.type)}>({w.read(args[1], op.type)}, {start}, {length})"
    return w.write(args[0], op.type, call)


def _bfi(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only()
    value, into = w.reads(args[1:3], op.type)
    start, length = w.reads(args[3:5], "u32")
    return w.write(args[0], op.type, f"bfi<{c_type(op.type)}>({value}, {into}, {start}, {length})")


def _bmsk(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only("clamp", "wrap")
    start, width = w.reads(args[1:3], "u32")
    return w.write(
        args[0], "b32", f"bmsk({start}, {width}, {'true' if op.has('wrap') else 'false'})"
    )


def _szext(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only("clamp", "wrap")
    wrap = "true" if op.has("wrap") else "false"
    value, width = w.read(args[1], op.type), w.read(args[2], "u32")
    return w.write(args[0], op.type, f"szext<{c_type(op.type)}>({value}, {width}, {wrap})")


def _count(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only()
    value = w.read(args[1], op.type)
    if op.name == "brev":
        return w.write(args[0], op.type, f"brev<{c_type(op.type)}>({value})")
    return w.write(args[0], "u32", f"{op.name}<{c_type(op.type)}>({value})")


def _bfind(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only("shiftamt")
    shift_amount = "true" if op.has("shiftamt") else "false"
    value = w.read(args[1], op.type)
    return w.write(args[0], "u32", f"bfind<{c_type(op.type)}>({value}, {shift_amount})")


def _mov(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only()
    target, source = args
    if source.startswith("{"):
        return _pack(w, op, target, w.vector(source))
    if target.startswith("{"):
        parts = w.vector(target)
        bits = _part_bits(op, len(parts))
        ctype = c_type(op.type)
        writes = " ".join(
            w.write(part, f"b{bits}", f"(uint{bits}_t)(v_ >> {i * bits})")
            for i, part in enumerate(parts)
        )
        return f"{ctype} v_ = {w.read(source, op.type)}; {writes}"
    return w.write(target, op.type, w.read(source, op.type))


def _pack(w: Writer, op: Opcode, target: str, parts: list[str]) -> str:
    bits = _part_bits(op, len(parts))
    terms = " | ".join(
        f"({c_type(op.type)}){w.read(part, f'b{bits}')} << {i * bits}"
        for i, part in enumerate(parts)
    )
    return w.write(target, op.type, terms)


def _part_bits(op: Opcode, parts: int) -> int:
    if op.type not in ("b16", "b32", "b64", "b128"):
        raise UnsupportedPtxError(f"mov.{op.type} of a vector")
    return int(op.type[1:]) // parts


HANDLERS = {
    **dict.fromkeys(_LOGIC, _logic),
    "not": _not,
    "lop3": _lop3,
    **dict.fromkeys(("shl", "shr"), _shift),
    "shf": _funnel,
    "prmt": _prmt,
    "bfe": _bfe,
    "bfi": _bfi,
    "bmsk": _bmsk,
    "szext": _szext,
    **dict.fromkeys(("popc", "clz", "brev"), _count),
    "bfind": _bfind,
    "mov": _mov,
}
