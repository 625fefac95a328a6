"""A call captured as one CUDA graph: copies in, launches, copies out, one launch for all of it.

A capture copies the launches' arguments, so everything that changes from call to call lies at an
address that does not: the batch goes through pinned memory of the host, scalars through device
memory.
"""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc_runtime.cuda.device import Handle
from tensorc_runtime.cuda.module import STATUS_BYTES, Frame
from tensorc_runtime.cuda.plan import ARENA_ALIGNMENT, STATUS_VALUES
from tensorc_runtime.signature import CHECK_FAILED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tensorc_runtime.cuda.device import Device
    from tensorc_runtime.cuda.module import Module
    from tensorc_runtime.errors import ArgumentError
    from tensorc_runtime.signature import Signature

_HOST_ALIGNMENT = 64
_serials = itertools.count()


@dataclass(slots=True)
class Places:
    """Where the parameters of a captured call are.

    Attributes:
        fixed: addresses in device memory that belong to someone else.
        own: bytes of those that get a buffer with the graph.
        sent: those of `own` that the graph fills from pinned memory.
        fetched: those that the graph copies to pinned memory at the end.
    """

    fixed: dict[int, int] = field(default_factory=dict)
    own: dict[int, int] = field(default_factory=dict)
    sent: list[int] = field(default_factory=list)
    fetched: list[int] = field(default_factory=list)


def status_error(signature: Signature, words: Any) -> ArgumentError:
    """The error that the status words report."""
    data = bytes(words)
    index = int.from_bytes(data[:4], "little", signed=True) - 1
    values = np.frombuffer(data, np.int64, STATUS_VALUES, 8).tolist()
    return signature.native_error(CHECK_FAILED, [index, *values])


