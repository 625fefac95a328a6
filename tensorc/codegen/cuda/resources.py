"""What kernels take of a GPU: read from the assembler's log, and from the machine code itself.

The log is that of `--ptxas-options=-v`. The machine code is an ELF file whose section `.nv.info`
has records of a format byte, an attribute byte, a size and a payload; which attribute means what
is documented nowhere, and was read off files of NVRTC 12.0 to 13.5 whose logs say the same.
"""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.target import REGISTER_UNIT, REGISTERS, SHARED_UNIT, WARP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tensorc.target import CudaArch


class CudaWarning(UserWarning):
    """Something in compiled kernels that makes them slow, or not what the source asks for."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What one kernel takes; bytes, but for registers (of 32 bits, a thread) and barriers."""

    registers: int = 0
    stack: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    shared: int = 0
    barriers: int = 0
    const: int = 0


@dataclass(frozen=True, slots=True)
class Occupancy:
    """How many blocks of a kernel a multiprocessor holds, and what stops it from holding more."""

    blocks: int
    warps: int
    of_warps: int
    limit: str

    @property
    def share(self) -> float:
        """The part of the warps that a multiprocessor could hold."""
        return self.warps / self.of_warps

    def __str__(self) -> str:
        return (
            f"{self.blocks} blocks, {self.warps} of {self.of_warps} warps "
            f"({100 * self.share:.0f} %), limited by {self.limit}"
        )


_ENTRY = re.compile(r"Compiling entry function '([^']+)'")
_FUNCTION = re.compile(r"Function properties for (\S+)")
_FIELDS = {
    "stack": r"(\d+) bytes stack frame",
    "spill_stores": r"(\d+) bytes spill stores",
    "spill_loads": r"(\d+) bytes spill loads",
    "registers": r"Used (\d+) registers",
    "shared": r"(\d+) bytes smem",
    "barriers": r"used (\d+) barriers",
    "const": r"(\d+) bytes cmem\[0\]",
}


def parse_log(log: str) -> dict[str, Resources]:
    """The resources of each kernel, by name, as the assembler's log has them."""
    found: dict[str, dict[str, int]] = {}
    current = ""
    for line in log.splitlines():
        entry = _ENTRY.search(line) or _FUNCTION.search(line)
        if entry:
            current = entry.group(1)
            found.setdefault(current, {})
        for name, pattern in _FIELDS.items():
            match = re.search(pattern, line)
            if match and current:
                found[current][name] = int(match.group(1))
    return {name: Resources(**fields) for name, fields in found.items()}


# --- the machine code -------------------------------------------------------------------------

_REGISTERS, _FRAME = 0x2F, 0x11
_SYSTEM_SHARED = 1024  # What sm_90 and newer add to a kernel's own.


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    link: int
    data: bytes
    size: int


def parse_cubin(cubin: bytes) -> dict[str, Resources]:
    """Registers, stack and shared memory of each kernel, as the machine code has them.

    Raises:
        ValueError: the bytes are no 64-bit ELF file.
    """
    sections = list(_sections(cubin))
    symbols = _symbols(sections)
    registers: dict[str, int] = {}
    frames: dict[str, int] = {}
    for section in sections:
        if section.name != ".nv.info":
            continue
        for attribute, payload in _records(section.data):
            if attribute in (_REGISTERS, _FRAME) and len(payload) == 8:
                symbol, value = struct.unpack("<II", payload)
                table = registers if attribute == _REGISTERS else frames
                table[symbols[symbol]] = value
    shared = {
        s.name.removeprefix(".nv.shared."): s.size
        for s in sections
        if s.name.startswith(".nv.shared.")
    }
    reserved = _SYSTEM_SHARED if _capability(cubin) >= 90 else 0
    return {
        name: Resources(
            registers=count,
            stack=frames.get(name, 0),
            shared=max(shared.get(name, 0) - reserved, 0),
        )
        for name, count in registers.items()
    }


