"""What stands outside all loops of a program, kept from one step to the next.

The temporaries of a program stand one inside the other around one block with all its nests: those
of a network of 64 layers are 300 around 500. A step asks for the place of one nest several times
and renews one; neither should cost a walk past all of the others.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import local
from typing import TYPE_CHECKING

from tensorc.ir.expr import Buffer
from tensorc.ir.facts import facts, holds
from tensorc.ir.stmt import Allocate, Block

if TYPE_CHECKING:
    from tensorc.ir.facts import Thing
    from tensorc.ir.stmt import Stmt


@dataclass(frozen=True, slots=True)
class Spine:
    """Blocks and allocations, one inside the other, with nests on their way.

    Attributes:
        path: the blocks and allocations, from the root on.
        depths: where each buffer's allocation stands in `path`.
        nests: what else stands in a block of `path`: loops, guards, leaves, and branches, which are
            allocations or blocks beside the path.
        blocks: for each nest, where its block stands in `path`.
        times: for each nest, its position in its block after those of the blocks around it.
    """

    path: tuple[Stmt, ...]
    depths: dict[Buffer, int]
    nests: tuple[Stmt, ...]
    blocks: tuple[int, ...]
    times: tuple[tuple[int, ...], ...]

    def path_to(self, thing: Thing) -> tuple[Stmt, ...] | None:
        """The statements down to `thing` if it is one of `path`, else to the nest that holds it."""
        if isinstance(thing, Allocate | Buffer):
            buffer = thing if isinstance(thing, Buffer) else thing.buffer
            depth = self.depths.get(buffer)
            if depth is not None:
                found = self.path[depth]
                return self.path[: depth + 1] if thing is buffer or thing is found else None
        if isinstance(thing, Block):
            depth = next((d for d, part in enumerate(self.path) if part is thing), None)
            if depth is not None:
                return self.path[: depth + 1]
        position = self._position(thing)
        if position is None:
            return None
        return (*self.path[: self.blocks[position] + 1], self.nests[position])

    def _position(self, thing: Thing) -> int | None:
        near = _recent.position
        if near < len(self.nests) and _holds(self.nests[near], thing):
            return near
        found = (p for p, nest in enumerate(self.nests) if _holds(nest, thing))
        position = next(found, None)
        if position is not None:
            _recent.position = position
        return position

    def replaced(self, nest: Stmt, new: Stmt) -> Stmt | None:
        """The root with `new` for `nest`; None where `new` would change more than this place."""
        if isinstance(new, Block) or (isinstance(new, Allocate) and type(nest) is not Allocate):
            return None
        position = self.nests.index(nest)
        top = self.blocks[position]
        path = list(self.path)
        old: Stmt = nest
        below: Stmt = new
        for depth in range(top, -1, -1):
            parent = path[depth]
            if isinstance(parent, Block):
                stmts = parent.stmts
                at = stmts.index(old)
                below = Block((*stmts[:at], below, *stmts[at + 1 :]), loc=parent.loc)
            else:
                assert isinstance(parent, Allocate), "nothing else is in a spine"
                below = allocated(parent, below)
            old, path[depth] = parent, below
        nests = (*self.nests[:position], new, *self.nests[position + 1 :])
        _recent.spines.append(Spine(tuple(path), self.depths, nests, self.blocks, self.times))
        return below


class _Recent(local):
    """The spines of the programs asked for last, and where the last nest stood.

    Steps work on one nest for a while: its position is where the search begins.
    """

    def __init__(self) -> None:
        self.spines: deque[Spine] = deque(maxlen=4)
        self.position = 0


_recent = _Recent()


def spine_of(root: Stmt) -> Spine | None:
    """The spine of a program's body; None where it is a single nest, or allocations around one."""
    if not isinstance(root, Allocate | Block):
        return None
    for known in _recent.spines:
        if known.path[0] is root:
            return known
    path: list[Stmt] = []
    depths: dict[Buffer, int] = {}
    nests: list[Stmt] = []
    blocks: list[int] = []
    times: list[tuple[int, ...]] = []
    time: tuple[int, ...] = ()
    next_time = time
    below: Stmt | None = root
    while below is not None:
        path.append(below)
        if isinstance(below, Allocate):
            depths[below.buffer] = len(path) - 1
            below = below.body
            if isinstance(below, Block | Allocate):
                continue
            return None
        assert isinstance(below, Block), "nothing else is in a spine"
        inside = _main(below)
        for position, part in enumerate(below.stmts):
            if part is inside:
                next_time = (*time, position)
            else:
                nests.append(part)
                blocks.append(len(path) - 1)
                times.append((*time, position))
        below, time = inside, next_time if inside is not None else time
    spine = Spine(tuple(path), depths, tuple(nests), tuple(blocks), tuple(times))
    _recent.spines.append(spine)
    return spine


def _main(body: Block) -> Stmt | None:
    """The part of a block that goes on with the spine: its longest allocation or block."""
    nested = [part for part in body.stmts if isinstance(part, Block | Allocate)]
    return max(nested, key=_length) if len(nested) > 1 else nested[0] if nested else None


def _length(stmt: Stmt) -> int:
    length = 0
    while isinstance(stmt, Allocate):
        length, stmt = length + 1, stmt.body
    return length + (len(stmt.stmts) if isinstance(stmt, Block) else 1)


def _holds(nest: Stmt, thing: Thing) -> bool:
    return holds(nest, thing) if isinstance(nest, Block | Allocate) else thing in facts(nest).holds


def allocated(allocation: Allocate, body: Stmt) -> Allocate:
    """`allocation` around another body; the constructor takes three times as long as this."""
    made = object.__new__(Allocate)
    put = object.__setattr__
    put(made, "buffer", allocation.buffer)
    put(made, "body", body)
    put(made, "loc", allocation.loc)
    put(made, "memo", None)
    return made
