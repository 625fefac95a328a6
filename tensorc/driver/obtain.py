"""The result of a compilation: from memory, from the disk, or made now."""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from tensorc.driver import cache as disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tensorc.driver.artifact import Artifact
    from tensorc_runtime.function import NativeCode

_IN_PROCESS = 256

# What this process has compiled or loaded, the least recently used first.
loaded: OrderedDict[str, tuple[Artifact, NativeCode | None]] = OrderedDict()
_lock = Lock()


@contextmanager
def timed(timing: dict[str, float], phase: str) -> Iterator[None]:
    """Note the seconds that the block takes."""
    start = time.perf_counter()
    yield
    timing[phase] = time.perf_counter() - start


def obtain(
    key: str,
    make: Callable[[], Artifact],
    load: Callable[[Artifact], NativeCode] | None,
    cached: bool,
    timing: dict[str, float],
) -> tuple[Artifact, NativeCode | None]:
    """The artifact, from the caches where it is there, and its code where `load` gives it.

    Args:
        key: of the cache.
        make: compiles.
        load: makes the code callable; None where it does not run on this machine's processor.
        cached: whether to look for, and keep, the result.
        timing: gets the seconds of each phase.
    """
    if cached:
        with _lock:
            if key in loaded:
                loaded.move_to_end(key)
                return loaded[key]
    folder = disk.KERNELS.folder() if cached else None
    artifact = None
    if folder is not None:
        with timed(timing, "cache"):
            artifact = disk.load(folder, key)
    fresh = artifact is None
    if artifact is None:
        artifact = make()
    code = None
    if load is not None:
        with timed(timing, "load"):
            code = load(artifact)
    if fresh and folder is not None:
        disk.store(folder, key, artifact)
    if cached:
        with _lock:
            loaded[key] = (artifact, code)
            if len(loaded) > _IN_PROCESS:
                loaded.popitem(last=False)
    return artifact, code
