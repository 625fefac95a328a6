"""Where every allocated buffer lives: the layout of the one workspace a call gets.

Buffers of scope "global" share one workspace, each at a multiple of 64 bytes. Those of constant
size whose lifetimes do not meet share memory: the largest are placed first, each at the lowest
address that is free while it lives; where that leaves holes, others are tried first. What is
allocated inside a parallel loop lies in a slice of its thread, after all the rest. Buffers of scope
"local" are registers or stack, unless a parallel loop stands inside their allocation: what several
threads share must lie in the workspace.

A lifetime is counted in steps, the statements that a call runs one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain
from typing import TYPE_CHECKING, TypeAlias

from tensorc.errors import CompileError
from tensorc.ir.expr import Binary, BinaryOp, Buffer, Const, Expr, const_int
from tensorc.ir.stmt import Allocate, Block, Check, For, ForKind, If, Program, Stmt
from tensorc.ir.walk import leaves, loads, walk_stmts, written_buffers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ALIGNMENT = 64
ARENA_ALIGNMENT = 256  # Of a GPU, whose allocations lie so too.
_ATTEMPTS = 8  # Orders in which buffers are placed before the best is taken.
_SMALL = 0.01  # Of the bytes alive at once.
_Place: TypeAlias = tuple[Buffer, int, int]  # A buffer, its offset, its bytes.
LOCAL_LIMIT = 256 * 1024  # Bytes of stack that one buffer may take.


@dataclass(frozen=True, slots=True)
class Slot:
    """A buffer's place: its byte offset, how many copies lie side by side, and whose it is.

    `copies` is the number of lanes of the vector loops around the allocation. `per_thread`
    offsets count from the start of a thread's slice.
    """

    offset: Expr
    copies: int
    per_thread: bool


@dataclass(frozen=True, slots=True)
class WorkspaceLayout:
    """The workspace holds `shared` bytes, then `slice` bytes for each thread.

    Attributes:
        slots: the place of each buffer in it.
        shared: the bytes that all threads share.
        slice: the bytes that each thread has for itself.
        sharing: for each shared buffer, those at the same addresses at other times.
        lives: the first and the last step that touches each buffer.
        steps: the buffers that each step writes.
        arguments: the bytes of each parameter.
        alignment: what offsets are multiples of.
    """

    slots: dict[Buffer, Slot]
    shared: Expr
    slice: Expr
    sharing: dict[Buffer, tuple[Buffer, ...]]
    lives: dict[Buffer, tuple[int, int]]
    steps: tuple[tuple[Buffer, ...], ...]
    arguments: dict[Buffer, Expr]
    alignment: int = ALIGNMENT

    def overlaps(self, a: Buffer, b: Buffer) -> bool:
        """Whether two buffers are one, or share memory at different times."""
        return a is b or b in self.sharing.get(a, ())

    def size(self, buffer: Buffer) -> Expr:
        """The bytes of the workspace, or of a slice of it, that `buffer` takes."""
        return _bytes(buffer, self.slots[buffer].copies, self.alignment)


@dataclass(frozen=True, slots=True)
class _Site:
    """An Allocate: lanes around it, whether a parallel loop is around it, or inside."""

    buffer: Buffer
    copies: int
    per_thread: bool
    shared: bool

    @property
    def is_stack(self) -> bool:
        return self.buffer.scope == "local" and not self.shared


def plan_memory(program: Program) -> WorkspaceLayout:
    """Give every allocated buffer of scope "global" its place in the workspace.

    Raises:
        CompileError: a local buffer whose size is not constant, or beyond `LOCAL_LIMIT`.
    """
    # A pass may have made two copies of a statement that allocates.
    sites = list({s.buffer: s for s in _sites(program.body, 1, False)}.values())
    for site in sites:
        if site.is_stack:
            _check_local(site)
    return _plan(program, [s for s in sites if not s.is_stack], ALIGNMENT)


def plan_arena(program: Program) -> WorkspaceLayout:
    """Give every buffer of scope "global" that a program for a GPU allocates its place.

    Those of other scopes are the kernels' own. Offsets are multiples of `ARENA_ALIGNMENT`.
    """
    found = {s.buffer: _Site(s.buffer, 1, False, False) for s in _sites(program.body, 1, False)}
    wanted = [site for buffer, site in found.items() if buffer.scope == "global"]
    return _plan(program, wanted, ARENA_ALIGNMENT)


def _plan(program: Program, kept: Sequence[_Site], alignment: int) -> WorkspaceLayout:
    steps = [touched(unit) for unit in units(program.body)]
    lives = _lifetimes(steps)
    slots: dict[Buffer, Slot] = {}
    common = [s for s in kept if not s.per_thread]
    placed, shared = _lay_out(common, lives, slots, alignment)
    _, part = _lay_out([s for s in kept if s.per_thread], lives, slots, alignment)
    return WorkspaceLayout(
        {s.buffer: slots[s.buffer] for s in kept},
        shared,
        part,
        _sharing(placed),
        lives,
        tuple(tuple(writes) for _, writes in steps),
        {p.buffer: _product(p.buffer, 1) for p in program.params},
        alignment,
    )


def _lay_out(
    sites: Sequence[_Site],
    lives: Mapping[Buffer, tuple[int, int]],
    slots: dict[Buffer, Slot],
    alignment: int,
) -> tuple[list[_Place], Expr]:
    """Give `sites` their slots, those of constant size first; the places of these, and the end."""
    sizes = {s.buffer: const_int(_bytes(s.buffer, s.copies, alignment)) for s in sites}
    fixed = [(s.buffer, size) for s in sites if (size := sizes[s.buffer]) is not None]
    placed = _place(fixed, lives)
    where = {buffer: offset for buffer, offset, _ in placed}
    end: Expr = Const(_end(placed))
    for site in sites:
        if site.buffer in where:
            slots[site.buffer] = Slot(Const(where[site.buffer]), site.copies, site.per_thread)
        else:
            slots[site.buffer] = Slot(end, site.copies, site.per_thread)
            end = _add(end, _bytes(site.buffer, site.copies, alignment))
    return placed, end


def _place(
    wanted: Sequence[tuple[Buffer, int]], lives: Mapping[Buffer, tuple[int, int]]
) -> list[_Place]:
    """An offset for each buffer of constant size.

    The largest first leaves a hole where a large one ends in the middle of a larger. So as long as
    more is taken than ever lives at once, the buffer that ends last is placed before all others;
    not one that is small, which fits in anywhere.
    """
    order = sorted(wanted, key=lambda pair: -pair[1])
    best = placed = _in_order(order, lives)
    least = _most_alive(wanted, lives)
    for _ in range(_ATTEMPTS):
        if _end(best) == least:
            break
        large = [place for place in placed if place[2] > _SMALL * least]
        last = max(large, key=lambda place: place[1] + place[2], default=placed[-1])
        order = [(last[0], last[2]), *(pair for pair in order if pair[0] is not last[0])]
        placed = _in_order(order, lives)
        best = min(best, placed, key=_end)
    return best


def _in_order(
    order: Sequence[tuple[Buffer, int]], lives: Mapping[Buffer, tuple[int, int]]
) -> list[_Place]:
    """Each buffer at the lowest address that is free of those before it while it lives."""
    placed: list[_Place] = []
    for buffer, size in order:
        busy = sorted((o, o + n) for other, o, n in placed if _meet(buffer, other, lives))
        offset = 0
        for begin, end in busy:
            if offset + size <= begin:
                break
            offset = max(offset, end)
        placed.append((buffer, offset, size))
    return placed


def _end(placed: Sequence[_Place]) -> int:
    return max((offset + size for _, offset, size in placed), default=0)


def _most_alive(
    wanted: Sequence[tuple[Buffer, int]], lives: Mapping[Buffer, tuple[int, int]]
) -> int:
    """The most bytes that live in one step: no layout takes less."""
    change: dict[int, int] = {}
    for buffer, size in wanted:
        if buffer in lives:
            first, last = lives[buffer]
            change[first] = change.get(first, 0) + size
            change[last + 1] = change.get(last + 1, 0) - size
    return max(accumulate(change[step] for step in sorted(change)), default=0)


def _sites(stmt: Stmt, lanes: int, threads: bool) -> list[_Site]:
    match stmt:
        case Allocate():
            buffers: list[Buffer] = []  # What stands around the same statements.
            while isinstance(stmt, Allocate):
                buffers.append(stmt.buffer)
                stmt = stmt.body
            shared = not threads and any(
                isinstance(s, For) and s.kind is ForKind.PARALLEL for s in walk_stmts(stmt)
            )
            sites = [_Site(buffer, lanes, threads, shared) for buffer in buffers]
            return [*sites, *_sites(stmt, lanes, threads)]
        case Block(stmts):
            return [site for s in stmts for site in _sites(s, lanes, threads)]
        case If(_, body, orelse):
            other = _sites(orelse, lanes, threads) if orelse is not None else []
            return [*_sites(body, lanes, threads), *other]
        case For(_, _, extent, body, kind):
            # A vector loop inside another is written out, so lanes never multiply; around a loop
            # that the threads of the call share, its iterations run one after the other.
            is_shared = not threads and _has_threads(body)
            if kind is ForKind.VECTORIZED and lanes == 1 and not is_shared:
                lanes = max(1, const_int(extent) or 1)
            return _sites(body, lanes, threads or kind is ForKind.PARALLEL)
        case _:
            return []


def _has_threads(stmt: Stmt) -> bool:
    """Whether a parallel loop of `stmt` is run by several threads: one with a check is not."""
    return any(
        isinstance(s, For)
        and s.kind is ForKind.PARALLEL
        and not any(isinstance(x, Check) for x in walk_stmts(s))
        for s in walk_stmts(stmt)
    )


def _check_local(site: _Site) -> None:
    buffer = site.buffer
    size = const_int(_bytes(buffer, site.copies, ALIGNMENT))
    shape = ", ".join(map(str, buffer.shape))
    if size is None:
        raise CompileError(
            f"local buffer {buffer.name}[{shape}]: its size must be constant; "
            "set_scope it to 'global', or tile the loops that fill it"
        )
    if size > LOCAL_LIMIT:
        raise CompileError(
            f"local buffer {buffer.name}[{shape}] takes {size} bytes of stack, at most "
            f"{LOCAL_LIMIT} are allowed; set_scope it to 'global'"
        )


def _bytes(buffer: Buffer, copies: int, alignment: int) -> Expr:
    """The size of all copies in bytes, rounded up to the alignment."""
    total = _fold(BinaryOp.MAX, _product(buffer, copies), Const(0))
    up = _fold(BinaryOp.FLOORDIV, _add(total, Const(alignment - 1)), Const(alignment))
    return _fold(BinaryOp.MUL, up, Const(alignment))


def _product(buffer: Buffer, copies: int) -> Expr:
    total: Expr = Const(buffer.dtype.bytes * copies)
    for size in buffer.shape:
        total = _fold(BinaryOp.MUL, total, size)
    return total


def _add(a: Expr, b: Expr) -> Expr:
    return _fold(BinaryOp.ADD, a, b)


def _fold(op: BinaryOp, a: Expr, b: Expr) -> Expr:
    x, y = const_int(a), const_int(b)
    if x is None or y is None:
        return Binary(op, a, b)
    match op:
        case BinaryOp.ADD:
            return Const(x + y)
        case BinaryOp.MUL:
            return Const(x * y)
        case BinaryOp.MAX:
            return Const(max(x, y))
        case _:
            return Const(x // y)


def units(stmt: Stmt) -> list[Stmt]:
    """The statements that a call runs one after the other, blocks and allocations opened."""
    match stmt:
        case Block(stmts):
            return [unit for s in stmts for unit in units(s)]
        case Allocate(_, body):
            return units(body)
        case _:
            return [stmt]


def touched(stmt: Stmt) -> tuple[list[Buffer], list[Buffer]]:
    """The buffers that `stmt` reads and those it writes, each once, in text order."""
    reads = dict.fromkeys(load.buffer for load in loads(stmt))
    writes: dict[Buffer, None] = {}
    for leaf in leaves(stmt):
        writes.update(dict.fromkeys(written_buffers(leaf)))
    return list(reads), list(writes)


def _lifetimes(
    steps: Iterable[tuple[Sequence[Buffer], Sequence[Buffer]]],
) -> dict[Buffer, tuple[int, int]]:
    """First and last step that touches each buffer."""
    lives: dict[Buffer, tuple[int, int]] = {}
    for i, groups in enumerate(steps):
        for buffer in chain.from_iterable(groups):
            lives[buffer] = (lives.get(buffer, (i, i))[0], i)
    return lives


def _meet(a: Buffer, b: Buffer, lives: Mapping[Buffer, tuple[int, int]]) -> bool:
    if a not in lives or b not in lives:
        return False
    return lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]


def _sharing(placed: Sequence[_Place]) -> dict[Buffer, tuple[Buffer, ...]]:
    return {
        a: tuple(b for b, p, m in placed if b is not a and o < p + m and p < o + n)
        for a, o, n in placed
    }
