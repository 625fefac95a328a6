"""Reductions along rows, and what goes through the same rows, as one kernel.

A softmax is five nests: the greatest of a row, the exponentials, their sum... Together they are a
sequence of phases inside of one block, which reads each row once. A row belongs to a warp, or to
the whole block where it is long; neighbours of a row to neighbouring threads.

    for io in block.x(rows / R):
      for x in thread.y(R): for t in thread.x(32): a phase: copy, fold, exponentials...
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import Load, const_int
from tensorc.ir.facts import facts, leaf_loads, nests
from tensorc.ir.stmt import Accumulate, Allocate, Check, For, ForKind, Store
from tensorc.ir.walk import walk_stmts, written_buffers
from tensorc.schedule.auto.cost import bytes_of, depends, extent_of
from tensorc.schedule.auto.cuda.partials import accumulation, is_contiguous
from tensorc.schedule.auto.steps import attempt
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import find_loop, sites, stage_sites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Buffer
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site
    from tensorc.target import Target

WARP = 32
SHORT_ROW = 8  # Elements below which a thread may as well go through a row by itself.
NARROW_ROW = 128  # Elements up to which a block has more warps, since each has little to do.
WARP_ROW = 1024  # Elements up to which a warp goes through a row; beyond, a block of threads.
LONG_ROW = 4096  # Elements beyond which the block has more of them.
WARPS = 8  # Rows that the warps of one block go through.
KEPT = 32  # Elements of a row that each thread keeps in registers, at most.
UNROLL = 16  # Iterations of one thread that are written out.
VECTOR_BYTES = 16
SHARED_BYTES = 40 * 1024  # Of one block: what every device has, and some left over.


@dataclass(frozen=True, slots=True)
class Group:
    """Nests over the same rows: the loop over blocks of rows, and how a block goes through one.

    Attributes:
        stage: what the first of the nests computes.
        outer: the loops around the one over blocks.
        block: that loop.
        rows: of one block.
        length: elements of a row; None of a symbolic number.
        threads: that go through a row together.
        lanes: neighbours that a thread takes at a time.
    """

    stage: str
    outer: tuple[Loop, ...]
    block: Loop
    rows: int
    length: int | None
    threads: int
    lanes: int


def fuse_rows(s: Schedule, target: Target) -> None:
    """Make one kernel of each row reduction and the nests after it that go through its rows."""
    for nest in list(nests(s.program.body)):
        stage = _stage(nest)
        if stage is None or not _stands(s, nest):
            continue
        assert isinstance(nest, For), "a stage of loops"
        attempt(s, partial(_kernel, s, nest, stage, target))


def _stands(s: Schedule, nest: object) -> bool:
    """Whether a nest is still one of the outermost: it was not moved into another one."""
    return any(x is nest for x in nests(s.program.body))


def _stage(nest: object) -> str | None:
    """What a nest of plain loops computes, if it is one thing, or a tuple that is folded as one."""
    if not isinstance(nest, For):
        return None
    names = [b.name for b in facts(nest).written]
    inside = sites(nest)
    plain = all(x.kind is ForKind.SERIAL for site in inside for x in site.loops)
    if not plain or any(isinstance(x.leaf, Check) for x in inside):
        return None
    together = {b.name for x in inside if isinstance(x.leaf, Accumulate) for b in x.leaf.buffers}
    return names[-1] if len(names) == 1 or set(names) == together else None


def _kernel(s: Schedule, nest: For, stage: str, target: Target) -> None:
    """One kernel of `nest` and what follows it row by row.

    Raises:
        ScheduleError: a step is refused.
    """
    group = _group(s, nest, stage, target)
    if group is None:
        return
    for other in list(nests(s.program.body)):
        name = _stage(other)
        if name is None or name == stage or not _stands(s, other):
            continue
        sums = [x for x in sites(other) if isinstance(x.leaf, Accumulate)]
        if all(is_contiguous(x) for x in sums) and not attempt(s, partial(_join, s, group, name)):
            attempt(s, partial(_beside, s, group, name))
    _keep_rows(s, group)
    _place(s, group)
    _phases(s, group)
    _bind_blocks(s, group)


def _join(s: Schedule, group: Group, name: str) -> None:
    """Compute `name` where its rows are.

    Raises:
        ScheduleError: that is refused, or a block cannot hold what is between.
    """
    s.reverse_compute_at(name, group.block)
    _fits(s, group)


def _beside(s: Schedule, group: Group, name: str) -> None:
    """Compute `name`, which goes through rows of the same array, in the same blocks.

    Raises:
        ScheduleError: that is refused, or a block cannot hold what is between.
    """
    (*_, last) = stage_sites(s.program, name)
    head = find_loop(s.program, group.block.var)
    assert head is not None, "the loop over blocks of rows stands in the program"
    shared = {u.buffer for u in leaf_loads(last.leaf)} & facts(head).read
    if len(last.loops) <= len(group.outer) or not any(_is_large(b, group) for b in shared):
        raise ScheduleError(f"'{name}' does not go through the same rows")
    row = Loop(s, name, last.loops[len(group.outer)].var)
    loops = [Loop(s, name, x.var) for x in last.loops[: len(group.outer)]]
    block, _ = s.split(row, group.rows)
    for mine, other in zip((*group.outer, group.block), (*loops, block), strict=True):
        s.fuse_with(mine, other)
    _fits(s, group)


def _is_large(buffer: Buffer, group: Group) -> bool:
    """Whether reading an array of rows once instead of twice is worth a thought."""
    return buffer.ndim > 1 and const_int(buffer.shape[-1]) == group.length


def _fits(s: Schedule, group: Group) -> None:
    """Refuse what a block cannot hold: neither in the registers of its threads nor shared.

    Raises:
        ScheduleError: a buffer of the block, or all of them, are too large.
    """
    total = 0
    inside = _inside(s, group)
    for buffer in _made(s, group):
        if not _is_kept(inside, buffer, group):
            constant = all(const_int(n) is not None for n in buffer.shape)
            total += bytes_of(buffer) if constant else 2 * SHARED_BYTES
    if total > SHARED_BYTES:
        raise ScheduleError(f"a block's rows take {total} bytes of shared memory")


def _made(s: Schedule, group: Group) -> list[Buffer]:
    """The buffers of a block."""
    loop = find_loop(s.program, group.block.var)
    assert loop is not None, "the loop over blocks of rows stands in the program"
    return [x.buffer for x in walk_stmts(loop.body) if isinstance(x, Allocate)]


def _group(s: Schedule, nest: For, stage: str, target: Target) -> Group | None:
    """The head of a group: its row loop cut into blocks of rows."""
    update = accumulation(s, stage, alone=False)
    if update is None or not is_contiguous(update) or update.loops[0] is not nest:
        return None
    assert isinstance(update.leaf, Accumulate), "it is one"
    spatial = [x for x in update.loops if depends(update.leaf.indices, x.var)]
    reduced = [x for x in update.loops if x not in spatial]
    if not spatial or update.loops != (*spatial, *reduced) or len(spatial) > 3:
        return None
    length: int | None = 1
    for x in reduced:
        n = const_int(x.extent)
        length = None if n is None or length is None else length * n
    if length is not None and length < SHORT_ROW:
        return None
    wide = [d for d, x in enumerate(spatial) if const_int(x.extent) != 1]
    at = wide[-1] if wide else 0
    rows, threads = _shape(spatial[: at + 1], length, target)
    *outer, row = (Loop(s, stage, x.var) for x in spatial[: at + 1])
    block, _ = s.split(row, rows)
    sizes = [u.buffer.dtype.bytes for u in leaf_loads(update.leaf)]
    lanes = max(1, VECTOR_BYTES // max(*sizes, update.leaf.buffers[0].dtype.bytes))
    if length is None or length % lanes or length < lanes * WARP:
        lanes = 1
    return Group(stage, tuple(outer), block, rows, length, threads, lanes)


def _shape(spatial: Sequence[For], length: int | None, target: Target) -> tuple[int, int]:
    """Rows of a block, and threads for each of them."""
    if length is None:
        return 1, WARP * WARPS
    if length > WARP_ROW:
        return 1, (WARPS if length <= LONG_ROW else 2 * WARPS) * WARP
    count = const_int(spatial[-1].extent)
    if count is None:
        return 1, WARP
    total = count
    for x in spatial[:-1]:
        total *= extent_of(x)
    rows = WARPS if length <= NARROW_ROW else WARPS // 2
    while rows > 1 and (count % rows or total // rows < target.resolved().sms):
        rows //= 2
    return rows, WARP


# --- what a block keeps ---------------------------------------------------------------------------


def _inside(s: Schedule, group: Group) -> list[Site]:
    loop = find_loop(s.program, group.block.var)
    assert loop is not None, "the loop over blocks of rows stands in the program"
    return sites(loop.body)


def _keep_rows(s: Schedule, group: Group) -> None:
    """Read each row that several phases use once, into registers."""
    inside = _inside(s, group)
    own = {b for x in inside for b in written_buffers(x.leaf)}
    used: dict[Buffer, int] = {}
    for site in inside:
        for buffer in dict.fromkeys(u.buffer for u in leaf_loads(site.leaf)):
            used[buffer] = used.get(buffer, 0) + 1
    for buffer, count in used.items():
        if buffer in own or count < 2 or not _is_kept(inside, buffer, group):
            continue
        attempt(s, partial(s.cache_read, buffer.name, group.block, scope="local"))


def _by_rows(inside: Sequence[Site], buffer: Buffer, length: int) -> bool:
    """Whether each access of `buffer` goes along a row of `length`, element by element."""
    for site in inside:
        places = [u.indices for u in leaf_loads(site.leaf) if u.buffer is buffer]
        if not isinstance(site.leaf, Check) and buffer in written_buffers(site.leaf):
            places.append(site.leaf.indices)
        for indices in places:
            last = indices[-1] if indices else None
            loop = site.loops[-1] if site.loops else None
            if loop is None or last is not loop.var or const_int(loop.extent) != length:
                return False
            if depends(indices[:-1], loop.var):
                return False
    return True


def _place(s: Schedule, group: Group) -> None:
    """Say where each buffer of a block lives: what its threads share, in shared memory."""
    inside = _inside(s, group)
    for buffer in _made(s, group):
        scope = "local" if _is_kept(inside, buffer, group) else "shared"
        if scope != buffer.scope:
            s.set_scope(buffer.name, scope)


def _is_kept(inside: Sequence[Site], buffer: Buffer, group: Group) -> bool:
    """Whether each thread can keep its own elements of a row in registers."""
    fits = group.length is not None and group.length <= KEPT * group.threads
    return fits and _by_rows(inside, buffer, group.length or 0)


# --- phases ---------------------------------------------------------------------------------------


def _phases(s: Schedule, group: Group) -> None:
    """Give each nest inside of a block its threads."""
    loop = find_loop(s.program, group.block.var)
    assert loop is not None, "the loop over blocks of rows stands in the program"
    for nest in list(nests(loop.body)):
        name = written_buffers(sites(nest)[-1].leaf)[0].name
        kinds = [isinstance(x.leaf, Accumulate) for x in sites(nest)]
        if any(kinds) and not all(kinds):
            s.decompose_reduction(name, Loop(s, name, nest.var))  # type: ignore[union-attr]
    loop = find_loop(s.program, group.block.var)
    assert loop is not None, "the loop over blocks of rows stands in the program"
    for nest in list(nests(loop.body)):
        _phase(s, group, nest)


def _phase(s: Schedule, group: Group, nest: object) -> None:
    """The rows of a nest on thread.y, their elements on thread.x."""
    assert isinstance(nest, For), "a row has a loop"
    (*before, site) = sites(nest)
    assert not isinstance(site.leaf, Check), "a stage is computed by stores"
    assert all(x.loops == site.loops for x in before), "a tuple begins in one nest"
    name = written_buffers(site.leaf)[0].name
    row, *others = (Loop(s, name, x.var) for x in site.loops[_rows_at(site, group) :])
    if not others:
        row, one = s.split(row, (group.length or 1) if _is_vector(site, group) else 1)
        others = [one]
    inner = others.pop()
    if others and (const_int(s.extent(inner)) or group.threads) < group.threads:
        first, *rest = (*others, inner)
        for loop in rest:
            first = s.fuse(first, loop)
        inner, others = first, []
    vector = None
    if const_int(s.extent(inner)) == group.length and group.lanes > 1:
        inner, vector = s.split(inner, group.lanes)
    count = const_int(s.extent(inner))
    if count is not None and count <= group.threads:
        thread = inner
        s.reorder(thread, *others)
    else:
        outer, thread = s.split(inner, group.threads)
        s.reorder(thread, *others, outer)
        if count is not None and count <= UNROLL * group.threads:
            s.unroll(outer)
    s.bind(thread, "thread.x")
    if group.rows > 1:
        s.bind(row, "thread.y")
    folds = isinstance(site.leaf, Accumulate)
    if vector is not None and (folds or not attempt(s, partial(s.vectorize, vector))):
        s.unroll(vector)


def _rows_at(site: Site, group: Group) -> int:
    """Which loop of a phase goes over its block's rows: what is around it runs once."""
    if group.rows == 1:
        return 0
    return next((d for d, x in enumerate(site.loops) if const_int(x.extent) == group.rows), 0)


def _is_vector(site: Site, group: Group) -> bool:
    """Whether a nest of one loop copies what all rows read, such as a bias: along a row."""
    loop = site.loops[-1]
    leaf = site.leaf
    if not isinstance(leaf, Store) or not isinstance(leaf.value, Load):
        return False
    return const_int(loop.extent) == group.length and not depends([leaf.value], group.block.var)


def _bind_blocks(s: Schedule, group: Group) -> None:
    """Blocks of rows on block.x, loops around them on the other axes."""
    s.bind(group.block, "block.x")
    for loop, axis in zip(reversed(group.outer), ("block.y", "block.z"), strict=False):
        s.bind(loop, axis)
