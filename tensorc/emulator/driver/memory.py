"""Device memory, pinned host memory, copies and fills."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from tensorc.emulator.driver.base import Device, Result, call, fail
from tensorc.emulator.driver.codes import (
    CUgraphNodeType,
    CUmemorytype,
    CUpointer_attribute,
    CUresult,
)
from tensorc.emulator.driver.streams import LEGACY, Streams
from tensorc.emulator.heap import Allocation, DeviceHeap, note_written

if TYPE_CHECKING:
    from collections.abc import Callable

_COPY = CUgraphNodeType.CU_GRAPH_NODE_TYPE_MEMCPY
_SET = CUgraphNodeType.CU_GRAPH_NODE_TYPE_MEMSET
_INVALID = CUresult.CUDA_ERROR_INVALID_VALUE
_NO_MEMORY = CUresult.CUDA_ERROR_OUT_OF_MEMORY
_HOST_CAPACITY = 1 << 40


def host_address(pointer: Any) -> int:
    """The address that a caller names by an integer, or by an object with a buffer."""
    if isinstance(pointer, bytes):
        return ctypes.cast(ctypes.c_char_p(pointer), ctypes.c_void_p).value or 0
    try:
        return int(pointer)
    except TypeError:
        view = memoryview(pointer).cast("B")
        return ctypes.addressof(ctypes.c_char.from_buffer(view))


class Memory(Streams):
    """cuMem*."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Start without pinned memory."""
        super().__init__(*args, **kwargs)
        self._pinned = DeviceHeap(_HOST_CAPACITY)

    # ---- Allocation

    @call(2)
    def cuMemGetInfo(self) -> Result:
        heap = self._device().heap
        return (heap.capacity - heap.in_use, heap.capacity)

    @call(1, during_capture=False)
    def cuMemAlloc(self, size: int) -> Result:
        return (self._allocate(self._device(), size),)

    @staticmethod
    def _allocate(device: Device, size: int) -> int:
        if size <= 0:
            raise fail(_INVALID)
        allocation = device.heap.allocate(size)
        if allocation is None:
            raise fail(_NO_MEMORY)
        return allocation.address

    @call(during_capture=False)
    def cuMemFree(self, dptr: Any) -> Result:
        address = int(dptr)
        if address == 0:
            return ()
        device = self._device()
        self._drain_device(device)  # It waits, since work may use the memory.
        self._free(address)
        return ()

    def _free(self, address: int) -> None:
        if not any(device.heap.free(address) for device in self._devices):
            raise fail(_INVALID)

    @call(1)
    def cuMemAllocAsync(self, size: int, stream: Any) -> Result:
        found = self._uncaptured(stream)  # A graph here has no nodes that allocate.
        return (self._allocate(found.device, size),)

    @call()
    def cuMemFreeAsync(self, dptr: Any, stream: Any) -> Result:
        address = int(dptr)
        self._uncaptured(stream)
        if not any(device.heap.starts(address) for device in self._devices):
            raise fail(_INVALID)
        self._submit(stream, _SET, lambda: self._free_if_there(address))
        return ()

    def _free_if_there(self, address: int) -> None:
        for device in self._devices:
            device.heap.free(address)

    @call(1, during_capture=False)
    def cuMemHostAlloc(self, size: int, flags: int) -> Result:
        if size <= 0:
            raise fail(_INVALID)
        allocation = self._pinned.allocate(size)
        if allocation is None:
            raise fail(_NO_MEMORY)
        note_written(allocation.address, size)
        return (allocation.address,)

    @call(during_capture=False)
    def cuMemFreeHost(self, p: Any) -> Result:
        if not self._pinned.free(host_address(p)):
            raise fail(_INVALID)
        return ()

    @call(1)
    def cuMemHostGetDevicePointer(self, p: Any, flags: int) -> Result:
        address = host_address(p)
        if self._pinned.find(address) is None:
            raise fail(_INVALID)
        return (address,)

    # ---- Where an address is

    def _find(self, address: int, size: int = 0) -> tuple[Device, Allocation] | None:
        for device in self._devices:
            allocation = device.heap.find(address, size)
            if allocation is not None:
                return device, allocation
        return None

    def _require(self, pointer: Any, size: int) -> int:
        """The address of `size` bytes of device memory, or of pinned memory."""
        address = int(pointer)
        if size < 0:
            raise fail(_INVALID)
        if size and self._find(address, size) is None and not self._pinned.find(address, size):
            raise fail(_INVALID)
        return address

    @call(2)
    def cuMemGetAddressRange(self, dptr: Any) -> Result:
        found = self._find(int(dptr))
        if found is None:
            raise fail(CUresult.CUDA_ERROR_NOT_FOUND)
        return (found[1].address, found[1].bytes)

    @call(1)
    def cuPointerGetAttribute(self, attribute: Any, ptr: Any) -> Result:
        address = int(ptr)
        found, pinned = self._find(address), self._pinned.find(address)
        if found is None and pinned is None:
            raise fail(_INVALID)
        allocation = found[1] if found else pinned
        device = found[0] if found else self._device()
        assert allocation is not None, "one of the two is there"
        kind = CUmemorytype.CU_MEMORYTYPE_DEVICE if found else CUmemorytype.CU_MEMORYTYPE_HOST
        values = {
            "CONTEXT": device.context,
            "MEMORY_TYPE": int(kind),
            "DEVICE_POINTER": address,
            "HOST_POINTER": address,
            "IS_MANAGED": 0,
            "DEVICE_ORDINAL": device.ordinal,
            "RANGE_START_ADDR": allocation.address,
            "RANGE_SIZE": allocation.bytes,
            "MAPPED": 1,
        }
        try:
            name = CUpointer_attribute(int(attribute)).name
        except ValueError:
            raise fail(_INVALID) from None
        if name.endswith("HOST_POINTER") and found:
            raise fail(_INVALID)
        return (values[name.removeprefix("CU_POINTER_ATTRIBUTE_")],)

    # ---- Copies

    def _copy(self, to: int, source: int, size: int, *, into_device: bool) -> Callable[[], None]:
        def run() -> None:
            if size:
                ctypes.memmove(to, source, size)
                if into_device:
                    known = self._find(source, size) is not None
                    note_written(to, size, source if known else 0)

        return run

    @staticmethod
    def _staged(to: int, data: bytes) -> Callable[[], None]:
        def run() -> None:
            ctypes.memmove(to, data, len(data))
            note_written(to, len(data))

        return run

    @call(during_capture=False)
    def cuMemcpyHtoD(self, dst: Any, src: Any, size: int) -> Result:
        run = self._copy(self._require(dst, size), host_address(src), size, into_device=True)
        self._submit(LEGACY, _COPY, run)
        return ()

    @call(during_capture=False)
    def cuMemcpyDtoH(self, dst: Any, src: Any, size: int) -> Result:
        run = self._copy(host_address(dst), self._require(src, size), size, into_device=False)
        self._submit(LEGACY, _COPY, run)
        self._check_whole(self._device())
        return ()

    @call(during_capture=False)
    def cuMemcpyDtoD(self, dst: Any, src: Any, size: int) -> Result:
        to, source = self._require(dst, size), self._require(src, size)
        self._submit(LEGACY, _COPY, self._copy(to, source, size, into_device=True))
        return ()

    @call()
    def cuMemcpyHtoDAsync(self, dst: Any, src: Any, size: int, stream: Any) -> Result:
        to, source = self._require(dst, size), host_address(src)
        captured = self._stream(stream).capture is not None
        if size and self.deferred and not captured and not self._pinned.find(source, size):
            # Pageable memory is read before the call returns.
            self._submit(stream, _COPY, self._staged(to, ctypes.string_at(source, size)))
            return ()
        self._submit(stream, _COPY, self._copy(to, source, size, into_device=True))
        return ()

    @call()
    def cuMemcpyDtoHAsync(self, dst: Any, src: Any, size: int, stream: Any) -> Result:
        to, source = host_address(dst), self._require(src, size)
        found = self._stream(stream)
        self._submit(stream, _COPY, self._copy(to, source, size, into_device=False))
        if found.capture is None and not self._pinned.find(to, size):
            self._drain(found)  # Into pageable memory the call returns when it is done.
        return ()

    @call()
    def cuMemcpyDtoDAsync(self, dst: Any, src: Any, size: int, stream: Any) -> Result:
        to, source = self._require(dst, size), self._require(src, size)
        self._submit(stream, _COPY, self._copy(to, source, size, into_device=True))
        return ()

    @call()
    def cuMemcpyPeerAsync(
        self, dst: Any, dst_ctx: Any, src: Any, src_ctx: Any, size: int, stream: Any
    ) -> Result:
        self._by_context(dst_ctx)
        self._by_context(src_ctx)
        to, source = self._require(dst, size), self._require(src, size)
        self._submit(stream, _COPY, self._copy(to, source, size, into_device=True))
        return ()

    # ---- Fills

    def _fill(self, dst: Any, value: int, width: int, count: int) -> Callable[[], None]:
        size = width * count
        address = self._require(dst, size)
        if address % width:
            raise fail(_INVALID)
        pattern = (int(value) % (1 << (8 * width))).to_bytes(width, "little")

        def run() -> None:
            if width == 1:
                ctypes.memset(address, pattern[0], size)
            else:
                ctypes.memmove(address, pattern * count, size)
            note_written(address, size)

        return run

    @call(during_capture=False)
    def cuMemsetD8(self, dst: Any, value: int, count: int) -> Result:
        self._submit(LEGACY, _SET, self._fill(dst, value, 1, count))
        return ()

    @call(during_capture=False)
    def cuMemsetD32(self, dst: Any, value: int, count: int) -> Result:
        self._submit(LEGACY, _SET, self._fill(dst, value, 4, count))
        return ()

    @call()
    def cuMemsetD8Async(self, dst: Any, value: int, count: int, stream: Any) -> Result:
        self._submit(stream, _SET, self._fill(dst, value, 1, count))
        return ()

    @call()
    def cuMemsetD16Async(self, dst: Any, value: int, count: int, stream: Any) -> Result:
        self._submit(stream, _SET, self._fill(dst, value, 2, count))
        return ()

    @call()
    def cuMemsetD32Async(self, dst: Any, value: int, count: int, stream: Any) -> Result:
        self._submit(stream, _SET, self._fill(dst, value, 4, count))
        return ()
