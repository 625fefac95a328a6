"""Asynchronous copies from global to shared memory: `cp.async`, its groups and its waits.

A phase with the hint `async` on one of its loops, whose statements are plain copies of 4, 8 or 16
aligned bytes, is issued and not waited for. What it issued in one pass is a group; before the
barrier that makes the copies visible, each thread waits until at most so many groups are left as
were committed after the one that is needed:

    for ahead in range(2):            prologue: groups 0 and 1
      copy(ahead); commit
    for i in range(n):
      wait<1>; barrier                all groups but the newest have arrived: group i is there
      if i + 2 < n: copy(i + 2)
      commit                          also where nothing was copied: groups count iterations
      compute(i)

A copy that pads with zeros, `where(inside, A[...], 0.0)`, is issued too, for as many bytes from
memory as are inside: all or none. How many iterations a copy is ahead of its use is asked of
`ir.sets`, as for barriers. Where a copy does not have the form, or the architecture has no such
instruction, it is an ordinary one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.barriers import Barrier, Spot, Touch, Tree, meets
from tensorc.codegen.cuda.guards import of_first_lane, padded
from tensorc.codegen.cuda.kernel import Branch, Kernel, Loop, Node, Phase
from tensorc.codegen.cuda.vector import copy_bytes
from tensorc.ir.expr import const_int
from tensorc.ir.stmt import Block, For, ForKind, If, Stmt, Store
from tensorc.ir.walk import walk_stmts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tensorc.codegen.cuda.stmt import StmtEmitter
    from tensorc.target import Target

HINT = "async"
SIZES = (4, 8, 16)  # Bytes that one instruction copies.
_CAPABILITY = 80
_FARTHEST = 16  # Iterations that a copy may be ahead.


@dataclass(frozen=True, slots=True)
class Copies:
    """The asynchronous phases of a kernel, where their groups end, and where they are waited for.

    Attributes:
        phases: what is issued and not waited for.
        commits: the nodes after which a group ends.
        waits: how many groups may be left, by the spot of the wait.
    """

    phases: frozenset[Phase] = frozenset()
    commits: frozenset[Node] = frozenset()
    waits: Mapping[Spot, int] | None = None


def find(
    e: StmtEmitter,
    kernel: Kernel,
    target: Target,
    touches: Mapping[Phase, Sequence[Touch]],
    barriers: Sequence[Barrier],
) -> Copies:
    """The asynchronous copies of a kernel whose barriers are known."""
    if target.cuda.capability < _CAPABILITY:
        return Copies()
    phases = [p for p in kernel.phases() if _is_marked(p.stmt) and _can_be(e, p)]
    if not phases:
        return Copies()
    tree = Tree(kernel)
    commits = {p: _commit(tree, p) for p in phases}
    groups = _group_ends(tree, set(commits.values()), barriers)
    ends = {p: groups[n] for p, n in commits.items()}
    waits: dict[Spot, int] = {}
    for p in phases:
        for q in kernel.phases():
            if q in phases:
                continue
            for spot, left in _waits(kernel, tree, p, q, ends, touches, barriers):
                waits[spot] = min(left, waits.get(spot, left))
    return Copies(frozenset(phases), frozenset(groups.values()), waits)


def _is_marked(stmt: Stmt) -> bool:
    return any(
        isinstance(s, For) and dict(s.annotations).get(HINT) is True for s in walk_stmts(stmt)
    )


def _can_be(e: StmtEmitter, phase: Phase) -> bool:
    """Whether all statements of a phase are copies that the instruction makes."""
    found: list[int] = []

    def collect(stmt: Stmt, lanes: For | None) -> bool:
        match stmt:
            case Block(stmts):
                return all(collect(s, lanes) for s in stmts)
            case For(_, _, _, body, kind):
                vector = kind is ForKind.VECTORIZED
                return not (vector and lanes) and collect(body, stmt if vector else lanes)
            case If(cond, body, None):
                whole = lanes is None or of_first_lane(cond, lanes) is not None
                return collect(body, lanes if whole else None)
            case Store(buffer, indices, value):
                copy = padded(value)
                if copy is None or buffer.scope != "shared" or copy[1].buffer.scope != "global":
                    return False
                inside, load = copy
                whole = lanes is None or inside is None or of_first_lane(inside, lanes) is not None
                plain = Store(buffer, indices, load)
                size = copy_bytes(e, plain, lanes if whole else None)
                found.append(size)
                return size in SIZES
            case _:
                return False

    return collect(phase.body, None) and bool(found)


def _commit(tree: Tree, phase: Phase) -> Node:
    """The node after which the phase's group ends: outside of branches, so that groups count."""
    node: Node = phase
    owner = tree.where[node][2]
    while isinstance(owner, Branch):
        node = owner
        owner = tree.where[node][2]
    return node


