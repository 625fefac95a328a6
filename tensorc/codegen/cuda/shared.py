"""Where a kernel's shared buffers lie: arrays of its own, or parts of dynamic shared memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.codegen.cuda.places import Place
from tensorc.errors import CompileError
from tensorc.ir.expr import const_int
from tensorc.ir.printer import show
from tensorc.target import STATIC_SHARED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.codegen.cuda.stmt import StmtEmitter
    from tensorc.ir.expr import Buffer
    from tensorc.target import Target

_ALIGN = 16


def declare(
    e: StmtEmitter,
    buffers: Sequence[Buffer],
    align: Mapping[Buffer, int],
    name: str,
    target: Target,
) -> tuple[int, int]:
    """Declare shared buffers: bytes of static and of dynamic shared memory.

    Args:
        e: what writes, and learns the places.
        buffers: all of a kernel.
        align: bytes that the addresses of some are multiples of.
        name: of the kernel, for messages.
        target: what for.

    Raises:
        CompileError: they are more than a block may have, or of no constant size.
    """
    units = {b: _unit(b, align.get(b, _ALIGN)) for b in buffers}
    own = sorted(buffers, key=lambda b: -units[b])
    sizes = [_bytes(b) for b in own]
    total = 0
    offsets = []
    for buffer, size in zip(own, sizes, strict=True):
        offsets.append(-(-total // units[buffer]) * units[buffer])
        total = offsets[-1] + -(-size // _ALIGN) * _ALIGN
    limit = target.cuda.block_shared
    if total > limit:
        shown = ", ".join(f"{b.name} {n}" for b, n in zip(own, sizes, strict=True))
        raise CompileError(
            f"kernel {name}: {total} bytes of shared memory, and a block of {target.cuda.name} has "
            f"at most {limit} ({shown}); tile the loops that fill them smaller, or use fewer stages"
        )
    dynamic = total > STATIC_SHARED
    if dynamic:
        e.out.line(f"extern __shared__ __align__({max(units.values())}) unsigned char smem[];")
    for buffer, offset, size in zip(own, offsets, sizes, strict=True):
        # Of another size, LLVM would load whole vectors beyond the array's end.
        wide = size % _ALIGN == 0
        known = units[buffer] if wide else buffer.dtype.bytes
        place = e.places[buffer] = Place(buffer, e.names.fresh(buffer.name), False, known)
        attribute = f"__align__({known}) " if wide else ""
        if dynamic:
            e.out.line(_reference(place, offset))
        else:
            e.out.line(f"__shared__ {attribute}{place.declaration()};")
    return (0, total) if dynamic else (total, 0)


def _unit(buffer: Buffer, align: int) -> int:
    """What a buffer's address is a multiple of: the pattern of its swizzle starts there."""
    return align if buffer.swizzle is None else max(align, buffer.swizzle.period)


def _bytes(buffer: Buffer) -> int:
    total = buffer.dtype.bytes
    for size in buffer.shape:
        value = const_int(size)
        if value is None:
            raise CompileError(
                f"shared buffer {buffer.name}[{', '.join(map(show, buffer.shape))}]: its size "
                "must be constant; tile the loops that fill it"
            )
        total *= value
    return total


def _reference(place: Place, offset: int) -> str:
    """A name for a part of dynamic shared memory, of the buffer's array type."""
    sizes = "".join(f"[{const_int(s)}]" for s in place.buffer.shape)
    ctype, name = place.ctype, place.name
    at = f"smem + {offset}" if offset else "smem"
    return f"{ctype} (&{name}){sizes} = *reinterpret_cast<{ctype} (*){sizes}>({at});"
