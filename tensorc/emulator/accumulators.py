"""Accumulators of wgmma that are read before the wait, in checked modules.

A wgmma is asynchronous: its accumulator registers may not be touched before `wgmma.wait_group`,
but by another wgmma. Each such register, and each that it is moved to, has a tag: the group of the
wgmma that wrote it. Reading one whose group is not complete is reported.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tensorc.emulator.writer import c_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tensorc.emulator.ptx import Statement
    from tensorc.emulator.writer import Opcode, Writer

_MOVE = re.compile(r"(?:@!?%?[\w$]+\s+)?mov\.[bfus]32\s+(%?[\w$]+)\s*,\s*(%?[\w$]+)$")
_ISSUE = re.compile(r"wgmma\.mma_async\S*\s+\{([^}]*)\}")


def tracked_registers(statements: Iterable[Statement]) -> set[str]:
    """Accumulators, and what they are moved to."""
    tracked: set[str] = set()
    moves: list[tuple[str, str]] = []
    for statement in statements:
        if issue := _ISSUE.search(statement.text):
            tracked.update(name.strip() for name in issue.group(1).split(","))
        elif move := _MOVE.match(statement.text):
            moves.append((move.group(1), move.group(2)))
    grew = bool(tracked)
    while grew:
        new = {to for to, source in moves if source in tracked} - tracked
        tracked |= new
        grew = bool(new)
    return tracked


def tag(register: str) -> str:
    """The variable that holds a register's group."""
    return c_name(register, "w")


def guarded(w: Writer, op: Opcode, args: list[str], code: str) -> str:
    """The C++ of an instruction, with checks of what it read and tags for what it wrote."""
    if op.name == "wgmma" and op.has("mma_async"):
        group = " ".join(f"{tag(name)} = n_;" for name in dict.fromkeys(w.vector(args[0])))
        return f"{code} uint32_t n_ = self->rt->wgmma_group(self); {group}"
    if op.name == "mov" and args[1] in w.tracked and args[0] in w.tracked:
        return f"{code} {tag(args[0])} = {tag(args[1])};"
    checks = " ".join(
        f"self->rt->wgmma_read(self, {tag(name)}, {w.site});" for name in dict.fromkeys(w.read_now)
    )
    resets = " ".join(f"{tag(name)} = 0;" for name in dict.fromkeys(w.written_now))
    return f"{checks} {code} {resets}".strip()
