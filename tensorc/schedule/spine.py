"""What stands outside all loops of a program, kept from one step to the next.

The temporaries of a program stand one inside the other around one block with all its nests: those
of a network of 64 layers are 300 around 500. A step asks for the place of one nest several times
and renews one; neither should cost a walk past all of the others.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from threading import local
from typing import TYPE_CHECKING

from tensorc.ir.expr import Buffer
from tensorc.ir.facts import facts, holds
from tensorc.ir.stmt import Allocate, Block

if TYPE_CHECKING:
    from tensorc.ir.facts import Thing
    from tensorc.ir.stmt import Stmt


class Writers:
    """Which of some nests write a buffer, by its name; found out when first asked for."""

    def __init__(self, nests: tuple[Stmt, ...]) -> None:
        """Nothing is known yet."""
        self._nests: tuple[Stmt, ...] | None = nests
        self._places: dict[str, list[int]] = {}
        self._branches: list[int] = []

    def of(self, name: str) -> list[int]:
        """The places of all nests that may write a buffer of this name, in order."""
        for position, nest in enumerate(self._nests or ()):
            if isinstance(nest, Block | Allocate):
                self._branches.append(position)
                continue
            for stage in facts(nest).stages:
                self._places.setdefault(stage, []).append(position)
        self._nests = None
        return sorted((*self._places.get(name, ()), *self._branches))


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
        writers: where in `nests` a buffer is written, by its name.
    """

    path: tuple[Stmt, ...]
    depths: dict[Buffer, int]
    nests: tuple[Stmt, ...]
    blocks: tuple[int, ...]
    times: tuple[tuple[int, ...], ...]
    writers: Writers

    def path_to(self, thing: Thing) -> tuple[Stmt, ...] | None:
        """The statements down to `thing` if it is one of `path`, else to the nest that holds it."""
        if isinstance(thing, Allocate | Buffer):
            buffer = thing if isinstance(thing, Buffer) else thing.buffer
            depth = self.depths.get(buffer)
            if depth is not None:
                found = self.path[depth]
                return self.path[: depth + 1] if thing is buffer or thing is found else None
        if isinstance(thing, Block):
            for depth, part in enumerate(self.path):
                if part is thing:
                    return self.path[: depth + 1]
        position = self._position(thing)
        if position is None:
            return None
        return (*self.path[: self.blocks[position] + 1], self.nests[position])

    def _position(self, thing: Thing) -> int | None:
        near = _recent.position
        if near < len(self.nests) and _holds(self.nests[near], thing):
            return near
        for position, nest in enumerate(self.nests):
            if _holds(nest, thing):
                _recent.position = position
                return position
        return None

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
        same = _written(nest) == _written(new)
        writers = self.writers if same else Writers(nests)
        made = Spine(tuple(path), self.depths, nests, self.blocks, self.times, writers)
        _recent.spines.append(made)
        _recent.census.replaced(self, made, position)
        return below


class _Recent(local):
    """The spines of the programs asked for last, where the last nest stood, and the names in one.

    Steps work on one nest for a while: its position is where the search begins.
    """

    def __init__(self) -> None:
        self.spines: deque[Spine] = deque(maxlen=4)
        self.position = 0
        self.census = _Census()


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
    found = tuple(nests)
    spine = Spine(tuple(path), depths, found, tuple(blocks), tuple(times), Writers(found))
    _recent.spines.append(spine)
    return spine


def _written(nest: Stmt) -> frozenset[str] | None:
    return None if isinstance(nest, Block | Allocate) else facts(nest).stages


def names_of(spine: Spine) -> set[str]:
    """The names of the loops and buffers in the nests of a spine."""
    return _recent.census.of(spine)


def names_in(root: Stmt) -> frozenset[str]:
    """The names of the loops and buffers under a statement."""
    if not isinstance(root, Block | Allocate):
        return facts(root).names
    own: set[str] = set()
    below: list[frozenset[str]] = []
    stack: list[Stmt] = [root]
    while stack:
        top = stack.pop()
        if isinstance(top, Block):
            stack.extend(top.stmts)
        elif isinstance(top, Allocate):
            own.add(top.buffer.name)
            stack.append(top.body)
        else:
            below.append(facts(top).names)
    return frozenset(own.union(*below))


class _Census:
    """How often names stand in the nests of a spine, counted on from the one before.

    A nest is known by its identity: the spine that was counted keeps it alive.
    """

    def __init__(self) -> None:
        self.spine: Spine | None = None
        self.names: dict[int, frozenset[str]] = {}
        self.counts: Counter[str] = Counter()

    def of(self, spine: Spine) -> set[str]:
        if self.spine is not spine:
            now = {id(nest): nest for nest in spine.nests}
            for gone in self.names.keys() - now.keys():
                self._forget(gone)
            for new in now.keys() - self.names.keys():
                self._count(now[new])
            self.spine = spine
        return set(self.counts)

    def replaced(self, before: Spine, after: Spine, position: int) -> None:
        """Go on where the spine that was counted has another nest at one place."""
        if self.spine is before:
            self._forget(id(before.nests[position]))
            self._count(after.nests[position])
            self.spine = after

    def _count(self, nest: Stmt) -> None:
        names = self.names[id(nest)] = names_in(nest)
        self.counts.update(names)

    def _forget(self, nest: int) -> None:
        for name in self.names.pop(nest):
            self.counts[name] -= 1
            if not self.counts[name]:
                del self.counts[name]


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
    made = _new(Allocate)
    _put_buffer(made, allocation.buffer)
    _put_body(made, body)
    _put_loc(made, allocation.loc)
    _put_memo(made, None)
    return made


_new = object.__new__
# The slots themselves: setting by name looks each of them up.
_put_buffer, _put_body, _put_loc, _put_memo = (
    Allocate.__dict__[name].__set__ for name in ("buffer", "body", "loc", "memo")
)


_recent = _Recent()