class Replay:
    """One call at fixed addresses, as a graph; a launch of it runs all or nothing.

    Attributes:
        serial: numbers replays in the order of their making.
    """

    def __init__(
        self, module: Module, signature: Signature, dims: Mapping[str, int], places: Places
    ) -> None:
        """Take the memory and capture the call; the device's context is current.

        Raises:
            CudaError: the driver refuses.
            ArgumentError: a grid is beyond the device's limits.
        """
        self.serial = next(_serials)
        self._module = module
        self._device = device = module.device
        self._signature = signature
        self._places = places
        self._frame = frame = Frame(module, dims)
        self._checked = bool(module.plan.checks)
        self._calls = 0
        offsets, end = _lay_out(places.own, _up(frame.bytes, ARENA_ALIGNMENT), ARENA_ALIGNMENT)
        self._memory = device.allocate(end)
        self._at = {i: self._memory.address + offset for i, offset in offsets.items()}
        self._at.update(places.fixed)
        crossing = {i: places.own[i] for i in dict.fromkeys((*places.sent, *places.fetched))}
        self._host_at, host_end = _lay_out(crossing, STATUS_BYTES, _HOST_ALIGNMENT)
        self._host = device.pinned(host_end) if crossing or self._checked else None
        if self._checked:
            self._failed = ctypes.c_int32.from_address(self._pinned())
            ctypes.memset(self._pinned(), 0, STATUS_BYTES)
            self._clear(self._memory.use.stream)
        pointers = [self._at[i] for i in range(module.plan.params)]
        frame.fill(pointers, self._memory.address)
        self._label = self._describe()
        self._graph = None if device.synchronous else self._capture()
        if self._checked:
            device.reports.add(self)

    @property
    def device(self) -> Device:
        """Where it runs."""
        return self._device

    def address(self, index: int) -> int:
        """Where a parameter is in device memory."""
        return self._at[index]

    def host(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """The pinned memory of a parameter that crosses to or from the host, as an array."""
        size = self._places.own[index]
        if not size:
            return np.empty(shape, dtype)
        raw: Any = (ctypes.c_uint8 * size).from_address(self._pinned() + self._host_at[index])
        return np.frombuffer(raw, np.uint8).view(dtype).reshape(shape)

    def run(self, stream: int) -> None:
        """Queue the call on `stream`, after all earlier calls; the context is current.

        Raises:
            CheckFailed: a check of an earlier call failed.
            CudaError: the driver refuses, and nothing runs.
        """
        self.raise_seen()
        self._memory.use_on(stream)
        if self._graph is None:
            self._issue(stream)
        else:
            self._device.call("cuGraphLaunch", self._graph.value, stream, detail=self._label)
            self._device.recent.append(self._label)
        self._calls += 1

    def raise_seen(self) -> None:
        """Report a check that is known to have failed, without waiting for the device.

        Raises:
            CheckFailed: there is one.
        """
        if self._checked and self._failed.value:
            with self._device.current():
                self._device.wait(self._memory.use.stream)
            self.raise_failed()

    def raise_failed(self) -> None:
        """Report a check that has failed, once the device has been waited for, and go on anew.

        Raises:
            CheckFailed: there is one.
        """
        calls, self._calls = self._calls, 0
        if not self._checked:
            return
        words = ctypes.string_at(self._pinned(), STATUS_BYTES)
        if not any(words[:4]):
            return
        error = status_error(self._signature, words)
        if calls > 1:
            error.add_note(
                f"it was one of the last {calls} calls, which were queued together; those after "
                "it did nothing"
            )
        with self._device.current():
            self._clear(self._memory.use.stream)
        ctypes.memset(self._pinned(), 0, STATUS_BYTES)
        raise error

    # --- the graph -------------------------------------------------------------------------------

    def _pinned(self) -> int:
        assert self._host is not None, "nothing crosses to the host"
        return int(self._host.value)

    def _clear(self, stream: int) -> None:
        start = self._memory.address + self._frame.status_offset
        self._device.call("cuMemsetD8Async", start, 0, STATUS_BYTES, stream)

    def _issue(self, stream: int) -> None:
        """Queue everything, one after the other."""
        device, sizes = self._device, self._places.own
        for i in self._places.sent:
            if sizes[i]:
                source = self._pinned() + self._host_at[i]
                device.call("cuMemcpyHtoDAsync", self._at[i], source, sizes[i], stream)
        self._frame.launch(stream)
        for i in self._places.fetched:
            if sizes[i]:
                target = self._pinned() + self._host_at[i]
                device.call("cuMemcpyDtoHAsync", target, self._at[i], sizes[i], stream)
        if self._checked:
            start = self._memory.address + self._frame.status_offset
            device.call("cuMemcpyDtoHAsync", self._pinned(), start, STATUS_BYTES, stream)

    def _capture(self) -> Handle:
        device = self._device
        stream = device.stream()  # One of its own: a capture that failed spoils its stream.
        mode = device.api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        device.call("cuStreamBeginCapture", stream.value, mode)
        device.capturing = True
        try:
            try:
                self._issue(int(stream.value))
            except BaseException:
                self._end_capture(stream)
                raise
            code, graph = self._end_capture(stream)
        finally:
            device.capturing = False
        if code or graph is None:
            raise device.error("cuStreamEndCapture", code, self._label)
        made = device.call("cuGraphInstantiate", graph.value, 0)
        return Handle(device, made, "cuGraphExecDestroy")

    def _end_capture(self, stream: Handle) -> tuple[Any, Handle | None]:
        """End a capture, whatever it takes: while one is open, most calls are not allowed."""
        device = self._device
        code, *values = device.api.cuStreamEndCapture(stream.value)
        if code:
            _, *values = device.api.cuStreamEndCapture(stream.value)
        found = values[0] if values else None
        return code, Handle(device, found, "cuGraphDestroy") if found else None

    def _describe(self) -> str:
        kernels = list(dict.fromkeys(self._frame.kernels))
        named = ", ".join(kernels[:8]) + (", ..." if len(kernels) > 8 else "")
        return f"{self._module.name} (a graph of {len(self._frame.kernels)} launches: {named})"


def _lay_out(sizes: Mapping[int, int], start: int, alignment: int) -> tuple[dict[int, int], int]:
    """An offset for each size, from `start` on, and the end."""
    offsets = {}
    end = _up(start, alignment)
    for i, size in sizes.items():
        offsets[i] = end
        end = _up(end + size, alignment)
    return offsets, end


def _up(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
