"""Where the threads of a block must wait for each other, and what each wait is for.

Two phases touch one element, at least one of them writing, and in different threads: then a
barrier must stand on every way from the first to the second, within one iteration of the loops
around both, or around the back edge of one of them. Whether there are such threads is asked of
`ir.sets`, exactly where indices are affine. Each dependence gives the set of places of which one
must hold a barrier; of all choices that serve every dependence the one that waits the least often
is taken, by search. Where all such threads are in one warp, `__syncwarp` is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from tensorc.codegen.cuda.kernel import Branch, Fold, Kernel, Loop, Node, Phase
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Compare,
    CompareOp,
    Const,
    Expr,
    Load,
    Var,
    const_int,
)
from tensorc.ir.printer import show
from tensorc.ir.sets import EMPTY, sample
from tensorc.ir.stmt import Check
from tensorc.ir.walk import loads
from tensorc.schedule.legality import TwoInstances, accesses, control
from tensorc.schedule.tree import in_range, sites
from tensorc.target import WARP

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from tensorc.ir.stmt import For, Leaf

_LINE = 96  # Characters of a statement that are shown.
_UNKNOWN_TRIPS = 64
_SEARCH = 20000  # Choices that the search may look at before it takes the best so far.


@dataclass(frozen=True, slots=True, eq=False)
class Touch:
    """An access by the threads of a phase: what, where, under which conditions, by which thread."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    writes: bool
    vars: tuple[Var, ...]
    domain: tuple[Expr, ...]
    thread: Expr
    text: str
    updates: bool = False  # An accumulation's own write.


@dataclass(frozen=True, slots=True)
class Spot:
    """A place for a barrier: before a node, or at the end of a loop's body."""

    node: Node
    at_end: bool = False


@dataclass(frozen=True, slots=True)
class Dependence:
    """Two accesses of different threads whose order a barrier keeps; `loop` carries it, if any."""

    first: str
    second: str
    buffer: str
    loop: str | None
    warp: bool

    def __str__(self) -> str:
        around = f", around {self.loop}" if self.loop else ""
        where = "of one warp" if self.warp else "of the block"
        return f"{self.buffer}: {self.first} before {self.second}{around}, in threads {where}"


@dataclass(frozen=True, slots=True)
class Barrier:
    """A barrier that was placed, and the dependences that it serves."""

    spot: Spot
    warp: bool
    serves: tuple[Dependence, ...]

    def __str__(self) -> str:
        call = "__syncwarp" if self.warp else "__syncthreads"
        return "\n".join((f"{call}()", *(f"  {d}" for d in self.serves)))


@dataclass(frozen=True, slots=True)
class _Need:
    """A dependence and the spots of which one must hold a barrier."""

    dependence: Dependence
    spots: frozenset[Spot]


_Where: TypeAlias = "tuple[list[Node], int, Node | None]"


def place_barriers(
    kernel: Kernel,
    touches: Mapping[Phase, Sequence[Touch]],
    controls: Mapping[Node, list[Touch]],
    is_served: Callable[[Node, Node], bool] | None = None,
    late: Collection[Node] = (),
) -> list[Barrier]:
    """The barriers that a kernel needs, in text order.

    Args:
        kernel: the kernel, its phases as they will be emitted.
        touches: what the threads of each phase read and write, but for their own storage.
        controls: what all threads read to decide about a loop or a branch.
        is_served: whether something else makes the second of two nodes wait for the first.
        late: nodes whose work goes on behind them: what needs it over waits as late as it can.
    """
    if kernel.threads == 1:
        return []
    tree = Tree(kernel)
    needs = _needs(kernel, tree, touches, controls, is_served, late)
    block = [n for n in needs if not n.dependence.warp]
    chosen = _choose([n.spots for n in block], tree)
    left = [n for n in needs if n.dependence.warp and not (n.spots & chosen)]
    warp = _choose([n.spots for n in left], tree)
    found = [Barrier(s, False, tuple(n.dependence for n in needs if s in n.spots)) for s in chosen]
    found += [Barrier(s, True, tuple(n.dependence for n in left if s in n.spots)) for s in warp]
    return sorted(found, key=lambda b: tree.order[b.spot])


