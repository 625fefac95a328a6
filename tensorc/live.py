"""Host arrays whose newest values may be elsewhere: on the device that a compiled step works on.

Whoever holds such a copy registers it here; whoever hands out the host array asks for the values
first, and thereby says that the array may be written.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Copy(Protocol):
    """A copy of a host array."""

    def pull(self) -> None:
        """Bring the host array up to date, and take it as handed out."""


# By the identity of the array, which a copy keeps alive.
_copies: dict[int, weakref.WeakSet[Copy]] = {}


def register(array: NDArray[Any], copy: Copy) -> None:
    """Note that `copy`, which keeps `array` alive, may hold newer values."""
    for key in [key for key, found in _copies.items() if not found]:
        del _copies[key]
    _copies.setdefault(id(array), weakref.WeakSet()).add(copy)


def refresh(array: NDArray[Any]) -> None:
    """Bring `array` up to date before it is handed out."""
    for copy in list(_copies.get(id(array), ())):
        copy.pull()
