"""Copies of boxes by the copy engine of sm_90: which nests are one, and what they copy.

A nest with the hint `async: "tma"` on its outermost loop, outside of all thread loops, copies a box
of an array in global memory to shared memory:

    for r in range(64) {async: "tma"}:
      for c in range(32):
        S[i % 2, r, c] = A[bi*64 + r, i*32 + c]

One thread issues it, as `cp.async.bulk.tensor`, with a tensor map of the array and the box's first
element. What lies outside of the array becomes 0, so the box may pad:
`S[r, c] = where(bi*64 + r < n, A[bi*64 + r, c], 0.0)`. `rings.py` says who waits for it, and how.

A copy back is one too, with the hint as well: `stores.py` says how it is ordered. What would lie
outside of the array is not stored, so a guard that keeps it inside needs nothing.

Where all loops together make no box, the outer ones, a few steps, repeat a box of the inner ones:
panels of columns, `S[p, r, c] = A[r, p*64 + c]`, are one box each, and are waited for together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import copysign, prod
from typing import TYPE_CHECKING

from tensorc.codegen.cuda.kernel import is_bulk
from tensorc.codegen.cuda.ranges import is_multiple
from tensorc.errors import CompileError
from tensorc.ir.affine import linear
from tensorc.ir.expr import (
    Binary,
    BinaryOp,
    Buffer,
    Compare,
    CompareOp,
    Const,
    Expr,
    Load,
    Select,
    Var,
    Where,
    all_of,
    const_int,
)
from tensorc.ir.printer import show
from tensorc.ir.sets import prove
from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import For, If, Stmt, Store
from tensorc.ir.swizzle import SHIFT
from tensorc.ir.walk import free_vars, substitute, walk_stmts
from tensorc.schedule.tree import in_range
from tensorc_runtime.cuda.plan import MAP_BOX, MAP_RANK, MAP_TYPES

if TYPE_CHECKING:
    from tensorc.codegen.cuda.kernel import Phase
    from tensorc.codegen.cuda.stmt import StmtEmitter
    from tensorc.target import Target

CAPABILITY = 90
ALIGNMENT = 128  # Bytes that a box's place in shared memory is a multiple of.
_UNIT = 16  # Rows of a box, and of the array, are multiples of so many bytes.
_REPEATS = 8  # Boxes of one copy.


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A tensor map that a kernel takes: an array, and the box that one copy moves.

    Attributes:
        source: the array.
        box: elements along each of its dimensions, the first one first.
        swizzle: bytes of the pattern in shared memory; 0 is none.
    """

    source: Buffer
    box: tuple[int, ...]
    swizzle: int


@dataclass(frozen=True, slots=True)
class BoxCopy:
    """One copy of a box.

    Attributes:
        phase: where it stands; one thread issues it.
        repeats: the loops around the box, each step of which copies another one.
        spec: its tensor map.
        target: the shared buffer.
        place: the indices there of the box's first element.
        corner: the indices of that element in the array; some may be outside of it.
        bytes: of all boxes.
        stores: whether it goes from shared memory to the array.
    """

    phase: Phase
    repeats: tuple[For, ...]
    spec: MapSpec
    target: Buffer
    place: tuple[Expr, ...]
    corner: tuple[Expr, ...]
    bytes: int
    stores: bool


def is_marked(phase: Phase) -> bool:
    """Whether a phase is to be one copy of a box."""
    return any(is_bulk(s) for s in walk_stmts(phase.stmt))


def read(phase: Phase, target: Target) -> BoxCopy:
    """The copy that a marked phase is.

    Raises:
        CompileError: it is none; the message says what stands in the way.
    """
    ask = _Ask(_head(phase))
    if target.cuda.capability < CAPABILITY:
        raise ask.refuse(
            f"{target.cuda.name} has no such copies, sm_90 is the first that does",
            "compile for that, or take the hint away",
        )
    if phase.threads:
        names = ", ".join(t.var.name for t in phase.threads.values())
        raise ask.refuse(
            f"it stands inside of the thread loops {names}, and one thread issues it",
            "move it out of them",
        )
    loops, store, guards = _nest(phase.stmt, ask)
    stores = store.buffer.scope == "global"
    if stores:
        store, ask = _turned(store, ask), replace(ask, access="stored")
    value, cond = _value(store, ask)
    if stores:
        cond = all_of(guards)
    repeats, box = _boxes(loops, store, value, ask)
    if cond is not None:
        _need_padding(cond, value, loops, ask)
    own = loops[len(repeats) :]
    zero: dict[Var, Expr] = {loop.var: Const(0, loop.var.dtype) for loop in own}
    place, corner = (
        tuple(simplify(substitute(i, zero)) for i in at) for at in (store.indices, value.indices)
    )
    size = store.buffer.dtype.bytes
    _need_fit(store.buffer, value.buffer, box, ask)
    spec = MapSpec(value.buffer, box, swizzle_of(store.buffer))
    count = prod(const_int(loop.extent) or 1 for loop in repeats)
    total = count * prod(box) * size
    return BoxCopy(phase, tuple(repeats), spec, store.buffer, place, corner, total, stores)


