"""mbarrier: barriers that are objects in shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.emulator.types import UnsupportedPtxError

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer


def _mbarrier(w: Writer, op: Opcode, args: list[str]) -> str:
    action = op.mods[0]
    if action == "init":
        barrier, count = w.address(args[0], "shared"), w.read(args[1], "u32")
        return f"self->rt->mbarrier_init(self, {barrier}, {count}, {w.site});"
    if action == "inval":
        return f"self->rt->mbarrier_inval(self, {w.address(args[0], 'shared')}, {w.site});"
    if action in ("arrive", "arrive_drop"):
        return _arrive(w, op, args)
    if action in ("try_wait", "test_wait"):
        state = w.read(args[2], "u32" if op.has("parity") else "u64")
        barrier = w.address(args[1], "shared")
        parity = int(op.has("parity"))
        call = f"self->rt->mbarrier_wait(self, {barrier}, {state}, {parity}, {w.site})"
        return w.write(args[0], "pred", call)
    if action in ("expect_tx", "complete_tx"):
        call = "mbarrier_expect" if action == "expect_tx" else "mbarrier_complete"
        barrier, count = w.address(args[0], "shared"), w.read(args[1], "u32")
        return f"self->rt->{call}(self, {barrier}, {count}, {w.site});"
    raise UnsupportedPtxError(f"mbarrier.{action}")


def _arrive(w: Writer, op: Opcode, args: list[str]) -> str:
    if op.has("noComplete"):
        raise UnsupportedPtxError("mbarrier.arrive.noComplete")
    result, operands = (args[0], args[1:]) if not args[0].startswith("[") else ("_", args)
    barrier = w.address(operands[0], "shared")
    value = w.read(operands[1], "u32") if len(operands) > 1 else ""
    expects = op.has("expect_tx")
    count = value if value and not expects else "1"
    expected = value if expects else "0"
    drop = int(op.mods[0] == "arrive_drop")
    call = f"self->rt->mbarrier_arrive(self, {barrier}, {count}, {expected}, {drop}, {w.site})"
    return w.write(result, "b64", call)


HANDLERS = {"mbarrier": _mbarrier}
