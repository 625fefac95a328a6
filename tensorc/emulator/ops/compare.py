"""Comparisons and selections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.emulator.types import HALF_CLASS, HALVES, PAIRS, UnsupportedPtxError, c_type

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer

# False where an operand is NaN; the forms that end in `u` are true then.
_ORDERED = {"eq": "==", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_UNSIGNED = {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}
_NOT_OF = {"ltu": "ge", "leu": "gt", "gtu": "le", "geu": "lt"}
_COMBINE = {"and": "&", "or": "|", "xor": "^"}


def _test(compare: str, a: str, b: str) -> str:
    if compare in _ORDERED or compare in _UNSIGNED:
        return f"({a} {(_ORDERED | _UNSIGNED)[compare]} {b})"
    if compare in _NOT_OF:
        return f"!({a} {_ORDERED[_NOT_OF[compare]]} {b})"
    if compare in ("ne", "equ"):  # Unlike C++'s !=, `ne` is false for NaN.
        unequal = f"({a} < {b} || {a} > {b})"
        return unequal if compare == "ne" else f"!{unequal}"
    if compare == "neu":
        return f"!({a} == {b})"
    if compare in ("num", "nan"):
        return f"({'!' if compare == 'num' else ''}(is_nan({a}) || is_nan({b})))"
    raise UnsupportedPtxError(f"comparison .{compare}")


def _operands(w: Writer, op: Opcode, operands: list[str]) -> list[str]:
    values = w.reads(operands, op.type)
    if op.type in HALVES:
        return [f"{HALF_CLASS[op.type]}::widen({value})" for value in values]
    if op.has("ftz"):
        return [f"flush({value})" for value in values]
    return values


def _combined(w: Writer, op: Opcode, args: list[str], test: str) -> str:
    combine = op.pick(*_COMBINE)
    return f"{test} {_COMBINE[combine]} {w.read(args[3], 'pred')}" if combine else test


def _setp(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only(op.mods[0], "ftz", *_COMBINE)
    target, _, other = args[0].partition("|")
    if op.type in PAIRS:
        return _setp_pair(w, op, args)
    a, b = _operands(w, op, args[1:3])
    test = _test(op.mods[0], a, b)
    if not other:
        return w.write(target, "pred", _combined(w, op, args, test))
    yes = w.write(target, "pred", _combined(w, op, args, "t_"))
    no = w.write(other, "pred", _combined(w, op, args, "!t_"))
    return f"bool t_ = {test}; {yes} {no}"


def _setp_pair(w: Writer, op: Opcode, args: list[str]) -> str:
    low, _, high = args[0].partition("|")
    kind = HALF_CLASS[op.type]
    code = " ".join(
        f"uint32_t {name}_ = {value};"
        for name, value in zip("ab", w.reads(args[1:3], op.type), strict=True)
    )
    for target, half in ((low, "low_half"), (high, "high_half")):
        if target:
            test = _test(op.mods[0], f"{kind}::widen({half}(a_))", f"{kind}::widen({half}(b_))")
            code += " " + w.write(target, "pred", _combined(w, op, args, test))
    return code


def _set(w: Writer, op: Opcode, args: list[str]) -> str:
    """`set.op.to.from`: all ones or 1.0 where the comparison holds."""
    to, source = op.mods[-2], op.mods[-1]
    kind = HALF_CLASS.get(source, "")
    one = {"f32": "1.0f", "f16": "(uint16_t)0x3c00", "bf16": "(uint16_t)0x3f80"}
    if source not in PAIRS:
        a, b = _operands(w, op, args[1:3])
        test = _combined(w, op, args, _test(op.mods[0], a, b))
        yes = one.get(to, f"({c_type(to)})~({c_type(to)})0" if to not in one else "")
        return w.write(args[0], to, f"({test}) ? {yes} : ({c_type(to)})0")
    a, b = w.reads(args[1:3], source)
    parts = []
    for half in ("low_half", "high_half"):
        test = _test(op.mods[0], f"{kind}::widen({half}(a_))", f"{kind}::widen({half}(b_))")
        test = _combined(w, op, args, test)
        yes = one[to[:-2]] if to in PAIRS else "(uint16_t)0xffff"
        parts.append(f"(uint16_t)(({test}) ? {yes} : (uint16_t)0)")
    write = w.write(args[0], "b32", f"pair_of({parts[0]}, {parts[1]})")
    return f"uint32_t a_ = {a}, b_ = {b}; {write}"


def _selp(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only()
    a, b = w.reads(args[1:3], op.type)
    return w.write(args[0], op.type, f"{w.read(args[3], 'pred')} ? {a} : {b}")


def _slct(w: Writer, op: Opcode, args: list[str]) -> str:
    kind, test = op.mods[-2], op.mods[-1]
    a, b = w.reads(args[1:3], kind)
    return w.write(args[0], kind, f"{w.read(args[3], test)} >= 0 ? {a} : {b}")


HANDLERS = {"setp": _setp, "set": _set, "selp": _selp, "slct": _slct}
