"""A function's kernels on one device, and its launches with their arguments packed.

What a launch passes is the address of an array of addresses of values. All values of a call lie in
one table (the parameters' pointers, those of the temporaries, the sizes, the status words), so a
call fills the table and nothing else.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorc_runtime import sizes
from tensorc_runtime.cuda.device import Handle
from tensorc_runtime.cuda.errors import CudaError
from tensorc_runtime.cuda.maps import BoundMap
from tensorc_runtime.cuda.plan import ARENA_ALIGNMENT, STATUS_WORDS
from tensorc_runtime.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc_runtime.cuda.device import Device
    from tensorc_runtime.cuda.plan import CudaImage, CudaPlan, Launch

STATUS_BYTES = 4 * STATUS_WORDS
_AXES = "xyz"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that is loaded: its handle, its most threads a block, its own shared memory."""

    handle: Any
    threads: int
    shared: int


class Module:
    """The kernels of a plan, loaded on a device and held against its limits."""

    def __init__(self, device: Device, name: str, plan: CudaPlan, image: CudaImage) -> None:
        """Load them; the device's context is current.

        Args:
            device: where to.
            name: of the function, for messages.
            plan: its launches.
            image: its code.

        Raises:
            CudaError: the driver does not take the code, or a launch is beyond the device's limits.
        """
        self.device = device
        self.name = name
        self.plan = plan
        emulated = device.system.emulated
        # Machine code runs on devices of its major version; the driver compiles PTX for later ones.
        apart = plan.arch[3:].rstrip("a")[:-1] != device.arch[3:-1]
        data = image.ptx if emulated or apart or image.cubin is None else image.cubin
        detail = f"loading {name}, compiled for {plan.arch}, on a device of {device.arch}"
        if data is image.ptx and not data.endswith(b"\0"):
            data += b"\0"
        handle = device.call("cuModuleLoadData", data, detail=detail)
        self._handle = Handle(device, handle, "cuModuleUnload")
        self.kernels: dict[str, Kernel] = {}
        for launch in plan.launches:
            self._load(launch)

    def _load(self, launch: Launch) -> None:
        device, name = self.device, launch.kernel
        detail = f"kernel {name} of {self.name}"
        attributes = device.api.CUfunction_attribute
        if name not in self.kernels:
            function = device.call(
                "cuModuleGetFunction", self._handle.value, name.encode(), detail=detail
            )
            # Asking loads what the driver loads lazily, which a capture does not allow.
            threads, shared = (
                int(device.call("cuFuncGetAttribute", which, function, detail=detail))
                for which in (
                    attributes.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK,
                    attributes.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES,
                )
            )
            self.kernels[name] = Kernel(function, threads, shared)
        kernel = self.kernels[name]
        self._check_block(launch, kernel)
        if launch.shared:
            most = max(x.shared for x in self.plan.launches if x.kernel == name)
            which = attributes.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            device.call("cuFuncSetAttribute", kernel.handle, which, most, detail=detail)

    def _check_block(self, launch: Launch, kernel: Kernel) -> None:
        device = self.device
        x, y, z = launch.block
        for axis, size in zip(_AXES, launch.block, strict=True):
            limit = device.limit(f"MAX_BLOCK_DIM_{axis.upper()}")
            if size > limit:
                raise self._beyond(launch, f"{size} threads in {axis}", f"at most {limit}")
        limit = device.limit("MAX_THREADS_PER_BLOCK")
        if x * y * z > limit:
            raise self._beyond(launch, f"{x * y * z} threads a block", f"at most {limit}")
        if x * y * z > kernel.threads:
            raise self._beyond(
                launch,
                f"{x * y * z} threads a block",
                f"registers for {kernel.threads} threads of this kernel; bind fewer threads, or "
                "let each keep less",
            )
        limit = device.limit("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")
        if launch.shared + kernel.shared > limit:
            raise self._beyond(
                launch,
                f"{launch.shared + kernel.shared:,} bytes of shared memory a block",
                f"at most {limit:,}",
            )

    def _beyond(self, launch: Launch, asked: str, there: str) -> CudaError:
        return CudaError(
            f"{self.name}: kernel {launch.kernel} asks for {asked}, and {self.device.place} has "
            f"{there}"
        )

    def check_grid(self, launch: Launch, grid: Sequence[int]) -> None:
        """Hold a grid against the device's limits.

        Raises:
            ArgumentError: it is beyond them.
        """
        for axis, size in zip(_AXES, grid, strict=True):
            limit = self.device.limit(f"MAX_GRID_DIM_{axis.upper()}")
            if size > limit:
                raise ArgumentError(
                    f"{self.name}: kernel {launch.kernel} would have {size:,} blocks in {axis}, "
                    f"and {self.device.place} takes at most {limit:,}; pass smaller arrays, or "
                    "bind another loop there"
                )


