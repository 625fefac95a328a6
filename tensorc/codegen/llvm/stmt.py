"""Statements to instructions.

A vector loop binds its variable to start + LANE and emits its body once, for all lanes together.
A condition that differs between lanes becomes a mask for all that stands under it; one that is
the same in all lanes is a branch.
"""

from __future__ import annotations

import functools
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tensorc.codegen.llvm import arith
from tensorc.codegen.llvm.access import (
    STREAM_ALIGN,
    Place,
    can_bypass,
    hold,
    load,
    load_vector,
    store,
    write_vector,
)
from tensorc.codegen.llvm.expr import ExprEmitter
from tensorc.codegen.llvm.helpers import CHECK_FAILED
from tensorc.codegen.llvm.invariant import WRITTEN_OUT, invariant_loads
from tensorc.codegen.llvm.pattern import lanes_on
from tensorc.codegen.llvm.prefetch import ask_for_next, ask_for_tile, chooses_next, tile_ahead
from tensorc.codegen.llvm.transpose import square_of, transposed
from tensorc.codegen.llvm.types import LANE, Poly, Val, memory_type, number, symbol
from tensorc.ir.expr import Binary, Buffer, CompareOp, Expr, Load, Reducer, Var, const_int
from tensorc.ir.interp import is_fused
from tensorc.ir.stmt import Accumulate, Allocate, Block, Check, For, ForKind, If, Stmt, Store
from tensorc.ir.walk import leaves, walk_stmts, written_buffers
from tensorc.lower.ranges import range_of_loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tensorc.codegen.llvm.builder import Builder


# On the jump back of a loop. All such loops share the node, so that nests alike have one text.
_AS_IT_STANDS = 'distinct !{{self}, !{!"llvm.loop.unroll.disable"}}'


