"""Asynchronous copies: cp.async and the bulk copies of Hopper."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tensorc.emulator.ptx import split_operands
from tensorc.emulator.types import UnsupportedPtxError

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer


def _cp(w: Writer, op: Opcode, args: list[str]) -> str:
    if op.mods[:1] == ("reduce",):
        return _reduce(w, op, args)
    if op.mods[:1] != ("async",):
        raise UnsupportedPtxError(f"cp.{'.'.join(op.mods)}")
    if op.has("bulk"):
        return _bulk(w, op, args)
    if op.has("commit_group"):
        return "self->rt->cp_async_commit(self);"
    if op.has("wait_group"):
        return f"self->rt->cp_async_wait(self, {int(args[0], 0)}, {w.site});"
    if op.has("wait_all"):
        return f"self->rt->cp_async_commit(self); self->rt->cp_async_wait(self, 0, {w.site});"
    if any(mod.startswith("mbarrier") for mod in op.mods):
        barrier = w.address(args[0], "shared")
        return f"self->rt->cp_async_arrive(self, {barrier}, {int(op.has('noinc'))}, {w.site});"
    return _cp_async(w, op, args)


def _cp_async(w: Writer, op: Opcode, args: list[str]) -> str:
    """`cp.async.cg.shared.global [to], [from], bytes {, source bytes or ignore} {, policy}`."""
    if not any(mod in ("ca", "cg") for mod in op.mods):
        raise UnsupportedPtxError(f"cp.{'.'.join(op.mods)}")
    to, source = w.address(args[0], "shared"), w.address(args[1], "global")
    rest = args[3:-1] if op.has("L2::cache_hint") else args[3:]
    kept = args[2]
    if rest and w.symbols.registers.get(rest[0].lstrip("!")) == "pred":
        kept = f"({w.read(rest[0], 'pred')} ? 0 : {args[2]})"
    elif rest:
        kept = f"min_int<uint32_t>({w.read(rest[0], 'u32')}, {args[2]})"
    return f"self->rt->cp_async(self, {to}, {source}, {args[2]}, {kept}, {w.site});"


def _bulk(w: Writer, op: Opcode, args: list[str]) -> str:
    if op.has("commit_group"):
        return "self->rt->bulk_commit(self);"
    if op.has("wait_group"):
        return f"self->rt->bulk_wait(self, {int(args[0], 0)}, {w.site});"
    if op.has("prefetch"):
        return ""
    if any(mod.startswith("multicast") for mod in op.mods):
        raise UnsupportedPtxError("a bulk copy to several blocks of a cluster")
    if op.has("tensor"):
        return _tensor(w, op, args)
    if op.mods[2].startswith("shared"):
        to, source = w.address(args[0], "shared"), w.address(args[1], "global")
        size, barrier = w.read(args[2], "u32"), w.address(args[3], "shared")
        return f"self->rt->bulk_load(self, {to}, {source}, {size}, {barrier}, {w.site});"
    to, source = w.address(args[0], "global"), w.address(args[1], "shared")
    return f"self->rt->bulk_store(self, {to}, {source}, {w.read(args[2], 'u32')}, {w.site});"


def _map_operand(w: Writer, operand: str) -> tuple[str, str, int]:
    """`[map, {c0, c1}]`: the address of the map, the coordinates, their number."""
    match = re.fullmatch(r"\[\s*(%?[\w$]+)\s*,\s*\{(.*)\}\s*\]", operand)
    if match is None:
        raise UnsupportedPtxError(f"tensor operand {operand}")
    coordinates = w.reads(split_operands(match.group(2)), "s32")
    address = f"(uintptr_t){w.read(match.group(1), 'u64')}"
    return address, ", ".join(coordinates), len(coordinates)


def _tensor(w: Writer, op: Opcode, args: list[str]) -> str:
    if any(mod.startswith(("im2col", "tile::")) for mod in op.mods):
        raise UnsupportedPtxError(f"cp.{'.'.join(op.mods)}")
    if any(mod.startswith("mbarrier") for mod in op.mods):
        address, coordinates, rank = _map_operand(w, args[1])
        to, barrier = w.address(args[0], "shared"), w.address(args[2], "shared")
        return (
            f"int c_[] = {{{coordinates}}}; self->rt->tensor_load(self, {to}, {address}, c_, "
            f"{rank}, {barrier}, {w.site});"
        )
    return _tensor_store(w, args, 0)


def _tensor_store(w: Writer, args: list[str], add: int) -> str:
    address, coordinates, rank = _map_operand(w, args[0])
    source = w.address(args[1], "shared")
    return (
        f"int c_[] = {{{coordinates}}}; self->rt->tensor_store(self, {address}, {source}, c_, "
        f"{rank}, {add}, {w.site});"
    )


def _reduce(w: Writer, op: Opcode, args: list[str]) -> str:
    if not (op.has("tensor") and op.has("add")):
        raise UnsupportedPtxError(f"cp.{'.'.join(op.mods)}")
    return _tensor_store(w, args, 1)


HANDLERS = {"cp": _cp}
