"""Where every allocated buffer lives: the layout of the one workspace a call gets.

Buffers of scope "global" share one workspace, each at a multiple of 64 bytes. Those of constant
size whose lifetimes do not meet share memory: the largest are placed first, each at the lowest
address that is free while it lives. What is allocated inside a parallel loop gets one slice for
each thread, after all the rest. Buffers of scope "local" are registers or stack, unless a parallel
loop stands inside their allocation: what several threads share must lie in the workspace.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.errors import CompileError
from tensorc.ir.expr import Binary, BinaryOp, Buffer, Const, Expr, const_int
from tensorc.ir.stmt import Allocate, Block, Check, For, ForKind, If, Program, Stmt
from tensorc.ir.walk import leaves, loads, walk_stmts, written_buffers

if TYPE_CHECKING:
    from collections.abc import Sequence

ALIGNMENT = 64
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
    """The workspace holds `shared` bytes, then `slice` bytes for each thread."""

    slots: dict[Buffer, Slot]
    shared: Expr
    slice: Expr
    sharing: dict[Buffer, tuple[Buffer, ...]]

    def overlaps(self, a: Buffer, b: Buffer) -> bool:
        """Whether two buffers are one, or share memory at different times."""
        return a is b or b in self.sharing.get(a, ())


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
    lives = _lifetimes(program.body)
    kept = [s for s in sites if not s.is_stack]
    slots: dict[Buffer, Slot] = {}
    fixed = [s for s in kept if not s.per_thread and const_int(_bytes(s)) is not None]
    placed: list[tuple[_Site, int, int]] = []
    for site in sorted(fixed, key=lambda s: -(const_int(_bytes(s)) or 0)):
        size = const_int(_bytes(site)) or 0
        offset = _lowest_gap(site, size, placed, lives)
        placed.append((site, offset, size))
        slots[site.buffer] = Slot(Const(offset), site.copies, False)
    shared: Expr = Const(max((offset + size for _, offset, size in placed), default=0))
    for site in kept:
        if not site.per_thread and site.buffer not in slots:
            slots[site.buffer] = Slot(shared, site.copies, False)
            shared = _add(shared, _bytes(site))
    part: Expr = Const(0)
    for site in kept:
        if site.per_thread:
            slots[site.buffer] = Slot(part, site.copies, True)
            part = _add(part, _bytes(site))
    ordered = {s.buffer: slots[s.buffer] for s in kept}
    return WorkspaceLayout(ordered, shared, part, _sharing(placed))


def _sites(stmt: Stmt, lanes: int, threads: bool) -> list[_Site]:
    match stmt:
        case Allocate(buffer, body):
            shared = any(
                isinstance(s, For) and s.kind is ForKind.PARALLEL for s in walk_stmts(body)
            )
            shared = shared and not threads
            return [_Site(buffer, lanes, threads, shared), *_sites(body, lanes, threads)]
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
    size = const_int(_bytes(site))
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


def _bytes(site: _Site) -> Expr:
    """The size of all copies in bytes, rounded up to the alignment."""
    total: Expr = Const(site.buffer.dtype.bytes * site.copies)
    for size in site.buffer.shape:
        total = _fold(BinaryOp.MUL, total, size)
    total = _fold(BinaryOp.MAX, total, Const(0))
    up = _fold(BinaryOp.FLOORDIV, _add(total, Const(ALIGNMENT - 1)), Const(ALIGNMENT))
    return _fold(BinaryOp.MUL, up, Const(ALIGNMENT))


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


def _lifetimes(body: Stmt) -> dict[Buffer, tuple[int, int]]:
    """First and last unit that touches each buffer."""
    lives: dict[Buffer, tuple[int, int]] = {}
    for i, unit in enumerate(units(body)):
        for group in touched(unit):
            for buffer in group:
                lives[buffer] = (lives.get(buffer, (i, i))[0], i)
    return lives


def _meet(a: Buffer, b: Buffer, lives: dict[Buffer, tuple[int, int]]) -> bool:
    if a not in lives or b not in lives:
        return False
    return lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]


def _lowest_gap(
    site: _Site,
    size: int,
    placed: Sequence[tuple[_Site, int, int]],
    lives: dict[Buffer, tuple[int, int]],
) -> int:
    busy = sorted((o, o + s) for p, o, s in placed if _meet(site.buffer, p.buffer, lives))
    offset = 0
    for begin, end in busy:
        if offset + size <= begin:
            break
        offset = max(offset, end)
    return offset


def _sharing(placed: Sequence[tuple[_Site, int, int]]) -> dict[Buffer, tuple[Buffer, ...]]:
    return {
        a.buffer: tuple(b.buffer for b, p, m in placed if b is not a and o < p + m and p < o + n)
        for a, o, n in placed
    }