def swizzle_of(buffer: Buffer) -> int:
    """The bytes of a shared buffer's pattern, of those that the hardware knows; 0: none.

    Raises:
        CompileError: it has another pattern.
    """
    if buffer.swizzle is None:
        return 0
    if buffer.swizzle.shift != SHIFT:
        raise CompileError(
            f"shared buffer {buffer.name}: {buffer.swizzle} is no pattern of the copy engine or "
            f"of wgmma, whose shift is {SHIFT}; swizzle it so"
        )
    return buffer.swizzle.width


@dataclass(frozen=True, slots=True)
class _Ask:
    """What is asked, for messages."""

    text: str
    access: str = "read"

    def refuse(self, why: str, advice: str = "") -> CompileError:
        more = f"; {advice}" if advice else ""
        return CompileError(f'{self.text} is asked to be one copy of a box ("tma"): {why}{more}')


def _head(phase: Phase) -> str:
    for s in walk_stmts(phase.stmt):
        if isinstance(s, Store):
            return show(s).strip()
    return "a nest without a store"


def _nest(stmt: Stmt, ask: _Ask) -> tuple[list[For], Store, list[Expr]]:
    """The loops of the box, outermost first, what they repeat, and under which guards."""
    loops: list[For] = []
    while isinstance(stmt, For):
        extent = const_int(stmt.extent)
        if extent is None or const_int(stmt.start) != 0:
            raise ask.refuse(
                f"loop {stmt.var.name} runs from {stmt.start} for {stmt.extent} steps, and a box "
                "has constant sizes",
                "split the loop, and leave its outer part outside of the hint",
            )
        loops.append(stmt)
        stmt = stmt.body
    guards: list[Expr] = []
    inner: Stmt = stmt
    while isinstance(inner, If) and inner.orelse is None:
        guards.append(inner.cond)
        inner = inner.body
    if not isinstance(inner, Store) or (guards and inner.buffer.scope != "global"):
        shown = " ".join(show(stmt).split())
        raise ask.refuse(f"its loops hold more than one copy: {shown[:80]}")
    return loops, inner, guards


def _turned(store: Store, ask: _Ask) -> Store:
    """A copy back as the copy to shared memory of the same box."""
    value = store.value
    if not isinstance(value, Load) or value.buffer.scope != "shared":
        raise ask.refuse(f"{show(value)} is no element of shared memory")
    return Store(value.buffer, value.indices, Load(store.buffer, store.indices), loc=store.loc)


def _value(store: Store, ask: _Ask) -> tuple[Load, Expr | None]:
    """What is copied, and under which condition; 0 elsewhere."""
    match store.value:
        case Load() as found:
            cond = None
        case Select(cond, Load() as found, Const(0, _) as pad) | Where(
            cond, Load() as found, Const(0, _) as pad
        ) if copysign(1, float(pad.value)) > 0:
            pass
        case other:
            raise ask.refuse(f"{show(other)} is no element of an array, nor one or else 0")
    if found.buffer.scope != "global" or store.buffer.scope != "shared":
        raise ask.refuse(
            f"it copies from {found.buffer.scope} to {store.buffer.scope} memory, and boxes go "
            "from global to shared memory, or back"
        )
    return found, cond


def _boxes(
    loops: list[For], store: Store, load: Load, ask: _Ask
) -> tuple[list[For], tuple[int, ...]]:
    """The loops that repeat a box, as few as can be, and the sizes of the box."""
    refused: CompileError | None = None
    for outer in range(len(loops)):
        if prod(const_int(loop.extent) or 1 for loop in loops[:outer]) > _REPEATS:
            break
        try:
            return loops[:outer], _box(loops[outer:], store, load, ask)
        except CompileError as error:
            refused = refused or error
    if refused is None:
        return [], _box(loops, store, load, ask)
    raise refused


def _box(loops: list[For], store: Store, load: Load, ask: _Ask) -> tuple[int, ...]:
    """The sizes of the box, if the loops fill it row by row."""
    extents = {loop.var: const_int(loop.extent) or 1 for loop in loops}
    box: list[int] = []
    steps: dict[Var, int] = {}
    inner = 1
    for d, index in reversed(list(enumerate(load.indices))):
        own = _steps(index, extents, ask)
        size = 1
        for var in sorted(own, key=lambda v: own[v]):
            if own[var] != size or var in steps:
                raise ask.refuse(
                    f"dimension {d} of {load.buffer.name} is {ask.access} at {show(index)}, which "
                    "does not step through neighbours"
                )
            steps[var] = inner * size
            size *= extents[var]
        box.insert(0, size)
        inner *= size
    missing = [v for v in extents if v not in steps]
    if missing:
        raise ask.refuse(f"loop {missing[0].name} reads one element again and again")
    stride = 1
    found = dict.fromkeys(extents, 0)
    for index, extent in reversed(list(zip(store.indices, store.buffer.shape, strict=True))):
        for var, step in _steps(index, extents, ask).items():
            found[var] += step * stride
        stride *= const_int(extent) or 0
    wrong = [v for v in extents if found[v] != steps[v]]
    if wrong:
        shown = ", ".join(map(str, box))
        raise ask.refuse(
            f"a box of {shown} elements lies row by row in shared memory, one step of "
            f"{wrong[0].name} {steps[wrong[0]]} elements apart, and here it is {found[wrong[0]]}"
        )
    return tuple(box)


