"""A kernel as its blocks run it: a grid, and phases in loops and branches that all threads share.

    for bi in block.x(8):                     grid (8, 1, 1)
      alloc S: float32[64] shared             shared S
        for ko in range(4):                   loop ko
          for t in thread.x(64): ...            phase, 64 threads
          for t in thread.x(32): ...            phase, 32 threads
        B[bi] = S[0]                          phase, one thread

What stands outside of thread loops is run by one thread, or, where it is a loop or a condition
around phases, by all of them alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from tensorc.errors import CompileError
from tensorc.ir.expr import Buffer, Const, Expr, const_int, is_const
from tensorc.ir.printer import show
from tensorc.ir.stmt import (
    Accumulate,
    Allocate,
    Block,
    Check,
    For,
    If,
    Stmt,
    block,
)
from tensorc.ir.walk import free_vars, leaves, walk_stmts, written_buffers
from tensorc.lower.cooperative import folded_loops, only_leaf
from tensorc.lower.threads import has_threads, is_block_loop, is_thread_loop
from tensorc.target import BLOCK_LIMITS, GRID_LIMITS, THREADS_PER_BLOCK, WARP

if TYPE_CHECKING:
    from collections.abc import Sequence

AXES = ("x", "y", "z")


@dataclass(frozen=True, slots=True)
class Fold:
    """How the threads of a phase fold their values into one.

    Attributes:
        method: "shuffle", within groups of `width` lanes; "warps", that within each warp, and then
            the results of warps; "table", one thread of each group goes through all values.
        width: how many lanes a shuffle folds.
        warps: over how many warps a group extends.
        rounded: the threads that take part, in whole warps.
        scratch: the shared buffers that hold values for others, none of method "shuffle".
    """

    method: str
    width: int
    warps: int
    rounded: int
    scratch: tuple[Buffer, ...] = ()


@dataclass(eq=False, slots=True)
class Phase:
    """Work that threads do independently of each other, and complete before the next begins.

    Attributes:
        stmt: what stands in the program.
        threads: the thread loops by axis, "x" first; none: one thread does it.
        body: what is inside them.
        folded: the thread loops over which the body, one accumulation, folds.
        fold: how it does that; with scratch buffers it is two phases, the second `combines`.
    """

    stmt: Stmt
    threads: dict[str, For]
    body: Stmt
    folded: tuple[For, ...] = ()
    fold: Fold | None = None
    combines: bool = False

    @property
    def count(self) -> int:
        """How many threads run it."""
        total = 1
        for loop in self.threads.values():
            total *= const_int(loop.extent) or 1
        return total


@dataclass(eq=False, slots=True)
class Loop:
    """A serial loop that all threads go through together."""

    loop: For
    body: list[Node]


@dataclass(eq=False, slots=True)
class Branch:
    """A condition that is the same for all threads."""

    cond: Expr
    body: list[Node]
    orelse: list[Node]


Node: TypeAlias = Phase | Loop | Branch


@dataclass(eq=False, slots=True)
class Kernel:
    """A nest of the program as one `__global__` function.

    Attributes:
        stmt: the nest.
        grid: the block loops by axis.
        body: what a block does.
        buffers: what is allocated in it.
        threads: the size of a block.
    """

    stmt: Stmt
    grid: dict[str, For]
    body: list[Node]
    buffers: list[Buffer] = field(default_factory=list)
    threads: int = 1

    def phases(self) -> list[Phase]:
        """All phases, in text order."""
        return _phases(self.body)

    @property
    def stages(self) -> list[str]:
        """The names of the buffers from outside that it writes, in text order."""
        own = {s.buffer for s in walk_stmts(self.stmt) if isinstance(s, Allocate)}
        return [b.name for b in written(self.stmt) if b not in own]


def written(stmt: Stmt) -> list[Buffer]:
    """The buffers that `stmt` writes, in text order."""
    return list(dict.fromkeys(b for leaf in leaves(stmt) for b in written_buffers(leaf)))


def _phases(nodes: Sequence[Node]) -> list[Phase]:
    found: list[Phase] = []
    for node in nodes:
        match node:
            case Phase():
                found.append(node)
            case Loop(_, body):
                found += _phases(body)
            case Branch(_, body, orelse):
                found += _phases(body) + _phases(orelse)
    return found


def is_kernel(stmt: Stmt) -> bool:
    """Whether a nest holds bound loops, and so is a kernel of its own."""
    return any(isinstance(s, For) and s.axis is not None for s in walk_stmts(stmt))


def make_kernel(stmt: Stmt) -> Kernel:
    """The nest `stmt` as a kernel.

    Raises:
        CompileError: block loops inside of serial or thread loops, or beside each other; more
            threads than a block may have; an allocation of global memory inside.
    """
    _check_hints(stmt)
    kernel = Kernel(stmt, {}, [])
    rest = _grid(stmt, kernel, ())
    kernel.body = _nodes(rest, kernel)
    phases = kernel.phases()
    kernel.threads = max((p.count for p in phases), default=1)
    _check_threads(kernel, phases)
    _check_grid(kernel)
    if any(p.folded for p in phases):  # Shuffles are for whole warps.
        kernel.threads = -(-kernel.threads // WARP) * WARP
    return kernel


def _check_hints(stmt: Stmt) -> None:
    for s in walk_stmts(stmt):
        if isinstance(s, For) and is_bulk(s) and s.axis is not None:
            raise CompileError(
                f'loop {s.var.name}, on {s.axis}, has the hint async: "tma", which is for the '
                "outermost of a copy's own loops: one thread copies the box that they go through"
            )


def _check_threads(kernel: Kernel, phases: Sequence[Phase]) -> None:
    if kernel.threads <= THREADS_PER_BLOCK:
        return
    phase = max(phases, key=lambda p: p.count)
    axes = [(f"thread.{a}", loop) for a, loop in phase.threads.items()]
    shown = ", ".join(f"{loop.var.name} on {axis}: {loop.extent}" for axis, loop in axes)
    raise CompileError(
        f"kernel of {', '.join(kernel.stages)}: {kernel.threads} threads in a block, at most "
        f"{THREADS_PER_BLOCK} are allowed ({shown}); split a thread loop and bind the outer part "
        "to blocks"
    )


def _check_grid(kernel: Kernel) -> None:
    for axis, limit in zip(AXES, GRID_LIMITS, strict=True):
        loop = kernel.grid.get(axis)
        extent = None if loop is None else const_int(loop.extent)
        if loop is not None and extent is not None and extent > limit:
            raise CompileError(
                f"kernel of {', '.join(kernel.stages)}: loop {loop.var.name} makes {extent} "
                f"blocks on block.{axis}, at most {limit} are allowed; bind it to another axis, or "
                "split it"
            )


def _grid(stmt: Stmt, kernel: Kernel, conds: tuple[Expr, ...]) -> Stmt:
    """Take the block loops off `stmt`; what is left is one block's work."""
    if not any(is_block_loop(s) for s in walk_stmts(stmt)):
        for cond in reversed(conds):
            stmt = If(cond, stmt)
        return stmt
    match stmt:
        case For() if is_block_loop(stmt):
            assert stmt.axis is not None, "a bound loop has an axis"
            axis = stmt.axis.removeprefix("block.")
            if axis in kernel.grid:
                raise CompileError(
                    f"loops {kernel.grid[axis].var.name} and {stmt.var.name} are both bound to "
                    f"block.{axis} in one nest; bind one of them to another axis"
                )
            inner = {v for e in (stmt.start, stmt.extent) for v in free_vars(e)}
            for other in kernel.grid.values():
                if other.var in inner:
                    raise CompileError(
                        f"loop {stmt.var.name} is bound to block.{axis}, and its range depends on "
                        f"{other.var.name}, which is bound too; a grid is a box: guard the body "
                        "instead"
                    )
            kernel.grid[axis] = stmt
            return _grid(stmt.body, kernel, conds)
        case If(cond, body, None):
            return _grid(body, kernel, (*conds, cond))
        case Allocate(buffer, body):
            _own(kernel, buffer)
            return _grid(body, kernel, conds)
        case For():
            kind = "a thread" if is_thread_loop(stmt) else "a serial"
            raise CompileError(
                f"loop {stmt.var.name} is {kind} loop around loops that are bound to blocks, "
                f"{_block_names(stmt)}; a kernel's block loops stand outside of all others: "
                "reorder them, or bind that loop to blocks too"
            )
        case _:
            raise CompileError(
                f"loops bound to blocks, {_block_names(stmt)}, stand beside other statements "
                "inside of one nest; fission the loops around them, so that each is a kernel"
            )


