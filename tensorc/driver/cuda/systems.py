"""Where a CUDA target's functions run: the GPUs of this machine, or the emulator."""

from __future__ import annotations

from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from tensorc.emulator import EmulatedDriver
from tensorc.target import ARCHS
from tensorc_runtime.cuda.device import System
from tensorc_runtime.cuda.errors import CudaError
from tensorc_runtime.cuda.real import real_system

if TYPE_CHECKING:
    from tensorc.target import Target

EMULATED_DEVICES = 2

_emulated: dict[str, System] = {}
_lock = Lock()


def emulated_system(arch: str) -> System:
    """The emulated devices of one architecture; others take the place of those that were lost."""
    with _lock:
        found = _emulated.get(arch)
        if found is None or found.lost or found.forked:
            driver = EmulatedDriver(arch, EMULATED_DEVICES, log=False)
            found = _emulated[arch] = System(driver, emulated=True)
        return found


def system_of(target: Target) -> System:
    """What runs code for `target`.

    Raises:
        DeviceUnavailable: it is for a GPU, and there is no driver.
    """
    return real_system() if target.kind == "cuda" else emulated_system(target.cuda.name)


def for_device(target: Target) -> Target:
    """`target` with what it leaves open filled in, from the first GPU where there is one."""
    if target.kind == "cuda" and not target.arch:
        try:
            device = real_system().device(0)
            found = best_arch(device.arch)
            sms = device.limit("MULTIPROCESSOR_COUNT")
        except CudaError:
            return target.resolved()
        if found is not None:
            target = replace(target, arch=found, sms=target.sms or sms)
    return target.resolved()


def best_arch(device: str) -> str | None:
    """The architecture to compile for on a device of architecture `device`.

    Its own, with the instructions that it alone has; else the greatest below it, since code runs on
    later devices too.

        >>> best_arch("sm_90"), best_arch("sm_88"), best_arch("sm_50")
        ('sm_90a', 'sm_87', None)
    """
    for own in (f"{device}a", device):
        if own in ARCHS:
            return own
    capability = int(device[3:])
    older = [a for a in ARCHS.values() if a.capability < capability and a.name[-1] != "a"]
    return max(older, key=lambda a: a.capability).name if older else None
