"""The GPUs of this machine, through the NVIDIA driver: probed so that a missing part never hangs.

`cuda.bindings` is imported here and nowhere else in the runtime, with the first use of a device: it
is optional, and takes a tenth of a second.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from tensorc_runtime.cuda.device import System
from tensorc_runtime.cuda.errors import DeviceUnavailable

if TYPE_CHECKING:
    from tensorc_runtime.cuda.api import DriverApi

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
EXTRAS = "pip install 'tensorc[cuda13]' (or cuda12)"

_lock = Lock()
_found: list[System] = []


def real_system() -> System:
    """The devices of this machine.

    Raises:
        DeviceUnavailable: there is no driver, or no `cuda.bindings`.
    """
    with _lock:
        if not _found:
            _found.append(System(_driver()))
        return _found[0]


@cache
def driver_library() -> ctypes.CDLL:
    """The driver's own library, for the calls that its bindings cannot make.

    Raises:
        OSError: there is none.
    """
    return ctypes.CDLL(LIBRARY)


def _driver() -> DriverApi:
    try:
        # Some versions of cuda.bindings end the process's patience where there is no driver.
        driver_library()
    except OSError as error:
        raise DeviceUnavailable(
            f"there is no NVIDIA driver on this machine: {LIBRARY} does not load ({error}); "
            "install the driver, or use target='cuda-emu', which needs none"
        ) from None
    try:
        from cuda.bindings import driver  # noqa: PLC0415
    except ImportError as error:
        raise DeviceUnavailable(f"CUDA needs NVIDIA's Python packages: {error}; {EXTRAS}") from None
    found: DriverApi = driver
    return found
