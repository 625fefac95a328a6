"""Loads and stores: addresses as base + names + constant, and the shape of a vector access.

Over the lanes of a vector loop the offset of an access grows by a constant stride, or not. By
0: one scalar access. By 1 or -1: one vector access. By another constant: scalar accesses put
together. Otherwise: LLVM's gather and scatter.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from tensorc.codegen.llvm.arith import constant, plain, select
from tensorc.codegen.llvm.known import Spot
from tensorc.codegen.llvm.narrow import is_narrow, narrow_bits, widen
from tensorc.codegen.llvm.pattern import Spread, lanes_on
from tensorc.codegen.llvm.types import LANE, Poly, Val, memory_type, number, symbol
from tensorc.dtypes import DType, bool_
from tensorc.ir.expr import const_int

if TYPE_CHECKING:
    from tensorc.codegen.llvm.builder import Builder
    from tensorc.ir.expr import Buffer


@dataclass(frozen=True, slots=True)
class Place:
    """Where a buffer is: its pointer, and its strides in elements.

    A `private` one was allocated inside the vector loop: each lane has its own copy, and the
    copies of one element lie side by side. `room` is the number of elements of a local buffer, all
    of which may be read and written back whatever the mask says: no other thread sees them.
    """

    buffer: Buffer
    pointer: str
    strides: tuple[Poly, ...]
    private: bool = False
    room: int | None = None

    def offset(self, indices: tuple[Poly, ...], lanes: int) -> Poly:
        """The element offset of an access."""
        total = number(0)
        for index, stride in zip(indices, self.strides, strict=True):
            if index.terms:
                total = total + index * stride
        return total * number(lanes) + symbol(LANE) if self.private else total


@dataclass(frozen=True, slots=True)
class Mask:
    """Which lanes are on. `some`: whether at least one is known to be."""

    value: Val
    some: bool


def load(b: Builder, place: Place, offset: Poly, mask: Mask | None) -> Val:
    """The element at `offset`; lanes that are off read nothing and hold zero."""
    dtype = place.buffer.dtype
    if not b.is_varying(offset):
        if mask is None or mask.some:
            return _from_memory(b, _load(b, place, offset), dtype, varying=False)
        return _load_if_some(b, place, offset, mask)
    stride = b.lane_stride(offset)
    if stride == 1:
        needed = None if mask is None or _inside(b, place, offset) else mask
        return _from_memory(b, load_vector(b, place, offset, needed), dtype, varying=True)
    if mask is None and stride == -1:
        low = b.uniform_part(offset) + number(1 - b.lanes)
        return _from_memory(b, _reversed(b, place, load_vector(b, place, low, None)), dtype, True)
    offsets = b.lane_offsets(offset)
    spread = None if offsets is None or stride == 0 else Spread(offsets)
    if spread is not None and spread.fits:
        return _from_memory(b, _load_spread(b, place, offset, spread, mask), dtype, varying=True)
    if mask is None and stride is not None:
        return _from_memory(b, _load_apart(b, place, offset, stride), dtype, varying=True)
    return _from_memory(b, _gather(b, place, offset, mask), dtype, varying=True)


def store(b: Builder, place: Place, offset: Poly, value: Val, mask: Mask | None) -> None:
    """Write `value` at `offset`; of lanes that write one element the last wins."""
    if not b.is_varying(offset) and mask is None:
        _store(b, place, offset, b.lane(value, b.lanes - 1))
        return
    stride = b.lane_stride(offset)
    if stride == 1 and mask is not None and _inside(b, place, offset):
        old = load(b, place, offset, None)
        _store_vector(b, place, offset, select(b, mask.value, value, old), None)
    elif stride == 1:
        _store_vector(b, place, offset, value, mask)
    elif stride == -1 and mask is None:
        low = b.uniform_part(offset) + number(1 - b.lanes)
        text = _reversed(b, place, _to_memory(b, b.splat(value)))
        write_vector(b, place, low, text, None)
    elif stride is not None and mask is None:
        for i in range(b.lanes):
            at = b.uniform_part(offset) + number(stride * i)
            _store(b, place, at, b.lane(value, i))
    else:
        _scatter(b, place, offset, value, mask)


def _inside(b: Builder, place: Place, offset: Poly) -> bool:
    """Whether all lanes of a contiguous access lie in a local buffer, on or off."""
    first = b.uniform_part(offset).const
    return place.room is not None and first is not None and 0 <= first <= place.room - b.lanes


def address(b: Builder, place: Place, offset: Poly) -> str:
    """The pointer at a uniform offset: what varies with loops first, then the constant."""
    return _pointer(b, place, _spot(b, place, offset, 1))


def _spot(b: Builder, place: Place, offset: Poly, count: int) -> Spot:
    """Where `count` elements from a uniform offset on lie."""
    const = offset.terms.get((), 0)
    rest = offset - number(const) if const else offset
    pointer = place.pointer
    if rest.terms:
        type_ = memory_type(place.buffer.dtype)
        pointer = b.pure(f"getelementptr {type_}, ptr {pointer}, i64 {b.integer(rest).text}")
    return Spot(place.pointer, place.room is not None, pointer, const, count)


def _pointer(b: Builder, place: Place, spot: Spot) -> str:
    if not spot.at:
        return spot.pointer
    type_ = memory_type(place.buffer.dtype)
    return b.pure(f"getelementptr {type_}, ptr {spot.pointer}, i64 {spot.at}")


def _forget(b: Builder, place: Place) -> None:
    """Some elements of a buffer are written."""
    b.memory.forget(place.pointer, place.room is not None)


STREAM_ALIGN = 16  # Bytes: what a store around the caches needs on x86, and arrays mostly have.


def _align(place: Place) -> int:
    return place.buffer.dtype.bytes


def can_bypass(place: Place) -> bool:
    """Whether stores to a buffer may go around the caches: it is no thread's own."""
    return not place.private and place.room is None and place.buffer.dtype.bytes <= STREAM_ALIGN