# --- the tree of a kernel ---------------------------------------------------------------------


class Tree:
    """Where each node stands, and which spots are passed on the way from one to another."""

    def __init__(self, kernel: Kernel) -> None:
        """Number the nodes and spots of `kernel` in text order."""
        self.where: dict[Node, _Where] = {}
        self.order: dict[Spot, int] = {}
        self.weight: dict[Spot, int] = {}
        self._enter(kernel.body, None, 1)

    def _enter(self, nodes: list[Node], owner: Node | None, trips: int) -> None:
        for position, node in enumerate(nodes):
            self.where[node] = (nodes, position, owner)
            self._spot(Spot(node), trips)
            match node:
                case Loop(loop, body):
                    inner = trips * (const_int(loop.extent) or _UNKNOWN_TRIPS)
                    self._enter(body, node, inner)
                    self._spot(Spot(node, at_end=True), inner)
                case Branch(_, body, orelse):
                    self._enter(body, node, trips)
                    self._enter(orelse, node, trips)
                case Phase():
                    pass

    def _spot(self, spot: Spot, trips: int) -> None:
        self.order[spot] = len(self.order)
        self.weight[spot] = trips

    def loops(self, node: Node) -> list[Loop]:
        """The loops around a node, outermost first."""
        found: list[Loop] = []
        owner = self.where[node][2]
        while owner is not None:
            if isinstance(owner, Loop):
                found.insert(0, owner)
            owner = self.where[owner][2]
        return found

    def chain(self, node: Node) -> list[Node]:
        """The node and what is around it, outermost first."""
        found = [node]
        owner = self.where[node][2]
        while owner is not None:
            found.insert(0, owner)
            owner = self.where[owner][2]
        return found

    def after(self, node: Node, stop: Node | None) -> list[Spot]:
        """The spots passed after `node` until the list of nodes directly inside `stop` ends."""
        found: list[Spot] = []
        while True:
            nodes, position, owner = self.where[node]
            found += _sure(nodes[position + 1 :])
            if owner is stop:
                return found
            assert owner is not None, "stop is around the node"
            if isinstance(owner, Loop):
                found.append(Spot(owner, at_end=True))
            node = owner

    def before(self, node: Node, stop: Node | None) -> list[Spot]:
        """The spots passed from the beginning of what is directly inside `stop` until `node`."""
        found: list[Spot] = []
        while True:
            nodes, position, owner = self.where[node]
            found += [*_sure(nodes[:position]), Spot(node)]
            if owner is stop:
                return found
            assert owner is not None, "stop is around the node"
            node = owner

    def between(self, first: Node, second: Node) -> frozenset[Spot] | None:
        """The spots from one node to a later one; None where the second is not later."""
        a, b = self.chain(first), self.chain(second)
        depth = 0
        while depth < min(len(a), len(b)) and a[depth] is b[depth]:
            depth += 1
        if depth == len(b):
            return None
        if depth == len(a):  # A loop or branch decides before what is inside of it runs.
            return frozenset(self.before(second, first))
        one, other = a[depth], b[depth]
        nodes, i, _ = self.where[one]
        others, j, _ = self.where[other]
        if nodes is not others or i >= j:
            return None
        found = _sure(nodes[i + 1 : j])
        if first is not one:
            found += self.after(first, one)
            if isinstance(one, Loop):
                found.append(Spot(one, at_end=True))
        if second is not other:
            found += self.before(second, other)
        return frozenset([*found, Spot(other)])

    def latest(self, spots: frozenset[Spot], node: Node) -> frozenset[Spot]:
        """The last of the spots on the way to `node` that are passed the fewest times."""
        before = [s for s in spots if self.order[s] <= self.order[Spot(node)]]
        last = min(before, key=lambda s: (self.weight[s], -self.order[s]))
        return frozenset([last])

    def around(self, first: Node, second: Node, loop: Loop) -> frozenset[Spot]:
        """The spots from one node to another in the next iteration of `loop`."""
        ways = [*self.after(first, loop), Spot(loop, at_end=True), *self.before(second, loop)]
        return frozenset(ways)


