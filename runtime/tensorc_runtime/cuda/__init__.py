"""Arrays on CUDA devices, and the functions compiled for them; also there as `tensorc.cuda`.

    a = tc.cuda.device_array(numpy_array)      # a copy in the device's memory
    b = f(a)                                   # a device array; the call has been queued
    b.numpy()                                  # the values, once they are there
    torch.from_dlpack(b), cupy.asarray(b)      # views of the same memory

A `device` is a number, or a function's `device`, which may be an emulated one.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc_runtime.cuda.array import DeviceArray, is_foreign, new_array, view
from tensorc_runtime.cuda.device import Device, System
from tensorc_runtime.cuda.errors import (
    ContextLost,
    CudaError,
    DeviceUnavailable,
    OutOfDeviceMemory,
)
from tensorc_runtime.cuda.real import real_system
from tensorc_runtime.cuda.stream import stream_number
from tensorc_runtime.dlpack import DTYPE_CODES
from tensorc_runtime.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = [
    "ContextLost",
    "CudaError",
    "Device",
    "DeviceArray",
    "DeviceUnavailable",
    "OutOfDeviceMemory",
    "System",
    "device",
    "device_array",
    "device_count",
    "empty",
    "synchronize",
    "why_not_available",
]


def device(which: int | Device = 0) -> Device:
    """The device of that number.

    Raises:
        ArgumentError: it is no number.
        CudaError: there is no driver, or no such device.
    """
    if isinstance(which, Device):
        return which
    if isinstance(which, bool) or not hasattr(which, "__index__"):
        raise ArgumentError(f"device: expected a number or a Device, got {which!r}")
    return real_system().device(operator.index(which))


def device_count() -> int:
    """How many CUDA devices there are; 0 where there is no driver."""
    try:
        return real_system().count
    except CudaError:
        return 0


def why_not_available() -> str | None:
    """Why no device can be used, or None where one can."""
    try:
        real_system().device(0)
    except CudaError as error:
        return str(error)
    return None


def device_array(values: Any, device: int | Device = 0, *, stream: Any = None) -> DeviceArray:
    """An array on a device with these values.

    Args:
        values: anything that `numpy.asarray` takes, which is copied there; or another library's
            array on the device, which is viewed without a copy; or a device array, likewise.
        device: where to.
        stream: to queue the copy on.

    Raises:
        ArgumentError: `values` cannot be there.
        CudaError: there is no such device, or it has no room.
    """
    target = _device(device)
    number = stream_number(stream)
    if isinstance(values, DeviceArray):
        if values.device is target:
            return values
        values = values.numpy()
    if is_foreign(values):
        try:
            return view(values, target, number)
        except ValueError as error:
            raise ArgumentError(f"device_array: this {type(values).__name__} {error}") from None
    host = np.asarray(values, order="C")
    if host.dtype.name not in DTYPE_CODES:
        raise ArgumentError(f"device_array: elements of {host.dtype} cannot be on a device")
    with target.current():
        made = new_array(target, host.shape, host.dtype, number)
        return made.copy_from(host, number)


def empty(
    shape: int | Sequence[int], dtype: npt.DTypeLike = np.float32, device: int | Device = 0
) -> DeviceArray:
    """An uninitialized array on a device.

    Raises:
        ArgumentError: a size is negative.
        CudaError: there is no such device, or it has no room.
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(map(operator.index, shape))
    if any(size < 0 for size in sizes):
        raise ArgumentError(f"empty: sizes must be 0 or more, got {sizes}")
    target = _device(device)
    with target.current():
        return new_array(target, sizes, np.dtype(dtype))


def synchronize(device: int | Device = 0) -> None:
    """Wait for all work on a device, and report what went wrong there.

    Raises:
        ContextLost: a kernel failed.
        CheckFailed: a check of a bound function failed.
    """
    _device(device).synchronize()


_device = device
