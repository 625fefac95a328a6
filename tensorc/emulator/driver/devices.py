"""Devices, their attributes, and contexts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorc.emulator.driver.base import SUCCESS, Device, DriverBase, Result, call, fail
from tensorc.emulator.driver.codes import CUdevice_attribute, CUmemPool_attribute, CUresult
from tensorc.target import (
    BLOCK_LIMITS,
    GRID_LIMITS,
    REGISTERS,
    STATIC_SHARED,
    THREADS_PER_BLOCK,
    WARP,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DRIVER_VERSION = 13000
_PREFIX = "CU_DEVICE_ATTRIBUTE_"
_ATTRIBUTES: dict[str, int | Callable[[Device], int]] = {
    "MAX_THREADS_PER_BLOCK": THREADS_PER_BLOCK,
    "MAX_BLOCK_DIM_X": BLOCK_LIMITS[0],
    "MAX_BLOCK_DIM_Y": BLOCK_LIMITS[1],
    "MAX_BLOCK_DIM_Z": BLOCK_LIMITS[2],
    "MAX_GRID_DIM_X": GRID_LIMITS[0],
    "MAX_GRID_DIM_Y": GRID_LIMITS[1],
    "MAX_GRID_DIM_Z": GRID_LIMITS[2],
    "MAX_SHARED_MEMORY_PER_BLOCK": STATIC_SHARED,
    "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": lambda d: d.arch.block_shared,
    "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR": lambda d: d.arch.shared,
    "RESERVED_SHARED_MEMORY_PER_BLOCK": lambda d: d.arch.reserved,
    "TOTAL_CONSTANT_MEMORY": 65536,
    "WARP_SIZE": WARP,
    "MAX_PITCH": 2**31 - 1,
    "MAX_REGISTERS_PER_BLOCK": REGISTERS,
    "MAX_REGISTERS_PER_MULTIPROCESSOR": REGISTERS,
    "CLOCK_RATE": 1_000_000,
    "MEMORY_CLOCK_RATE": 1_000_000,
    "GLOBAL_MEMORY_BUS_WIDTH": 4096,
    "L2_CACHE_SIZE": 40 << 20,
    "TEXTURE_ALIGNMENT": 512,
    "MULTIPROCESSOR_COUNT": lambda d: d.arch.sms,
    "MAX_THREADS_PER_MULTIPROCESSOR": lambda d: d.arch.warps * WARP,
    "MAX_BLOCKS_PER_MULTIPROCESSOR": lambda d: d.arch.blocks,
    "COMPUTE_CAPABILITY_MAJOR": lambda d: d.arch.capability // 10,
    "COMPUTE_CAPABILITY_MINOR": lambda d: d.arch.capability % 10,
    "CLUSTER_LAUNCH": lambda d: int(d.arch.capability >= 90),
    "TENSOR_MAP_ACCESS_SUPPORTED": lambda d: int(d.arch.capability >= 90),
    "PCI_DEVICE_ID": lambda d: d.ordinal,
    "ASYNC_ENGINE_COUNT": 2,
    **dict.fromkeys(
        (
            *("CAN_MAP_HOST_MEMORY", "CONCURRENT_KERNELS", "UNIFIED_ADDRESSING"),
            *("STREAM_PRIORITIES_SUPPORTED", "GLOBAL_L1_CACHE_SUPPORTED", "COOPERATIVE_LAUNCH"),
            *("LOCAL_L1_CACHE_SUPPORTED", "MEMORY_POOLS_SUPPORTED"),
        ),
        1,
    ),
    **dict.fromkeys(
        (
            *("KERNEL_EXEC_TIMEOUT", "INTEGRATED", "COMPUTE_MODE", "ECC_ENABLED", "PCI_BUS_ID"),
            *("MANAGED_MEMORY", "CONCURRENT_MANAGED_ACCESS"),
        ),
        0,
    ),
}
_TEXTS = {
    CUresult.CUDA_SUCCESS: "no error",
    CUresult.CUDA_ERROR_INVALID_VALUE: "invalid argument",
    CUresult.CUDA_ERROR_OUT_OF_MEMORY: "out of memory",
    CUresult.CUDA_ERROR_NOT_INITIALIZED: "initialization error",
    CUresult.CUDA_ERROR_INVALID_CONTEXT: "invalid device context",
    CUresult.CUDA_ERROR_INVALID_HANDLE: "invalid resource handle",
    CUresult.CUDA_ERROR_NOT_FOUND: "named symbol not found",
    CUresult.CUDA_ERROR_ILLEGAL_ADDRESS: "an illegal memory access was encountered",
    CUresult.CUDA_ERROR_MISALIGNED_ADDRESS: "misaligned address",
    CUresult.CUDA_ERROR_LAUNCH_FAILED: "unspecified launch failure",
    CUresult.CUDA_ERROR_LAUNCH_TIMEOUT: "the launch timed out and was terminated",
    CUresult.CUDA_ERROR_ASSERT: "device-side assert triggered",
}


class Devices(DriverBase):
    """cuInit, cuDevice*, cuCtx*, cuGetError*."""

    def _kill_context(self, device: Device) -> None:
        raise AssertionError("the whole driver defines it")

    @call(context=False)
    def cuInit(self, flags: int) -> Result:
        if flags:
            raise fail(CUresult.CUDA_ERROR_INVALID_VALUE)
        if not self._devices:
            raise fail(CUresult.CUDA_ERROR_NO_DEVICE)
        self._initialized = True
        return ()

    @call(1, context=False)
    def cuDriverGetVersion(self) -> Result:
        return (DRIVER_VERSION,)

    @call(1, context=False)
    def cuGetErrorName(self, error: int) -> Result:
        return (self._code(error).name.encode(),)

    @call(1, context=False)
    def cuGetErrorString(self, error: int) -> Result:
        code = self._code(error)
        text = _TEXTS.get(code)
        if text is None:
            text = code.name.removeprefix("CUDA_ERROR_").replace("_", " ").lower()
        return (text.encode(),)

    @staticmethod
    def _code(error: int) -> CUresult:
        if int(error) not in CUresult.__members__.values():
            raise fail(CUresult.CUDA_ERROR_INVALID_VALUE)
        return CUresult(int(error))

    @call(1, context=False)
    def cuDeviceGetCount(self) -> Result:
        return (len(self._devices),)

    @call(1, context=False)
    def cuDeviceGet(self, ordinal: int) -> Result:
        return (self._by_ordinal(ordinal).ordinal,)

    @call(1, context=False)
    def cuDeviceGetName(self, length: int, dev: Any) -> Result:
        name = f"tensorc emulator of {self._by_ordinal(dev).arch.device}".encode()
        return (name[: max(0, length - 1)].ljust(length, b"\0"),)

    @call(1, context=False)
    def cuDeviceTotalMem(self, dev: Any) -> Result:
        return (self._by_ordinal(dev).heap.capacity,)

    @call(1, context=False)
    def cuDeviceGetAttribute(self, attrib: Any, dev: Any) -> Result:
        device = self._by_ordinal(dev)
        try:
            name = CUdevice_attribute(int(attrib)).name.removeprefix(_PREFIX)
        except ValueError:
            raise fail(CUresult.CUDA_ERROR_INVALID_VALUE) from None
        value = _ATTRIBUTES[name]
        return (value if isinstance(value, int) else value(device),)

    @call(1, context=False)
    def cuDeviceCanAccessPeer(self, dev: Any, peer: Any) -> Result:
        return (int(self._by_ordinal(dev) is not self._by_ordinal(peer)),)

    @call(1, context=False)
    def cuDeviceGetDefaultMemPool(self, dev: Any) -> Result:
        device = self._by_ordinal(dev)
        if not device.pool:
            device.pool = self._handle()
        return (device.pool,)

    def _by_pool(self, pool: Any) -> Device:
        for device in self._devices:
            if device.pool and device.pool == int(pool):
                return device
        raise fail(CUresult.CUDA_ERROR_INVALID_VALUE)

    @call(context=False)
    def cuMemPoolSetAttribute(self, pool: Any, attr: Any, value: Any) -> Result:
        self._by_pool(pool).pool_attributes[self._pool_attribute(attr)] = int(value)
        return ()

    @call(1, context=False)
    def cuMemPoolGetAttribute(self, pool: Any, attr: Any) -> Result:
        device, attribute = self._by_pool(pool), self._pool_attribute(attr)
        used = (
            CUmemPool_attribute.CU_MEMPOOL_ATTR_USED_MEM_CURRENT,
            CUmemPool_attribute.CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT,
        )
        if attribute in used:
            return (device.heap.in_use,)
        return (device.pool_attributes.get(attribute, 0),)

    @staticmethod
    def _pool_attribute(attr: Any) -> int:
        if int(attr) not in CUmemPool_attribute.__members__.values():
            raise fail(CUresult.CUDA_ERROR_INVALID_VALUE)
        return int(attr)

    @call(context=False)
    def cuMemPoolTrimTo(self, pool: Any, keep: int) -> Result:
        self._by_pool(pool)
        if keep < 0:
            raise fail(CUresult.CUDA_ERROR_INVALID_VALUE)
        return ()

    # ---- Contexts

    @call(1, context=False)
    def cuDevicePrimaryCtxRetain(self, dev: Any) -> Result:
        device = self._by_ordinal(dev)
        if not device.context:
            device.context = self._handle()
        device.users += 1
        return (device.context,)

    @call(context=False)
    def cuDevicePrimaryCtxRelease(self, dev: Any) -> Result:
        device = self._by_ordinal(dev)
        if not device.users:
            raise fail(CUresult.CUDA_ERROR_INVALID_CONTEXT)
        device.users -= 1
        if not device.users:
            self._end_context(device)
        return ()

    @call(context=False)
    def cuDevicePrimaryCtxReset(self, dev: Any) -> Result:
        device = self._by_ordinal(dev)
        self._end_context(device)
        if device.users:
            device.context = self._handle()
        return ()

    @call(2, context=False)
    def cuDevicePrimaryCtxGetState(self, dev: Any) -> Result:
        return (0, int(self._by_ordinal(dev).context != 0))

    def _end_context(self, device: Device) -> None:
        self._kill_context(device)
        device.heap.clear()
        device.context = 0
        device.broken = SUCCESS

    @call(context=False)
    def cuCtxSetCurrent(self, ctx: Any) -> Result:
        stack = self._stack()
        handle = int(ctx) if ctx is not None else 0
        if handle:
            self._by_context(handle)
        if stack:
            stack.pop()
        if handle:
            stack.append(handle)
        return ()

    @call(1, context=False)
    def cuCtxGetCurrent(self) -> Result:
        stack = self._stack()
        return (stack[-1] if stack else 0,)

    @call(context=False)
    def cuCtxPushCurrent(self, ctx: Any) -> Result:
        self._stack().append(self._by_context(ctx).context)
        return ()

    @call(1, context=False)
    def cuCtxPopCurrent(self) -> Result:
        stack = self._stack()
        if not stack:
            raise fail(CUresult.CUDA_ERROR_INVALID_CONTEXT)
        return (stack.pop(),)

    @call(1)
    def cuCtxGetDevice(self) -> Result:
        return (self._device().ordinal,)