def _capability(cubin: bytes) -> int:
    """The compute capability, in the flags of the file: where depends on the version of the ABI."""
    flags: int = struct.unpack_from("<I", cubin, 48)[0]
    return flags >> 8 & 0xFF if cubin[7] == 65 else flags & 0xFF


def _sections(cubin: bytes) -> Iterator[_Section]:
    if cubin[:5] != b"\x7fELF\x02":
        raise ValueError("no 64-bit ELF file")
    (offset,) = struct.unpack_from("<Q", cubin, 40)
    entry, count, names = struct.unpack_from("<HHH", cubin, 58)
    heads = [struct.unpack_from("<IIQQQQIIQQ", cubin, offset + i * entry) for i in range(count)]
    table = cubin[heads[names][4] : heads[names][4] + heads[names][5]]
    for head in heads:
        name = table[head[0] : table.index(b"\0", head[0])].decode()
        nothing = head[1] == 8  # SHT_NOBITS: there is no data, only a size.
        data = b"" if nothing else cubin[head[4] : head[4] + head[5]]
        yield _Section(name, head[6], data, head[5])


def _symbols(sections: list[_Section]) -> list[str]:
    for section in sections:
        if section.name == ".symtab":
            table = sections[section.link].data
            starts = [
                struct.unpack_from("<I", section.data, i)[0]
                for i in range(0, len(section.data), 24)
            ]
            return [table[s : table.index(b"\0", s)].decode() for s in starts]
    return []


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The records of `.nv.info`: of format 4 with a payload, of others with two bytes of value."""
    at = 0
    while at + 4 <= len(data):
        kind, attribute, size = struct.unpack_from("<BBH", data, at)
        at += 4
        payload = data[at : at + size] if kind == 4 else b""
        at += size if kind == 4 else 0
        yield attribute, payload


# --- what follows from them -------------------------------------------------------------------


def occupancy(arch: CudaArch, threads: int, registers: int, shared: int) -> Occupancy:
    """How many blocks of `threads` a multiprocessor of `arch` holds at once.

    Args:
        arch: the architecture.
        threads: of a block.
        registers: of a thread.
        shared: bytes of a block, static and dynamic.
    """
    warps = -(-threads // WARP)
    by_warp = _up(max(registers, 1) * WARP, REGISTER_UNIT)
    unit = SHARED_UNIT if arch.capability >= 80 else 2 * SHARED_UNIT
    by_block = _up(shared + arch.reserved, unit)
    limits = {
        "blocks": arch.blocks,
        "warps": arch.warps // warps,
        # Registers belong to the four parts of a multiprocessor, each with its own warps.
        "registers": (REGISTERS // 4 // by_warp) * 4 // warps,
        "shared memory": arch.shared // by_block if by_block else arch.blocks,
    }
    limit = min(limits, key=lambda name: limits[name])
    blocks = limits[limit]
    return Occupancy(blocks, blocks * warps, arch.warps, limit)


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


_CODES = {
    "C7510": "its wgmma instructions wait for each other",
    "C7508": "its setmaxnreg is ignored",
}


def warn_of(log: str, resources: Mapping[str, Resources]) -> list[str]:
    """Tell the user, by name, which kernels spill registers or lost what the source asked for.

    Gives the messages too.
    """
    said: list[str] = []
    for name, r in resources.items():
        if r.spill_stores or r.spill_loads:
            said.append(
                f"kernel {name} spills registers: {r.spill_stores} bytes stored, {r.spill_loads} "
                f"loaded, with {r.registers} registers; make its tiles in registers smaller"
            )
    for line in log.splitlines():
        for code, what in _CODES.items():
            if code in line:
                inside = re.search(r"[Ff]unction '([^']+)'", line)
                which = f"kernel {inside.group(1)}" if inside else "a kernel"
                said.append(f"{which}: {what} ({code})")
    for message in said:
        warnings.warn(message, CudaWarning, stacklevel=2)
    return said