def _block_names(stmt: Stmt) -> str:
    return ", ".join(
        s.var.name for s in walk_stmts(stmt) if isinstance(s, For) and is_block_loop(s)
    )


def _own(kernel: Kernel, buffer: Buffer) -> None:
    if buffer.scope == "global":
        raise CompileError(
            f"buffer {buffer.name} is allocated inside of a kernel, of scope 'global', which "
            "blocks and threads cannot have of their own; set_scope it to 'shared' or 'local'"
        )
    if buffer not in kernel.buffers:
        kernel.buffers.append(buffer)


def _nodes(stmt: Stmt, kernel: Kernel) -> list[Node]:
    """What stands in a block, opened down to its phases; what is alone between them is one."""
    nodes: list[Node] = []
    alone: list[Stmt] = []

    def close() -> None:
        if alone:
            together = block(list(alone))
            nodes.append(Phase(together, {}, together))
            alone.clear()

    for part in _opened(stmt, kernel):
        if not _is_opened(part):
            _own_inside(part, kernel)
            alone.append(part)
            continue
        close()
        match part:
            case For() if is_thread_loop(part):
                nodes += _with_fold(_phase(part), kernel)
            case For() if is_bulk(part):
                nodes.append(Phase(part, {}, part))
            case For(_, _, _, body):
                nodes.append(Loop(part, _nodes(body, kernel)))
            case If(cond, body, orelse):
                other = [] if orelse is None else _nodes(orelse, kernel)
                nodes.append(Branch(cond, _nodes(body, kernel), other))
            case _:
                raise AssertionError(f"phases in {show(part)}")
    close()
    return nodes


