"""The memory profile: for each memory instruction, transactions beside the fewest possible."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tensorc.emulator.ptx import Site

_TITLES = ("kernel", "line", "access", "bytes", "requests", "transactions", "ideal", "ratio")


@dataclass(frozen=True)
class MemoryAccess:
    """One memory instruction.

    Attributes:
        site: the instruction.
        space: "shared" counts wavefronts, "global" sectors of 32 bytes.
        is_write: a store; a `cp.async` is a load of global and a store of shared memory.
        bytes: of one lane.
        requests: executions by a warp.
        transactions: what they took.
        ideal: the fewest that requests of that many bytes could take.
    """

    site: Site
    space: str
    is_write: bool
    bytes: int
    requests: int
    transactions: int
    ideal: int

    @property
    def ratio(self) -> float:
        """1.0 is coalesced, or free of bank conflicts."""
        return self.transactions / self.ideal


@dataclass
class MemoryProfile:
    """The accesses of one launch or of several."""

    accesses: list[MemoryAccess] = field(default_factory=list)

    def add(self, accesses: Iterable[MemoryAccess]) -> None:
        """Take more; those of one instruction are summed."""
        known = {(a.site, a.space, a.is_write, a.bytes): i for i, a in enumerate(self.accesses)}
        for new in accesses:
            key = (new.site, new.space, new.is_write, new.bytes)
            if key not in known:
                known[key] = len(self.accesses)
                self.accesses.append(new)
                continue
            old = self.accesses[known[key]]
            self.accesses[known[key]] = MemoryAccess(
                *key,
                old.requests + new.requests,
                old.transactions + new.transactions,
                old.ideal + new.ideal,
            )

    def ratio(self, space: str) -> float:
        """Transactions over ideal ones, of all accesses to a space; 1.0 where there is none."""
        ideal = sum(a.ideal for a in self.accesses if a.space == space)
        taken = sum(a.transactions for a in self.accesses if a.space == space)
        return taken / ideal if ideal else 1.0

    def by_line(self) -> dict[tuple[str, int, str], tuple[int, int]]:
        """(kernel, source line, space) to (transactions, ideal)."""
        result: dict[tuple[str, int, str], tuple[int, int]] = {}
        for a in self.accesses:
            key = (a.site.kernel, a.site.source_line, a.space)
            taken, ideal = result.get(key, (0, 0))
            result[key] = (taken + a.transactions, ideal + a.ideal)
        return result

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [_TITLES]
        for a in sorted(self.accesses, key=lambda a: (a.site.kernel, a.site.source_line)):
            direction = "store" if a.is_write else "load"
            numbers = (a.bytes, a.requests, a.transactions, a.ideal)
            where = str(a.site.source_line or f"ptx {a.site.ptx_line}")
            rows.append(
                (
                    *(a.site.kernel, where, f"{a.space} {direction}"),
                    *(str(n) for n in numbers),
                    f"{a.ratio:.2f}",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(_TITLES))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        )
