"""Find an OpenMP runtime and make its symbols visible to compiled code.

Compiled code calls `GOMP_parallel`, which libgomp has, and LLVM's and Intel's libomp too. One that
the process already uses comes first, since two of them would fight for the processors.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import sysconfig
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger("tensorc")
_SYMBOLS = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads")
_SYSTEM_NAMES = ("libgomp.so.1", "libomp.so.5", "libomp.so", "libiomp5.so")
_MARKS = ("libgomp", "libomp", "libiomp5")
_WHEELS = ("*.libs/libgomp*.so*", "torch/lib/libgomp*.so*", "*/.libs/libgomp*.so*", "*/libomp*.so*")

# How long a waiting thread spins before it sleeps, where the user's environment does not say: some
# tens of microseconds, where libgomp by itself spins for milliseconds. On a busy machine that
# starves the thread it waits for (a step of 6 ms took 130).
_BOUNDED_SPIN = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "0"}
_USERS_CHOICE = ("OMP_WAIT_POLICY", *_BOUNDED_SPIN)

# The worker threads of an OpenMP runtime do not survive a fork, and the child would wait for them
# for ever: it runs serially.
in_forked_child = False


def _note_fork() -> None:
    global in_forked_child
    in_forked_child = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


@cache
def load_openmp() -> str | None:
    """Make an OpenMP runtime visible, and return where it is; None says that there is none.

    The first call that finds none says so through the logger "tensorc".
    """
    if _has_openmp(None):
        return "this process"
    with _bounded_spin():
        for candidate in chain(_mapped(), _SYSTEM_NAMES, _bundled()):
            if _has_openmp(candidate):
                return candidate
    _log.warning(
        "no OpenMP runtime found (%s): compiled functions run on one thread; "
        "install libgomp1 (Debian), libgomp (Fedora) or the package intel-openmp",
        ", ".join(_SYSTEM_NAMES),
    )
    return None


@contextmanager
def _bounded_spin() -> Iterator[None]:
    """Let a runtime that is loaded meanwhile spin briefly: it reads its environment just then."""
    ours = {} if any(name in os.environ for name in _USERS_CHOICE) else _BOUNDED_SPIN
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def _has_openmp(library: str | None) -> bool:
    try:
        found = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return all(hasattr(found, symbol) for symbol in _SYMBOLS)


def _mapped() -> list[str]:
    """OpenMP runtimes that another package has loaded for itself."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    marked = (line for line in lines if any(mark in line for mark in _MARKS))
    paths = (line.split(maxsplit=5)[5] for line in marked if line.count("/"))
    return list(dict.fromkeys(p for p in paths if Path(p).name.startswith(_MARKS)))


def _bundled() -> Iterator[str]:
    """OpenMP runtimes inside installed wheels; they are looked for only when asked for."""
    site = Path(sysconfig.get_path("platlib"))
    found = (path for pattern in _WHEELS for path in sorted(site.glob(pattern)))
    for path in chain((Path(sys.prefix) / "lib" / "libiomp5.so",), found):
        if path.is_file():
            yield str(path)