def is_bulk(stmt: Stmt) -> bool:
    """Whether a loop, with all that is inside of it, is to be one copy of a box: see `tma.py`."""
    return isinstance(stmt, For) and dict(stmt.annotations).get("async") == "tma"


def _is_opened(stmt: Stmt) -> bool:
    """Whether phases are told apart inside of `stmt`."""
    return has_threads(stmt) or any(is_bulk(s) for s in walk_stmts(stmt))


def _opened(stmt: Stmt, kernel: Kernel) -> list[Stmt]:
    match stmt:
        case Block(stmts):
            return [part for s in stmts for part in _opened(s, kernel)]
        case Allocate(buffer, body):
            _own(kernel, buffer)
            return _opened(body, kernel)
        case _:
            return [stmt]


def _own_inside(stmt: Stmt, kernel: Kernel) -> None:
    for s in walk_stmts(stmt):
        if isinstance(s, Allocate):
            _own(kernel, s.buffer)


def _phase(stmt: For) -> Phase:
    threads: dict[str, For] = {}
    body: Stmt = stmt
    while isinstance(body, For) and is_thread_loop(body):
        assert body.axis is not None, "a bound loop has an axis"
        axis = body.axis.removeprefix("thread.")
        if axis in threads:
            raise CompileError(
                f"loops {threads[axis].var.name} and {body.var.name} are both bound to "
                f"thread.{axis}, one inside of the other; bind one of them to another axis"
            )
        extent = const_int(body.extent)
        if extent is None:
            raise CompileError(
                f"loop {body.var.name} is bound to thread.{axis}, and its extent {body.extent} is "
                "not a constant; split it, and bind the inner loop"
            )
        limit = BLOCK_LIMITS[AXES.index(axis)]
        if extent > limit:
            raise CompileError(
                f"loop {body.var.name}: {extent} threads on thread.{axis}, at most {limit} are "
                "allowed; split it"
            )
        threads[axis] = body
        body = body.body
    for s in walk_stmts(body):
        if isinstance(s, Allocate) and s.buffer.scope != "local":
            raise CompileError(
                f"buffer {s.buffer.name} is allocated inside of the thread loops, of scope "
                f"'{s.buffer.scope}'; a thread's own storage is 'local': set_scope it"
            )
    ordered = {axis: threads[axis] for axis in AXES if axis in threads}
    return Phase(stmt, ordered, body, _folded(ordered, body))


