"""State of functions on a device: host arrays, and the copy that the kernels work on.

A host array has one mirror on a device, whichever functions hold it: what a training step changes,
an inference step of the same model sees. The values move when someone needs them elsewhere:

- to the host by `pull`: a function's `state` and `sync_state`, a model's parameters, and the end
  of the last function that holds the array;
- to the device by `push`, before a launch: the first time, after the host array was handed out,
  and, for small arrays such as a learning rate, whenever their bytes have changed.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc_runtime.cuda.array import DeviceArray, new_array
from tensorc_runtime.cuda.errors import CudaError
from tensorc_runtime.errors import ArgumentError
from tensorc_runtime.signature import address

if TYPE_CHECKING:
    import numpy.typing as npt

    from tensorc_runtime.cuda.device import Device

SMALL = 4096  # Bytes of a host array that every call compares with what the device has.


class Mirror:
    """A host array and its copy on a device.

    Attributes:
        host: the array.
        device_newer: whether a call that changes the copy was queued since it was last pulled.
        exposed: whether the host array was handed out since it was last pushed, so that it may
            have been written.
    """

    __slots__ = ("__weakref__", "_device", "array", "device_newer", "exposed", "host", "snapshot")

    def __init__(self, device: Device, host: npt.NDArray[Any], array: DeviceArray) -> None:
        """Made by `mirror_of`; the first push moves the values."""
        self._device = device
        self.host = host
        self.array = array
        self.device_newer = False
        self.exposed = True
        self.snapshot: bytes | None = None

    def __del__(self) -> None:
        # The last function that holds the array goes: the values come home.
        if self.device_newer and not sys.is_finalizing():
            with contextlib.suppress(CudaError):
                self.pull()

    def pull(self) -> None:
        """Bring the host array up to date, and take it as handed out.

        Raises:
            CudaError: the device's work failed, or the driver refuses.
        """
        with self._device.turn:
            if self.device_newer and not self._small_change():
                self.array.numpy(out=self.host)
                self._remember()
            # Where the host's array has changed by itself, that write is the later one.
            self.device_newer = False
            self.exposed = True

    def push(self, stream: int) -> None:
        """Bring the copy up to date for work on `stream`; the device's context is current.

        Raises:
            CudaError: the driver refuses.
        """
        if self.exposed or self._small_change():
            self.array.copy_from(self.host, stream)
            self.exposed = self.device_newer = False
            self._remember()
        memory = self.array._memory
        if memory is not None and memory.use.stream != stream:
            memory.use_on(stream)

    def written(self) -> None:
        """Note that the host array has been written whole: its values count from now on."""
        self.device_newer = False
        self.exposed = True

    def _remember(self) -> None:
        self.snapshot = self.host.tobytes() if self.host.nbytes <= SMALL else None

    def _small_change(self) -> bool:
        return self.snapshot is not None and self.host.tobytes() != self.snapshot


_Key = tuple[int, int, str]
_mirrors: weakref.WeakKeyDictionary[Device, weakref.WeakValueDictionary[_Key, Mirror]] = (
    weakref.WeakKeyDictionary()
)


def mirror_of(device: Device, host: npt.NDArray[Any], name: str) -> Mirror:
    """The mirror of `host` on `device`, whose context is current; a new one where there is none.

    Raises:
        ArgumentError: the array overlaps another one that has a mirror; `name` is for the message.
        OutOfDeviceMemory: there is no room.
    """
    known = _mirrors.setdefault(device, weakref.WeakValueDictionary())
    key = (address(host), host.nbytes, host.dtype.name)
    found = known.get(key)
    if found is not None and found.host.shape == host.shape:
        return found
    for other in list(known.values()):
        if np.may_share_memory(other.host, host):
            raise ArgumentError(
                f"state {name!r} overlaps another array of state on {device.place}, of shape "
                f"{other.host.shape}; state on a device is shared by whole arrays only"
            )
    made = known[key] = Mirror(device, host, new_array(device, host.shape, host.dtype))
    return made
