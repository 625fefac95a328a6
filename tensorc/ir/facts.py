"""What a statement holds and touches, found once for each and kept with it.

A rewritten program shares all statements that did not change, so asking again after a step costs
what the step rewrote. Blocks and allocations keep nothing: those around everything change with
every step, and their parts answer for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from tensorc.ir.expr import Buffer, Load, Var
from tensorc.ir.stmt import Accumulate, Allocate, Block, Check, For, If, Leaf, Stmt, Store
from tensorc.ir.walk import children, loads, written_buffers

if TYPE_CHECKING:
    from collections.abc import Iterator

Thing: TypeAlias = Stmt | Var | Buffer


@dataclass(frozen=True, slots=True)
class Facts:
    """What stands under a statement, itself included.

    Attributes:
        holds: the statements, the loops' variables, the buffers allocated.
        names: the names of those loops and buffers.
        written: the buffers written, in text order.
        stages: the names of the buffers written.
        read: the buffers read, by guards and loop ranges too; an accumulation's own do not count.
        loads: of a leaf, its loads in text order; empty for others.
        checks: whether there is a Check.
    """

    holds: frozenset[Thing]
    names: frozenset[str]
    written: tuple[Buffer, ...]
    stages: frozenset[str]
    read: frozenset[Buffer]
    loads: tuple[Load, ...] = ()
    checks: bool = False

    def meets(self, other: Facts) -> bool:
        """Whether the order of the two may matter: one writes what the other touches, or checks."""
        if (self.checks and (other.checks or other.written)) or (other.checks and self.written):
            return True
        own, theirs = frozenset(self.written), frozenset(other.written)
        return not (
            own.isdisjoint(theirs) and own.isdisjoint(other.read) and theirs.isdisjoint(self.read)
        )


def facts(stmt: For | If | Leaf) -> Facts:
    """What `stmt` holds and touches."""
    known = stmt.memo
    if known is None:
        known = _of_leaf(stmt) if isinstance(stmt, Store | Accumulate | Check) else _of(stmt)
        object.__setattr__(stmt, "memo", known)
    return known  # type: ignore[return-value]  # Nothing else is kept there; asked all the time.


def leaf_loads(leaf: Leaf) -> tuple[Load, ...]:
    """The loads of a leaf, in text order."""
    return facts(leaf).loads


def nests(stmt: Stmt) -> Iterator[For | If | Leaf]:
    """The outermost loops, guards and leaves under `stmt`, in order."""
    stack = [stmt]
    while stack:
        top = stack.pop()
        if isinstance(top, Block):
            stack.extend(reversed(top.stmts))
        elif isinstance(top, Allocate):
            stack.append(top.body)
        else:
            yield top


def holds(stmt: Stmt, thing: Thing) -> bool:
    """Whether `thing` stands under `stmt`, or is it: a statement, a loop by its variable, ..."""
    stack = [stmt]
    while stack:
        top = stack.pop()
        if isinstance(top, Allocate):
            if thing is top or thing is top.buffer:
                return True
            stack.append(top.body)
        elif isinstance(top, Block):
            if thing is top:
                return True
            stack.extend(top.stmts)
        elif thing in facts(top).holds:
            return True
    return False


def touches(stmt: For | If | Leaf, buffer: Buffer) -> bool:
    """Whether `stmt` reads or writes `buffer`, or a loop's range or a guard in it does."""
    known = facts(stmt)
    return buffer in known.read or buffer in known.written


def steers(stmt: Stmt, buffer: Buffer) -> bool:
    """Whether a loop's range or a guard under `stmt` reads `buffer`."""
    for nest in nests(stmt):
        if isinstance(nest, For | If) and buffer in facts(nest).read:
            own = (nest.start, nest.extent) if isinstance(nest, For) else (nest.cond,)
            if any(use.buffer is buffer for part in own for use in loads(part)):
                return True
            bodies = (nest.body,) if isinstance(nest, For) else (nest.body, nest.orelse)
            if any(body is not None and steers(body, buffer) for body in bodies):
                return True
    return False


def writes(stmt: Stmt, buffer: Buffer) -> bool:
    """Whether a leaf under `stmt` writes `buffer`."""
    return any(buffer in facts(nest).written for nest in nests(stmt))


def reads(stmt: Stmt, buffer: Buffer) -> bool:
    """Whether `stmt` reads `buffer` (an accumulation's own buffers do not count)."""
    return any(buffer in facts(nest).read for nest in nests(stmt))


def _of_leaf(leaf: Leaf) -> Facts:
    found = tuple(dict.fromkeys(use for part in children(leaf) for use in loads(part)))
    read = frozenset(use.buffer for use in found)
    written = written_buffers(leaf)
    stages = frozenset(b.name for b in written)
    checks = isinstance(leaf, Check)
    return Facts(frozenset((leaf,)), frozenset(), written, stages, read, found, checks)


def _of(stmt: For | If) -> Facts:
    held: set[Thing] = {stmt}
    names: set[str] = set()
    written: dict[Buffer, None] = {}
    stages: set[str] = set()
    read: set[Buffer] = set()
    checks = False
    if isinstance(stmt, For):
        held.add(stmt.var)
        names.add(stmt.var.name)
        own = [stmt.start, stmt.extent]
    else:
        own = [stmt.cond]
    read.update(use.buffer for part in own for use in loads(part))
    stack: list[Stmt] = [stmt.body]
    if isinstance(stmt, If) and stmt.orelse is not None:
        stack.insert(0, stmt.orelse)
    while stack:
        top = stack.pop()
        if isinstance(top, Block):
            held.add(top)
            stack.extend(reversed(top.stmts))
        elif isinstance(top, Allocate):
            held.add(top)
            held.add(top.buffer)
            names.add(top.buffer.name)
            stack.append(top.body)
        else:
            below = facts(top)
            held |= below.holds
            names |= below.names
            written.update(dict.fromkeys(below.written))
            stages |= below.stages
            read |= below.read
            checks = checks or below.checks
    things = frozenset(held), frozenset(names)
    return Facts(*things, tuple(written), frozenset(stages), frozenset(read), (), checks)
