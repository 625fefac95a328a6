"""What a kernel says where copies of boxes are issued, waited for, and done with.

A slot of a ring has an mbarrier `full`, which counts the bytes of its copies. The phases of a
barrier follow each other; each thread keeps, for each slot, a bit that tells which one it waits for
next. Where roles are divided (`roles.py`), `empty` counts the warps that have used the slot.

    mbarrier_expect(&full[s], 8192); tma_load_2d(&S[s][0][0], A_map, x, y, &full[s]);   one thread
    ring_wait(full, s, full_phases);                                                    all of them
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.cuda import tma
from tensorc.dtypes import int64
from tensorc.ir.expr import Buffer, Compare, CompareOp, Const
from tensorc.ir.printer import show
from tensorc.ir.sets import prove
from tensorc.ir.simplify import simplify
from tensorc.target import WARP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.codegen.cuda.barriers import Dependence
    from tensorc.codegen.cuda.kernel import Node, Phase
    from tensorc.codegen.cuda.rings import Ring
    from tensorc.codegen.cuda.stmt import StmtEmitter
    from tensorc.codegen.cuda.tma import BoxCopy
    from tensorc.ir.expr import Expr
    from tensorc.ir.stmt import For


@dataclass(frozen=True, slots=True)
class Signal:
    """A wait or an arrival that was placed, and what it is for."""

    call: str
    purpose: str
    warp: bool = False  # As a Barrier has it: none of these is for a single warp.
    serves: tuple[Dependence, ...] = ()  # The copies are no dependences of threads.

    def __str__(self) -> str:
        return f"{self.call}\n  {self.purpose}"


@dataclass(frozen=True, slots=True)
class _Held:
    """A ring with the barriers of its slots, and the registers that tell their phases apart."""

    ring: Ring
    full: Buffer
    empty: Buffer | None
    full_phases: str
    empty_phases: str


class Handshakes:
    """Writes the waits and arrivals of a kernel's rings."""

    def __init__(
        self,
        e: StmtEmitter,
        rings: Sequence[Ring],
        stores: Sequence[BoxCopy],
        users: int,
        *,
        roles: bool,
    ) -> None:
        """Name the barriers, and the tensor maps.

        Args:
            e: what writes.
            rings: of the kernel.
            stores: copies from shared memory.
            users: how many threads use the slots.
            roles: whether others copy.
        """
        self.e, self.users, self.roles = e, users, roles
        self.signals: list[Signal] = []
        self.drop: int | None = None
        self.held = [self._held(r) for r in rings]
        self.copies: dict[Phase, tuple[_Held, BoxCopy]] = {
            c.phase: (h, c) for h in self.held for c in (*h.ring.copies, *h.ring.prologue)
        }
        self.stores = {c.phase: c for c in stores}
        every = [*(c for _, c in self.copies.values()), *stores]
        self.boxes = {c.target: tma.ALIGNMENT for c in every}
        specs = dict.fromkeys(c.spec for c in every)
        self.maps = {s: e.names.fresh(f"{s.source.name}.map") for s in specs}
        self.firsts: dict[Node, list[_Held]] = {}
        self.lasts: dict[Node, list[_Held]] = {}
        for h in self.held:
            self.firsts.setdefault(h.ring.first, []).append(h)
            self.lasts.setdefault(h.ring.last, []).append(h)

    def _held(self, ring: Ring) -> _Held:
        lead = ring.copies[0].target.name
        full = Buffer(f"{lead}.full", (Const(ring.slots),), int64, "shared")
        empty = Buffer(f"{lead}.empty", full.shape, int64, "shared") if self.roles else None
        fresh = self.e.names.fresh
        return _Held(ring, full, empty, fresh(f"{full.name}.phases"), fresh(f"{lead}.empty.phases"))

    @property
    def buffers(self) -> list[Buffer]:
        """The barriers, as shared memory."""
        return [b for h in self.held for b in (h.full, h.empty) if b is not None]

    def signal(self, call: str, purpose: str) -> bool:
        """Note a wait or an arrival; whether it is to be written."""
        self.signals.append(Signal(call, purpose))
        return len(self.signals) - 1 != self.drop

    # --- writing ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make the barriers, one thread for all."""
        if not self.held:
            return
        out = self.e.out
        for h in self.held:
            out.line(f"unsigned {h.full_phases} = 0;")
            if h.empty is not None:  # The phase before the first is over: all slots are free.
                out.line(f"unsigned {h.empty_phases} = ~0u;")
        with out.inside("if (threadIdx.x == 0)"):
            for h in self.held:
                for barriers, count in self._counts(h):
                    name = self.e.places[barriers].name
                    for slot in range(h.ring.slots):
                        out.line(f"mbarrier_init(&{name}[{slot}], {count});")
            out.line("mbarrier_publish();")
        if self.signal("__syncthreads()", "the barriers are made before they are used"):
            out.line("__syncthreads();")

    def _counts(self, h: _Held) -> list[tuple[Buffer, int]]:
        found = [(h.full, len(h.ring.copies))]
        return found if h.empty is None else [*found, (h.empty, self.users // WARP)]

    def before(self, node: Node) -> None:
        """Wait for the copies that a node uses first."""
        for h in self.firsts.get(node, ()):
            name, slot = self.e.places[h.full].name, self._slot(h.ring.slot)
            if self.signal(f"ring_wait({name})", f"{h.ring.name}: copies before their uses"):
                self.e.out.line(f"ring_wait({name}, {slot}, {h.full_phases});")

    def after(self, node: Node) -> None:
        """Say that a node was the last to use a slot."""
        for h in self.lasts.get(node, ()):
            self._hand_back(h, h.ring.slot)

    def is_streamed(self, node: Node) -> bool:
        """Whether a node alone uses rings, which can do without one of their slots for a while."""
        held = [*self.firsts.get(node, ()), *self.lasts.get(node, ())]
        return bool(held) and all(
            h.ring.first is h.ring.last is node and h.ring.slots > 1 for h in held
        )

    def after_previous(self, node: Node, loop: For) -> None:
        """Say that the last iteration's use of a slot is over, where there was one."""
        for h in self.lasts[node]:
            before = simplify((h.ring.slot + (h.ring.slots - 1)) % h.ring.slots)
            self._hand_back(h, before, Compare(CompareOp.GT, loop.var, loop.start))

    def after_last(self, node: Node, loop: For) -> None:
        """Say so of the last iteration, behind the loop."""
        for h in self.lasts[node]:
            last = simplify((loop.extent - 1) % h.ring.slots)
            there_is = Compare(CompareOp.GT, loop.extent, Const(0))
            self._hand_back(h, last, None if prove(there_is, ()).holds else there_is)

    def _hand_back(self, h: _Held, slot: Expr, cond: Expr | None = None) -> None:
        if h.empty is None:
            return
        name = self.e.places[h.empty].name
        with self.e.statement(*(() if cond is None else (cond,))):
            test = "" if cond is None else f"if ({self.e.condition(cond)}) "
        purpose = f"{h.ring.name}: uses before the next copy to the slot"
        if self.signal(f"mbarrier_arrive_warp({name})", purpose):
            self.e.out.line(f"{test}mbarrier_arrive_warp(&{name}[{self._slot(slot)}]);")

    def copy(self, phase: Phase) -> None:
        """Issue a copy, once its slot is free."""
        h, copy = self.copies[phase]
        filled = h.ring.fills(copy)
        slot = self._slot(filled)
        if h.empty is not None and copy in (h.ring.copies[0], *h.ring.prologue[:1]):
            name = self.e.places[h.empty].name
            purpose = f"{h.ring.name}: uses of a slot before slot {show(filled)} is copied to"
            if self.signal(f"ring_wait({name})", purpose):
                self.e.out.line(f"ring_wait({name}, {slot}, {h.empty_phases});")
        barrier = f"&{self.e.places[h.full].name}[{slot}]"
        tma.emit(self.e, copy, self.maps[copy.spec], barrier)

    def _slot(self, slot: Expr) -> str:
        with self.e.statement(slot):
            return self.e.integer(slot, "int").text
