# ruff: noqa: N801, N802, ARG002 (the names and arguments are the driver's)
"""A driver without a GPU, as unhelpful as a real one may be: nothing runs before it is waited for.

Device memory is host memory, kernels are Python functions. Each stream is a queue that runs when it
is synchronized, or when another waits for an event of it: what lacks an order, or is freed too
early, gives wrong values here each time. Any call can be made to fail.
"""

from __future__ import annotations

import ctypes
import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

ALIGNMENT = 256
POISON = 0xA5


class Code(IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_NO_DEVICE = 100
    CUDA_ERROR_NO_BINARY_FOR_GPU = 209
    CUDA_ERROR_INVALID_CONTEXT = 201
    CUDA_ERROR_INVALID_HANDLE = 400
    CUDA_ERROR_NOT_FOUND = 500
    CUDA_ERROR_ILLEGAL_ADDRESS = 700
    CUDA_ERROR_LAUNCH_FAILED = 719
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900
    CUDA_ERROR_UNKNOWN = 999


OK = Code.CUDA_SUCCESS


class CUdevice_attribute(IntEnum):
    CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 1
    CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X = 2
    CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y = 3
    CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z = 4
    CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X = 5
    CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y = 6
    CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z = 7
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97
    CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED = 115


class CUfunction_attribute(IntEnum):
    CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK = 0
    CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES = 1
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8


class CUmemPool_attribute(IntEnum):
    CU_MEMPOOL_ATTR_RELEASE_THRESHOLD = 4


class CUstreamCaptureMode(IntEnum):
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


LIMITS = {1: 1024, 2: 1024, 3: 1024, 4: 64, 5: 2**31 - 1, 6: 65535, 7: 65535, 16: 4, 75: 8, 76: 0}
LIMITS |= {97: 100 * 1024, 115: 1}

# Calls that need no context.
GLOBAL = """cuInit cuDriverGetVersion cuDeviceGetCount cuDeviceGet cuDeviceGetName
cuDeviceGetAttribute cuDeviceGetDefaultMemPool cuDevicePrimaryCtxRetain cuDevicePrimaryCtxRelease
cuCtxGetCurrent cuCtxPushCurrent cuCtxPopCurrent cuGetErrorName cuGetErrorString
cuMemPoolSetAttribute"""

Action = Callable[[], None]


@dataclass
class Block:
    """An allocation, with a margin that must stay as it is on both sides."""

    storage: Any
    size: int
    device: int


@dataclass
class Event:
    stream: int = 0
    position: int = 0
    time: float = 0.0


@dataclass
class Stream:
    queue: list[Action] = field(default_factory=list)
    done: int = 0
    captured: list[Action] | None = None


class FakeDriver:
    """The names, arguments and result tuples of `cuda.bindings.driver`.

    Attributes:
        kernels: Python functions by name: they get the driver, the grid, and each argument as an
            integer; `floats` gives the array at an address.
        log: the names of the calls made.
        fail_at: the number of the call that fails, counted from 0 in `log`.
        fail_with: the code that it returns.
        live: how many of each kind of thing exist.
        memory: bytes of a device.
    """

    def __init__(self, devices: int = 2, memory: int = 1 << 30) -> None:
        self.CUdevice_attribute = CUdevice_attribute
        self.CUfunction_attribute = CUfunction_attribute
        self.CUmemPool_attribute = CUmemPool_attribute
        self.CUstreamCaptureMode = CUstreamCaptureMode
        self.cuuint64_t = int
        self.devices = devices
        self.memory = memory
        self.version = 13000
        self.limits = dict(LIMITS)
        self.kernel_threads = 1024
        self.kernels: dict[str, Callable[..., None]] = {}
        self.log: list[str] = []
        self.fail_at = -1
        self.fail_with: Code = Code.CUDA_ERROR_UNKNOWN
        self.live: Counter[str] = Counter()
        self.launched: list[str] = []
        self.sticky: Code = OK
        self.blocks: dict[int, Block] = {}
        self.pinned: dict[int, Any] = {}
        self.streams: dict[int, Stream] = {}
        self.stack: list[int] = []
        self._clock = 0.0
        self._next = 100

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if not name.startswith("cu") or name == "cuuint64_t":
            return value

        def call(*args: Any) -> tuple[Any, ...]:
            number = len(self.log)
            self.log.append(name)
            if number == self.fail_at:
                return (self.fail_with,)
            if name not in GLOBAL.split():
                if not self.stack:
                    return (Code.CUDA_ERROR_INVALID_CONTEXT,)
                if self.sticky:
                    return (self.sticky,)
            result: tuple[Any, ...] = value(*args)
            return result

        return call

    # --- devices ---------------------------------------------------------------------------------

    def cuInit(self, flags: int) -> tuple[Any, ...]:
        return (OK,) if flags == 0 else (Code.CUDA_ERROR_INVALID_VALUE,)

    def cuDriverGetVersion(self) -> tuple[Any, ...]:
        return OK, self.version

    def cuGetErrorName(self, error: Any) -> tuple[Any, ...]:
        return OK, Code(error).name.encode()

    def cuGetErrorString(self, error: Any) -> tuple[Any, ...]:
        return OK, Code(error).name[5:].replace("_", " ").lower().encode()

    def cuDeviceGetCount(self) -> tuple[Any, ...]:
        return OK, self.devices

    def cuDeviceGet(self, ordinal: int) -> tuple[Any, ...]:
        return OK, ordinal

    def cuDeviceGetName(self, length: int, dev: int) -> tuple[Any, ...]:
        return OK, b"Fake GPU".ljust(length, b"\0")

    def cuDeviceGetAttribute(self, attrib: Any, dev: int) -> tuple[Any, ...]:
        return OK, self.limits[int(attrib)]

    def cuDeviceGetDefaultMemPool(self, dev: int) -> tuple[Any, ...]:
        return OK, ("pool", dev)

    def cuMemPoolSetAttribute(self, pool: Any, attr: Any, value: Any) -> tuple[Any, ...]:
        return (OK,)

    def cuMemPoolTrimTo(self, pool: Any, keep: int) -> tuple[Any, ...]:
        return (OK,)

    def cuDevicePrimaryCtxRetain(self, dev: int) -> tuple[Any, ...]:
        self.live["context"] += 1
        return OK, 1000 + dev

    def cuDevicePrimaryCtxRelease(self, dev: int) -> tuple[Any, ...]:
        self.live["context"] -= 1
        return (OK,)

    def cuCtxGetCurrent(self) -> tuple[Any, ...]:
        return OK, self.stack[-1] if self.stack else 0

    def cuCtxPushCurrent(self, ctx: int) -> tuple[Any, ...]:
        self.stack.append(ctx)
        return (OK,)

    def cuCtxPopCurrent(self) -> tuple[Any, ...]:
        return OK, self.stack.pop()

    def cuCtxSynchronize(self) -> tuple[Any, ...]:
        if self._capturing():
            return (Code.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,)
        for stream in list(self.streams):
            self._drain(stream)
        return (self.sticky,)

    def _capturing(self) -> bool:
        return any(s.captured is not None for s in self.streams.values())

    # --- streams and events ----------------------------------------------------------------------

    def _stream(self, number: int) -> Stream | None:
        if number in (1, 2):
            return self.streams.setdefault(number, Stream())
        return self.streams.get(number)

    def _drain(self, number: int, upto: int | None = None) -> None:
        stream = self.streams[number]
        while stream.queue and not self.sticky and (upto is None or stream.done < upto):
            action = stream.queue.pop(0)
            stream.done += 1
            action()

    def _queue(self, number: int, action: Action) -> tuple[Any, ...]:
        stream = self._stream(int(number))
        if stream is None:
            return (Code.CUDA_ERROR_INVALID_HANDLE,)
        (stream.queue if stream.captured is None else stream.captured).append(action)
        return (OK,)

    def _handle(self, kind: str) -> int:
        self._next += 1
        self.live[kind] += 1
        return self._next

    def cuStreamCreate(self, flags: int) -> tuple[Any, ...]:
        handle = self._handle("stream")
        self.streams[handle] = Stream()
        return OK, handle

    def cuStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        if stream not in self.streams:
            return (Code.CUDA_ERROR_INVALID_HANDLE,)
        self._drain(stream)
        del self.streams[stream]
        self.live["stream"] -= 1
        return (OK,)

    def cuStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        found = self._stream(stream)
        if found is None:
            return (Code.CUDA_ERROR_INVALID_HANDLE,)
        if found.captured is not None:
            return (Code.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,)
        self._drain(stream)
        return (self.sticky,)

    def cuStreamWaitEvent(self, stream: int, event: Event, flags: int) -> tuple[Any, ...]:
        number, position = event.stream, event.position
        return self._queue(stream, lambda: self._drain(number, position))

    def cuEventCreate(self, flags: int) -> tuple[Any, ...]:
        self.live["event"] += 1
        return OK, Event()

    def cuEventRecord(self, event: Event, stream: int) -> tuple[Any, ...]:
        found = self._stream(stream)
        if found is None:
            return (Code.CUDA_ERROR_INVALID_HANDLE,)
        event.stream, event.position = stream, found.done + len(found.queue)
        event.time = self._clock
        return (OK,)

    def cuEventSynchronize(self, event: Event) -> tuple[Any, ...]:
        self._drain(event.stream, event.position)
        return (self.sticky,)

    def cuEventElapsedTime(self, start: Event, end: Event) -> tuple[Any, ...]:
        return OK, end.time - start.time

    def cuEventDestroy(self, event: Event) -> tuple[Any, ...]:
        self.live["event"] -= 1
        return (OK,)

    # --- memory ----------------------------------------------------------------------------------

    def cuMemGetInfo(self) -> tuple[Any, ...]:
        return OK, self.memory - sum(b.size for b in self.blocks.values()), self.memory

    def cuMemAlloc(self, size: int) -> tuple[Any, ...]:
        if self._capturing():
            return (Code.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,)
        return self._allocate(size)

    def cuMemAllocAsync(self, size: int, stream: int) -> tuple[Any, ...]:
        return self._allocate(size)

    def _allocate(self, size: int) -> tuple[Any, ...]:
        if size == 0:
            return (Code.CUDA_ERROR_INVALID_VALUE,)
        if size > self.memory - sum(b.size for b in self.blocks.values()):
            return (Code.CUDA_ERROR_OUT_OF_MEMORY,)
        storage = ctypes.create_string_buffer(bytes([POISON]) * (size + 2 * ALIGNMENT))
        address = -(-(ctypes.addressof(storage) + 1) // ALIGNMENT) * ALIGNMENT
        self.blocks[address] = Block(storage, size, self.stack[-1] - 1000)
        self.live["memory"] += 1
        return OK, address

    def cuMemFree(self, dptr: int) -> tuple[Any, ...]:
        if self._capturing():
            return (Code.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED,)
        self.cuCtxSynchronize()
        self._free(dptr)
        return (OK,)

    def cuMemFreeAsync(self, dptr: int, stream: int) -> tuple[Any, ...]:
        if dptr not in self.blocks:
            return (Code.CUDA_ERROR_INVALID_VALUE,)
        if self._stream(stream) is None:
            return (Code.CUDA_ERROR_INVALID_HANDLE,)
        return self._queue(stream, lambda: self._free(dptr))

    def _free(self, dptr: int) -> None:
        block = self.blocks.pop(dptr)
        ctypes.memset(dptr, POISON, block.size)
        self.live["memory"] -= 1

    def cuMemHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        storage = ctypes.create_string_buffer(bytes([POISON]) * size, size)
        address = ctypes.addressof(storage)
        self.pinned[address] = storage
        self.live["pinned"] += 1
        return OK, address

    def cuMemFreeHost(self, p: int) -> tuple[Any, ...]:
        storage = self.pinned.pop(p, None)
        if storage is None:
            return (Code.CUDA_ERROR_INVALID_VALUE,)
        ctypes.memset(p, POISON, len(storage))
        self.live["pinned"] -= 1
        return (OK,)

    def _is_pinned(self, address: int) -> bool:
        return any(start <= address < start + len(s) for start, s in self.pinned.items())

    def _inside(self, address: int, size: int) -> bool:
        return any(
            start <= address and address + size <= start + b.size
            for start, b in self.blocks.items()
        )

    def _move(self, target: int, source: int, size: int, *, device: tuple[int, ...]) -> None:
        if all(self._inside(address, size) for address in device):
            ctypes.memmove(target, source, size)
        else:
            self.sticky = Code.CUDA_ERROR_ILLEGAL_ADDRESS

    def cuMemcpyHtoDAsync(self, dst: int, src: int, size: int, stream: int) -> tuple[Any, ...]:
        if self._is_pinned(src):
            return self._queue(stream, lambda: self._move(dst, src, size, device=(dst,)))
        data = ctypes.create_string_buffer(ctypes.string_at(src, size), size)
        start = ctypes.addressof(data)

        def copy(_keep: Any = data) -> None:
            self._move(dst, start, size, device=(dst,))

        return self._queue(stream, copy)

    def cuMemcpyDtoHAsync(self, dst: int, src: int, size: int, stream: int) -> tuple[Any, ...]:
        code = self._queue(stream, lambda: self._move(dst, src, size, device=(src,)))
        found = self._stream(stream)
        if found is not None and found.captured is None and not self._is_pinned(dst):
            self._drain(stream)
        return code

    def cuMemcpyDtoDAsync(self, dst: int, src: int, size: int, stream: int) -> tuple[Any, ...]:
        return self._queue(stream, lambda: self._move(dst, src, size, device=(dst, src)))

    def cuMemsetD8Async(self, dst: int, value: int, count: int, stream: int) -> tuple[Any, ...]:
        def fill() -> None:
            ctypes.memset(dst, value, count)

        return self._queue(stream, fill)

    # --- kernels ---------------------------------------------------------------------------------

    def cuModuleLoadData(self, image: bytes) -> tuple[Any, ...]:
        if b"fake" not in image:
            return (Code.CUDA_ERROR_NO_BINARY_FOR_GPU,)
        return OK, self._handle("module")

    def cuModuleGetFunction(self, module: int, name: bytes) -> tuple[Any, ...]:
        if name.decode() not in self.kernels:
            return (Code.CUDA_ERROR_NOT_FOUND,)
        return OK, name.decode()

    def cuModuleUnload(self, module: int) -> tuple[Any, ...]:
        self.live["module"] -= 1
        return (OK,)

    def cuFuncGetAttribute(self, attrib: Any, function: str) -> tuple[Any, ...]:
        return OK, self.kernel_threads if int(attrib) == 0 else 0

    def cuFuncSetAttribute(self, function: str, attrib: Any, value: int) -> tuple[Any, ...]:
        return (OK,)

    def cuLaunchKernel(self, function: str, *rest: Any) -> tuple[Any, ...]:
        grid, shared, stream, params = rest[:3], rest[6], rest[7], rest[8]
        if shared > self.limits[97]:
            return (Code.CUDA_ERROR_INVALID_VALUE,)
        body = self.kernels[function]
        count = len(inspect.signature(body).parameters) - 2
        where = (ctypes.c_void_p * count).from_address(params)
        # The driver copies the arguments with the call.
        args = [ctypes.c_int64.from_address(at).value for at in where if at]

        def run() -> None:
            self.launched.append(function)
            try:
                body(self, grid, *args)
            except MemoryError:
                self.sticky = Code.CUDA_ERROR_ILLEGAL_ADDRESS

        return self._queue(stream, run)

    def floats(self, address: int, count: int) -> Any:
        return self.array(address, count, np.float32)

    def array(self, address: int, count: int, dtype: Any) -> Any:
        size = count * np.dtype(dtype).itemsize
        if not self._inside(address, size):
            raise MemoryError(f"{size} bytes at {address:#x} are not one array's")
        return np.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype)

    # --- graphs ----------------------------------------------------------------------------------

    def cuStreamBeginCapture(self, stream: int, mode: Any) -> tuple[Any, ...]:
        self.streams[stream].captured = []
        return (OK,)

    def cuStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        graph = self.streams[stream].captured
        self.streams[stream].captured = None
        self.live["graph"] += 1
        return OK, [graph]

    def cuGraphInstantiate(self, graph: list[Any], flags: int) -> tuple[Any, ...]:
        self.live["executable"] += 1
        return OK, list(graph[0])

    def cuGraphLaunch(self, executable: list[Action], stream: int) -> tuple[Any, ...]:
        self._clock += 1.5

        def run() -> None:
            for action in executable:
                action()

        return self._queue(stream, run)

    def cuGraphDestroy(self, graph: Any) -> tuple[Any, ...]:
        self.live["graph"] -= 1
        return (OK,)

    def cuGraphExecDestroy(self, executable: Any) -> tuple[Any, ...]:
        self.live["executable"] -= 1
        return (OK,)
