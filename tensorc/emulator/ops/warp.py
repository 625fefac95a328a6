"""Operations of a warp, and barriers of a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.emulator.types import UnsupportedPtxError

if TYPE_CHECKING:
    from tensorc.emulator.writer import Opcode, Writer

_SHUFFLES = {
    "up": "kShuffleUp",
    "down": "kShuffleDown",
    "bfly": "kShuffleBfly",
    "idx": "kShuffleIdx",
}
_REDUCES = {
    "add": "kReduceAdd",
    "min": "kReduceMin",
    "max": "kReduceMax",
    "and": "kReduceAnd",
    "or": "kReduceOr",
    "xor": "kReduceXor",
}
_VOTES = {"popc": "kVotePopc", "and": "kVoteAnd", "or": "kVoteOr"}


def _shfl(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only("sync", *_SHUFFLES)
    _needs_sync(op)
    target, _, in_range = args[0].partition("|")
    value, b, c, mask = w.reads(args[1:5], "b32")
    mode = _SHUFFLES[op.pick(*_SHUFFLES)]
    call = f"self->rt->shuffle(self, {mode}, {value}, {b}, {c}, {mask}, &p_, {w.site})"
    code = f"bool p_; uint32_t v_ = {call}; {w.write(target, 'b32', 'v_')}"
    return f"{code} {w.write(in_range, 'pred', 'p_')}" if in_range else code


def _needs_sync(op: Opcode) -> None:
    if not op.has("sync"):
        raise UnsupportedPtxError(f"{op.name} without .sync")


def _vote(w: Writer, op: Opcode, args: list[str]) -> str:
    _needs_sync(op)
    predicate, mask = w.read(args[1], "pred"), w.read(args[2], "u32")
    ballot = f"self->rt->ballot(self, {predicate}, {mask}, {w.site})"
    if op.has("ballot"):
        return w.write(args[0], "b32", ballot)
    if op.has("any"):
        return w.write(args[0], "pred", f"{ballot} != 0")
    missing = f"self->rt->ballot(self, !{predicate}, {mask}, {w.site})"
    if op.has("all"):
        return w.write(args[0], "pred", f"{missing} == 0")
    if op.has("uni"):
        count = f"popc<uint32_t>(n_) == 0 || popc<uint32_t>(n_) == popc<uint32_t>({mask})"
        return f"uint32_t n_ = {missing}; {w.write(args[0], 'pred', count)}"
    raise UnsupportedPtxError("vote")


def _match(w: Writer, op: Opcode, args: list[str]) -> str:
    _needs_sync(op)
    value, mask = w.read(args[1], op.type), w.read(args[2], "u32")
    if op.has("any"):
        return w.write(args[0], "b32", f"self->rt->match_any(self, {value}, {mask}, {w.site})")
    target, _, agrees = args[0].partition("|")
    call = f"self->rt->match_all(self, {value}, {mask}, &p_, {w.site})"
    code = f"bool p_; uint32_t v_ = {call}; {w.write(target, 'b32', 'v_')}"
    return f"{code} {w.write(agrees, 'pred', 'p_')}" if agrees else code


def _redux(w: Writer, op: Opcode, args: list[str]) -> str:
    op.only("sync", *_REDUCES)
    if op.type not in ("u32", "s32", "b32"):
        raise UnsupportedPtxError(f"redux of .{op.type}")
    value, mask = w.reads(args[1:3], "u32")
    kind, signed = _REDUCES[op.pick(*_REDUCES)], int(op.type == "s32")
    call = f"self->rt->reduce(self, {kind}, {signed}, {value}, {mask}, {w.site})"
    return w.write(args[0], "u32", call)


def _activemask(w: Writer, op: Opcode, args: list[str]) -> str:
    return w.write(args[0], "b32", "self->rt->active_mask(self)")


def _elect(w: Writer, op: Opcode, args: list[str]) -> str:
    """The lowest lane of the mask is elected."""
    leader, _, predicate = args[0].partition("|")
    code = f"uint32_t l_ = __builtin_ctz({w.read(args[1], 'u32')}); "
    code += f"self->rt->warp_sync(self, {w.read(args[1], 'u32')}, {w.site}); "
    return code + f"{w.write(leader, 'b32', 'l_')} {w.write(predicate, 'pred', 'self->lane == l_')}"


def _barrier(w: Writer, op: Opcode, args: list[str]) -> str:
    """`bar` and `barrier`, of a block or a warp, with a vote or without."""
    if op.has("warp"):
        return f"self->rt->warp_sync(self, {w.read(args[0], 'u32')}, {w.site});"
    if op.has("cluster"):  # A cluster is one block.
        if op.has("arrive"):
            return ""
        return f"self->rt->barrier(self, 16, 0, kVoteNone, 0, {w.site});"
    if op.has("red"):
        return _voting_barrier(w, op, args)
    number = w.read(args[0], "u32") if args else "0"
    threads = w.read(args[1], "u32") if len(args) > 1 else "0"
    if op.has("arrive"):
        return f"self->rt->barrier_arrive(self, {number}, {threads}, {w.site});"
    if not op.has("sync"):
        raise UnsupportedPtxError(f"{op.name}.{'.'.join(op.mods)}")
    return f"self->rt->barrier(self, {number}, {threads}, kVoteNone, 0, {w.site});"


def _voting_barrier(w: Writer, op: Opcode, args: list[str]) -> str:
    vote = _VOTES[op.pick(*_VOTES)]
    number, predicate = w.read(args[1], "u32"), w.read(args[-1], "pred")
    threads = w.read(args[2], "u32") if len(args) > 3 else "0"
    call = f"self->rt->barrier(self, {number}, {threads}, {vote}, {predicate}, {w.site})"
    return w.write(args[0], op.type, f"{call} != 0" if op.type == "pred" else call)


HANDLERS = {
    "shfl": _shfl,
    "vote": _vote,
    "match": _match,
    "redux": _redux,
    "activemask": _activemask,
    "elect": _elect,
    **dict.fromkeys(("bar", "barrier"), _barrier),
}
