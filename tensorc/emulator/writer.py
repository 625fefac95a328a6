"""The C++ of one kernel: its registers, its operands, its memory accesses.

Each PTX instruction becomes one C++ statement in braces, labels stay labels, and a register is a
local variable: floats for `%f`, unsigned integers for the rest, with bit casts where the type of
an instruction differs. The handlers of `tensorc.emulator.ops` write the instructions themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tensorc.emulator.ptx import split_operands
from tensorc.emulator.types import FLOATS, UnsupportedPtxError, c_type, register_c_type, type_bytes

_VECTOR_REGISTERS = ("tid", "ctaid", "ntid", "nctaid")
_AXES = {"x": 0, "y": 1, "z": 2}
_SPECIAL = {
    "%laneid": "self->lane",
    "%warpid": "self->warp",
    "%nwarpid": "self->warps",
    "%smid": "0u",
    "%nsmid": "1u",
    "%gridid": "1u",
    "%clock": "(uint32_t)self->rt->clock(self)",
    "%clock_hi": "(uint32_t)(self->rt->clock(self) >> 32)",
    "%clock64": "self->rt->clock(self)",
    "%globaltimer": "self->rt->clock(self)",
    "%globaltimer_lo": "(uint32_t)self->rt->clock(self)",
    "%lanemask_eq": "(1u << self->lane)",
    "%lanemask_lt": "((1u << self->lane) - 1u)",
    "%lanemask_le": "((2u << self->lane) - 1u)",
    "%lanemask_gt": "(~((2u << self->lane) - 1u))",
    "%lanemask_ge": "(~((1u << self->lane) - 1u))",
    "%dynamic_smem_size": "(self->total_shared - self->static_shared)",
    "%total_smem_size": "self->total_shared",
    "%cluster_ctarank": "0u",
    "%cluster_nctarank": "1u",
    "%is_explicit_cluster": "false",
    "WARP_SZ": "32u",
}
_CLUSTER = {"%cluster_ctaid": "0u", "%cluster_nctaid": "1u"}


@dataclass(frozen=True)
class Opcode:
    """`ld.global.v4.f32`: the name and what follows its dots."""

    name: str
    mods: tuple[str, ...]

    @property
    def type(self) -> str:
        """The last modifier, which is the type of most instructions."""
        if not self.mods:
            raise UnsupportedPtxError(f"{self.name} without a type")
        return self.mods[-1]

    def has(self, mod: str) -> bool:
        """Whether a modifier is there."""
        return mod in self.mods

    def pick(self, *names: str, default: str = "") -> str:
        """The first of `names` that is a modifier."""
        return next((name for name in names if name in self.mods), default)

    def only(self, *allowed: str) -> None:
        """Refuse a modifier, other than the type, that is not in `allowed`: nothing is guessed.

        Raises:
            UnsupportedPtxError: it names the modifier.
        """
        for mod in self.mods[:-1]:
            if mod not in allowed:
                raise UnsupportedPtxError(f"{self.name} with .{mod}")


@dataclass
class Symbols:
    """What the operands of a kernel may name."""

    registers: dict[str, str] = field(default_factory=dict)  # name -> PTX type
    params: dict[str, int] = field(default_factory=dict)  # name -> position
    call_params: dict[str, int] = field(default_factory=dict)  # name -> bytes
    shared: dict[str, int] = field(default_factory=dict)  # name -> offset
    local: dict[str, int] = field(default_factory=dict)  # name -> bytes
    variables: set[str] = field(default_factory=set)  # .global and .const of the module
    tables: dict[str, list[str]] = field(default_factory=dict)  # .branchtargets


def c_name(name: str, prefix: str = "r") -> str:
    """A C++ name for a PTX register, label or variable."""
    return f"{prefix}_" + name.replace("%", "").replace("$", "_S_").replace(".", "_")


class Writer:
    """Writes operands and accesses for the statement at hand."""

    def __init__(self, symbols: Symbols) -> None:
        """Take what operands may name."""
        self.symbols = symbols
        self.site = 0
        self.seen_labels: set[str] = set()
        # Accumulators of wgmma in checked modules, and which of them this statement touches.
        self.tracked: set[str] = set()
        self.read_now: list[str] = []
        self.written_now: list[str] = []

    # ---- Reading

    def read(self, operand: str, ptx_type: str) -> str:
        """The value of `operand`, as a C++ expression of the C++ type of `ptx_type`."""
        if operand.startswith("!"):
            return f"(!{self.read(operand[1:], ptx_type)})"
        if operand in self.symbols.registers:
            return self._read_register(operand, ptx_type)
        want = c_type(ptx_type)
        if operand in _SPECIAL:
            return f"({want})({_SPECIAL[operand]})"
        name, _, axis = operand.partition(".")
        if name[1:] in _VECTOR_REGISTERS and axis in _AXES:
            return f"({want})self->{name[1:]}[{_AXES[axis]}]"
        if name in ("%clusterid", "%nclusterid") and axis in _AXES:
            base = "ctaid" if name == "%clusterid" else "nctaid"
            return f"({want})self->{base}[{_AXES[axis]}]"
        if name in _CLUSTER and axis in _AXES:
            return f"({want})({_CLUSTER[name]})"
        symbol = self._symbol(operand)
        if symbol is not None:
            return f"({want}){symbol}"
        return self._constant(operand, ptx_type)

    def reads(self, operands: list[str], ptx_type: str) -> list[str]:
        """The values of several operands."""
        return [self.read(operand, ptx_type) for operand in operands]

    def _read_register(self, name: str, ptx_type: str) -> str:
        have, want = register_c_type(self.symbols.registers[name]), c_type(ptx_type)
        if name in self.tracked:
            self.read_now.append(name)
        if have == want:
            return c_name(name)
        if have in FLOATS or want in FLOATS:
            return f"bits_of<{want}>({c_name(name)})"
        return f"({want}){c_name(name)}"

    def _symbol(self, operand: str) -> str | None:
        """The address of a variable, with an offset."""
        base, _, offset = operand.partition("+")
        plus = f" + ({int(offset, 0)})" if offset else ""
        symbols = self.symbols
        if base in symbols.shared:
            return f"({symbols.shared[base]}u{plus})"
        if base in symbols.params:
            return f"((uintptr_t)self->params[{symbols.params[base]}]{plus})"
        if base in symbols.call_params:
            return f"((uintptr_t)&{c_name(base, 'q')}[0]{plus})"
        if base in symbols.local:
            return f"((uintptr_t)&{c_name(base, 'l')}[0]{plus})"
        if base in symbols.variables:
            return f"((uintptr_t)&{c_name(base, 'g')}[0]{plus})"
        return None

    def _constant(self, text: str, ptx_type: str) -> str:
        want = c_type(ptx_type)
        if re.fullmatch(r"0[fF][0-9a-fA-F]{8}", text):
            bits = f"(uint32_t)0x{text[2:]}u"
            return f"bits_of<float>({bits})" if want == "float" else f"({want})({bits})"
        if re.fullmatch(r"0[dD][0-9a-fA-F]{16}", text):
            bits = f"(uint64_t)0x{text[2:]}ull"
            return f"bits_of<double>({bits})" if want == "double" else f"({want})({bits})"
        if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", text):
            value = int(text.rstrip("U"), 0)
            if want in FLOATS:
                return f"({want}){value}"
            if ptx_type == "pred":
                return "true" if value else "false"
            return f"({want}){value % (1 << 64)}ull"
        raise UnsupportedPtxError(f"operand {text}")

    # ---- Writing

    def write(self, target: str, ptx_type: str, value: str) -> str:
        """Assign `value`, of the C++ type of `ptx_type`, to a register; `_` drops it."""
        if target == "_":
            return f"(void)({value});"
        if target not in self.symbols.registers:
            raise UnsupportedPtxError(f"destination {target}")
        if target in self.tracked:
            self.written_now.append(target)
        have, got = register_c_type(self.symbols.registers[target]), c_type(ptx_type)
        if have == got:
            return f"{c_name(target)} = {value};"
        if have in FLOATS or got in FLOATS:
            return f"{c_name(target)} = bits_of<{have}>(({got})({value}));"
        return f"{c_name(target)} = ({have})({got})({value});"

    @staticmethod
    def vector(operand: str) -> list[str]:
        """The members of `{a, b}`; a plain operand is a vector of one."""
        return split_operands(operand[1:-1]) if operand.startswith("{") else [operand]

    # ---- Memory

    def address(self, operand: str, space: str) -> str:
        """The host address that `[operand]` names in `space`; generic addresses are host ones."""
        inner = operand.strip()
        if inner.startswith("["):
            inner = inner[1:-1].strip()
        symbol = self._symbol(inner.replace(" ", ""))
        if symbol is None:
            match = re.fullmatch(r"(%?[\w$]+)\s*(?:\+\s*(-?\w+))?", inner)
            if match is None:
                raise UnsupportedPtxError(f"address {operand}")
            base, offset = match.groups()
            width = "u32" if space == "shared" and self.width(base) == 4 else "u64"
            symbol = f"({self.read(base, width)}" + (f" + ({int(offset, 0)})" if offset else "")
            symbol += ")"
        elif inner.partition("+")[0].strip() in self.symbols.shared and space == "":
            return f"((uintptr_t)self->shared + (uint32_t){symbol})"
        if space == "shared":
            return f"((uintptr_t)self->shared + (uint32_t){symbol})"
        return f"((uintptr_t){symbol})"

    def width(self, operand: str) -> int:
        """Bytes of a register, 8 for what is none."""
        ptx_type = self.symbols.registers.get(operand)
        return type_bytes(ptx_type) if ptx_type and ptx_type != "pred" else 8

    def check(self, address: str, size: int, kind: str, space: str) -> str:
        """The call that checked modules make before an access."""
        if space in ("param", "const"):
            return ""
        if space == "local":
            depots = list(self.symbols.local.items())
            if len(depots) != 1:
                return ""
            name, bytes_ = depots[0]
            return f"TCEMU_LOCAL({address}, {size}, {c_name(name, 'l')}, {bytes_}, {self.site}); "
        return f"TCEMU_CHECK({address}, {size}, {kind}, {self.site}); "
