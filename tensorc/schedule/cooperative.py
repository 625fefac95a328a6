"""cooperative_fetch: a copy that all threads of a block make together, made of other steps."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.expr import const_int

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensorc.ir.expr import Expr

UNROLL = 16  # Elements of one thread that are written out.


@dataclass(frozen=True, slots=True)
class Shares:
    """How the loops of a copy are cut among the threads of a block.

    `lanes` neighbours of the last dimension for each thread at a time; of what is left of that
    dimension and the one before, `across` and `down` threads side by side. None joins all loops.
    """

    lanes: int
    across: int
    down: int


def shares(extents: Sequence[int], threads: int, lanes: int) -> Shares | None:
    """The cut of a copy of so many elements, or None where its sides do not fit the threads."""
    last = extents[-1] // lanes
    before = extents[-2] if len(extents) > 1 else 1
    across = min(last, threads)
    down = min(before, threads // across)
    whole = last % across == 0 and before % down == 0
    busy = across * down == threads or across * down * lanes == prod(extents)
    return Shares(lanes, across, down) if whole and busy else None


def check_fetch(extents: Sequence[Expr], threads: int, lanes: int) -> tuple[int, ...]:
    """The extents of a copy's loops as numbers.

    Raises:
        ScheduleError: one is no constant; `lanes` does not divide the last; a number is below 1.
    """
    sizes = [const_int(e) for e in extents]
    if not sizes or any(n is None for n in sizes):
        shown = " x ".join(map(str, extents)) or "no loops"
        raise ScheduleError(f"the copy has {shown}, which is no constant size")
    if threads < 1 or lanes < 1:
        raise ScheduleError("threads and lanes must be at least 1")
    known = tuple(n or 0 for n in sizes)
    if known[-1] % lanes:
        raise ScheduleError(
            f"{lanes} lanes do not divide the {known[-1]} elements of the last loop of the copy"
        )
    return known
