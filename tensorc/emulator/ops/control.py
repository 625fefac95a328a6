"""Branches, returns, traps, and calls of the few functions that the device library has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tensorc.emulator.ptx import split_operands
from tensorc.emulator.types import UnsupportedPtxError
from tensorc.emulator.writer import c_name

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer


def _goto(w: Writer, label: str) -> str:
    burn = f"TCEMU_BURN({w.site}); " if label in w.seen_labels else ""
    return f"{burn}goto {c_name(label, 'b')};"


def _bra(w: Writer, op: Opcode, args: list[str]) -> str:
    return _goto(w, args[0])


def _brx(w: Writer, op: Opcode, args: list[str]) -> str:
    labels = w.symbols.tables.get(args[1])
    if labels is None:
        raise UnsupportedPtxError(f"branch table {args[1]}")
    cases = " ".join(f"case {i}: {{ {_goto(w, label)} }}" for i, label in enumerate(labels))
    return f"switch ({w.read(args[0], 'u32')}) {{ {cases} }}"


def _return(w: Writer, op: Opcode, args: list[str]) -> str:
    return "return;"


def _trap(w: Writer, op: Opcode, args: list[str]) -> str:
    return f'self->rt->fail(self, "{op.name}", {w.site});'


def _nanosleep(w: Writer, op: Opcode, args: list[str]) -> str:
    return f"self->rt->tick(self, {w.site});"


def _call(w: Writer, op: Opcode, args: list[str]) -> str:
    """`call.uni (retval0), vprintf, (param0, param1)`."""
    text = ", ".join(args)
    match = re.fullmatch(r"(?:\(\s*([\w$]+)\s*\)\s*,\s*)?([\w$]+)\s*(?:,\s*\((.*)\))?.*", text)
    if match is None:
        raise UnsupportedPtxError("call")
    result, function, given = match.groups()
    params = [f"(uintptr_t)&{c_name(name, 'q')}[0]" for name in split_operands(given or "")]
    if function == "vprintf" and result:
        pointers = ", ".join(f"load<uint64_t>({param})" for param in params)
        value = f"self->rt->print(self, {pointers})"
        return f"store<int32_t>((uintptr_t)&{c_name(result, 'q')}[0], {value});"
    if function == "__assertfail":
        message, file, line, name = params[:4]
        return (
            f"self->rt->assert_fail(self, load<uint64_t>({message}), load<uint64_t>({file}), "
            f"load<uint32_t>({line}), load<uint64_t>({name}), {w.site});"
        )
    raise UnsupportedPtxError(f"call of {function}; make it __forceinline__")


def _nothing(w: Writer, op: Opcode, args: list[str]) -> str:
    return ""


HANDLERS = {
    "bra": _bra,
    "brx": _brx,
    **dict.fromkeys(("ret", "exit"), _return),
    **dict.fromkeys(("trap", "brkpt"), _trap),
    "nanosleep": _nanosleep,
    "call": _call,
    **dict.fromkeys(("setmaxnreg", "griddepcontrol", "pmevent"), _nothing),
}
