"""How the rows of a buffer in shared memory are permuted, so that columns lie in other banks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.errors import IRError

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 16  # Bytes that stay together.
WIDTHS = (32, 64, 128)  # 128 bytes are all the banks.
SHIFT = 3


@dataclass(frozen=True, slots=True)
class Swizzle:
    """Chunks of 16 bytes that change places within `width` bytes.

    Counted from the buffer's first, chunk c lies at `c ^ (c >> shift) % (width / 16)`. A shift of 3
    is the pattern of tensor maps and of `wgmma`, for rows of `width` bytes: PTX ISA 8.8,
    "Swizzling modes". Rows of 256 bytes want a shift of 4, rows of 512 bytes 5.

    It changes where elements lie, and no value: an index means what it means without.
    """

    width: int
    shift: int = SHIFT

    def __post_init__(self) -> None:
        if self.width not in WIDTHS or not SHIFT <= self.shift <= 8:
            raise IRError(
                f"swizzle({self.width}, {self.shift}): a width is one of "
                f"{', '.join(map(str, WIDTHS))} bytes, and a shift {SHIFT} to 8"
            )

    def __str__(self) -> str:
        shift = "" if self.shift == SHIFT else f", {self.shift}"
        return f"swizzle({self.width}{shift})"

    @property
    def period(self) -> int:
        """After how many bytes the pattern repeats: what addresses and sizes are multiples of."""
        return (CHUNK << self.shift) * (self.width // CHUNK)

    def place(self, offset: int) -> int:
        """Where the byte at `offset` from the buffer's first lies.

        >>> [Swizzle(32).place(row * 32) for row in range(0, 9)]
        [0, 32, 64, 96, 144, 176, 208, 240, 256]
        """
        chunk, byte = divmod(offset, CHUNK)
        return (chunk ^ (chunk >> self.shift) % (self.width // CHUNK)) * CHUNK + byte

    def misfit(self, scope: str, sizes: Sequence[int | None], item: int) -> str | None:
        """Why a buffer of that scope, shape and bytes of an element cannot have it; or None."""
        if scope != "shared":
            return f"its scope is '{scope}', and only shared memory has banks to spread over"
        if not sizes or None in sizes:
            return "it has no rows of constant size"
        row = (sizes[-1] or 0) * item
        if row % self.width:
            return f"its rows of {row} bytes are no multiple of {self.width}"
        total = math.prod(size or 0 for size in sizes) * item
        if total % self.period:
            return f"its {total} bytes are no multiple of {self.period}, after which it repeats"
        return None