def _steps_by(offset: Poly, elements: int) -> bool:
    """Whether an offset is a multiple of so many elements, whatever the loop variables are."""
    return all(c % elements == 0 for c in offset.terms.values())


def _load(b: Builder, place: Place, offset: Poly) -> str:
    return _read(b, place, _spot(b, place, offset, 1), memory_type(place.buffer.dtype))


def hold(b: Builder, place: Place, offset: Poly) -> None:
    """Read an element now, for as long as the open scope lasts."""
    if place.private or b.is_varying(offset):
        return
    spot, type_ = _spot(b, place, offset, 1), memory_type(place.buffer.dtype)
    b.remember(("held", spot, type_), _read(b, place, spot, type_))


def _read(b: Builder, place: Place, spot: Spot, type_: str) -> str:
    """What lies at a spot: read there, where it is not known."""
    known = b.memory.value(spot, type_) or b.held(spot, type_)
    if known is None:
        pointer = _pointer(b, place, spot)
        if type_.startswith("<"):
            _ask_ahead(b, place, pointer)
        known = b.op(f"load {type_}, ptr {pointer}, align {_align(place)}")
        b.memory.read(spot, type_, known)
    return known


def _load_if_some(b: Builder, place: Place, offset: Poly, mask: Mask) -> Val:
    """A uniform load that is legal only if a lane is on: a masked load of one element."""
    type_ = memory_type(place.buffer.dtype)
    pointer = address(b, place, offset)
    some = b.any_lane(mask.value)
    bit = b.op(f"insertelement <1 x i1> poison, i1 {some}, i64 0")
    name = f"llvm.masked.load.v1{b.suffix(type_, False)}.p0"
    b.module.declare(name, f"<1 x {type_}>", ["ptr", "<1 x i1>", f"<1 x {type_}>"])
    one = b.op(
        f"call <1 x {type_}> @{name}(ptr align {_align(place)} {pointer}, <1 x i1> {bit}, "
        f"<1 x {type_}> zeroinitializer)"
    )
    text = b.op(f"extractelement <1 x {type_}> {one}, i64 0")
    return _from_memory(b, text, place.buffer.dtype, varying=False)