@dataclass(frozen=True, slots=True)
class _Ready:
    """A launch but for its stream: everything that `cuLaunchKernel` takes before and after it."""

    kernel: str
    before: tuple[Any, ...]
    params: int


class Frame:
    """The launches of one call for given sizes, and the table of what they pass.

    Attributes:
        arena: the bytes of temporaries.
        bytes: the arena and, where there are checks, the status words after it.
    """

    def __init__(self, module: Module, dims: Mapping[str, int]) -> None:
        """Evaluate all sizes.

        Raises:
            ArgumentError: a grid is beyond the device's limits.
            LoadError: the plan's temporaries do not fit its arena.
        """
        plan = module.plan
        plan.check_room(dims)
        self.module = module
        self.arena = max(sizes.evaluate(plan.arena, dims), 0)
        self._offsets = [sizes.evaluate(t.offset, dims) for t in plan.temps]
        self.status_offset = -(-self.arena // ARENA_ALIGNMENT) * ARENA_ALIGNMENT
        self.bytes = self.status_offset + STATUS_BYTES if plan.checks else self.arena
        start = {"param": 0, "temp": plan.params}
        start["dim"] = start["temp"] + len(plan.temps)
        start["status"] = start["dim"] + len(plan.dims)
        self._start = start
        self._values = (ctypes.c_int64 * (start["status"] + 1))()
        for i, name in enumerate(plan.dims):
            self._values[start["dim"] + i] = dims[name]
        self._keep: list[Any] = []
        self._maps = [BoundMap(module.device, module.name, m, dims) for m in plan.maps]
        self._mapped = [start[m.source.kind] + m.source.index for m in plan.maps]
        self._launches = [x for launch in plan.launches for x in self._pack(launch, dims)]

    def _pack(self, launch: Launch, dims: Mapping[str, int]) -> list[_Ready]:
        grid = [sizes.evaluate(size, dims) for size in launch.grid]
        if min(grid) <= 0:
            return []
        self.module.check_grid(launch, grid)
        base = ctypes.addressof(self._values)
        where = [
            self._maps[a.index].address
            if a.kind == "map"
            else base + 8 * (self._start[a.kind] + a.index)
            for a in launch.args
        ]
        params = (ctypes.c_void_p * max(len(where), 1))(*where)
        self._keep.append(params)
        handle = self.module.kernels[launch.kernel].handle
        before = (handle, *grid, *launch.block, launch.shared)
        return [_Ready(launch.kernel, before, ctypes.addressof(params))]

    def fill(self, pointers: Sequence[int], memory: int) -> None:
        """Set what the launches pass: the parameters' addresses, and that of `bytes` bytes."""
        temps = [memory + offset for offset in self._offsets]
        self.fill_apart(pointers, temps, memory + self.status_offset)

    def fill_apart(self, pointers: Sequence[int], temps: Sequence[int], status: int) -> None:
        """Set what the launches pass, where each temporary has memory of its own."""
        self._values[: len(pointers)] = list(pointers)
        for i, address in enumerate(temps, self._start["temp"]):
            self._values[i] = address
        self._values[self._start["status"]] = status
        for tensor_map, place in zip(self._maps, self._mapped, strict=True):
            tensor_map.point_to(self._values[place])

    def launch(self, stream: int) -> None:
        """Queue all launches on `stream`; the device's context is current.

        Raises:
            CudaError: the driver refuses one.
            ContextLost: where the device is synchronous, a kernel failed.
        """
        device, name = self.module.device, self.module.name
        start: Any = device.api.cuLaunchKernel
        for ready in self._launches:
            code, *_ = start(*ready.before, stream, ready.params, 0)
            if code:
                _, x, y, z, *block, shared = ready.before
                raise device.error(
                    "cuLaunchKernel",
                    code,
                    f"kernel {ready.kernel} of {name}, grid {(x, y, z)}, block {tuple(block)}, "
                    f"{shared:,} bytes of dynamic shared memory",
                )
            if not device.capturing:
                device.recent.append(f"{ready.kernel} of {name}")
                if device.synchronous:
                    device.wait(stream)

    @property
    def kernels(self) -> list[str]:
        """The kernels that are launched, in order."""
        return [ready.kernel for ready in self._launches]
