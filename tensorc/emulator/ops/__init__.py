"""One handler for each PTX opcode: what C++ statement it becomes.

A handler takes the writer, the opcode and the operands. It refuses forms that it does not know, by
UnsupportedPtxError, so that nothing is guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.emulator.ops import (
    bits,
    compare,
    control,
    convert,
    copies,
    floats,
    integers,
    matrix,
    mbarriers,
    memory,
    warp,
    wgmma,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc.emulator.writer import Opcode, Writer

    Handler = Callable[[Writer, Opcode, list[str]], str]

HANDLERS: dict[str, Handler] = {
    **integers.HANDLERS,
    **bits.HANDLERS,
    **floats.HANDLERS,
    **compare.HANDLERS,
    **convert.HANDLERS,
    **memory.HANDLERS,
    **control.HANDLERS,
    **warp.HANDLERS,
    **matrix.HANDLERS,
    **copies.HANDLERS,
    **mbarriers.HANDLERS,
    **wgmma.HANDLERS,
}