def _sure(nodes: Sequence[Node]) -> list[Spot]:
    """The spots that are passed whenever all of `nodes` run."""
    found: list[Spot] = []
    for node in nodes:
        found.append(Spot(node))
        if isinstance(node, Loop) and (const_int(node.loop.extent) or 0) >= 1:
            found += [*_sure(node.body), Spot(node, at_end=True)]
    return found


# --- dependences ------------------------------------------------------------------------------


def _needs(
    kernel: Kernel,
    tree: Tree,
    touches: Mapping[Phase, Sequence[Touch]],
    controls: Mapping[Node, list[Touch]],
    is_served: Callable[[Node, Node], bool] | None,
    late: Collection[Node],
) -> list[_Need]:
    acts: list[tuple[Node, Touch]] = []
    for node in tree.where:
        mine = touches.get(node, ()) if isinstance(node, Phase) else controls.get(node, ())
        acts += [(node, t) for t in mine]
    written = {t.buffer for _, t in acts if t.writes}
    acts = [(node, t) for node, t in acts if t.buffer in written]
    needs: dict[tuple[int, int, str, str | None], _Need] = {}
    for p, x in acts:
        for q, y in acts:
            if x.buffer is not y.buffer or not (x.writes or y.writes):
                continue
            if is_served is not None and is_served(p, q):
                continue
            for spots, found in _pairs(kernel, tree, p, q, x, y):
                key = (id(p), id(q), found.buffer, found.loop)
                known = needs.get(key)
                if known is None or (known.dependence.warp and not found.warp):
                    needs[key] = _Need(found, tree.latest(spots, q) if p in late else spots)
    return list(needs.values())


def _pairs(
    kernel: Kernel, tree: Tree, p: Node, q: Node, x: Touch, y: Touch
) -> list[tuple[frozenset[Spot], Dependence]]:
    """The dependences from `x` to `y`: within an iteration, and around each common loop."""
    found: list[tuple[frozenset[Spot], Dependence]] = []
    mine, yours = tree.loops(p), tree.loops(q)
    common = [a for a, b in zip(mine, yours, strict=False) if a is b]
    spots = tree.between(p, q)
    if spots is not None:
        level = _level(kernel, x, y, mine, yours, len(common), None)
        if level is not None:
            found.append((spots, Dependence(x.text, y.text, x.buffer.name, None, level)))
    for depth, loop in enumerate(common):
        if const_int(loop.loop.extent) == 1:
            continue
        level = _level(kernel, x, y, mine, yours, depth, None)
        if level is None:
            continue
        spots = tree.around(p, q, loop)
        if _level(kernel, x, y, mine, yours, depth, 1) is None:
            spots = spots | frozenset(_sure(loop.body))  # Two iterations on at least.
        name = loop.loop.var.name
        found.append((spots, Dependence(x.text, y.text, x.buffer.name, name, level)))
    return found


def _level(
    kernel: Kernel,
    x: Touch,
    y: Touch,
    mine: Sequence[Loop],
    yours: Sequence[Loop],
    depth: int,
    distance: int | None,
) -> bool | None:
    """Whether all threads that `x` and `y` touch one element in share a warp; None: no two do.

    The first `depth` loops have equal variables in both. Where another common loop follows, it
    carries the dependence, over `distance` iterations if that is given.
    """
    carried = depth < min(len(mine), len(yours)) and mine[depth] is yours[depth]
    how = {"carried": carried, "distance": distance}
    if not meets(kernel, x, y, mine, yours, depth, apart=1, **how):  # type: ignore[arg-type]
        return None
    across = meets(kernel, x, y, mine, yours, depth, apart=WARP, **how)  # type: ignore[arg-type]
    return kernel.threads <= WARP or not across


