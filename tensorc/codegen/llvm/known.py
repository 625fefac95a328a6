"""What straight code knows that memory holds, so that nothing is read twice or read back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spot:
    """Elements of a buffer: `count` from `at` on, counted from a pointer.

    `own` says that nothing but this buffer's pointer leads there: it is a local one.
    """

    buffer: str
    own: bool
    pointer: str
    at: int
    count: int

    def is_apart(self, other: Spot) -> bool:
        """Whether the two are known to share no element."""
        if self.buffer != other.buffer:
            return self.own or other.own
        if self.pointer != other.pointer:
            return False
        return self.at + self.count <= other.at or other.at + other.count <= self.at


class KnownMemory:
    """Values by where they lie, and their type, from the start of a block on."""

    def __init__(self) -> None:
        """Nothing is known."""
        self._local: dict[str, dict[tuple[Spot, str], str]] = {}
        self._outside: dict[tuple[Spot, str], str] = {}

    def clear(self) -> None:
        """Another block begins."""
        self._local.clear()
        self._outside.clear()

    def value(self, spot: Spot, type_: str) -> str | None:
        """The value that lies there, if it is known."""
        return self._held(spot).get((spot, type_))

    def read(self, spot: Spot, type_: str, value: str) -> None:
        """Memory holds what was read."""
        self._held(spot)[spot, type_] = value

    def written(self, spot: Spot, type_: str, value: str) -> None:
        """Memory holds what was stored, and nothing that was known of these elements."""
        held = self._held(spot)
        kept = {key: known for key, known in held.items() if key[0].is_apart(spot)}
        held.clear()
        held.update(kept)
        held[spot, type_] = value

    def forget(self, buffer: str, own: bool) -> None:
        """Something was stored in a buffer."""
        if own:
            self._local.pop(buffer, None)
        else:
            self._outside.clear()

    def _held(self, spot: Spot) -> dict[tuple[Spot, str], str]:
        return self._local.setdefault(spot.buffer, {}) if spot.own else self._outside