def load_vector(b: Builder, place: Place, offset: Poly, mask: Mask | None) -> str:
    """As many neighbours as there are lanes, as memory holds them."""
    bits = None if mask is None else b.splat(mask.value)
    return _load_row(b, place, b.uniform_part(offset), b.lanes, bits)


def _load_row(b: Builder, place: Place, at: Poly, count: int, bits: Val | None) -> str:
    """`count` neighbours from `at` on, zero where a mask of as many is off."""
    type_ = memory_type(place.buffer.dtype)
    vec = f"<{count} x {type_}>"
    spot = _spot(b, place, at, count)
    if bits is None:
        return _read(b, place, spot, vec)
    pointer = _pointer(b, place, spot)
    name = f"llvm.masked.load.v{count}{b.suffix(type_, False)}.p0"
    ones = f"<{count} x i1>"
    b.module.declare(name, vec, ["ptr", ones, vec])
    return b.op(
        f"call {vec} @{name}(ptr align {_align(place)} {pointer}, {ones} {bits.text}, "
        f"{vec} zeroinitializer)"
    )


def _ask_ahead(b: Builder, place: Place, pointer: str) -> None:
    """Ask for what a loop with the hint `prefetch` reads later, where that may be in the buffer."""
    sizes = [const_int(n) for n in place.buffer.shape]
    room = None if None in sizes else prod(n or 0 for n in sizes) * place.buffer.dtype.bytes
    if not b.ahead or place.room is not None or (room is not None and room <= abs(b.ahead)):
        return
    further = b.op(f"getelementptr i8, ptr {pointer}, i64 {b.ahead}")
    name = b.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
    b.line(f"call void @{name}(ptr {further}, i32 0, i32 3, i32 1)")  # A read, to all caches.


def _load_spread(b: Builder, place: Place, offset: Poly, spread: Spread, mask: Mask | None) -> str:
    """Neighbours in a fixed pattern over the lanes."""
    base = b.uniform_part(offset)

    def row(start: int, bits: Val | None) -> str:
        return _load_row(b, place, base + number(start), spread.width, bits)

    type_ = memory_type(place.buffer.dtype)
    return spread.loaded(b, type_, row, None if mask is None else mask.value)


def _load_apart(b: Builder, place: Place, offset: Poly, stride: int) -> str:
    vec = b.vector(memory_type(place.buffer.dtype))
    text = "poison"
    for i in range(b.lanes):
        element = _load(b, place, b.uniform_part(offset) + number(stride * i))
        type_ = memory_type(place.buffer.dtype)
        text = b.op(f"insertelement {vec} {text}, {type_} {element}, i64 {i}")
    return text


def _reversed(b: Builder, place: Place, text: str) -> str:
    vec = b.vector(memory_type(place.buffer.dtype))
    order = ", ".join(f"i32 {i}" for i in reversed(range(b.lanes)))
    return b.op(f"shufflevector {vec} {text}, {vec} poison, <{b.lanes} x i32> <{order}>")


def _pointers(b: Builder, place: Place, offset: Poly) -> str:
    type_ = memory_type(place.buffer.dtype)
    index = b.splat(b.integer(offset))
    return b.op(f"getelementptr {type_}, ptr {place.pointer}, {b.vector('i64')} {index.text}")


def _gather(b: Builder, place: Place, offset: Poly, mask: Mask | None) -> str:
    type_ = memory_type(place.buffer.dtype)
    vec, pointers = b.vector(type_), _pointers(b, place, offset)
    bits = b.splat(mask.value) if mask is not None else b.all_true()
    name = f"llvm.masked.gather.{b.suffix(type_, True)}.v{b.lanes}p0"
    b.module.declare(name, vec, [b.vector("ptr"), b.vector("i1"), vec])
    return b.op(
        f"call {vec} @{name}({b.vector('ptr')} align {_align(place)} {pointers}, "
        f"{b.vector('i1')} {bits.text}, {vec} zeroinitializer)"
    )


