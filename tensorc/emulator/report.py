"""What checked mode found: kind, both statements, threads, block, buffer, in words and as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tensorc.emulator.ptx import Site

Index3 = tuple[int, int, int]


class FindingKind(Enum):
    """What is wrong; the order is that of FindingKind in state.h."""

    RACE_WRITE_WRITE = "race: two writes"
    RACE_READ_AFTER_WRITE = "race: read after write"
    RACE_WRITE_AFTER_READ = "race: write after read"
    OUT_OF_BOUNDS = "out of bounds"
    MISALIGNED = "misaligned"
    UNINITIALIZED = "uninitialized read"
    UNWAITED_READ = "read before an asynchronous copy was waited for"
    UNWAITED_WRITE = "write while asynchronous work still uses the bytes"
    DIVERGENCE = "divergent synchronization"
    DEADLOCK = "deadlock"
    WRONG_USE = "wrong use"


KINDS = tuple(FindingKind)
RACES = frozenset(
    (
        FindingKind.RACE_WRITE_WRITE,
        FindingKind.RACE_READ_AFTER_WRITE,
        FindingKind.RACE_WRITE_AFTER_READ,
    )
)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, however often it happened.

    Attributes:
        kind: what.
        kernel: where.
        message: all of it in words.
        site: the instruction that noticed it, or None.
        other: the instruction that it conflicts with, or None.
        threads: thread indices, of `site` first, as far as they are known.
        blocks: block indices, of `site` first.
        buffer: the name of the memory, or "".
        offset: bytes from its start.
        bytes: of the access.
        count: how often.
    """

    kind: FindingKind
    kernel: str
    message: str
    site: Site | None = None
    other: Site | None = None
    threads: tuple[Index3, ...] = ()
    blocks: tuple[Index3, ...] = ()
    buffer: str = ""
    offset: int = 0
    bytes: int = 0
    count: int = 1

    @property
    def source_lines(self) -> tuple[int, ...]:
        """Lines of the CUDA source, those that are known."""
        return tuple(s.source_line for s in (self.site, self.other) if s and s.source_line)


@dataclass
class EmulatorReport:
    """The findings of one launch or of several."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        return not self.findings

    def add(self, findings: Iterable[Finding]) -> None:
        """Take more findings; those known already count up."""
        for new in findings:
            for i, old in enumerate(self.findings):
                if (old.kind, old.kernel, old.site, old.other, old.buffer) == (
                    *(new.kind, new.kernel, new.site, new.other),
                    new.buffer,
                ):
                    self.findings[i] = _counted(old, old.count + new.count)
                    break
            else:
                self.findings.append(new)

    def describe(self, source: str = "") -> str:
        """All findings, one a paragraph; with the CUDA source, its lines are quoted."""
        lines = source.split("\n")
        paragraphs = []
        for finding in self.findings:
            text = [finding.message]
            text += [
                f"  line {number}: {lines[number - 1].strip()}"
                for number in dict.fromkeys(finding.source_lines)
                if source and 0 < number <= len(lines)
            ]
            paragraphs.append("\n".join(text))
        return "\n".join(paragraphs) if paragraphs else "no findings"

    def __str__(self) -> str:
        return self.describe()


def _counted(finding: Finding, count: int) -> Finding:
    values = {name: getattr(finding, name) for name in finding.__dataclass_fields__}
    return Finding(**{**values, "count": count})


def place(site: Site | None) -> str:
    """`line 12 (st.shared.f32)`, or the PTX line where the source's is not known."""
    if site is None:
        return "an unknown instruction"
    opcode = site.text.split()[1 if site.text.startswith("@") else 0]
    where = f"line {site.source_line}" if site.source_line else f"PTX line {site.ptx_line}"
    return f"{where} ({opcode})"


def index_of(linear: int, extents: Index3) -> Index3:
    """The three-dimensional index of a thread or block, x first."""
    x, y, _ = extents
    return linear % x, linear // x % y, linear // (x * y)
