"""Devices: their contexts, memory, streams and events, and the release of all of it.

Whatever the driver gives is held by a Python object, and given back when nothing refers to that
object any more. What cannot be given back at once (a graph is being captured, the driver refuses)
waits in a list that the next call works off. Nothing is given back to a context that is lost.
"""

from __future__ import annotations

import contextlib
import gc
import os
import weakref
from collections import deque
from threading import RLock
from typing import TYPE_CHECKING, Any

from tensorc_runtime.cuda.api import (
    EVENT_DEFAULT,
    EVENT_DISABLE_TIMING,
    LEGACY_STREAM,
    STREAM_NON_BLOCKING,
)
from tensorc_runtime.cuda.errors import (
    DEINITIALIZED,
    INVALID_HANDLE,
    OUT_OF_MEMORY,
    STICKY,
    ContextLost,
    DeviceUnavailable,
    driver_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tensorc_runtime.cuda.api import DriverApi
    from tensorc_runtime.cuda.errors import CudaError

OLDEST_DRIVER = 12000
_REMEMBERED = 64  # Launches that an error found later may be blamed on.
_RETRIES = 3
_KEEP_ALL = 2**64 - 1

_systems: weakref.WeakSet[System] = weakref.WeakSet()


class System:
    """The devices that one driver object gives."""

    def __init__(self, api: DriverApi, *, emulated: bool = False) -> None:
        """Nothing is asked of the driver before the first device is.

        Args:
            api: what has the driver's functions.
            emulated: whether addresses mean nothing outside of it, so that no other library can
                be lent an array.
        """
        self.api = api
        self.emulated = emulated
        self.forked = False
        self._devices: dict[int, Device] = {}
        self._lock = RLock()
        self._started = False
        _systems.add(self)

    def call(self, name: str, *args: Any) -> Any:
        """Call the driver outside of any context; what it gives, without the code.

        Raises:
            CudaError: it refuses.
        """
        code, *values = getattr(self.api, name)(*args)
        if code:
            raise driver_error(self.api, name, code, "")
        return values[0] if len(values) == 1 else tuple(values)

    @property
    def count(self) -> int:
        """How many devices there are.

        Raises:
            CudaError: the driver cannot be started.
        """
        self._start()
        return int(self.call("cuDeviceGetCount"))

    def device(self, index: int = 0) -> Device:
        """The device of that number, its context made current where it is first used.

        Raises:
            CudaError: the driver cannot be started, or there is no such device.
        """
        with self._lock:
            found = self._devices.get(index)
            if found is None:
                count = self.count
                if not 0 <= index < count:
                    there = "there is none" if not count else f"there are 0 to {count - 1}"
                    raise DeviceUnavailable(
                        f"device {index}: no such CUDA device; {there}; look at nvidia-smi and at "
                        "CUDA_VISIBLE_DEVICES"
                    )
                found = self._devices[index] = Device(self, index)
            return found

    @property
    def lost(self) -> bool:
        """Whether the context of one of the devices is lost."""
        return any(device.lost is not None for device in self._devices.values())

    def close(self) -> None:
        """Give back everything that is not in use, the contexts too.

        Raises:
            CudaError: the driver refuses.
        """
        with self._lock:
            for index, device in list(self._devices.items()):
                device.close()
                del self._devices[index]

    def _start(self) -> None:
        with self._lock:
            if self._started:
                return
            self.call("cuInit", 0)
            version = int(self.call("cuDriverGetVersion"))
            if version < OLDEST_DRIVER:
                raise DeviceUnavailable(
                    f"the NVIDIA driver supports CUDA {_version(version)}, and CUDA "
                    f"{_version(OLDEST_DRIVER)} is needed; install a newer driver"
                )
            self._started = True


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


class Device:
    """One device, through its primary context, which other libraries of the process share."""

    def __init__(self, system: System, index: int) -> None:
        """Made by `System.device`."""
        self.system = system
        self.api = api = system.api
        self.index = index
        self.handle = system.call("cuDeviceGet", index)
        raw = system.call("cuDeviceGetName", 128, self.handle)
        text = raw.decode(errors="replace") if isinstance(raw, bytes) else str(raw)
        self.name = text.split("\0")[0].strip()
        self.lost: str | None = None
        self.capturing = False
        self.recent: deque[str] = deque(maxlen=_REMEMBERED)
        self.synchronous = os.environ.get("TENSORC_CUDA_SYNC", "0") not in ("", "0")
        self.reports: weakref.WeakSet[Any] = weakref.WeakSet()
        self.turn = RLock()  # Held by calls that share state.
        self._lock = RLock()
        self._waste: deque[tuple[str, tuple[Any, ...], int]] = deque()
        self._pool: Any = None
        self._limits: dict[str, int] = {}
        self._order_event: Handle | None = None
        self._context = system.call("cuDevicePrimaryCtxRetain", self.handle)
        self._context_id = int(self._context)
        self._retained = weakref.finalize(self, api.cuDevicePrimaryCtxRelease, self.handle)
        self._retained.atexit = False
        self._find_pool()

    @property
    def place(self) -> str:
        """How messages name the device."""
        return f"device {self.index} ({self.name})"

    def __repr__(self) -> str:
        return f"<{self.place}>"

    def limit(self, name: str) -> int:
        """An attribute of the device by its name without CU_DEVICE_ATTRIBUTE_.

        Raises:
            CudaError: the driver refuses.
        """
        if name not in self._limits:
            attribute = getattr(self.api.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
            self._limits[name] = int(self.call("cuDeviceGetAttribute", attribute, self.handle))
        return self._limits[name]

    @property
    def arch(self) -> str:
        """The architecture, such as "sm_90"."""
        major = self.limit("COMPUTE_CAPABILITY_MAJOR")
        return f"sm_{major}{self.limit('COMPUTE_CAPABILITY_MINOR')}"

    # --- calls -----------------------------------------------------------------------------------

    def current(self) -> _Current:
        """With the device's context current in this thread, as it was before at the end.

        Raises:
            ContextLost: nothing can run there any more.
            CudaError: the driver refuses.
        """
        return _Current(self)

    def check_alive(self) -> None:
        """Refuse where the context is lost.

        Raises:
            ContextLost: it is.
        """
        if self.system.forked:
            raise ContextLost(
                f"{self.place}: this process was forked from one that uses CUDA, and cannot use "
                "it; start workers with multiprocessing's 'spawn'"
            )
        if self.lost is not None:
            raise ContextLost(
                f"{self.place}: the context is lost since an earlier error; start the process "
                f"anew. The error was: {self.lost}"
            )

    def call(self, name: str, *args: Any, detail: str = "") -> Any:
        """Call the driver; what it gives, without the code.

        Raises:
            CudaError: it refuses; `detail` is part of the message.
        """
        code, *values = getattr(self.api, name)(*args)
        if code:
            raise self.error(name, code, detail)
        return values[0] if len(values) == 1 else tuple(values)

    def error(self, call: str, code: Any, detail: str = "") -> CudaError:
        """The error for what `call` returned; a sticky one marks the context as lost."""
        number = int(code)
        if number in STICKY:
            detail = self._suspects()
        error = driver_error(self.api, call, code, self.place, detail)
        if number in STICKY and self.lost is None:
            self.lost = str(error)
        return error

    def _suspects(self) -> str:
        launches = list(dict.fromkeys(self.recent))
        if not launches:
            return "nothing had been launched here since the last synchronization"
        if len(launches) == 1:
            return f"it comes from {launches[0]}"
        return "it comes from one of these launches, the latest last: " + ", ".join(launches)

    def synchronize(self) -> None:
        """Wait for everything that was queued on the device, and report what went wrong there.

        Raises:
            ContextLost: a kernel failed; the message names those that may have.
            CheckFailed: a check of a bound function failed.
        """
        with self.current():
            self.call("cuCtxSynchronize")
        self.recent.clear()
        for report in sorted(self.reports, key=lambda r: str(r.serial).zfill(12)):
            report.raise_failed()

    def wait(self, stream: int) -> None:
        """Wait for everything that was queued on `stream`; the context is current.

        Raises:
            ContextLost: a kernel failed.
        """
        self.call("cuStreamSynchronize", stream)
        self.recent.clear()

    # --- what the device gives -------------------------------------------------------------------

    def _find_pool(self) -> None:
        if not self.limit("MEMORY_POOLS_SUPPORTED"):
            return
        self._pool = self.system.call("cuDeviceGetDefaultMemPool", self.handle)
        attribute = self.api.CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
        # Else each synchronization gives free memory back to the system, which is slow to ask for.
        self.call("cuMemPoolSetAttribute", self._pool, attribute, self.api.cuuint64_t(_KEEP_ALL))

    def allocate(self, size: int, stream: int = LEGACY_STREAM) -> Memory:
        """Uninitialized memory for use on `stream`; the context is current.

        Raises:
            OutOfDeviceMemory: there is not enough.
        """
        self.clean()
        if size == 0:
            return Memory(self, 0, 0, stream)
        for last in (False, True):
            if self._pool is None:
                name = "cuMemAlloc"
                code, *values = self.api.cuMemAlloc(size)
            else:
                name = "cuMemAllocAsync"
                code, *values = self.api.cuMemAllocAsync(size, stream)
            if not code:
                return Memory(self, int(values[0]), size, stream)
            if last or int(code) != OUT_OF_MEMORY:
                break
            self.trim()
        raise self.error(name, code, self._shortage(size) if int(code) == OUT_OF_MEMORY else "")

    def _shortage(self, size: int) -> str:
        code, *values = self.api.cuMemGetInfo()
        asked = f"asked for {size:,} bytes"
        if code:
            return asked
        free, total = map(int, values)
        return f"{asked}, {free:,} of {total:,} are free; free arrays, or take smaller sizes"

    def trim(self) -> None:
        """Give memory that nothing uses back to the system; the context is current.

        Raises:
            CudaError: the driver refuses.
        """
        gc.collect()
        self.clean()
        self.call("cuCtxSynchronize")
        if self._pool is not None:
            self.call("cuMemPoolTrimTo", self._pool, 0)

    def pinned(self, size: int) -> Handle:
        """Memory of the host that the device reads and writes by itself; its address.

        Raises:
            OutOfDeviceMemory: there is not enough.
        """
        self.clean()
        address = int(self.call("cuMemHostAlloc", size, 0, detail=f"{size:,} pinned bytes"))
        return Handle(self, address, "cuMemFreeHost")

    def stream(self) -> Handle:
        """A stream of its own, which does not wait for the default one."""
        return Handle(self, self.call("cuStreamCreate", STREAM_NON_BLOCKING), "cuStreamDestroy")

    def event(self, *, timing: bool = False) -> Handle:
        """An event."""
        flags = EVENT_DEFAULT if timing else EVENT_DISABLE_TIMING
        return Handle(self, self.call("cuEventCreate", flags), "cuEventDestroy")

    def order(self, before: int, after: int) -> None:
        """Let `after` wait for what is queued on `before`; the context is current."""
        if before == after:
            return
        with self._lock:
            if self._order_event is None:
                self._order_event = self.event()
            event = self._order_event.value
            code, *_ = self.api.cuEventRecord(event, before)
            if int(code) == INVALID_HANDLE:  # The stream is gone, but its work may still run.
                self.call("cuCtxSynchronize")
                return
            if code:
                raise self.error("cuEventRecord", code)
            self.call("cuStreamWaitEvent", after, event, 0)

    # --- giving back -----------------------------------------------------------------------------

    def discard(self, name: str, *args: Any) -> None:
        """Have the driver destroy something, now if that can be; never raises."""
        self._waste.append((name, args, 0))
        if not self.capturing and self.lost is None and not self.system.forked:
            with contextlib.suppress(Exception), self.current():
                self.clean()

    def clean(self) -> None:
        """Work off what waits to be destroyed; the context is current. Never raises."""
        if self.capturing or not self._waste:
            return
        with self._lock:
            for _ in range(len(self._waste)):
                try:
                    name, args, tries = self._waste.popleft()
                except IndexError:
                    return
                result = self._destroy(name, args)
                code = int(result)
                if code in STICKY:
                    self.error(name, result)  # Which notes that the context is lost.
                if not code or code in STICKY or code == DEINITIALIZED:
                    continue
                if tries < _RETRIES:
                    self._waste.append((name, args, tries + 1))

    def _destroy(self, name: str, args: tuple[Any, ...]) -> Any:
        if name == "cuMemFreeHost":  # A copy may still be under way.
            code, *_ = self.api.cuCtxSynchronize()
            if code:
                return code
        if name == "cuMemFreeAsync":
            address, stream, lent = args
            if lent:
                code, *_ = self.api.cuCtxSynchronize()
                if code:
                    return code
            code, *_ = self.api.cuMemFreeAsync(address, stream)
            if int(code) != INVALID_HANDLE:
                return code
            self.api.cuCtxSynchronize()  # The stream is gone.
            return self.api.cuMemFreeAsync(address, LEGACY_STREAM)[0]
        return getattr(self.api, name)(*args)[0]

    def free_memory(self, address: int, use: _Use) -> None:
        """Free what `allocate` gave; never raises."""
        if self._pool is None:
            self.discard("cuMemFree", address)
        else:
            self.discard("cuMemFreeAsync", address, use.stream, use.lent)

    def close(self) -> None:
        """Give back what nothing uses, and the context.

        Raises:
            CudaError: the driver refuses.
        """
        if self.lost is None and not self.system.forked:
            self._order_event = None
            with self.current():
                self.clean()
                self.call("cuCtxSynchronize")
        if self._retained.alive:
            code, *_ = self.api.cuDevicePrimaryCtxRelease(self.handle)
            if code and self.lost is None:
                raise self.error("cuDevicePrimaryCtxRelease", code)
            self._retained.detach()


class _Current:
    """See `Device.current`."""

    __slots__ = ("_device", "_pushed")

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pushed = False

    def __enter__(self) -> None:
        device = self._device
        device.check_alive()
        if int(device.call("cuCtxGetCurrent")) != device._context_id:
            device.call("cuCtxPushCurrent", device._context)
            self._pushed = True

    def __exit__(self, *_: object) -> None:
        # What was done is done: a refusal is tried once more, and then lost on nobody, since the
        # next call finds its context by itself.
        if self._pushed and self._device.api.cuCtxPopCurrent()[0]:
            self._device.api.cuCtxPopCurrent()


class Handle:
    """Something that the driver made, destroyed when nothing refers to it any more."""

    __slots__ = ("__weakref__", "_finalizer", "device", "value")

    def __init__(self, device: Device, value: Any, destroy: str) -> None:
        """Hold `value`, which the driver's function `destroy` takes."""
        self.device = device
        self.value = value
        self._finalizer = _finalize(self, device.discard, destroy, value)


class _Use:
    """How memory has been used: the last stream, and whether others may use it unseen."""

    __slots__ = ("lent", "stream")

    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.lent = False


class Memory:
    """A block of a device's memory, freed when nothing refers to it any more.

    Its uses on different streams happen one after the other.
    """

    __slots__ = ("__weakref__", "_finalizer", "address", "bytes", "device", "freed", "use")

    def __init__(self, device: Device, address: int, size: int, stream: int) -> None:
        """Made by `Device.allocate`."""
        self.device = device
        self.address = address
        self.bytes = size
        self.freed = False
        self.use = use = _Use(stream)
        self._finalizer = _finalize(self, device.free_memory, address, use) if size else None

    def use_on(self, stream: int) -> None:
        """Let what comes next on `stream` wait for what was done with this memory before."""
        if self.use.stream != stream:
            self.device.order(self.use.stream, stream)
            self.use.stream = stream

    def free(self) -> None:
        """Free it now, when all queued uses are done."""
        self.freed = True
        if self._finalizer is not None:
            self._finalizer()


def _finalize(
    owner: object, release: Callable[..., None], *args: Any
) -> weakref.finalize[Any, Any]:
    finalizer = weakref.finalize(owner, release, *args)
    finalizer.atexit = False  # The driver takes back everything with the process.
    return finalizer


def _after_fork() -> None:
    for system in _systems:
        system.forked = system._started


os.register_at_fork(after_in_child=_after_fork)
