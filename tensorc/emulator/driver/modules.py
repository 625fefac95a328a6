"""Modules, functions, launches, occupancy and tensor maps."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from typing import Any

from tensorc.emulator.driver.base import Device, Result, call, fail
from tensorc.emulator.driver.codes import (
    CUfunction_attribute,
    CUgraphNodeType,
    CUresult,
    CUtensorMapDataType,
)
from tensorc.emulator.driver.memory import Memory, host_address
from tensorc.emulator.module import EmulatedModule, LaunchResult, Outcome
from tensorc.emulator.report import FindingKind, Index3
from tensorc.emulator.tensor_map import BYTES, encode_tensor_map
from tensorc.target import BLOCK_LIMITS, GRID_LIMITS, SHARED_UNIT, STATIC_SHARED, THREADS_PER_BLOCK

_KERNEL = CUgraphNodeType.CU_GRAPH_NODE_TYPE_KERNEL
_INVALID = CUresult.CUDA_ERROR_INVALID_VALUE
_MAX_DYNAMIC = CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_BINARIES = (b"\x7fELF", b"\x50\xed\x55\xba")  # A CUBIN; a fat binary.
_CODES = {
    Outcome.FAULT: CUresult.CUDA_ERROR_ILLEGAL_ADDRESS,
    Outcome.TRAP: CUresult.CUDA_ERROR_LAUNCH_FAILED,
    Outcome.ASSERT: CUresult.CUDA_ERROR_ASSERT,
    Outcome.STUCK: CUresult.CUDA_ERROR_LAUNCH_TIMEOUT,
    Outcome.LIMIT: CUresult.CUDA_ERROR_LAUNCH_TIMEOUT,
    Outcome.MISUSE: CUresult.CUDA_ERROR_ILLEGAL_INSTRUCTION,
}
# Data types of tensor maps: bytes, and the name of what copies can add.
_TENSOR_TYPES = {
    "UINT8": (1, "u8"),
    "UINT16": (2, ""),
    "UINT32": (4, ""),
    "INT32": (4, "s32"),
    "UINT64": (8, ""),
    "INT64": (8, ""),
    "FLOAT16": (2, "f16"),
    "FLOAT32": (4, "f32"),
    "FLOAT64": (8, "f64"),
    "BFLOAT16": (2, "bf16"),
    "FLOAT32_FTZ": (4, "f32"),
    "TFLOAT32": (4, "tf32"),
    "TFLOAT32_FTZ": (4, "tf32"),
}
_SWIZZLE_BYTES = (0, 32, 64, 128)


@dataclass(eq=False)
class Module:
    """A loaded module."""

    handle: int
    device: Device
    module: EmulatedModule
    functions: dict[str, Function]


@dataclass(eq=False)
class Function:
    """A kernel of a loaded module."""

    handle: int
    module: Module
    name: str
    max_dynamic: int


@dataclass
class KernelLaunch:
    """Everything that one launch was given; the values of its parameters are copies."""

    function: Function
    grid: Index3
    block: Index3
    shared: int
    params: tuple[bytes, ...]


class CUlaunchConfig:
    """What cuLaunchKernelEx takes, by the names of `cuda.bindings.driver`."""

    def __init__(self) -> None:
        """Take one block of one thread, in the default stream."""
        self.gridDimX = self.gridDimY = self.gridDimZ = 1
        self.blockDimX = self.blockDimY = self.blockDimZ = 1
        self.sharedMemBytes = 0
        self.hStream: Any = 0
        self.attrs: list[Any] = []
        self.numAttrs = 0


class CUtensorMap:
    """The 128 bytes of a tensor map, at an address that is a multiple of 64."""

    def __init__(self, data: bytes) -> None:
        """Copy the encoded map."""
        self._storage = ctypes.create_string_buffer(BYTES + 64)
        self._address = -(-ctypes.addressof(self._storage) // 64) * 64
        ctypes.memmove(self._address, data, BYTES)

    def getPtr(self) -> int:
        """Its address, to pass as a kernel parameter."""
        return self._address

    @property
    def opaque(self) -> list[int]:
        """Its 16 words."""
        return list((ctypes.c_uint64 * 16).from_address(self._address))


class Modules(Memory):
    """cuModule*, cuFunc*, cuLaunch*, cuOccupancy*, cuTensorMap*."""

    CUlaunchConfig = CUlaunchConfig
    CUtensorMap = CUtensorMap

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Start without modules."""
        super().__init__(*args, **kwargs)
        self._modules: dict[int, Module] = {}
        self._functions: dict[int, Function] = {}

    def _kill_context(self, device: Device) -> None:
        super()._kill_context(device)
        for module in [m for m in self._modules.values() if m.device is device]:
            self._unload(module)

    # ---- Modules

    @call(1, during_capture=False)
    def cuModuleLoadData(self, image: Any) -> Result:
        data = image if isinstance(image, bytes) else ctypes.string_at(host_address(image))
        device = self._device()
        if data.startswith(_BINARIES):  # Machine code of a GPU, which this is not.
            raise fail(CUresult.CUDA_ERROR_NO_BINARY_FOR_GPU)
        text = data.rstrip(b"\0").decode("utf-8", errors="replace")
        target = re.search(r"^\s*\.target\s+sm_(\d+)(a?)", text, re.M)
        if target is None or not re.search(r"^\s*\.version\s+\d", text, re.M):
            raise fail(CUresult.CUDA_ERROR_INVALID_PTX)
        capability, exact = int(target.group(1)), target.group(2) == "a"
        if capability > device.arch.capability or (exact and capability != device.arch.capability):
            raise fail(CUresult.CUDA_ERROR_INVALID_PTX)
        checked = self.options.checked or self.options.profile
        module = Module(self._handle(), device, EmulatedModule(text, checked=checked), {})
        self._modules[module.handle] = module
        return (module.handle,)

    def _module(self, handle: Any) -> Module:
        module = self._modules.get(int(handle))
        if module is None:
            raise fail(CUresult.CUDA_ERROR_INVALID_HANDLE)
        return module

    @call(during_capture=False)
    def cuModuleUnload(self, module: Any) -> Result:
        found = self._module(module)
        self._drain_device(found.device)
        self._unload(found)
        return ()

    def _unload(self, module: Module) -> None:
        del self._modules[module.handle]
        for function in module.functions.values():
            del self._functions[function.handle]

    @call(1)
    def cuModuleGetFunction(self, module: Any, name: bytes) -> Result:
        found, text = self._module(module), name.rstrip(b"\0").decode()
        info = found.module.kernels.get(text)
        if info is None:
            raise fail(CUresult.CUDA_ERROR_NOT_FOUND)
        if text not in found.functions:
            limit = max(0, STATIC_SHARED - info.static_bytes)
            function = Function(self._handle(), found, text, limit)
            found.functions[text] = self._functions[function.handle] = function
        return (found.functions[text].handle,)

    @call(2)
    def cuModuleGetGlobal(self, module: Any, name: bytes) -> Result:
        try:
            return self._module(module).module.variable(name.rstrip(b"\0").decode())
        except KeyError:
            raise fail(CUresult.CUDA_ERROR_NOT_FOUND) from None

    def _require(self, pointer: Any, size: int) -> int:
        """Variables of modules are device memory too."""
        address = int(pointer)
        for loaded in self._modules.values():
            for name in loaded.module.translation.variables:
                start, length = loaded.module.variable(name)
                if start <= address and address + size <= start + length:
                    return address
        return super()._require(pointer, size)

    # ---- Functions

    def _function(self, handle: Any) -> Function:
        function = self._functions.get(int(handle))
        if function is None:
            raise fail(CUresult.CUDA_ERROR_INVALID_HANDLE)
        return function

    @call(1)
    def cuFuncGetAttribute(self, attrib: Any, function: Any) -> Result:
        found = self._function(function)
        info = found.module.module.kernels[found.name]
        capability = found.module.device.arch.capability
        version = found.module.module.translation.version.replace(".", "")
        values = {
            "MAX_THREADS_PER_BLOCK": info.max_threads or THREADS_PER_BLOCK,
            "SHARED_SIZE_BYTES": info.static_bytes,
            "CONST_SIZE_BYTES": 0,
            "LOCAL_SIZE_BYTES": info.local_bytes,
            "NUM_REGS": 0,  # PTX does not say; a GPU's compiler decides.
            "PTX_VERSION": int(version),
            "BINARY_VERSION": capability,
            "MAX_DYNAMIC_SHARED_SIZE_BYTES": found.max_dynamic,
        }
        if int(attrib) not in CUfunction_attribute.__members__.values():
            raise fail(_INVALID)
        name = CUfunction_attribute(int(attrib)).name.removeprefix("CU_FUNC_ATTRIBUTE_")
        return (values.get(name, 0),)

    @call()
    def cuFuncSetAttribute(self, function: Any, attrib: Any, value: int) -> Result:
        found = self._function(function)
        info = found.module.module.kernels[found.name]
        if int(attrib) == _MAX_DYNAMIC:
            if not 0 <= value <= found.module.device.arch.block_shared - info.static_bytes:
                raise fail(_INVALID)
            found.max_dynamic = int(value)
        elif int(attrib) < _MAX_DYNAMIC or (
            int(attrib) not in CUfunction_attribute.__members__.values()
        ):
            raise fail(_INVALID)
        return ()

    @call(1)
    def cuOccupancyMaxActiveBlocksPerMultiprocessor(
        self, func: Any, block_size: int, dynamic: int
    ) -> Result:
        """By warps, blocks and shared memory; PTX does not say how many registers it takes."""
        found = self._function(func)
        arch = found.module.device.arch
        if block_size <= 0:
            raise fail(_INVALID)
        static = found.module.module.kernels[found.name].static_bytes
        used = -(-(static + dynamic + arch.reserved) // SHARED_UNIT) * SHARED_UNIT
        by_warps = arch.warps // -(-block_size // 32)
        return (min(by_warps, arch.blocks, arch.shared // used if used else arch.blocks),)

    # ---- Launches

    @call()
    def cuLaunchKernel(
        self,
        function: Any,
        grid_x: int,
        grid_y: int,
        grid_z: int,
        block_x: int,
        block_y: int,
        block_z: int,
        shared: int,
        stream: Any,
        params: Any,
        extra: Any,
    ) -> Result:
        grid, block = (grid_x, grid_y, grid_z), (block_x, block_y, block_z)
        self._launch(self._prepare(function, grid, block, shared, params, extra), stream)
        return ()

    @call()
    def cuLaunchKernelEx(self, config: Any, f: Any, params: Any, extra: Any) -> Result:
        grid = (config.gridDimX, config.gridDimY, config.gridDimZ)
        block = (config.blockDimX, config.blockDimY, config.blockDimZ)
        if config.numAttrs:
            raise fail(CUresult.CUDA_ERROR_NOT_SUPPORTED)
        launch = self._prepare(f, grid, block, config.sharedMemBytes, params, extra)
        self._launch(launch, config.hStream)
        return ()

    def _prepare(
        self, handle: Any, grid: Index3, block: Index3, shared: int, params: Any, extra: Any
    ) -> KernelLaunch:
        """Check a launch as the driver does, and copy its parameters."""
        function = self._function(handle)
        info = function.module.module.kernels[function.name]
        if function.module.device is not self._device():
            raise fail(CUresult.CUDA_ERROR_INVALID_CONTEXT)
        threads = block[0] * block[1] * block[2]
        within = all(
            0 < extent <= limit
            for extent, limit in zip((*grid, *block), (*GRID_LIMITS, *BLOCK_LIMITS), strict=True)
        )
        if not within or not 0 <= shared <= function.max_dynamic or extra:
            raise fail(_INVALID)
        if threads > (info.max_threads or THREADS_PER_BLOCK):
            raise fail(_INVALID)
        if info.required_block and block != info.required_block:
            raise fail(_INVALID)
        return KernelLaunch(function, grid, block, shared, _param_values(params, info.param_bytes))

    def _launch(self, launch: KernelLaunch, stream: Any) -> None:
        self._submit(stream, _KERNEL, lambda: self._run(launch), launch)

    def _run(self, launch: KernelLaunch) -> None:
        module = launch.function.module
        self.launches += 1
        result = module.module.launch(
            launch.function.name,
            launch.grid,
            launch.block,
            launch.params,
            launch.shared,
            self.options,
        )
        self.report.add(result.findings)
        self.profile.add(result.accesses)
        self.printed += result.printed
        code = _fault_code(result)
        if code is not None:
            self.last_error = f"{launch.function.name}: {result.describe()}"
            module.device.broken = code

    # ---- Tensor maps

    @call(1, context=False)
    def cuTensorMapEncodeTiled(
        self,
        data_type: Any,
        rank: int,
        address: Any,
        extents: Any,
        strides: Any,
        box: Any,
        element_strides: Any,
        interleave: Any,
        swizzle: Any,
        l2: Any,
        fill: Any,
    ) -> Result:
        """Extents, strides and boxes are innermost first; strides are bytes, without the first."""
        try:
            name = CUtensorMapDataType(int(data_type)).name
        except ValueError:
            raise fail(_INVALID) from None
        known = _TENSOR_TYPES.get(name.removeprefix("CU_TENSOR_MAP_DATA_TYPE_"))
        sizes, steps, edges = ([int(v) for v in values or ()] for values in (extents, strides, box))
        if known is None or int(interleave) or int(fill) or not 0 <= int(swizzle) <= 3:
            raise fail(CUresult.CUDA_ERROR_NOT_SUPPORTED if known is None else _INVALID)
        _check_tensor(int(address), rank, sizes, steps, edges, known[0], int(swizzle))
        if any(int(step) != 1 for step in element_strides):
            raise fail(CUresult.CUDA_ERROR_NOT_SUPPORTED)
        data = encode_tensor_map(
            int(address), sizes, steps[: rank - 1], edges, known[0], known[1], int(swizzle)
        )
        return (CUtensorMap(data),)


def _check_tensor(
    address: int,
    rank: int,
    sizes: list[int],
    steps: list[int],
    edges: list[int],
    element: int,
    swizzle: int,
) -> None:
    """The driver's rules: cuda.h, cuTensorMapEncodeTiled."""
    fine = 1 <= rank <= 5 and len(sizes) >= rank and len(edges) >= rank and address % 16 == 0
    fine = fine and all(0 < size <= 2**32 for size in sizes[:rank]) and len(steps) >= rank - 1
    fine = fine and all(0 < edge <= 256 for edge in edges[:rank])
    fine = fine and all(step % 16 == 0 and 0 < step < 2**40 for step in steps[: rank - 1])
    row = edges[0] * element if edges else 0
    fine = fine and row % 16 == 0 and (not swizzle or row <= _SWIZZLE_BYTES[swizzle])
    if not fine:
        raise fail(_INVALID)


def _fault_code(result: LaunchResult) -> CUresult | None:
    if result.outcome is not Outcome.FINISHED:
        return _CODES[result.outcome]
    if any(finding.kind is FindingKind.MISALIGNED for finding in result.findings):
        return CUresult.CUDA_ERROR_MISALIGNED_ADDRESS
    return None


def _param_values(params: Any, sizes: tuple[int, ...]) -> tuple[bytes, ...]:
    """The parameters' bytes: behind the address of an array of addresses, or as (values, types)."""
    if not sizes:
        return ()
    if isinstance(params, tuple):
        return tuple(
            _value_bytes(value, kind, size)
            for value, kind, size in zip(*params, sizes, strict=True)
        )
    address = host_address(params) if params is not None else 0
    if not address:
        raise fail(_INVALID)
    pointers = (ctypes.c_void_p * len(sizes)).from_address(address)
    values = []
    for pointer, size in zip(pointers, sizes, strict=True):
        if not pointer:
            raise fail(_INVALID)
        values.append(ctypes.string_at(pointer, size))
    return tuple(values)


def _value_bytes(value: Any, kind: Any, size: int) -> bytes:
    if kind is not None:
        return bytes(kind(value) if not isinstance(value, kind) else value)
    if hasattr(value, "getPtr") and size != 8:
        return ctypes.string_at(value.getPtr(), size)
    return int(value).to_bytes(size, "little")
