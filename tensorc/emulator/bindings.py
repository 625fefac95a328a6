"""The runtime library as ctypes sees it."""

from __future__ import annotations

import ctypes
from functools import cache
from threading import RLock

from tensorc.emulator.toolchain import build_runtime

# One launch at a time in a process: the runtime keeps its state in one place.
LOCK = RLock()


class LaunchConfig(ctypes.Structure):
    """Mirrors LaunchConfig of state.h."""

    _fields_ = (
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("static_shared", ctypes.c_uint32),
        ("total_shared", ctypes.c_uint32),
        ("stack_bytes", ctypes.c_uint32),
        ("order", ctypes.c_int32),
        ("seed", ctypes.c_uint64),
        ("checked", ctypes.c_int32),
        ("profile", ctypes.c_int32),
        ("seconds", ctypes.c_double),
        ("steps", ctypes.c_uint64),
    )


class RawFinding(ctypes.Structure):
    """Mirrors Finding of state.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("kind", "site", "other_site", "bytes")),
        *((name, ctypes.c_uint32) for name in ("thread", "other_thread", "block", "other_block")),
        ("range", ctypes.c_int64),
        ("offset", ctypes.c_int64),
        ("count", ctypes.c_uint64),
        ("is_write", ctypes.c_int32),
        ("other_is_async", ctypes.c_int32),
        ("detail", ctypes.c_char * 160),
    )


class RawProfileEntry(ctypes.Structure):
    """Mirrors ProfileEntry of launch.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("site", "bytes", "is_shared", "is_write")),
        *((name, ctypes.c_uint64) for name in ("requests", "transactions", "ideal")),
    )


@cache
def runtime() -> ctypes.CDLL:
    """The runtime, built at its first use.

    Raises:
        CompileError: there is no C++ compiler, or it fails.
    """
    return declare(build_runtime())


def declare(library: ctypes.CDLL) -> ctypes.CDLL:
    """Give the entry points their types."""
    u32, u64, i64 = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64
    library.tcemu_begin.argtypes = [ctypes.POINTER(LaunchConfig)]
    library.tcemu_add_shared.argtypes = [u32, u64, i64]
    library.tcemu_add_constant.argtypes = [u64, u64, i64]
    library.tcemu_launch.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    library.tcemu_add_global.argtypes = [u64, u64, i64, ctypes.c_int]
    library.tcemu_remove_global.argtypes = [u64]
    library.tcemu_mark_written.argtypes = [u64, u64, u64]
    for name in ("begin", "add_shared", "add_constant", "add_global", "remove_global"):
        getattr(library, f"tcemu_{name}").restype = None
    library.tcemu_mark_written.restype = None
    library.tcemu_error.restype = ctypes.c_char_p
    library.tcemu_printed.restype = ctypes.c_char_p
    library.tcemu_switches.restype = u64
    library.tcemu_finding.restype = ctypes.POINTER(RawFinding)
    library.tcemu_profile.restype = ctypes.POINTER(RawProfileEntry)
    return library
