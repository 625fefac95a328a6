"""Items made ahead of their use, in a thread."""

from __future__ import annotations

from queue import Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

T = TypeVar("T")

_SECONDS = 0.1  # How long a full queue waits before it looks whether anyone still reads.


def ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """The same items; a thread, which starts with the first one asked for, keeps `count` ready.

    What making one raises is raised where it would have been given. The thread ends with the last
    item, or soon after the iterator is closed or forgotten.
    """
    queue: Queue[tuple[bool, Any]] = Queue(count)
    closed = Event()

    def offer(item: tuple[bool, Any]) -> bool:
        while not closed.is_set():
            try:
                queue.put(item, timeout=_SECONDS)
            except Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer((True, item)):
                    return
            offer((False, None))
        except BaseException as problem:
            offer((False, problem))

    thread = Thread(target=work, name="tensorc-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            more, item = queue.get()
            if not more:
                break
            yield item
        if item is not None:
            raise item
    finally:
        closed.set()
        thread.join()