def _group_ends(
    tree: Tree, nodes: Collection[Node], barriers: Sequence[Barrier]
) -> dict[Node, Node]:
    """For each node that copies the one after which its group ends.

    A group is what is copied in one list of nodes, up to a barrier of the block: a wait may stand
    there, for what was copied before.
    """
    apart = [tree.order[b.spot] for b in barriers if not b.warp]
    ends: dict[Node, Node] = {}
    following: dict[int, Node] = {}  # By list: the node after, in the order of the list.
    for node in sorted(nodes, key=lambda n: -tree.where[n][1]):
        at = tree.order[Spot(node)]
        after = following.get(id(tree.where[node][0]))
        follows = after is not None and not any(at < b <= tree.order[Spot(after)] for b in apart)
        ends[node] = ends[after] if after is not None and follows else node
        following[id(tree.where[node][0])] = node
    return ends


def _waits(
    kernel: Kernel,
    tree: Tree,
    p: Phase,
    q: Phase,
    ends: Mapping[Phase, Node],
    touches: Mapping[Phase, Sequence[Touch]],
    barriers: Sequence[Barrier],
) -> list[tuple[Spot, int]]:
    """The waits that `q` needs for what `p` copies: where, and how many groups may be left."""
    pairs = [(x, y) for x in touches[p] if x.writes for y in touches[q] if x.buffer is y.buffer]
    if not pairs:
        return []
    found: list[tuple[Spot, int]] = []
    mine, yours = tree.loops(p), tree.loops(q)
    common = [a for a, b in zip(mine, yours, strict=False) if a is b]
    between = tree.between(p, q)
    depth = len(common)
    if between is not None and any(meets(kernel, x, y, mine, yours, depth) for x, y in pairs):
        spot = _spot(tree, between, q, barriers)
        left = _after_prologue(kernel, tree, (p, q), pairs, spot, ends)
        found.append((spot, left))
    for at, loop in enumerate(common):
        distance = _distance(kernel, pairs, mine, yours, at)
        if distance is None:
            continue
        spot = _spot(tree, tree.around(p, q, loop), q, barriers)
        left = _left(tree, spot, q, ends[p], distance)
        found.append((spot, left) if left >= 0 else (Spot(q), 0))
    return found


def _spot(tree: Tree, way: frozenset[Spot], q: Phase, barriers: Sequence[Barrier]) -> Spot:
    """The last barrier on the way to `q`, or the place before `q` where there is none.

    What a warp waits for serves only dependences within it: one of the block comes first.
    """
    found = [b for b in barriers if b.spot in way]
    there = [b.spot for b in found if not b.warp] or [b.spot for b in found]
    before = [s for s in there if tree.order[s] <= tree.order[Spot(q)]]
    return max(before or there or [Spot(q)], key=lambda s: tree.order[s])


def _left(tree: Tree, spot: Spot, q: Phase, end: Node, distance: int) -> int:
    """How many groups end after the needed one before a wait at `spot`.

    The group of iteration k is needed in iteration k + distance, by `q`. A wait before `q` is in
    that iteration, another in the one before; a group of its own iteration counts if it ends first.
    """
    iterations = distance if tree.order[spot] <= tree.order[Spot(q)] else distance - 1
    return iterations - (0 if tree.order[Spot(end)] < tree.order[spot] else 1)


def _after_prologue(
    kernel: Kernel,
    tree: Tree,
    nodes: tuple[Phase, Phase],
    pairs: Sequence[tuple[Touch, Touch]],
    spot: Spot,
    ends: Mapping[Phase, Node],
) -> int:
    """How many groups may be left where `q` uses, in a loop, what a prologue copied before it.

    Iteration i of the prologue is needed by iteration i of the loop, or later ones. By then the
    rest of the prologue's groups have ended, and one for each iteration of the loop.
    """
    p, q = nodes
    mine, yours = tree.loops(p), tree.loops(q)
    shared = len([a for a, b in zip(mine, yours, strict=False) if a is b])
    inner, outer = mine[shared:], yours[shared:]
    if len(inner) > 1 or not outer:
        return 0
    trips = const_int(inner[0].loop.extent) if inner else 1
    body = outer[0]
    others = [end for other, end in ends.items() if other is not p]
    in_loop = [end for end in others if tree.where[end][2] is body]
    if trips is None or not in_loop or tree.where[spot.node][2] is not body or spot.at_end:
        return 0
    if inner and any(
        meets(kernel, x, y, mine, yours, shared, earlier=(inner[0], body)) for x, y in pairs
    ):
        return 0
    after = any(tree.order[Spot(end)] < tree.order[spot] for end in in_loop)
    return trips - 1 + (1 if after else 0)


def _distance(
    kernel: Kernel,
    pairs: Sequence[tuple[Touch, Touch]],
    mine: Sequence[Loop],
    yours: Sequence[Loop],
    depth: int,
) -> int | None:
    """The fewest iterations of a common loop from a copy to its use; None of no use."""
    if not any(meets(kernel, x, y, mine, yours, depth, carried=True) for x, y in pairs):
        return None
    for distance in range(1, _FARTHEST):
        if any(meets(kernel, x, y, mine, yours, depth, distance=distance) for x, y in pairs):
            return distance
    return _FARTHEST
