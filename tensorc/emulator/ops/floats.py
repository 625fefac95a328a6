"""Arithmetic of float32, float64, float16 and bfloat16, and of pairs of the latter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.emulator.types import HALF_CLASS, HALVES, PAIRS, UnsupportedPtxError
from tensorc.emulator.writer import Opcode

if TYPE_CHECKING:
    from tensorc.emulator.writer import Writer

ROUNDING = {"rn": "kNearest", "rz": "kTowardZero", "rm": "kDown", "rp": "kUp"}
_ROUNDED = {"add": "kAdd", "sub": "kSub", "mul": "kMul", "fma": "kFma", "mad": "kFma"}
_ROUNDED |= {"div": "kDiv", "rcp": "kDiv", "sqrt": "kSqrt"}

_PLAIN = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "fma": "fma_of({0}, {1}, {2})",
    "mad": "fma_of({0}, {1}, {2})",
    "neg": "-{0}",
    "abs": "abs_of({0})",
    "sqrt": "sqrt_of({0})",
    "rsqrt": "rsqrt_of({0})",
    "rcp": "rcp_of({0})",
    "sin": "sin_of({0})",
    "cos": "cos_of({0})",
    "lg2": "lg2_of({0})",
    "ex2": "ex2_of({0})",
    "tanh": "tanh_of({0})",
    "copysign": "copysign_of({0}, {1})",
}
_SIGN_ONLY = ("neg", "abs", "copysign")
_HALF_OPS = ("add", "sub", "mul", "fma", "neg", "abs", "min", "max", "ex2", "tanh")


def arithmetic(w: Writer, op: Opcode, args: list[str]) -> str:
    """One instruction on floats of any width."""
    if op.type in HALVES or op.type in PAIRS:
        return _half(w, op, args)
    if op.type == "f32x2":
        return _two_floats(w, op, args)
    if op.type not in ("f32", "f64"):
        raise UnsupportedPtxError(f"{op.name}.{op.type}")
    op.only(*ROUNDING, "ftz", "sat", "approx", "full", "NaN", "xorsign", "abs", "noftz")
    values = w.reads(args[1:], op.type)
    flush = op.has("ftz") and op.type == "f32"
    if flush:
        values = [f"flush({value})" for value in values]
    value = _value(op, values)
    if flush and op.name not in _SIGN_ONLY:
        value = f"flush({value})"
    if op.has("sat"):
        value = f"saturate({value})"
    return w.write(args[0], op.type, value)


def _value(op: Opcode, values: list[str]) -> str:
    if op.name in ("min", "max"):
        return _extremum(op, values)
    mode = op.pick("rz", "rm", "rp")
    if not mode:
        return _PLAIN[op.name].format(*values)
    if op.name not in _ROUNDED:
        raise UnsupportedPtxError(f"{op.name}.{mode}")
    operands = ["1", *values] if op.name == "rcp" else values
    padded = ", ".join([*operands, "0", "0"][:3])
    width = op.type[1:]
    return f"self->rt->rounded{width}({_ROUNDED[op.name]}, {ROUNDING[mode]}, {padded})"


def _extremum(op: Opcode, values: list[str]) -> str:
    call = f"{op.name}_nan" if op.has("NaN") else f"{op.name}_float"
    if op.has("xorsign"):
        magnitude = f"{call}(abs_of({values[0]}), abs_of({values[1]}))"
        return f"xor_sign({values[0]}, {values[1]}, {magnitude})"
    result = f"{call}({values[0]}, {values[1]})"
    for value in values[2:]:
        result = f"{call}({result}, {value})"
    return result


def _two_floats(w: Writer, op: Opcode, args: list[str]) -> str:
    """add, sub, mul and fma of two float32 in 64 bits."""
    if op.name not in ("add", "sub", "mul", "fma"):
        raise UnsupportedPtxError(f"{op.name}.{op.type}")
    op.only(*ROUNDING, "ftz")
    one = Opcode(op.name, (*op.mods[:-1], "f32"))
    names = [f"v{i}_" for i in range(len(args) - 1)]
    values = w.reads(args[1:], "b64")
    copies = " ".join(f"uint64_t {n} = {v};" for n, v in zip(names, values, strict=True))
    halves = []
    for half in ("low_float", "high_float"):
        parts = [f"{half}({name})" for name in names]
        if op.has("ftz"):
            parts = [f"flush({part})" for part in parts]
        value = _value(one, parts)
        halves.append(f"flush({value})" if op.has("ftz") else value)
    return f"{copies} {w.write(args[0], 'b64', f'two_floats({halves[0]}, {halves[1]})')}"


def fused(w: Writer, op: Opcode, args: list[str]) -> str:
    """`fma`, and `mad` of floats, which is the same."""
    return arithmetic(w, op, args)


def _half(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only("rn", "ftz", "sat", "relu", "NaN", "approx", "xorsign", "abs", "noftz")
    if op.name not in _HALF_OPS or op.has("xorsign"):
        raise UnsupportedPtxError(f"{op.name}.{op.type}")
    values = w.reads(args[1:], op.type)
    if op.type in HALVES:
        return w.write(args[0], op.type, half_value(op, values))
    names = [f"v{i}_" for i in range(len(values))]
    copies = " ".join(f"uint32_t {n} = {v};" for n, v in zip(names, values, strict=True))
    low = half_value(op, [f"low_half({name})" for name in names])
    high = half_value(op, [f"high_half({name})" for name in names])
    return f"{copies} {w.write(args[0], op.type, f'pair_of({low}, {high})')}"


def half_value(op: Opcode, values: list[str]) -> str:
    """One instruction on one float16 or bfloat16, as a 16-bit expression."""
    kind = HALF_CLASS[op.type]
    name = f"{op.name}_nan" if op.has("NaN") else op.name
    if op.has("ftz"):
        values = [f"flush_half<{kind}>({value})" for value in values]
    value = f"{name}_half<{kind}>({', '.join(values)})"
    if op.has("ftz") and op.name not in _SIGN_ONLY:
        value = f"flush_half<{kind}>({value})"
    if op.has("sat"):
        value = f"saturate_half<{kind}>({value})"
    if op.has("relu"):
        value = f"relu_half<{kind}>({value})"
    return value


def _testp(w: Writer, op: Opcode, args: list[str]) -> str:
    value = w.read(args[1], op.type)
    infinite = f"abs_of({value}) == __builtin_inf()"
    smallest = "1.17549435e-38f" if op.type == "f32" else "2.2250738585072014e-308"
    tests = {
        "finite": f"!is_nan({value}) && !({infinite})",
        "infinite": infinite,
        "number": f"!is_nan({value})",
        "notanumber": f"is_nan({value})",
        "normal": f"abs_of({value}) >= {smallest} && !({infinite})",
        "subnormal": f"{value} != 0 && abs_of({value}) < {smallest}",
    }
    return w.write(args[0], "pred", tests[op.mods[0]])


HANDLERS = {
    "fma": fused,
    **dict.fromkeys(
        ("sqrt", "rsqrt", "rcp", "sin", "cos", "lg2", "ex2", "tanh", "copysign"), arithmetic
    ),
    "testp": _testp,
}