def _folded(threads: dict[str, For], body: Stmt) -> tuple[For, ...]:
    """The thread loops that the body folds over."""
    found = only_leaf(body)
    loops = tuple(threads.values())
    for leaf in leaves(body):
        if not isinstance(leaf, Accumulate):
            continue
        over = folded_loops(loops, leaf)
        if not over or _is_private(leaf, body):
            continue
        if found is None or any(isinstance(s, For) for s in found[0]):
            names = ", ".join(t.var.name for t in over)
            raise CompileError(
                f"{show(leaf).strip()}: the threads {names} fold into one element together, "
                "beside other work; fission the reduction, or rfactor it"
            )
        return over
    return ()


def _with_fold(phase: Phase, kernel: Kernel) -> list[Node]:
    """The phase, in two steps where it folds through shared memory."""
    if not phase.folded:
        return [phase]
    found = only_leaf(phase.body)
    assert found is not None, "a folding phase is one accumulation"
    method, width, warps, size = _method(phase)
    scratch = tuple(
        Buffer(f"{b.name}.shares", (Const(size),), b.dtype, "shared")
        for b in (found[1].buffers if size else ())
    )
    kernel.buffers += scratch
    rounded = -(-phase.count // WARP) * WARP
    phase.fold = Fold(method, width, warps, rounded, scratch)
    return [phase, replace(phase, combines=True)] if scratch else [phase]


def _method(phase: Phase) -> tuple[str, int, int, int]:
    """The method, the width of shuffles, the warps of a group, the size of the table."""
    loops = [t for t in phase.threads.values() if const_int(t.extent) != 1]
    count = len(phase.folded)
    together = {id(t) for t in loops[:count]} == {id(t) for t in phase.folded}
    size = 1
    for t in phase.folded:
        size *= const_int(t.extent) or 1
    groups = phase.count // size
    if together and size <= WARP and size & (size - 1) == 0:
        return "shuffle", size, 1, 0
    if together and groups == 1 and size <= WARP:
        return "shuffle", WARP, 1, 0
    if together and (groups == 1 or size % WARP == 0):
        warps = -(-size // WARP)
        return "warps", WARP, warps, groups * warps
    return "table", 1, 1, phase.count


def _is_private(leaf: Accumulate, body: Stmt) -> bool:
    """Whether a leaf accumulates into what each thread allocates for itself."""
    own = {s.buffer for s in walk_stmts(body) if isinstance(s, Allocate)}
    return leaf.buffers[0] in own


def grid_size(kernel: Kernel) -> tuple[Expr | None, ...]:
    """The extents of the grid in x, y and z; None is 1."""
    loops = [kernel.grid.get(axis) for axis in AXES]
    return tuple(
        None if loop is None or is_const(loop.extent, 1) else loop.extent for loop in loops
    )


def has_check(stmt: Stmt) -> bool:
    """Whether a check stands in `stmt`."""
    return any(isinstance(s, Check) for s in walk_stmts(stmt))


__all__ = [
    "AXES", "Branch", "Fold", "Kernel", "Loop", "Node", "Phase", "grid_size", "has_check",
    "is_bulk", "is_kernel", "make_kernel", "written",
]  # fmt: skip
