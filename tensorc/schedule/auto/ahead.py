"""Rows that are asked for while the row before them is computed.

Where a nest goes through a row several times, only the first pass waits for memory, which idles
during the others. So the last pass asks for the next row, register by register. On Zen 3 the mean
cross-entropy of 4096 x 1000 fell from 2.8 to 2.2 ms, a layer normalization from 2.2 to 2.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.ir.expr import Buffer, const_int
from tensorc.ir.facts import leaf_loads, nests
from tensorc.ir.stmt import For, ForKind
from tensorc.ir.walk import written_buffers
from tensorc.schedule.auto.cost import bytes_of, depends, extent_of, stride
from tensorc.schedule.handles import Loop
from tensorc.schedule.tree import sites

if TYPE_CHECKING:
    from tensorc.ir.expr import Load
    from tensorc.schedule.schedule import Schedule
    from tensorc.schedule.tree import Site

FAR = 1024 * 1024  # An array larger than this is not in the second-level cache.
LEAST = 256  # Bytes of a row: shorter passes are no loops.
MOST = 16 * 1024  # Two longer rows do not stay in the nearest cache.
AHEAD = 4096  # Bytes from where something is asked for to where it is, at least half of it.


def read_ahead(s: Schedule) -> None:
    """Have the last pass over the rows of a large array ask for a row that comes next."""
    for nest in list(nests(s.program.body)):
        passes: dict[Buffer, dict[For, str]] = {}  # Of each array, with a stage that they compute.
        for site in sites(nest):
            for use in leaf_loads(site.leaf):
                loop = _pass_over(site, use)
                if loop is not None:
                    stage = written_buffers(site.leaf)[0].name
                    passes.setdefault(use.buffer, {})[loop] = stage
        for buffer, found in passes.items():
            *others, (loop, stage) = found.items()
            if others:
                row = bytes_of(buffer) // _rows(buffer)
                ahead = row * max(1, AHEAD // row)
                s.annotate(Loop(s, stage, loop.var), "prefetch", ahead)


def _pass_over(site: Site, use: Load) -> For | None:
    """The loop inside of one over rows that runs along a row of a large array in registers."""
    size = bytes_of(use.buffer)
    if size < FAR or not LEAST <= size // _rows(use.buffer) <= MOST:
        return None
    *around, lane = site.loops or (None,)
    if lane is None or lane.kind is not ForKind.VECTORIZED or stride(use, lane.var) != 1:
        return None
    plain = [x for x in around if x.kind is ForKind.SERIAL and extent_of(x) > 1]
    along = [x for x in plain if depends(use.indices[-1:], x.var)]
    over = any(depends(use.indices[:-1], x.var) for x in around)
    return along[-1] if over and along == plain[-1:] else None


def _rows(buffer: Buffer) -> int:
    """How many rows an array has; all of it, where the length of one is not known."""
    width = const_int(buffer.shape[-1]) if buffer.shape else None
    return 1 if not width else bytes_of(buffer) // (width * buffer.dtype.bytes)