def _steps(index: Expr, extents: dict[Var, int], ask: _Ask) -> dict[Var, int]:
    """How far one step of each of the box's loops moves an index."""
    form = linear(index)
    if form is not None:
        return {v: c for v, c in form.coeffs.items() if v in extents}
    if isinstance(index, Binary) and index.op is BinaryOp.ADD:  # What is no sum may be outside.
        found = _steps(index.lhs, extents, ask)
        for var, step in _steps(index.rhs, extents, ask).items():
            found[var] = found.get(var, 0) + step
        return found
    if any(v in extents for v in free_vars(index)):
        raise ask.refuse(f"index {show(index)} is no sum of loops")
    return {}


def _need_padding(cond: Expr, load: Load, loops: list[For], ask: _Ask) -> None:
    """The condition must hold for all elements inside of the array: others become 0 anyway."""
    given: list[Expr] = [c for loop in loops for c in in_range(loop)]
    for index, size in zip(load.indices, load.buffer.shape, strict=True):
        given += [Compare(CompareOp.LE, Const(0), index), Compare(CompareOp.LT, index, size)]
    if not prove(cond, given).holds:
        what = "writes 0" if ask.access == "read" else "stores nothing"
        raise ask.refuse(
            f"it {what} where not {show(cond)}, and boxes do so outside of the array alone"
        )


def _need_fit(target: Buffer, source: Buffer, box: tuple[int, ...], ask: _Ask) -> None:
    size, swizzle = source.dtype.bytes, swizzle_of(target)
    name = source.dtype.name
    if name not in MAP_TYPES:
        raise ask.refuse(f"elements of {name} cannot be mapped; {', '.join(MAP_TYPES)} can")
    if len(box) > MAP_RANK or not box:
        raise ask.refuse(f"{source.name} has {len(box)} dimensions, and a map 1 to {MAP_RANK}")
    if max(box) > MAP_BOX:
        raise ask.refuse(
            f"a box has at most {MAP_BOX} elements along a dimension, and this one "
            f"{', '.join(map(str, box))}",
            "split its loops, and leave the outer part outside of the hint",
        )
    row = box[-1] * size
    if row % _UNIT:
        raise ask.refuse(f"rows of a box have a multiple of {_UNIT} bytes, and here {row}")
    if swizzle and row > swizzle:
        raise ask.refuse(
            f"rows of {row} bytes do not fit the pattern of {swizzle}",
            f"cache_read(..., panel={swizzle // size}) makes rows of {swizzle}",
        )
    wide = Binary(BinaryOp.MUL, source.shape[-1], Const(size))
    if len(box) > 1 and not is_multiple(wide, _UNIT):
        raise ask.refuse(
            f"rows of {source.name} have {show(simplify(wide))} bytes, which is not known to be a "
            f"multiple of {_UNIT}"
        )


def need_aligned(e: StmtEmitter, copy: BoxCopy) -> None:
    """Refuse a box whose place in shared memory the copy engine cannot write.

    Raises:
        CompileError: it may begin elsewhere than on 128 bytes, or than where the pattern does.
    """
    unit = copy.target.swizzle.period if copy.target.swizzle else ALIGNMENT
    offset = e.places[copy.target].offset(copy.place)
    if not is_multiple(offset, unit // copy.target.dtype.bytes):
        ask = _Ask(_head(copy.phase))
        raise ask.refuse(
            f"it begins at element {show(simplify(offset))} of {copy.target.name}, which need not "
            f"be on {unit} bytes",
            "make its rows, or its slots, multiples of that",
        )


def emit_store(e: StmtEmitter, copy: BoxCopy, map_name: str) -> None:
    """Write a copy back to the array, as one group."""
    with e.looping_all(copy.repeats), e.statement(*copy.place, *copy.corner):
        start = e.element(copy.target, copy.place).text
        at = [e.integer(i, "int").text for i in reversed(copy.corner)]
        e.out.call(f"tma_store_{len(at)}d", map_name, *at, f"&{start}")
    e.out.line("bulk_commit();")


def emit(e: StmtEmitter, copy: BoxCopy, map_name: str, barrier: str) -> None:
    """Write the copy; `barrier` is the address of what counts its bytes."""
    e.out.call("mbarrier_expect", barrier, f"{copy.bytes}")
    with e.looping_all(copy.repeats), e.statement(*copy.place, *copy.corner):
        to = e.element(copy.target, copy.place).text
        at = [e.integer(i, "int").text for i in reversed(copy.corner)]
        e.out.call(f"tma_load_{len(at)}d", f"&{to}", map_name, *at, barrier)
