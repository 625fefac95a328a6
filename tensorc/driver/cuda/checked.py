"""One call in the emulator, watched: what checked mode finds, and how memory is read and written.

Each argument and each temporary has memory of its own, by its name, so that an access that leaves
one is seen even where a call would have another there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorc.emulator import EmulatedDriver
from tensorc_runtime import sizes
from tensorc_runtime.cuda.api import LEGACY_STREAM
from tensorc_runtime.cuda.array import DeviceArray, new_array
from tensorc_runtime.cuda.device import System
from tensorc_runtime.cuda.errors import CudaError
from tensorc_runtime.cuda.module import STATUS_BYTES, Frame, Module
from tensorc_runtime.cuda.signature import CudaSignature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc.emulator import LaunchOptions
    from tensorc_runtime.cuda.device import Device, Memory
    from tensorc_runtime.cuda.plan import CudaImage, CudaPlan
    from tensorc_runtime.manifest import Manifest


def watch(
    manifest: Manifest,
    plan: CudaPlan,
    image: CudaImage,
    arrays: Sequence[Any],
    state: Mapping[int, Any],
    options: LaunchOptions,
) -> EmulatedDriver:
    """Run one call on copies of its arguments.

    Args:
        manifest: of the function.
        plan: its launches.
        image: its PTX.
        arrays: the inputs.
        state: the state, by the number of the parameter.
        options: how to run.

    Returns:
        The driver, which has the report and the profile.

    Raises:
        ArgumentError: an argument does not fit.
        CudaError: a kernel ended early for a reason that checked mode does not report.
    """
    driver = EmulatedDriver(plan.arch, options=options, log=False)
    device = System(driver, emulated=True).device(0)
    hosts = [a.numpy() if isinstance(a, DeviceArray) else a for a in arrays]
    kept = {i: a.numpy() if isinstance(a, DeviceArray) else a for i, a in state.items()}
    try:
        with device.current():
            signature = CudaSignature(manifest).on(device, LEGACY_STREAM)
            call = signature.check(hosts, None, kept)
            frame = Frame(Module(device, manifest.name, plan, image), call.dims)
            moved = [
                _moved(driver, device, p.name, array, p.role)
                for p, array in zip(manifest.params, call.arrays, strict=True)
            ]
            temps = [
                _room(driver, device, t.name, sizes.evaluate(t.bytes, call.dims))
                for t in plan.temps
            ]
            status = _room(driver, device, "status", STATUS_BYTES)
            device.call("cuMemsetD8Async", status.address, 0, STATUS_BYTES, LEGACY_STREAM)
            addresses = [a.address for a in moved]
            frame.fill_apart(addresses, [t.address for t in temps], status.address)
            frame.launch(LEGACY_STREAM)
            device.wait(LEGACY_STREAM)
    except CudaError:
        if driver.report.ok:
            raise
    return driver


def _moved(driver: EmulatedDriver, device: Device, name: str, array: Any, role: str) -> DeviceArray:
    made = new_array(device, array.shape, array.dtype)
    if array.nbytes:
        driver.name_memory(made.address, name)
        if role != "out":
            made.copy_from(array)
    return made


def _room(driver: EmulatedDriver, device: Device, name: str, size: int) -> Memory:
    memory = device.allocate(size)
    if size:
        driver.name_memory(memory.address, name)
    return memory