def meets(
    kernel: Kernel,
    x: Touch,
    y: Touch,
    mine: Sequence[Loop],
    yours: Sequence[Loop],
    depth: int,
    *,
    apart: int = 0,
    carried: bool = False,
    distance: int | None = None,
    earlier: tuple[Loop, Loop] | None = None,
) -> bool:
    """Whether two instances of `x` and `y` may touch one element.

    Args:
        kernel: what they are in.
        x: the first access, inside the loops `mine`.
        y: the second, inside the loops `yours`.
        mine: the loops around `x`, outermost first.
        yours: those around `y`.
        depth: how many of them are common, with equal variables.
        apart: only in threads of different groups of so many; 0: in any.
        carried: the next loop is common too, and `y` in a later iteration of it.
        distance: later by so many iterations.
        earlier: only where the loop around `y` has run fewer iterations than that around `x`.
    """
    own = {*x.vars, *y.vars, *(n.loop.var for n in (*mine[depth:], *yours[depth:]))}
    encoder = TwoInstances(frozenset(own))
    one, other = partial(encoder.number, copy=0), partial(encoder.number, copy=1)
    terms = [encoder.condition(c, True, 0) for c in x.domain]
    terms += [encoder.condition(c, True, 1) for c in y.domain]
    for loops, copy in ((mine, 0), (yours, 1)):
        terms += [encoder.condition(c, True, copy) for n in loops for c in in_range(n.loop)]
    for grid in kernel.grid.values():
        terms += [encoder.condition(c) for c in in_range(grid)]
    terms += [f"{one(i)} = {other(j)}" for i, j in zip(x.indices, y.indices, strict=True)]
    if distance is not None:
        carrier = mine[depth].loop.var
        terms.append(f"{one(carrier)} + {distance} = {other(carrier)}")
    elif carried:
        carrier = mine[depth].loop.var
        terms.append(f"{one(carrier)} < {other(carrier)}")
    if earlier is not None:
        first, second = earlier[0].loop, earlier[1].loop
        passed = f"{other(second.var)} - {other(second.start)}"
        terms.append(f"{passed} < {one(first.var)} - {one(first.start)}")
    if apart:
        a, b = one(x.thread), other(y.thread)
        terms.append(f"{a} != {b}" if apart == 1 else f"floor({a}/{apart}) != floor({b}/{apart})")
    return sample(encoder.set_of(*dict.fromkeys(terms))) != EMPTY


# --- the choice -------------------------------------------------------------------------------


def _choose(needs: Sequence[frozenset[Spot]], tree: Tree) -> frozenset[Spot]:
    """The spots that meet all of `needs`, and are passed the fewest times together."""
    distinct = sorted(set(needs), key=lambda s: (len(s), min(tree.order[x] for x in s)))
    needed = [s for s in distinct if not any(o < s for o in distinct)]
    best: list[frozenset[Spot]] = []
    tried = 0

    def cost(spots: frozenset[Spot]) -> tuple[int, int, int]:
        return sum(tree.weight[s] for s in spots), len(spots), sum(tree.order[s] for s in spots)

    def search(chosen: frozenset[Spot]) -> None:
        nonlocal tried
        tried += 1
        if best and (cost(chosen)[:2] >= cost(best[0])[:2] or tried > _SEARCH):
            return
        missing = [s for s in needed if not (s & chosen)]
        if not missing:
            best[:] = [chosen]
            return
        tightest = min(missing, key=len)
        for spot in sorted(tightest, key=lambda s: (tree.weight[s], tree.order[s])):
            search(chosen | {spot})

    search(frozenset())
    return best[0]


# --- what a phase touches ---------------------------------------------------------------------


def leaf_text(leaf: Leaf) -> str:
    """A statement as the program has it, cut where it is long or was written out by a pass."""
    text = " ".join(show(leaf).split())
    cut = text.find("let ")
    if cut >= 0 and not isinstance(leaf, Check):
        return f"{text[: text.index('= ') + 1]} ..."
    return text if len(text) <= _LINE else f"{text[: _LINE - 4]} ..."


