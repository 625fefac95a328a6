"""A program cut into modules that are compiled apart, each as soon as its text is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from tensorc.codegen.llvm.nest import Nest

    class Wrap(Protocol):
        """Makes a module of functions."""

        def __call__(self, linkage: str | None, *functions: str) -> str:
            """The module; helpers have this linkage, or are declared."""


# How many lines of nests are compiled together: enough that what every part costs is little of it.
_PART_LINES = 600


class Parts:
    """Groups nests in modules, in order; nests are hidden symbols of the whole.

    Nests that were scheduled and others are compiled otherwise, so no part has both. The cut
    depends on the text alone, and no part on what is emitted after it.
    """

    def __init__(self, wrap: Wrap, ready: Callable[[str], object]) -> None:
        """Start with none.

        Args:
            wrap: makes a module of functions, with what these need so far; helpers have the given
                linkage, or are declared.
            ready: is told each part.
        """
        self._wrap, self._ready = wrap, ready
        self._open: dict[bool, list[Nest]] = {True: [], False: []}
        self.texts: list[str] = []

    def add(self, nest: Nest) -> None:
        """Put a nest in the part that is open for its kind; a full part is told."""
        group = self._open[nest.scheduled]
        group.append(nest)
        if _lines(group) > _PART_LINES:
            self._close(nest.scheduled)

    def finish(self, main: str, nests: list[Nest]) -> tuple[str, ...]:
        """All parts: `main`, which calls all of `nests`, is in the last one."""
        if not self.texts and sum(map(_lines, self._open.values())) <= _PART_LINES:
            self._tell("internal", main, *(n.definition("internal") for n in nests))
            return tuple(self.texts)
        self._close(scheduled=False)
        rest = self._open[True]
        declared = (n.declaration() for n in nests if n not in rest)
        self._tell("hidden", main, *declared, *(n.definition("internal") for n in rest))
        return tuple(self.texts)

    def _close(self, scheduled: bool) -> None:
        if self._open[scheduled]:
            self._tell(None, *(n.definition("hidden") for n in self._open[scheduled]))
            self._open[scheduled] = []

    def _tell(self, helpers: str | None, *functions: str) -> None:
        self.texts.append(self._wrap(helpers, *functions))
        self._ready(self.texts[-1])


def _lines(group: list[Nest]) -> int:
    return sum(n.text.count("\n") for n in group)
