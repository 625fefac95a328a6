"""Roles: one warp group copies boxes, and the others do everything else.

With the hints of `specialize` on a loop of a kernel, its copies of boxes, the prologue's too, are
made by a warp group of their own. The kernel's nodes are written once for each role, without those
of the other:

    if (tid >= 256) {                 the producer, of which one thread works
      for i: ring_wait(empty, ...); copy(i)
    } else {                          256 consumers
      for i: ring_wait(full, ...); use(i); mbarrier_arrive_warp(empty, ...)
    }

Between the roles nothing but the slots of rings may be handed over. Consumers wait for each other
at a barrier of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.kernel import Branch, Kernel, Loop, Node, Phase
from tensorc.errors import CompileError
from tensorc.ir.stmt import For
from tensorc.ir.walk import walk_stmts
from tensorc.target import REGISTERS, THREADS_PER_BLOCK, WARP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.codegen.cuda.barriers import Touch
    from tensorc.target import Target

GROUP = 4 * WARP  # Threads of a warp group.
_UNIT = 8  # Registers that a thread begins with are a multiple of this.
HINTS = ("producer_registers", "consumer_registers")


@dataclass(frozen=True, slots=True)
class Roles:
    """How a kernel's threads are divided.

    Attributes:
        consumers: how many threads do everything but copy; the producer's come after them.
        registers: what a thread of the producer keeps, and one of the others; None where the
            architecture cannot give registers from one to the other.
        producer: the nodes that the producer runs.
    """

    consumers: int
    registers: tuple[int, int] | None
    producer: list[Node]


def hints_of(kernel: Kernel) -> tuple[str, int, int] | None:
    """The loop that `specialize` was asked for, and the registers of both roles."""
    for stmt in walk_stmts(kernel.stmt):
        hints = dict(stmt.annotations) if isinstance(stmt, For) else {}
        if isinstance(stmt, For) and all(isinstance(hints.get(h), int) for h in HINTS):
            own, theirs = (int(hints[h]) for h in HINTS)
            return stmt.var.name, own, theirs
    return None


def divide(
    kernel: Kernel,
    bulk: Sequence[Phase],
    touches: Mapping[Phase, Sequence[Touch]],
    controls: Mapping[Node, Sequence[Touch]],
    target: Target,
) -> Roles | None:
    """Take the copies out of `kernel`, for a producer; None where no one asks for it.

    Args:
        kernel: what is left of it are the consumers' nodes.
        bulk: the copies.
        touches: what each phase reads and writes.
        controls: what decides about loops and branches.
        target: what for.

    Raises:
        CompileError: there is nothing to copy; something besides the slots would go from one role
            to the other; there are too many threads, too few, or too many registers.
    """
    asked = hints_of(kernel)
    if asked is None:
        return None
    name, own, theirs = asked
    step = f"kernel of {', '.join(kernel.stages)}: specialize({name})"
    if not bulk:
        raise CompileError(
            f"{step}: there are no copies of boxes, the work of the producer; "
            "bulk_fetch(stage) makes a copy one"
        )
    if kernel.threads % GROUP or kernel.threads + GROUP > THREADS_PER_BLOCK:
        raise CompileError(
            f"{step}: roles are whole warp groups of {GROUP} threads, at most {THREADS_PER_BLOCK} "
            f"in all, and without the producer's there are {kernel.threads}"
        )
    threads, total = kernel.threads + GROUP, own * GROUP + theirs * kernel.threads
    pool = REGISTERS // threads // _UNIT * _UNIT * threads
    if total > pool:
        raise CompileError(
            f"{step}: {own} registers for each of {GROUP} threads and {theirs} for each of "
            f"{kernel.threads} are {total}, and a block of {threads} threads begins with {pool}"
        )
    _need_apart(step, bulk, touches, controls)
    mine = frozenset(bulk)
    producer = _kept(kernel.body, mine)
    _drop(kernel.body, mine)
    given = (own, theirs) if target.cuda.name.endswith("a") else None
    return Roles(kernel.threads, given, producer)


def _need_apart(
    step: str,
    bulk: Sequence[Phase],
    touches: Mapping[Phase, Sequence[Touch]],
    controls: Mapping[Node, Sequence[Touch]],
) -> None:
    """Refuse where the producer reads what consumers write."""
    read = [t for p in bulk for t in touches[p] if not t.writes]
    read += [t for own in controls.values() for t in own]
    written = [t for p, own in touches.items() if p not in bulk for t in own if t.writes]
    for x in read:
        for y in written:
            if x.buffer is y.buffer:
                raise CompileError(
                    f"{step}: the producer reads {x.buffer.name}, which the others write, and they "
                    f"do not wait for each other\n  {y.text}\n  {x.text}"
                )


def _kept(nodes: Sequence[Node], bulk: frozenset[Phase]) -> list[Node]:
    """Copies of the nodes, with nothing but the phases of `bulk`."""
    found: list[Node] = []
    for node in nodes:
        match node:
            case Phase():
                if node in bulk:
                    found.append(node)
            case Loop(_, body):
                inner = _kept(body, bulk)
                if inner:
                    found.append(replace(node, body=inner))
            case Branch(_, body, orelse):
                sides = _kept(body, bulk), _kept(orelse, bulk)
                if any(sides):
                    found.append(replace(node, body=sides[0], orelse=sides[1]))
    return found


def _drop(nodes: list[Node], bulk: frozenset[Phase]) -> None:
    """Take the phases of `bulk` out of the nodes, and what has nothing else inside."""
    for node in list(nodes):
        match node:
            case Phase():
                if node in bulk:
                    nodes.remove(node)
            case Loop(_, body):
                _drop(body, bulk)
                if not body:
                    nodes.remove(node)
            case Branch(_, body, orelse):
                _drop(body, bulk)
                _drop(orelse, bulk)
                if not body and not orelse:
                    nodes.remove(node)