def thread_number(threads: Sequence[For]) -> Expr:
    """The number of a thread in its block, by its loops: the first counts fastest."""
    total: Expr = Const(0)
    scale = 1
    for loop in threads:
        own: Expr = loop.var
        if const_int(loop.start) != 0:
            own = Binary(BinaryOp.SUB, own, loop.start)
        total = Binary(BinaryOp.ADD, total, Binary(BinaryOp.MUL, own, Const(scale)))
        scale *= const_int(loop.extent) or 1
    return total


def touches_of(phase: Phase) -> list[Touch]:
    """What the threads of a phase touch, but for what each allocates for itself.

    The element that a folding phase accumulates into is touched by the first thread of each group.
    """
    threads = tuple(phase.threads.values())
    number = thread_number(threads)
    ranges = [c for loop in threads for c in in_range(loop)]
    first = [Compare(CompareOp.EQ, t.var, t.start) for t in phase.folded]
    found: list[Touch] = []
    for site in sites(phase.body):
        text = leaf_text(site.leaf)
        names = (*(t.var for t in threads), *site.vars)
        for access in (*accesses(site.leaf), *control(site)):
            folds = bool(phase.folded) and access.updates
            if phase.fold is not None and phase.fold.scratch and phase.combines is not folds:
                continue  # The shares are computed in one phase, and combined in the next.
            mine = (*ranges, *site.domain(), *(first if folds else ()))
            every = (access.buffer, access.indices, access.writes, names, mine)
            found.append(Touch(*every, number, text, access.updates))
    if phase.fold is not None and phase.fold.scratch:
        found += _scratch_touches(phase, phase.fold)
    return _distinct([t for t in found if t.buffer.scope != "local"])


def _scratch_touches(phase: Phase, fold: Fold) -> list[Touch]:
    """What a folding phase writes to its table of shares, or reads from it."""
    thread = Var("thread")
    top = Const(fold.rounded)
    inside: list[Expr] = [
        Compare(CompareOp.LE, Const(0), thread),
        Compare(CompareOp.LT, thread, top),
    ]
    names: tuple[Var, ...] = (thread,)
    lane, warp = thread % WARP, thread // WARP
    index: Expr = thread
    if fold.method == "warps" and not phase.combines:
        inside.append(Compare(CompareOp.EQ, lane, Const(0)))
        index = warp
    elif fold.method == "warps":
        inside.append(Compare(CompareOp.EQ, warp % fold.warps, Const(0)))
        inside.append(Compare(CompareOp.LT, lane, Const(fold.warps)))
        index = warp + lane
    elif phase.combines:
        other = Var("other")
        names = (thread, other)
        inside += [Compare(CompareOp.LE, Const(0), other), Compare(CompareOp.LT, other, top)]
        index = other
    what = "shares" if phase.combines else "a share"
    return [
        Touch(b, (index,), not phase.combines, names, tuple(inside), thread, f"{b.name}: {what}")
        for b in fold.scratch
    ]


def _distinct(touches: Sequence[Touch]) -> list[Touch]:
    kept: dict[tuple[object, ...], Touch] = {}
    for t in touches:
        key = (id(t.buffer), tuple(map(id, t.indices)), t.writes)
        kept.setdefault((*key, tuple(map(id, t.domain))), t)
    return list(kept.values())


def control_touches(kernel: Kernel, node: Loop | Branch) -> list[Touch]:
    """What all threads read to decide how often a loop runs, or which side of a branch."""
    parts = (node.loop.start, node.loop.extent) if isinstance(node, Loop) else (node.cond,)
    thread = Var("thread")
    inside = (
        Compare(CompareOp.LE, Const(0), thread),
        Compare(CompareOp.LT, thread, Const(kernel.threads)),
    )
    reads: list[Load] = [x for part in parts for x in loads(part)]
    what = f"for {node.loop.var.name}" if isinstance(node, Loop) else f"if {show(node.cond)}"
    return [
        Touch(x.buffer, x.indices, False, (thread,), inside, thread, what)
        for x in reads
        if x.buffer.scope != "local"
    ]