class StmtEmitter(ExprEmitter):
    """Emits statements; `checks` numbers every Check of the program in text order.

    A failed check stores its code at `status`, its values at `error`, and jumps to `failed`.
    With `scheduled`, LLVM is told to leave loops as they stand, but for the steps of a sum.
    """

    scheduled = False

    def __init__(
        self, b: Builder, checks: dict[int, int], status: str, error: str, failed: str
    ) -> None:
        """Start with nothing bound."""
        super().__init__(b)
        self.checks = checks
        self.status, self.error, self.failed = status, error, failed
        self.around: Var | None = None  # The loop around that asks for its next iteration.
        self.bypasses = False  # Whether stores go around the caches, so that the end has a fence.

    def emit(self, stmt: Stmt) -> None:
        """Emit one statement."""
        match stmt:
            case For():
                self._for(stmt)
            case If(cond, body, orelse):
                self._if(cond, body, orelse)
            case Store(buffer, indices, value):
                with self.statement():
                    place = self.places[buffer]
                    result = self.val(value)
                    store(self.b, place, self.offset(place, indices), result, self.mask)
            case Accumulate():
                with self.statement():
                    self._accumulate(stmt)
            case Check():
                with self.statement():
                    self._check(stmt)
            case Allocate(buffer, body):
                if buffer not in self.places:
                    self._allocate_local(buffer)
                self.emit(body)
            case Block(stmts):
                for s in stmts:
                    self.emit(s)

    # --- loops -----------------------------------------------------------------------------

    def _for(self, loop: For) -> None:
        b = self.b
        start, extent = self.limits(loop)
        if loop.kind is ForKind.VECTORIZED and not b.lanes:
            self._vector_loop(loop, start, extent)
        elif loop.kind is ForKind.UNROLLED and self._is_transposed(loop, start):
            pass
        elif loop.kind in (ForKind.UNROLLED, ForKind.VECTORIZED) and extent.const is not None:
            for i in range(extent.const):
                self.env[loop.var] = start + number(i)
                self.emit(loop.body)
        elif b.is_varying(extent):
            self._ragged_loop(loop, start, extent)
        elif dict(loop.annotations).get("nontemporal") and not b.nontemporal:
            self._around_caches(loop, start, extent)
        else:
            before, hint = b.ahead, dict(loop.annotations).get("prefetch", b.ahead)
            b.ahead = hint if isinstance(hint, int) else before
            tile = None if b.lanes else tile_ahead(loop)
            outer, self.around = self.around, loop.var if chooses_next(loop) else None
            self.serial(loop.var, start, extent, loop.body, tile=tile, outer=outer)
            self.around, b.ahead = outer, before

    def limits(self, loop: For) -> tuple[Poly, Poly]:
        """The start and the extent of a loop; constant ones are noted as its variable's range."""
        known = range_of_loop(loop)
        self.ranges.pop(loop.var, None)  # Parts of a loop that was cut share its variable.
        if known is not None:
            self.ranges[loop.var] = known
        with self.statement():
            return self.poly(loop.start), self.poly(loop.extent)

    def _is_transposed(self, loop: For, start: Poly) -> bool:
        """Emit a square copy with rows and columns exchanged, if `loop` is one: see `transpose`."""
        b = self.b
        square = None if b.lanes or self.mask is not None else square_of(loop)
        if square is None:
            return False
        source, target = self.places[square.load.buffer], self.places[square.store.buffer]
        if any(p.private or p.strides[-1].const != 1 for p in (source, target)):
            return False
        with self.statement():
            first, rows = self.poly(square.lanes.start), []
        b.lanes = square.size
        self.env[loop.var] = start
        for i in range(square.size):
            self.env[square.lanes.var] = first + number(i)
            with self.statement():
                at = self.offset(source, square.load.indices)
                rows.append(load_vector(b, source, at, None))
        dtype = source.buffer.dtype
        columns = transposed(b, rows, memory_type(dtype), dtype.bytes)
        self.env[square.lanes.var] = first
        for i, column in enumerate(columns):
            self.env[loop.var] = start + number(i)
            with self.statement():
                at = self.offset(target, square.store.indices)
                write_vector(b, target, at, column, None)
        b.lanes = 0
        return True

    def _around_caches(self, loop: For, start: Poly, extent: Poly) -> None:
        """A loop whose vector stores go around the caches, where what it stores to is aligned."""
        b = self.b
        stored = dict.fromkeys(x for leaf in leaves(loop) for x in written_buffers(leaf))
        places = [self.places[x] for x in stored if x in self.places]
        pointers = {p.pointer: None for p in places if can_bypass(p)}
        low = [b.op(f"ptrtoint ptr {p} to i64") for p in pointers]
        if not low:
            self.serial(loop.var, start, extent, loop.body)
            return
        self.bypasses = True
        bits = functools.reduce(lambda x, y: b.op(f"or i64 {x}, {y}"), low)
        rest = b.op(f"and i64 {bits}, {STREAM_ALIGN - 1}")
        fits, other, after = (b.new_label(x) for x in ("stream", "plain", "end"))
        b.branch(b.op(f"icmp eq i64 {rest}, 0"), fits, other)
        for label, nontemporal in ((fits, True), (other, False)):
            b.label(label)
            b.nontemporal = nontemporal
            with self.region(self.mask):
                self.serial(loop.var, start, extent, loop.body)
            b.jump(after)
        b.nontemporal = False
        b.label(after)

    def serial(
        self,
        var: Var,
        start: Poly,
        extent: Poly,
        body: Stmt,
        *,
        tile: int | None = None,
        outer: Var | None = None,
    ) -> None:
        """`body` for `var` from `start`, which may vary over the lanes; `extent` may not.

        An iteration first asks for what the straight code of one `tile` further on touches, and for
        its share of what the next iteration of `outer` adds up.
        """
        unroll = not self.scheduled or _is_step(body)
        held = self._held(var, body)
        with self.counter(start, extent, unroll=unroll, held=held) as value:
            if value is not None:
                self.env[var] = value
                if tile is not None:
                    self.env[var] = value + number(tile)
                    ask_for_tile(self, body)
                    self.env[var] = value
                if outer is not None and extent.const is not None:
                    ask_for_next(self, outer, var, start, extent.const, body)
                self.emit(body)

    def _held(self, var: Var, body: Stmt) -> Sequence[Load]:
        """What a loop reads from one place each, which is read before it."""
        if self.b.lanes or self.mask is not None:
            return ()
        reads, written = invariant_loads(var, body)
        return [x for x in reads if self.is_apart(x.buffer, written)]

    def is_apart(self, buffer: Buffer, written: Iterable[Buffer]) -> bool:
        """Whether a buffer shares no memory with others."""
        del buffer, written
        return True

    @contextmanager
    def counter(
        self, start: Poly, extent: Poly, *, unroll: bool = True, held: Sequence[Load] = ()
    ) -> Iterator[Poly | None]:
        """The blocks of a loop; what is emitted within is its body. None: there is no iteration.

        LLVM may write some iterations out where `unroll` says so. What is `held` is read once,
        where there is an iteration.
        """
        b = self.b
        if extent.const is not None and extent.const <= 1:
            with b.scope():
                yield start if extent.const == 1 else None
            return
        fixed = not b.is_varying(start)
        first = start if fixed else number(0)
        begin, end = b.integer(first).text, b.integer(first + extent).text
        body, after = b.new_label("loop"), b.new_label("done")
        if extent.const is None:
            some = b.new_label("some") if held else body
            b.branch(b.op(f"icmp slt i64 {begin}, {end}"), some, after)
            if held:
                b.label(some)
        with b.scope():
            for read in held:
                with self.statement():
                    place = self.places[read.buffer]
                    hold(b, place, self.offset(place, read.indices))
            before = b.current
            if extent.const is not None or held:
                b.jump(body)
            b.label(body)
            at, index, following = len(b.lines), b.fresh("i"), b.fresh("next")
            b.level += 1
            with b.scope():
                count = b.named(index)
                yield count if fixed else start + count
            b.level -= 1
        b.lines.insert(
            at, f"  {index} = phi i64 [ {begin}, %{before} ], [ {following}, %{b.current} ]"
        )
        b.line(f"{following} = add nsw i64 {index}, 1")
        hint = "" if unroll else f", !llvm.loop {b.module.meta_once(_AS_IT_STANDS)}"
        b.branch(b.op(f"icmp ne i64 {following}, {end}"), body, f"{after}{hint}")
        b.label(after)

    def _vector_loop(self, loop: For, start: Poly, extent: Poly) -> None:
        lanes = extent.const
        assert lanes is not None, f"vectorized loop {loop.var.name} has extent {loop.extent}"
        if lanes <= 0:
            return
        if lanes == 1:
            self.env[loop.var] = start
            self.emit(loop.body)
            return
        self.b.lanes = lanes
        self.env[loop.var] = start + symbol(LANE)
        self.emit(loop.body)
        self.b.lanes = 0

    def _ragged_loop(self, loop: For, start: Poly, extent: Poly) -> None:
        """A loop whose extent differs between lanes: as often as the longest, under a mask."""
        b = self.b
        length = b.integer(extent)
        vec = b.type_of(length)
        name = b.module.declare(f"llvm.vector.reduce.smax.v{b.lanes}i64", "i64", [vec])
        longest = b.op(f"call i64 @{name}({vec} {length.text})")
        with self.counter(number(0), b.named(longest)) as count:
            assert count is not None, "the extent is not constant"
            self.env[loop.var] = start + count
            inside = arith.compare(b, CompareOp.LT, b.integer(count), length)
            self._under(inside, loop.body)

    # --- conditions ------------------------------------------------------------------------

    def _if(self, cond: Expr, body: Stmt, orelse: Stmt | None) -> None:
        with self.statement():
            test = self.val(cond)
        if test.is_literal and not test.varying:
            taken = body if test.text == "true" else orelse
            if taken is not None:
                self.emit(taken)
        elif test.varying:
            self._under(test, body)
            if orelse is not None:
                self._under(self.b.negated(test), orelse)
        else:
            self._branches(test, body, orelse)

    def _branches(self, test: Val, body: Stmt, orelse: Stmt | None) -> None:
        b = self.b
        then, after = b.new_label("then"), b.new_label("end")
        other = b.new_label("else") if orelse is not None else after
        b.branch(test.text, then, other)
        for label, side in ((then, body), (other, orelse)):
            if side is not None:
                b.label(label)
                with self.region(self.mask):
                    self.emit(side)
                b.jump(after)
        b.label(after)

    def _under(self, cond: Val, body: Stmt) -> None:
        """`body` for the lanes where `cond` holds; skipped where there is none."""
        b = self.b
        mask = self.narrowed(cond, some=True)
        known = lanes_on(mask.value.text)
        if known is not None:
            if any(known):
                with self.region(mask):
                    self.emit(body)
            return
        then, after = b.new_label("some"), b.new_label("end")
        b.branch(b.any_lane(mask.value), then, after)
        b.label(then)
        with self.region(mask):
            self.emit(body)
        b.jump(after)
        b.label(after)

    # --- reductions ------------------------------------------------------------------------

    def _accumulate(self, stmt: Accumulate) -> None:
        b = self.b
        values = self._operands(stmt)
        places = [self.places[buffer] for buffer in stmt.buffers]
        offsets = [self.offset(p, stmt.indices) for p in places]
        strides = [b.lane_stride(o) for o in offsets]
        if b.lanes and any(s is None or (s == 0 and self.mask is not None) for s in strides):
            self._accumulate_apart(stmt, places, offsets, values)
            return
        old = [load(b, p, o, self.mask) for p, o in zip(places, offsets, strict=True)]
        if b.lanes and 0 in strides:
            for i in range(b.lanes):
                lane = [tuple(b.lane(v, i) for v in group) for group in values]
                old = self._combine(stmt.reducer, [b.lane(v, i) for v in old], lane)
        else:
            old = self._combine(stmt.reducer, old, values)
        for p, o, value in zip(places, offsets, old, strict=True):
            store(b, p, o, value, self.mask)

    def _operands(self, stmt: Accumulate) -> list[tuple[Val, ...]]:
        """The values to fold in; the two factors of a product that is summed."""
        value = stmt.values[0]
        if is_fused(stmt) and isinstance(value, Binary):
            return [(self.val(value.lhs), self.val(value.rhs))]
        return [(self.val(v),) for v in stmt.values]

    def _combine(
        self, reducer: Reducer, old: Sequence[Val], values: Sequence[tuple[Val, ...]]
    ) -> list[Val]:
        if len(values[0]) == 2:
            return [arith.fused_multiply_add(self.b, *values[0], old[0])]
        for left, right, x, (y,) in zip(reducer.lhs, reducer.rhs, old, values, strict=True):
            self.env[left] = x
            self.env[right] = y
        with self.statement():
            return [self.val(r) for r in reducer.result]

    def _accumulate_apart(
        self,
        stmt: Accumulate,
        places: Sequence[Place],
        offsets: Sequence[Poly],
        values: Sequence[tuple[Val, ...]],
    ) -> None:
        """Lane after lane, since lanes may meet in one element."""
        b, mask = self.b, self.mask
        where = [b.integer(o) for o in offsets]
        for i in range(b.lanes):
            after = ""
            if mask is not None:
                then, after = b.new_label("lane"), b.new_label("end")
                b.branch(b.lane(mask.value, i).text, then, after)
                b.label(then)
            with self.region(None):
                at = [b.as_poly(b.lane(w, i)) for w in where]
                lane = [tuple(b.lane(v, i) for v in group) for group in values]
                old = [load(b, p, o, None) for p, o in zip(places, at, strict=True)]
                new = self._combine(stmt.reducer, old, lane)
                for p, o, value in zip(places, at, new, strict=True):
                    store(b, p, o, value, None)
            if after:
                b.jump(after)
                b.label(after)

    # --- checks and storage ----------------------------------------------------------------

    def _check(self, stmt: Check) -> None:
        b = self.b
        test = self.val(stmt.cond)
        if test.is_literal and not test.varying and test.text == "true":
            return
        values = [self.val(v) for v in stmt.values]
        lanes = range(b.lanes) if test.varying or self.mask is not None else range(1)
        for i in lanes:
            good = b.lane(test, i).text
            if self.mask is not None:
                off = b.negated(b.lane(self.mask.value, i))
                good = b.op(f"or i1 {good}, {off.text}")
            bad, after = b.new_label("bad"), b.new_label("good")
            b.branch(good, after, bad)
            b.label(bad)
            with self.region(None):
                self._fail(self.checks[id(stmt)], [b.lane(v, i) for v in values])
            b.label(after)

    def _fail(self, index: int, values: Sequence[Val]) -> None:
        b = self.b
        b.line(f"store i32 {CHECK_FAILED}, ptr {self.status}")
        words = [str(index), *map(self._as_word, values[:3])]
        write = b.new_label("write")
        b.branch(b.op(f"icmp eq ptr {self.error}, null"), self.failed, write)
        b.label(write)
        for i, word in enumerate(words):
            at = b.op(f"getelementptr i64, ptr {self.error}, i64 {i}")
            b.line(f"store i64 {word}, ptr {at}")
        b.jump(self.failed)

    def _as_word(self, value: Val) -> str:
        if value.dtype.bits == 64:
            return value.text
        how = "sext" if value.dtype.kind == "i" else "zext"
        return self.b.op(f"{how} {self.b.type_of(value)} {value.text} to i64")

    def _allocate_local(self, buffer: Buffer) -> None:
        """Stack space in the entry block; constant indices let LLVM keep it in registers."""
        sizes = [const_int(s) for s in buffer.shape]
        assert all(s is not None for s in sizes), f"local {buffer.name} has no constant size"
        strides: list[Poly] = []
        count = 1
        for size in reversed(sizes):
            strides.insert(0, number(count))
            count *= size or 0
        copies = max(1, self.b.lanes)
        room = max(1, count * copies)
        pointer = self.b.alloca(memory_type(buffer.dtype), room, align=64)
        self.places[buffer] = Place(buffer, pointer, tuple(strides), copies > 1, room=room)


def _is_step(body: Stmt) -> bool:
    """Whether `body` is a step of a sum: an accumulation, and no loop but over registers."""
    inside = list(walk_stmts(body))
    loops = (s for s in inside if isinstance(s, For) and s.kind not in WRITTEN_OUT)
    return next(loops, None) is None and any(isinstance(s, Accumulate) for s in inside)
