"""One kernel to the text of one `__global__` function."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.codegen.cuda import copies, mma, rings, roles, shared, stores, tma, wgmma
from tensorc.codegen.cuda.barriers import (
    Barrier,
    Spot,
    Touch,
    control_touches,
    meets,
    place_barriers,
    touches_of,
)
from tensorc.codegen.cuda.fold import FoldEmitter
from tensorc.codegen.cuda.handshakes import Handshakes, Signal
from tensorc.codegen.cuda.kernel import AXES, Branch, Kernel, Loop, Node, Phase, has_check
from tensorc.codegen.cuda.names import Names
from tensorc.codegen.cuda.places import Place
from tensorc.codegen.cuda.private import digits_of, privatize
from tensorc.codegen.cuda.reading import bound_name, comment, name_loops, tidied
from tensorc.codegen.cuda.stmt import StmtEmitter
from tensorc.codegen.cuda.types import ADD, ATOM, Text
from tensorc.errors import CompileError
from tensorc.ir.expr import Buffer, Dim, Load, Var, const_int, is_const
from tensorc.ir.printer import show
from tensorc.ir.stmt import Accumulate, Allocate, Store
from tensorc.ir.walk import leaves, walk, walk_stmts, written_buffers
from tensorc.target import WARP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tensorc.ir.stmt import For
    from tensorc.target import Target

MIN_BLOCKS = "min_blocks"  # The hint on a block loop that bounds registers.
_COMMENTED = 4  # Statements of a phase that its comment shows.


@dataclass(frozen=True, slots=True)
class KernelText:
    """A kernel's function, and what a launch of it needs.

    Attributes:
        name: of the function.
        text: the function.
        shared: bytes of shared memory that it declares.
        dynamic: bytes of shared memory that a launch must ask for.
        buffers: the buffers that its pointers stand for, in order.
        dims: the symbolic sizes that follow them.
        status: whether the status words follow these.
        barriers: the barriers placed, and what for; the waits and arrivals of rings after them.
        threads: the size of a block.
        maps: the tensor maps that follow the pointers.
    """

    name: str
    text: str
    shared: int
    dynamic: int
    buffers: tuple[Buffer, ...]
    dims: tuple[Dim, ...]
    status: bool
    barriers: tuple[Barrier | Signal, ...]
    threads: int
    maps: tuple[tma.MapSpec, ...]


class KernelEmitter:
    """Writes one kernel."""

    def __init__(
        self,
        kernel: Kernel,
        name: str,
        align: Mapping[Buffer, int],
        checks: dict[int, int],
        target: Target,
        stops: bool,
        overlaps: Callable[[Buffer, Buffer], bool],
    ) -> None:
        """Write `kernel` as the function `name`.

        Args:
            kernel: what to write.
            name: what to call it.
            align: what each global buffer's address is a multiple of.
            checks: the numbers of the program's checks.
            target: what for.
            stops: it must do nothing after a failed check, of this call or an earlier one.
            overlaps: whether two buffers share memory at different times.
        """
        self.overlaps = overlaps
        self.kernel, self.name, self.target = kernel, name, target
        self.align = align
        self.checks, self.stops = checks, stops
        self.names = Names()
        self.names.taken.add(name)
        self.e = StmtEmitter(self.names, checks)
        self.out = self.e.out
        self.fold = FoldEmitter(self.e, kernel.threads)
        self.spots: dict[Spot, Barrier] = {}
        self.copies = copies.Copies()
        self.numbers: dict[Phase, dict[Var, Text]] = {}
        self.bulk: frozenset[Phase] = frozenset()
        self.read_by: dict[Spot, str] = {}
        self.together = False
        self.goes_on = False  # After a failed check, until the copies of boxes are there.
        self.multiplied = {b for p in kernel.phases() for b in wgmma.operands(p, target)}
        self.roles: roles.Roles | None = None

    def emit(self, drop: int | None = None) -> KernelText:
        """The function, without the barrier number `drop`."""
        kernel, e = self.kernel, self.e
        inside = {s.buffer for s in walk_stmts(kernel.stmt) if isinstance(s, Allocate)}
        inside.update(kernel.buffers)
        private = privatize(kernel)
        touches = {p: touches_of(p) for p in kernel.phases()}
        for phase, own in touches.items():
            _refuse_scatter(kernel, phase, own)
        controls = self._controls()
        self._take_boxes(touches, controls)
        kernel.buffers += self.hands.buffers
        boxed = {m.source for m in self.hands.maps}
        engine = {*self.bulk, *self.hands.stores}
        pointed = {t.buffer for p, own in touches.items() for t in own if p not in engine}
        used = [b for b in _buffers(kernel) if b not in inside and (b in pointed or b not in boxed)]
        dims = _dims(kernel)
        status = has_check(kernel.stmt) or self.stops
        head = self._signature(used, dims, status)
        placed = self._barriers(touches, controls)
        self._check_together(placed, controls)
        self.spots = {b.spot: b for i, b in enumerate(placed) if i != drop}
        self.hands.drop = None if drop is None else drop - len(placed)
        mine = [b for b in kernel.buffers if b.scope == "shared"]
        static, dynamic = shared.declare(e, mine, self.hands.boxes, self.name, self.target)
        for copy in (*(c for _, c in self.hands.copies.values()), *self.hands.stores.values()):
            tma.need_aligned(e, copy)
        self.read_by = stores.waits([*self.hands.stores.values()], touches, placed)
        self.copies = copies.find(e, kernel, self.target, touches, placed)
        if self.stops:
            test = "has_failed(status)"
            if self.together:  # Others of the block may have failed before this thread looks.
                test = f"__syncthreads_or({test})"
            self.out.line(f"if ({test}) return;  // A check has failed.")
        self._indices()
        if self.together:
            self.out.line("bool failed = false;")
        if self.goes_on:
            self.out.line("bool stopped = false;")
        self.hands.begin()
        if self.roles is None:
            self._work(private)
        else:
            self._divided(self.roles, private)
        body = "\n".join(tidied([*self._tid(), *self.out.lines]))
        text = f"{self._comment()}{head} {{\n{body}\n}}"
        return KernelText(
            self.name, text, static, dynamic, tuple(used), tuple(dims), status,
            (*placed, *self.hands.signals), self.threads, tuple(self.hands.maps),
        )  # fmt: skip

    @property
    def threads(self) -> int:
        """The size of a block: those that the phases have, and the producer's."""
        return self.kernel.threads + (0 if self.roles is None else roles.GROUP)

    def _take_boxes(
        self, touches: Mapping[Phase, Sequence[Touch]], controls: Mapping[Node, list[Touch]]
    ) -> None:
        """Find the copies of boxes, who waits for them, and who makes them."""
        kernel = self.kernel
        boxes = [tma.read(p, self.target) for p in kernel.phases() if tma.is_marked(p)]
        back = [c for c in boxes if c.stores]
        boxes = [c for c in boxes if not c.stores]
        self.bulk = frozenset(c.phase for c in boxes)
        stores.need_apart(kernel, back, touches)
        self.multiplied.update(c.target for c in back)
        found = rings.find(kernel, boxes, touches) if boxes else []
        divided = roles.hints_of(kernel) is not None
        self.hands = Handshakes(self.e, found, back, kernel.threads, roles=divided)
        self.roles = roles.divide(kernel, [c.phase for c in boxes], touches, controls, self.target)

    def _work(self, private: Mapping[Buffer, Buffer]) -> None:
        """What all threads do, or all but the producer."""
        for mine in private.values():
            self.e.allocate(mine)
        if self.out.lines:
            self.out.line("")
        self._nodes(self.kernel.body)
        for copy in [*self.hands.stores.values()][-1:]:
            self._wait_for_stores(copy.target.name, "the end")

    def _wait_for_stores(self, name: str, what: str) -> None:
        """Let the thread that stores boxes wait until those have been read."""
        if self.hands.signal("bulk_wait_read()", f"{name}: copies from it before {what}"):
            self.out.line("if (tid == 0) bulk_wait_read();")

    def _divided(self, found: roles.Roles, private: Mapping[Buffer, Buffer]) -> None:
        """The work of both roles."""
        own, theirs = found.registers or (0, 0)
        with self.e.region(), self.e.scope(), self.out.inside(f"if (tid >= {found.consumers})"):
            if own:
                self.out.line(f"give_registers<{own}>();")
            with self.e.scope(), self.out.inside(f"if (tid == {found.consumers})"):
                self._nodes(found.producer)
        with self.e.region(), self.e.scope(), self.out.inside("else"):
            if theirs:
                self.out.line(f"take_registers<{theirs}>();")
            self._work(private)

    # --- the head -----------------------------------------------------------------------------

    def _comment(self) -> str:
        stages = dict.fromkeys(self.kernel.stages)
        texts = [comment(leaf, self.e.called) for leaf in leaves(self.kernel.stmt)]
        final = [tuple(t) for t in texts if t[0].lstrip("(").split("[")[0] in stages]
        return "".join(f"// {line}\n" for text in dict.fromkeys(final) for line in text)

    def _exchanged(self, writes: set[Buffer]) -> set[Buffer]:
        """The buffers through which threads may hand each other values.

        A pointer to one has no `__restrict__`: behind it a compiler keeps what it has loaded in a
        register, and a barrier does not make it look again.
        """
        if len(self.kernel.body) == 1 and isinstance(self.kernel.body[0], Phase):
            return set()
        read = {n.buffer for n in walk(self.kernel.stmt) if isinstance(n, Load)}
        folded = {b for n in walk(self.kernel.stmt) if isinstance(n, Accumulate) for b in n.buffers}
        return writes & (read | folded)

    def _signature(self, used: Sequence[Buffer], dims: Sequence[Dim], status: bool) -> str:
        writes = {b for leaf in leaves(self.kernel.stmt) for b in written_buffers(leaf)}
        exchanged = self._exchanged(writes)
        params = []
        for buffer in used:
            place = Place(buffer, self.names.fresh(buffer.name), True, self.align[buffer])
            self.e.places[buffer] = place
            const = "" if buffer in writes else "const "
            alone = not any(o is not buffer and self.overlaps(buffer, o) for o in used)
            alone = alone and buffer not in exchanged
            restrict = " __restrict__" if alone else ""
            params.append(f"{const}{place.ctype}*{restrict} {place.name}")
        params += [f"const __grid_constant__ TensorMap {m}" for m in self.hands.maps.values()]
        for dim in dims:
            name = self.names.fresh(dim.name)
            self.e.vars[dim] = Text(name, ATOM, "long long")
            params.append(f"long long {name}")
        if status:
            params.append("int* status")
        # Registers are handed over from what a block of them has, so that must be known.
        least = 1 if self.roles is not None and self.roles.registers else self._least_blocks()
        bounds = f"__launch_bounds__({self.threads}{f', {least}' if least else ''})"
        lead = f'extern "C" __global__ void {bounds}\n{self.name}('
        flat = ", ".join(params)
        if len(flat) + len(self.name) < 96:
            return f"{lead}{flat})"
        return lead + ",\n".join(f"    {p}" for p in params).lstrip() + ")"

    def _least_blocks(self) -> int:
        """How many blocks the schedule wants on a multiprocessor at least; 0 of no wish."""
        found = 0
        limits = self.target.cuda
        most = min(limits.blocks, limits.warps * WARP // self.threads)
        for loop in self.kernel.grid.values():
            wish = dict(loop.annotations).get(MIN_BLOCKS, 0)
            if isinstance(wish, bool) or not isinstance(wish, int) or not 0 <= wish <= most:
                raise CompileError(
                    f"kernel {self.name}: loop {loop.var.name} has the hint {MIN_BLOCKS}: "
                    f"{wish!r}; of {self.threads} threads a multiprocessor of {limits.name} holds "
                    f"at most {most} blocks"
                )
            found = max(found, wish)
        return found

    def _tid(self) -> list[str]:
        text = "\n".join(self.out.lines)
        if re.search(r"\btid\b", text) and self.threads > 1:
            return ["  const int tid = threadIdx.x;"]
        return []

    def _indices(self) -> None:
        """The numbers of the block and of the thread as the loops count them."""
        for axis in AXES:
            loop = self.kernel.grid.get(axis)
            if loop is None:
                continue
            self.e.ranges.enter(loop)
            name = self.names.fresh(bound_name([loop], "block"))
            self.e.called[loop.var] = name
            start = self.e.value(loop.start)
            wide = start.ctype != "int"
            plus = "" if is_const(loop.start, 0) else f"{start.at(ADD)} + "
            ctype = "long long" if wide else "int"
            self.e.vars[loop.var] = Text(name, ATOM, ctype)
            self.out.line(f"const {ctype} {name} = {plus}blockIdx.{axis};")
        self._decode()
        self.e.called |= name_loops(self.kernel.stmt, self.names, self.e.called)

    def _decode(self) -> None:
        """Declare the parts of the thread's number that the phases' loops are."""
        counted: dict[str, list[tuple[Phase, For]]] = {}
        for phase in self.kernel.phases():
            for loop in phase.threads.values():
                self.e.ranges.enter(loop)
                counted.setdefault(_part_of_thread(phase, loop), []).append((phase, loop))
        for text, same in counted.items():
            name = text
            if not text.isalnum():
                name = self.names.fresh(bound_name([loop for _, loop in same], "thread"))
                self.out.line(f"const int {name} = {text};")
            for phase, loop in same:
                number = self.e.vars[loop.var] = Text(name, ATOM, "int")
                self.numbers.setdefault(phase, {})[loop.var] = number
                self.e.called[loop.var] = name

    # --- the body -------------------------------------------------------------------------------

    def _controls(self) -> dict[Node, list[Touch]]:
        found: dict[Node, list[Touch]] = {}
        _controls(self.kernel, self.kernel.body, found)
        return found

    def _barriers(
        self, touches: Mapping[Phase, Sequence[Touch]], controls: Mapping[Node, list[Touch]]
    ) -> list[Barrier]:
        """Those that are needed besides the waits for copies of boxes."""

        def is_served(p: Node, q: Node) -> bool:
            return p in self.bulk and q not in self.bulk

        return place_barriers(self.kernel, touches, controls, is_served, self.hands.stores)

    def _check_together(
        self, placed: Sequence[Barrier], controls: Mapping[Node, Sequence[Touch]]
    ) -> None:
        """Whether a failed check ends the block, since a thread that ended would be waited for.

        Phases with checks then end at a barrier, where all threads hear of what failed. With copies
        of boxes, which have to arrive, the block goes on, but without what its phases do.
        """
        if not has_check(self.kernel.stmt):
            return
        self.goes_on = bool(self.hands.maps)
        reads = [t for own in controls.values() for t in own]
        if self.goes_on and reads:
            raise CompileError(
                f"kernel {self.name}: it checks something, copies boxes, and goes by data that may "
                f"not have passed: {reads[0].text}; fission the check out into a kernel of its own"
            )
        folds = any(p.folded for p in self.kernel.phases())
        self.together = self.goes_on or bool(placed) or folds

    def _nodes(self, nodes: Sequence[Node]) -> None:
        for position, node in enumerate(nodes):
            if position and not (isinstance(node, Phase) and node.combines):
                self.out.line("")
            self._barrier(Spot(node))
            self.hands.before(node)
            if self._wgmma(node) or self._streamed(node):
                continue
            product = mma.find(self.e, node, self.target)
            if product is not None and not self._waits(_inside(node)):
                self.e.vars.update(self.numbers[product.phase])
                self._comment_on(product.phase)
                with self._some(product.phase):
                    mma.emit(self.e, product)
                self.hands.after(node)
                continue
            match node:
                case Phase():
                    self._phase(node)
                case Loop(loop, body):
                    if self._waits(body) and not self.e.is_unrolled(loop):
                        self.out.line("#pragma unroll 1")
                    with self.e.looping(loop):
                        self._nodes(body)
                        self._barrier(Spot(node, at_end=True))
                case Branch(cond, body, orelse):
                    with self.e.statement(cond):
                        test = self.e.condition(cond)
                    with self.e.region(), self.e.scope(), self.out.inside(f"if ({test})"):
                        self._nodes(body)
                    if orelse:
                        with self.e.region(), self.e.scope(), self.out.inside("else"):
                            self._nodes(orelse)
            if node in self.copies.commits:
                self.out.line("cp_async_commit();")
            self.hands.after(node)

    def _wgmma(self, node: Node) -> bool:
        """Write what is a warp group's product; False where it is something else."""
        product = wgmma.find(node, self.target)
        if product is None or self._waits(_inside(node)):
            return False
        self.e.vars.update(self.numbers[product.phase])
        self._comment_on(product.phase)
        with self._some(product.phase):
            wgmma.emit(self.e, product, self.hands)
        self.hands.after(node)
        return True

    def _streamed(self, node: Node) -> bool:
        """Write a loop of nothing but products, each issued before the one before it is done.

        A slot is handed back one iteration later then.
        """
        if self.roles is None or not isinstance(node, Loop) or len(node.body) != 1:
            return False
        (inner,) = node.body
        product = wgmma.find(inner, self.target)
        if product is None or not self.hands.is_streamed(inner) or self._waits(_inside(inner)):
            return False
        spots = (Spot(inner), Spot(node, at_end=True))
        if product.phase.count != self.kernel.threads or any(s in self.spots for s in spots):
            return False
        self.e.vars.update(self.numbers[product.phase])
        self.out.line("#pragma unroll 1")
        with self.e.looping(node.loop, unroll=False):
            self.hands.before(inner)
            self._comment_on(product.phase)
            wgmma.emit(self.e, product, self.hands, left=1)
            self.hands.after_previous(inner, node.loop)
        wgmma.wait(self.e, product, self.hands, 0)
        if node not in self.kernel.body:  # The ring goes on.
            self.hands.after_last(inner, node.loop)
        return True

    def _barrier(self, spot: Spot) -> None:
        left = (self.copies.waits or {}).get(spot)
        if left is not None:
            self.out.line(f"cp_async_wait<{left}>();")
            if self.multiplied:
                self.out.line("publish_shared();")
        if spot in self.read_by:
            self._wait_for_stores(self.read_by[spot], "it is written again")
        barrier = self.spots.get(spot)
        if barrier is not None:
            self.out.line(f"{self._barrier_call(barrier)};")

    def _barrier_call(self, barrier: Barrier) -> str:
        if barrier.warp:
            return "__syncwarp()"
        return (
            "__syncthreads()" if self.roles is None else f"sync_threads<{self.roles.consumers}>()"
        )

    def _phase(self, phase: Phase) -> None:
        # One loop may run in several phases, each of which counts its threads in its own way.
        self.e.vars.update(self.numbers.get(phase, {}))
        self._comment_on(phase)
        if phase in self.bulk:
            # The producer is one thread already.
            with contextlib.nullcontext() if self.roles is not None else self._some(phase):
                self.hands.copy(phase)
            return
        if phase in self.hands.stores:
            copy = self.hands.stores[phase]
            with self._unless_stopped(), self._some(phase):
                tma.emit_store(self.e, copy, self.hands.maps[copy.spec])
            return
        if phase.fold is not None:
            with self._unless_stopped():
                self.fold.emit(phase)
            return
        with self._unless_stopped(), self._checked(phase), self._some(phase):
            self.e.asynchronous = phase in self.copies.phases
            self.e.emit(phase.body)
            self.e.asynchronous = False
            stored = {b for leaf in leaves(phase.body) for b in written_buffers(leaf)}
            if stored & self.multiplied and phase not in self.copies.phases:
                self.out.line("publish_shared();")

    @contextlib.contextmanager
    def _checked(self, phase: Phase) -> Iterator[None]:
        """Within, a failed check leaves the phase, and after it the block ends."""
        if not (self.together and has_check(phase.stmt)):
            yield
            return
        self.e.leave = self.names.fresh("checked")
        with self.out.inside(""):
            yield
        self.out.line(f"{self.e.leave}:")
        count = "" if self.roles is None else f"<{self.roles.consumers}>"
        call = f"sync_threads_or{count}" if count else "__syncthreads_or"
        heard = f"{call}(failed)"
        self.out.line(f"stopped = {heard};" if self.goes_on else f"if ({heard}) return;")
        self.e.leave = ""

    @contextlib.contextmanager
    def _unless_stopped(self) -> Iterator[None]:
        """Within, nothing is done in a block that only goes on after a failed check."""
        if not self.goes_on:
            yield
            return
        with self.e.region(), self.e.scope(), self.out.inside("if (!stopped)"):
            yield

    def _comment_on(self, phase: Phase) -> None:
        """The statements of a phase as the program has them, each once."""
        if phase.combines:
            return
        texts = dict.fromkeys(tuple(comment(x, self.e.called)) for x in leaves(phase.stmt))
        shown = list(texts)[:_COMMENTED]
        for line in (line for text in shown for line in text):
            self.out.line(f"// {line}")
        if len(texts) > len(shown):
            self.out.line(f"// ... and {len(texts) - len(shown)} more")

    @contextlib.contextmanager
    def _some(self, phase: Phase) -> Iterator[None]:
        """Within, only the threads of the phase run."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.e.region())
            if phase.count < self.kernel.threads:
                test = "tid == 0" if phase.count == 1 else f"tid < {phase.count}"
                stack.enter_context(self.e.scope())
                stack.enter_context(self.out.inside(f"if ({test})"))
            yield

    def _waits(self, nodes: Sequence[Node]) -> bool:
        """Whether a barrier stands before one of `nodes` or inside of them."""
        for node in nodes:
            if Spot(node) in self.spots or Spot(node, at_end=True) in self.spots:
                return True
            if node in self.bulk or node in self.hands.firsts:
                return True
            if self.together and isinstance(node, Phase) and has_check(node.stmt):
                return True
            if isinstance(node, Loop) and self._waits(node.body):
                return True
            if isinstance(node, Branch) and self._waits([*node.body, *node.orelse]):
                return True
        return False


def _part_of_thread(phase: Phase, loop: For) -> str:
    """The number that a thread loop of a phase counts, from that of the thread in its block."""
    digit = digits_of(phase)[loop.var]
    text = "tid" if digit.divisor == 1 else f"tid / {digit.divisor}"
    # A phase of fewer threads than the block leaves the others out first.
    if digit.divisor * digit.extent < phase.count:
        text += f" % {digit.extent}"
    if digit.extent == 1:
        text = "0"
    return text if const_int(loop.start) == 0 else f"{text} + {show(loop.start)}"


def _refuse_scatter(kernel: Kernel, phase: Phase, touches: Sequence[Touch]) -> None:
    """Refuse accumulations of several threads into one element that no fold takes care of."""
    for touch in touches:
        if touch.updates and meets(kernel, touch, touch, (), (), 0, apart=1):
            names = ", ".join(loop.var.name for loop in phase.threads.values())
            raise CompileError(
                f"{touch.text}: several of the threads ({names}) may fold into one element, and "
                "which ones is not known before; bind other loops, or rfactor the reduction"
            )


def _inside(node: Node) -> list[Node]:
    return node.body if isinstance(node, Loop) else []


def _controls(kernel: Kernel, nodes: Sequence[Node], found: dict[Node, list[Touch]]) -> None:
    for node in nodes:
        match node:
            case Phase():
                pass
            case Loop(_, body):
                found[node] = list(control_touches(kernel, node))
                _controls(kernel, body, found)
            case Branch(_, body, orelse):
                found[node] = list(control_touches(kernel, node))
                _controls(kernel, body, found)
                _controls(kernel, orelse, found)


def _buffers(kernel: Kernel) -> list[Buffer]:
    """The buffers that a kernel reads or writes, in text order."""
    found: dict[Buffer, None] = {}
    for node in walk(kernel.stmt):
        match node:
            case Store(buffer, _, _) | Load(buffer, _):
                found[buffer] = None
            case Accumulate(_, buffers, _, _):
                found.update(dict.fromkeys(buffers))
            case _:
                pass
    return list(found)


def _dims(kernel: Kernel) -> list[Dim]:
    """The symbolic sizes that the text of a kernel may need."""
    found: dict[Dim, None] = {}
    exprs = [kernel.stmt, *(s for b in _buffers(kernel) for s in b.shape)]
    for root in exprs:
        for node in walk(root):
            if isinstance(node, Dim):
                found[node] = None
    return list(found)
