"""Loads, stores, atomics and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.emulator.types import HALF_CLASS, HALVES, UnsupportedPtxError, c_type, type_bytes

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer

_ORDERS = ("relaxed", "acquire", "release", "acq_rel", "volatile", "mmio")
_WEAK = ("weak", "nc", "cta", "cluster", "gpu", "sys")
_CACHE = ("ca", "cg", "cs", "lu", "cv", "wb", "wt")
_VECTORS = {"v2": 2, "v4": 4, "v8": 8}
_ATOMIC = {
    "add": "old_ + {0}",
    "and": "old_ & {0}",
    "or": "old_ | {0}",
    "xor": "old_ ^ {0}",
    "exch": "{0}",
    "cas": "old_ == {0} ? {1} : old_",
    "inc": "old_ >= {0} ? 0 : old_ + 1",
    "dec": "old_ == 0 || old_ > {0} ? {0} : old_ - 1",
}


def space_of(op: Opcode) -> str:
    """The state space of an access; "" is a generic address."""
    for mod in op.mods:
        base = mod.partition("::")[0]
        if base in ("global", "shared", "local", "param", "const"):
            return base
    return ""


def _known(op: Opcode) -> None:
    for mod in op.mods[:-1]:
        base = mod.partition("::")[0]
        known = mod in _ORDERS or mod in _WEAK or mod in _CACHE or mod in _VECTORS
        if not known and base not in ("global", "shared", "local", "param", "const", "L1", "L2"):
            raise UnsupportedPtxError(f"{op.name} with .{mod}")


def _kind(op: Opcode, kind: str) -> str:
    """Accesses with an order of their own take no part in races, as atomics do not."""
    if not op.pick(*_ORDERS):
        return kind
    return "kAtomicRead" if kind == "kRead" else "kAtomicUpdate"


def _ld(w: Writer, op: Opcode, args: list[str]) -> str:
    _known(op)
    space, size = space_of(op), type_bytes(op.type)
    targets = w.vector(args[0])
    address = w.address(args[1], space)
    check = w.check("a_", size * len(targets), _kind(op, "kRead"), space)
    ctype = c_type(op.type)
    loads = " ".join(
        f"{ctype} v{i}_ = load<{ctype}>(a_ + {i * size});" for i in range(len(targets))
    )
    writes = " ".join(w.write(target, op.type, f"v{i}_") for i, target in enumerate(targets))
    return f"uintptr_t a_ = {address}; {check}{loads} {writes}"


def _st(w: Writer, op: Opcode, args: list[str]) -> str:
    _known(op)
    space, size = space_of(op), type_bytes(op.type)
    values = w.vector(args[1])
    address = w.address(args[0], space)
    check = w.check("a_", size * len(values), _kind(op, "kWrite"), space)
    ctype = c_type(op.type)
    stores = " ".join(
        f"store<{ctype}>(a_ + {i * size}, {w.read(value, op.type)});"
        for i, value in enumerate(values)
    )
    return f"uintptr_t a_ = {address}; {check}{stores}"


def _atom(w: Writer, op: Opcode, args: list[str]) -> str:
    function = op.pick("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
    if not function:
        raise UnsupportedPtxError(f"{op.name} without an operation")
    for mod in op.mods[:-1]:
        if mod not in (*_ORDERS, *_WEAK, *_VECTORS, function, "noftz") and (
            mod.partition("::")[0] not in ("global", "shared")
        ):
            raise UnsupportedPtxError(f"{op.name} with .{mod}")
    space, size, ctype = space_of(op), type_bytes(op.type), c_type(op.type)
    operands = [w.vector(arg) for arg in args[2:]]
    targets = w.vector(args[0]) if args[0] != "_" else ["_"] * len(operands[0])
    address = w.address(args[1], space)
    code = f"uintptr_t a_ = {address}; "
    code += w.check("a_", size * len(targets), "kAtomicUpdate", space)
    for i, target in enumerate(targets):
        values = [w.read(operand[i], op.type) for operand in operands]
        updated = _updated(op, function, values)
        code += (
            f"{{ uintptr_t e_ = a_ + {i * size}; {ctype} old_ = load<{ctype}>(e_); "
            f"store<{ctype}>(e_, {updated}); {w.write(target, op.type, 'old_')} }} "
        )
    return code


def _updated(op: Opcode, function: str, values: list[str]) -> str:
    kind = HALF_CLASS.get(op.type)
    if kind and function in ("add", "min", "max"):
        call = f"{function}_half<{kind}>"
        if op.type in HALVES:
            return f"{call}(old_, {values[0]})"
        halves = (
            f"{call}({half}(old_), {half}({values[0]}))" for half in ("low_half", "high_half")
        )
        return f"pair_of({', '.join(halves)})"
    if op.type in ("f32", "f64") and function in ("min", "max"):
        return f"{function}_float(old_, {values[0]})"
    if function in ("min", "max"):
        return f"{function}_int<{c_type(op.type)}>(old_, {values[0]})"
    if kind and function not in ("exch", "cas"):
        raise UnsupportedPtxError(f"{op.name}.{function}.{op.type}")
    return _ATOMIC[function].format(*values)


def _red(w: Writer, op: Opcode, args: list[str]) -> str:
    if op.has("async"):
        raise UnsupportedPtxError("red.async")
    return _atom(w, op, ["_", *args])


def _cvta(w: Writer, op: Opcode, args: list[str]) -> str:
    value = w.read(args[1], op.type)
    if space_of(op) == "shared":
        sign = "-" if op.has("to") else "+"
        value = f"{value} {sign} (uint64_t)(uintptr_t)self->shared"
    return w.write(args[0], op.type, value)


def _isspacep(w: Writer, op: Opcode, args: list[str]) -> str:
    value = w.read(args[1], "u64")
    inside = f"({value} - (uint64_t)(uintptr_t)self->shared < 0x1000000ull)"
    space = op.mods[-1].partition("::")[0]
    if space not in ("shared", "global"):
        raise UnsupportedPtxError(f"isspacep.{space}")
    return w.write(args[0], "pred", inside if space == "shared" else f"!{inside}")


def _mapa(w: Writer, op: Opcode, args: list[str]) -> str:
    """The only block of a cluster is rank 0, whose addresses are the block's own."""
    return w.write(args[0], op.type, w.read(args[1], op.type))


def _nothing(w: Writer, op: Opcode, args: list[str]) -> str:
    """Hints, and fences: blocks run on one thread, whose memory is in order."""
    return ""


def _createpolicy(w: Writer, op: Opcode, args: list[str]) -> str:
    return w.write(args[0], "b64", "0")


HANDLERS = {
    **dict.fromkeys(("ld", "ldu"), _ld),
    "st": _st,
    "atom": _atom,
    "red": _red,
    "cvta": _cvta,
    "isspacep": _isspacep,
    "mapa": _mapa,
    **dict.fromkeys(
        ("prefetch", "prefetchu", "applypriority", "discard", "membar", "fence"), _nothing
    ),
    "createpolicy": _createpolicy,
}
