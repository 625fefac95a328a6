"""Rings: slots of shared memory that copies of boxes fill and other phases use, in turn.

`pipeline(loop, 3)` makes a ring of three slots, with copies two iterations ahead of their use:

    for a in range(2): copy(S[a], A[a])
    for i in range(n):
      if i + 2 < n: copy(S[(i + 2) % 3], A[i + 2])
      use(S[i % 3])

A copy whose box is used behind it, in the same iteration, is a ring of one slot. What is found here
is proved of the indices and guards: that use number i finds what copy number i brought. So a use
has to wait for the next copy into its slot, and for nothing else (`handshakes.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.barriers import Tree
from tensorc.codegen.cuda.kernel import Branch, Kernel, Loop, Node, Phase
from tensorc.errors import CompileError
from tensorc.ir.expr import (
    Const,
    Expr,
    all_of,
    const_int,
)
from tensorc.ir.printer import show
from tensorc.ir.sets import prove
from tensorc.ir.simplify import simplify
from tensorc.schedule.tree import in_range

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.codegen.cuda.barriers import Touch
    from tensorc.codegen.cuda.tma import BoxCopy
    from tensorc.ir.expr import Buffer

MAX_SLOTS = 32  # A thread keeps one bit of a register for each.


@dataclass(frozen=True, slots=True, eq=False)
class Ring:
    """Slots that are filled and used in turn.

    Attributes:
        copies: what fills them in an iteration, in text order.
        prologue: what fills the first ones, before the loop.
        slots: how many there are.
        slot: the one that an iteration uses.
        first: the first node of an iteration that uses it.
        last: the last one, in the same list of nodes.
        ahead: how many iterations a copy is ahead of its use.
    """

    copies: tuple[BoxCopy, ...]
    prologue: tuple[BoxCopy, ...]
    slots: int
    slot: Expr
    first: Node
    last: Node
    ahead: int

    @property
    def name(self) -> str:
        """Its buffers, for messages."""
        return ", ".join(dict.fromkeys(c.target.name for c in self.copies))

    def fills(self, copy: BoxCopy) -> Expr:
        """The slot that a copy fills."""
        return copy.place[0] if self.slots > 1 else Const(0)


def find(
    kernel: Kernel, copies: Sequence[BoxCopy], touches: Mapping[Phase, Sequence[Touch]]
) -> list[Ring]:
    """The rings of a kernel's copies, in text order.

    Raises:
        CompileError: copies and uses of a buffer do not take turns; the message says why.
    """
    tree = Tree(kernel)
    bulk = {c.phase for c in copies}
    _need_apart(copies, {p: t for p, t in touches.items() if p not in bulk})
    single = []
    for buffer in dict.fromkeys(c.target for c in copies):
        uses = [
            (p, t)
            for p, own in touches.items()
            for t in own
            if p not in bulk and t.buffer is buffer
        ]
        mine = [c for c in copies if c.target is buffer]
        single.append(_Finder(tree, buffer, mine, uses).ring())
    rings: list[Ring] = []
    for ring in single:
        for i, other in enumerate(rings):
            joined = _joined(tree, other, ring)
            if joined is not None:
                rings[i] = joined
                break
        else:
            rings.append(ring)
    return rings


def _need_apart(copies: Sequence[BoxCopy], touches: Mapping[Phase, Sequence[Touch]]) -> None:
    """Refuse where other phases write what is copied, or where it is copied to."""
    sources = {c.spec.source for c in copies}
    targets = {c.target for c in copies}
    for t in (t for own in touches.values() for t in own if t.writes):
        if t.buffer in targets:
            raise CompileError(
                f"shared buffer {t.buffer.name}: copies of boxes fill it, and {t.text} writes it "
                "too; fill it in one way"
            )
        if t.buffer in sources:
            raise CompileError(
                f"{t.text}: it writes {t.buffer.name}, of which the same kernel copies boxes, and "
                "nothing orders the two; copy it without the hint"
            )


def _joined(tree: Tree, a: Ring, b: Ring) -> Ring | None:
    """Two rings as one, where one wait serves the uses of both."""
    nodes, _, _ = tree.where[a.first]
    if tree.where[b.first][0] is not nodes or (a.slots, a.ahead) != (b.slots, b.ahead):
        return None
    first = min((a.first, b.first), key=nodes.index)
    last = max((a.last, b.last), key=nodes.index)
    copies = (*a.copies, *b.copies)
    if a.ahead == 0 and any(_at(tree, nodes, c) > nodes.index(first) for c in copies):
        return None
    order = sorted(copies, key=lambda c: _at(tree, nodes, c))
    return Ring(tuple(order), (*a.prologue, *b.prologue), a.slots, a.slot, first, last, a.ahead)


def _at(tree: Tree, nodes: Sequence[Node], copy: BoxCopy) -> int:
    """The position among `nodes` of what holds a copy."""
    return next(i for i, n in enumerate(nodes) if n in tree.chain(copy.phase))


class _Finder:
    """Finds the ring of one buffer."""

    def __init__(
        self,
        tree: Tree,
        buffer: Buffer,
        copies: Sequence[BoxCopy],
        uses: Sequence[tuple[Phase, Touch]],
    ) -> None:
        self.tree, self.buffer, self.copies, self.uses = tree, buffer, copies, uses

    def refuse(self, why: str) -> CompileError:
        """The error for copies and uses that do not take turns."""
        return CompileError(
            f"shared buffer {self.buffer.name}, which copies of boxes fill: {why}; a copy stands "
            "before what uses it, in the same iteration, or some iterations ahead as pipeline "
            "makes it"
        )

    def ring(self) -> Ring:
        """The ring.

        Raises:
            CompileError: there is none.
        """
        if not self.uses:
            raise self.refuse("nothing uses it")
        main = [c for c in self.copies if self._beside(c)]
        before = [c for c in self.copies if not self._beside(c)]
        if len(main) != 1 or len(before) > 1:
            raise self.refuse(
                f"{len(main)} of {len(self.copies)} copies stand beside its uses, where one may"
            )
        (copy,) = main
        nodes, _, _ = self.tree.where[self._top(copy)]
        users = self._beside(copy)
        under = [p for p, _ in self.uses if any(n in self.tree.chain(p) for n in users)]
        if len(under) != len(self.uses):
            raise self.refuse("it is used outside of the loop in which it is filled")
        if not before:
            return self._at_once(copy, users, nodes)
        return self._ahead(copy, before[0], users)

    def _top(self, copy: BoxCopy) -> Node:
        """The copy, or the conditions around it."""
        node: Node = copy.phase
        while isinstance(owner := self.tree.where[node][2], Branch):
            node = owner
        return node

    def _guards(self, copy: BoxCopy) -> list[Expr]:
        found: list[Expr] = []
        node: Node = copy.phase
        while isinstance(owner := self.tree.where[node][2], Branch):
            if node in owner.orelse:
                raise self.refuse(f"a copy stands where not {show(owner.cond)}")
            found.append(owner.cond)
            node = owner
        return found

    def _beside(self, copy: BoxCopy) -> list[Node]:
        """What uses the buffer in the list of nodes of a copy: not a loop that fills it anew."""
        nodes, _, _ = self.tree.where[self._top(copy)]
        filled = [n for c in self.copies if c is not copy for n in self.tree.chain(c.phase)]
        chains = [self.tree.chain(p) for p, _ in self.uses]
        return [
            n
            for n in nodes
            if any(n in chain for chain in chains) and not (isinstance(n, Loop) and n in filled)
        ]

    def _at_once(self, copy: BoxCopy, users: list[Node], nodes: list[Node]) -> Ring:
        known = [c for n in self.tree.loops(copy.phase) for c in in_range(n.loop)]
        guard = all_of([g for g in self._guards(copy) if not prove(g, known).holds])
        if guard is not None:
            raise self.refuse(f"it is copied only where {show(guard)}")
        if nodes.index(users[0]) < nodes.index(self._top(copy)):
            raise self.refuse("it is used before it is copied")
        return Ring((copy,), (), 1, Const(0), users[0], users[-1], 0)

    def _ahead(self, copy: BoxCopy, prologue: BoxCopy, users: list[Node]) -> Ring:
        owner = self.tree.where[self._top(copy)][2]
        slots = const_int(self.buffer.shape[0]) or 0
        if not isinstance(owner, Loop) or not 2 <= slots <= MAX_SLOTS:
            raise self.refuse(f"its first dimension would be 2 to {MAX_SLOTS} slots of a loop")
        loop = owner.loop
        count = simplify(loop.var - loop.start)
        known = [c for n in self.tree.loops(copy.phase) for c in in_range(n.loop)]
        slot = simplify(count % slots)
        number, ahead, limits = self._first_ones(prologue, owner)
        if ahead >= slots:
            raise self.refuse(f"copies are {ahead} iterations ahead, with {slots} slots")
        for phase, use in self.uses:
            inside = [c for n in self.tree.loops(phase) for c in in_range(n.loop)]
            self._need(use.indices[0] == slot, [*inside, *use.domain], f"{use.text} uses")
        stop = loop.start + loop.extent
        later = simplify(count + ahead)
        self._need_turn(copy, later, slots, known, loop.var + ahead < stop)
        exists = loop.start + number < stop
        self._need_turn(prologue, number, slots, [*known, *limits], exists)
        return Ring((copy,), (prologue,), slots, slot, users[0], users[-1], ahead)

    def _first_ones(self, prologue: BoxCopy, owner: Loop) -> tuple[Expr, int, list[Expr]]:
        """The number of a prologue's copy, how many there are, and the range of the number."""
        nodes, position, _ = self.tree.where[owner]
        top = self._top(prologue)
        mine, at, around = self.tree.where[top]
        if mine is nodes and at < position:
            return Const(0), 1, []
        loop = around.loop if isinstance(around, Loop) else None
        extent = None if loop is None else const_int(loop.extent)
        if around is not None and loop is not None and extent and const_int(loop.start) == 0:
            there, at, _ = self.tree.where[around]
            if there is nodes and at < position:
                return loop.var, extent, list(in_range(loop))
        raise self.refuse("a copy stands neither beside its uses nor in a loop before them")

    def _need_turn(
        self, copy: BoxCopy, number: Expr, slots: int, known: list[Expr], exists: Expr
    ) -> None:
        """A copy must be there exactly where its use is, in the slot of its number."""
        guards = self._guards(copy)
        for guard in guards:
            self._need(guard, [*known, exists], "a copy is made where")
        self._need(exists, [*known, *guards], "a copy is made where there is")
        self._need(copy.place[0] == number % slots, [*known, exists], "a copy fills")

    def _need(self, claim: Expr, known: Sequence[Expr], what: str) -> None:
        if not prove(claim, known).holds:
            raise self.refuse(f"{what} {show(simplify(claim))}, which is not so for all iterations")
