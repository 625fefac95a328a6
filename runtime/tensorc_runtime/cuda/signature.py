"""The checks of a call whose arguments may be in a device's memory."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from tensorc_runtime.cuda.api import LEGACY_STREAM
from tensorc_runtime.cuda.array import DeviceArray, is_foreign, new_array, view
from tensorc_runtime.cuda.plan import PARAM_ALIGNMENT
from tensorc_runtime.signature import Signature, address

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from tensorc_runtime.cuda.device import Device
    from tensorc_runtime.manifest import Manifest


class CudaSignature(Signature):
    """A signature whose arrays are NumPy's, ours on `device`, or another library's there."""

    def __init__(self, manifest: Manifest) -> None:
        """As for a CPU function; `on` gives the one to check with."""
        super().__init__(manifest)
        self.device: Device | None = None
        self.stream = LEGACY_STREAM

    def on(self, device: Device, stream: int) -> CudaSignature:
        """The same checks for a call on `device`, whose context is current, and `stream`."""
        made = copy(self)
        made.device, made.stream = device, stream
        return made

    def _as_array(self, position: int, value: object) -> Any:
        device = self.device
        if isinstance(value, DeviceArray):
            value.address  # noqa: B018 (refuses what was freed)
            if device is not None and value.device is not device:
                here = value.device.system is device.system
                other = f", or take the function's on({value.device.index})" if here else ""
                raise self._error(
                    f"{self.label(position)}: is on {value.device.place}, and this function runs "
                    f"on {device.place}; copy it there{other}"
                )
            return value
        if device is not None and is_foreign(value):
            try:
                return view(value, device, self.stream)
            except ValueError as error:
                raise self._error(f"{self.label(position)}: {error}") from None
        return super()._as_array(position, value)

    def _new(self, shape: tuple[int, ...], dtype: np.dtype[Any], given: Mapping[int, Any]) -> Any:
        on_device = any(
            isinstance(given.get(i), DeviceArray) for i in (*self.inputs, *self.outputs)
        )
        if on_device and self.device is not None:
            return new_array(self.device, shape, dtype, self.stream)
        return super()._new(shape, dtype, given)

    def _start(self, array: Any) -> int:
        return array.address if isinstance(array, DeviceArray) else address(array)

    def _alignment(self, array: Any) -> int:
        return PARAM_ALIGNMENT if isinstance(array, DeviceArray) else super()._alignment(array)

    def _compact_hint(self, array: Any) -> str:
        if isinstance(array, DeviceArray):
            return "make it contiguous where it comes from"
        return super()._compact_hint(array)