def _store(b: Builder, place: Place, offset: Poly, value: Val) -> None:
    type_ = memory_type(place.buffer.dtype)
    text, spot = _to_memory(b, value), _spot(b, place, offset, 1)
    b.line(f"store {type_} {text}, ptr {_pointer(b, place, spot)}, align {_align(place)}")
    b.memory.written(spot, type_, text)


def _store_vector(b: Builder, place: Place, offset: Poly, value: Val, mask: Mask | None) -> None:
    text = _to_memory(b, b.splat(value))
    write_vector(b, place, b.uniform_part(offset), text, mask)


def write_vector(b: Builder, place: Place, at: Poly, text: str, mask: Mask | None) -> None:
    """Write as many neighbours as there are lanes, as memory holds them, from `at` on."""
    type_ = memory_type(place.buffer.dtype)
    vec, spot = b.vector(type_), _spot(b, place, at, b.lanes)
    pointer = _pointer(b, place, spot)
    if mask is None:
        align, hint = _align(place), ""
        if b.nontemporal and can_bypass(place) and _steps_by(at, STREAM_ALIGN // align):
            align, hint = STREAM_ALIGN, f", !nontemporal {b.module.meta_once('!{i32 1}')}"
        b.line(f"store {vec} {text}, ptr {pointer}, align {align}{hint}")
        b.memory.written(spot, vec, text)
        return
    _forget(b, place)
    known = lanes_on(mask.value.text)
    if known is not None and known[0] and sorted(known, reverse=True) == list(known):
        _write_first(b, type_, pointer, text, sum(known), _align(place))
        return
    bits = b.splat(mask.value)
    name = f"llvm.masked.store.{b.suffix(type_, True)}.p0"
    b.module.declare(name, "void", [vec, "ptr", b.vector("i1")])
    b.line(
        f"call void @{name}({vec} {text}, ptr align {_align(place)} {pointer}, "
        f"{b.vector('i1')} {bits.text})"
    )


def _write_first(b: Builder, type_: str, pointer: str, text: str, count: int, align: int) -> None:
    """Write the first lanes alone: by plain stores; AMD takes dozens of cycles for a masked one."""
    order = ", ".join(f"i32 {i}" for i in range(count))
    vec, part = b.vector(type_), f"<{count} x {type_}>"
    first = b.op(f"shufflevector {vec} {text}, {vec} poison, <{count} x i32> <{order}>")
    b.line(f"store {part} {first}, ptr {pointer}, align {align}")


def _scatter(b: Builder, place: Place, offset: Poly, value: Val, mask: Mask | None) -> None:
    """LLVM orders the lanes of a scatter that write one element: the last wins."""
    type_ = memory_type(place.buffer.dtype)
    vec, text = b.vector(type_), _to_memory(b, b.splat(value))
    pointers = _pointers(b, place, offset)
    _forget(b, place)
    bits = b.splat(mask.value) if mask is not None else b.all_true()
    name = f"llvm.masked.scatter.{b.suffix(type_, True)}.v{b.lanes}p0"
    b.module.declare(name, "void", [vec, b.vector("ptr"), b.vector("i1")])
    b.line(
        f"call void @{name}({vec} {text}, {b.vector('ptr')} align {_align(place)} {pointers}, "
        f"{b.vector('i1')} {bits.text})"
    )


def _from_memory(b: Builder, text: str, dtype: DType, varying: bool) -> Val:
    if is_narrow(dtype):
        return widen(b, text, dtype, varying)
    if dtype.is_bool:
        byte = Val(text, DType("int8", "i", 8), varying)
        return plain(b, "icmp ne", byte, constant(0, byte.dtype), bool_)
    return Val(text, dtype, varying)


def _to_memory(b: Builder, value: Val) -> str:
    """The text of `value` as the type that memory holds."""
    if is_narrow(value.dtype):
        return narrow_bits(b, value, value.dtype)
    if value.dtype.is_bool:
        there = b.vector("i8", value.varying)
        return b.op(f"zext {b.type_of(value)} {value.text} to {there}")
    return value.text
