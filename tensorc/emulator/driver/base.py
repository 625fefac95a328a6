"""What every call of the emulated driver goes through: the log, planned failures, contexts, errors.

A call returns a tuple whose first member is a code, as in `cuda.bindings.driver`. After a kernel
fault the context is broken: each further call in it returns the fault's code, until the primary
context is reset, or released by all and retained again.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, field
from threading import RLock, local
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from tensorc.emulator.driver.codes import CUresult
from tensorc.emulator.heap import DeviceHeap
from tensorc.emulator.module import LaunchOptions
from tensorc.emulator.profile import MemoryProfile
from tensorc.emulator.report import EmulatorReport
from tensorc.errors import ArgumentError
from tensorc.target import ARCHS, CudaArch

if TYPE_CHECKING:
    from collections.abc import Callable

Result: TypeAlias = tuple[Any, ...]
P = ParamSpec("P")
D = TypeVar("D", bound="DriverBase")

SUCCESS = CUresult.CUDA_SUCCESS
_CAPTURE_UNSUPPORTED = CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED


@dataclass(frozen=True)
class Call:
    """One call: its name, its arguments, the code that it returned."""

    name: str
    arguments: tuple[Any, ...]
    code: CUresult


@dataclass
class Device:
    """An emulated GPU and its primary context.

    Attributes:
        context: the handle of the primary context, 0 while nobody has retained it.
        users: how often it is retained.
        broken: the code of the fault that broke it, or success.
    """

    ordinal: int
    arch: CudaArch
    heap: DeviceHeap
    context: int = 0
    users: int = 0
    broken: CUresult = SUCCESS
    pool: int = 0
    pool_attributes: dict[int, int] = field(default_factory=dict)


class DriverError(Exception):
    """Ends a call with a code; never seen by the caller."""

    def __init__(self, code: CUresult) -> None:
        """Take the code that the call returns."""
        super().__init__(code)
        self.code = code


def fail(code: CUresult) -> DriverError:
    """What to raise to end a call."""
    return DriverError(code)


def call(
    gives: int = 0, *, context: bool = True, during_capture: bool = True
) -> Callable[[Callable[Concatenate[D, P], Result]], Callable[Concatenate[D, P], Result]]:
    """Make a method a call of the driver; it returns what follows the code.

    Args:
        gives: how many values follow the code; they are None where the call fails.
        context: it needs a current context that is whole.
        during_capture: it may be made while this thread captures a stream.
    """

    def wrap(
        method: Callable[Concatenate[D, P], Result],
    ) -> Callable[Concatenate[D, P], Result]:
        name = method.__name__

        @functools.wraps(method)
        def made(self: D, /, *args: P.args, **kwargs: P.kwargs) -> Result:
            with self._lock:
                try:
                    self._before(name, context, during_capture)
                    values = method(self, *args, **kwargs)
                    code = SUCCESS
                except DriverError as error:
                    code, values = error.code, (None,) * gives
                if self.log:
                    self.calls.append(Call(name, (*args, *kwargs.values()), code))
                return code, *values

        return made

    return wrap


class DriverBase:
    """State that all calls share.

    Args:
        arch: of the devices, a name of `tensorc.target.ARCHS`.
        devices: how many there are.
        options: how kernels run.
        memory: bytes of each device.
        deferred: work waits in its stream until something waits for it, as late as is legal; else
            it is done at once.
        log: keep the calls.

    Attributes:
        calls: the log.
        report: what checked mode found in all launches.
        profile: the memory profile of all launches.
        printed: what kernels printed.
        last_error: of the last launch that failed, in words.
        launches: how many there were.
    """

    def __init__(
        self,
        arch: str = "sm_80",
        devices: int = 1,
        options: LaunchOptions | None = None,
        *,
        memory: int = 16 << 30,
        deferred: bool = False,
        log: bool = True,
    ) -> None:
        """Make devices that nobody has initialized yet."""
        if arch not in ARCHS:
            raise ArgumentError(f"architecture {arch!r} is not known; there are {', '.join(ARCHS)}")
        self.options = options or LaunchOptions()
        self.deferred = deferred
        self.log = log
        self.calls: list[Call] = []
        self.report = EmulatorReport()
        self.profile = MemoryProfile()
        self.printed = ""
        self.last_error = ""
        self.launches = 0
        self._devices = [Device(i, ARCHS[arch], DeviceHeap(memory)) for i in range(devices)]
        self._lock = RLock()
        self._thread = local()
        self._initialized = False
        self._handles = itertools.count(0x1000, 0x10)
        self._plan: dict[str, list[tuple[int, CUresult]]] = {}
        self._seen: dict[str, int] = {}

    # ---- For tests

    def fail(self, name: str, nth: int = 1, code: int = CUresult.CUDA_ERROR_UNKNOWN) -> None:
        """Plan a failure: the `nth` call of `name` from now on returns `code` and does nothing.

        Raises:
            ArgumentError: the driver has no such call, or `nth` is below 1.
        """
        if not name.startswith("cu") or not hasattr(self, name):
            raise ArgumentError(f"the emulated driver has no call {name!r}")
        if nth < 1:
            raise ArgumentError(f"nth counts from 1, got {nth}")
        number = self._seen.get(name, 0) + nth
        self._plan.setdefault(name, []).append((number, CUresult(code)))

    def count(self, name: str) -> int:
        """How often a call was made."""
        return self._seen.get(name, 0)

    def name_memory(self, address: int, name: str) -> None:
        """Give an allocation a name for reports.

        Raises:
            ArgumentError: no allocation starts there.
        """
        for device in self._devices:
            if device.heap.find(address) is not None:
                device.heap.name(address, name)
                return
        raise ArgumentError(f"no device memory starts at {address:#x}")

    @property
    def bytes_in_use(self) -> int:
        """Device memory of all devices."""
        return sum(device.heap.in_use for device in self._devices)

    @property
    def peak_bytes(self) -> int:
        """The most device memory that was in use, summed over devices."""
        return sum(device.heap.peak for device in self._devices)

    # ---- Around each call

    def _before(self, name: str, context: bool, during_capture: bool) -> None:
        number = self._seen[name] = self._seen.get(name, 0) + 1
        for planned, code in self._plan.get(name, ()):
            if planned == number:
                raise fail(code)
        if not self._initialized and name not in ("cuInit", "cuGetErrorName", "cuGetErrorString"):
            raise fail(CUresult.CUDA_ERROR_NOT_INITIALIZED)
        if context:
            device = self._device()
            if device.broken:
                raise fail(device.broken)
        if not during_capture and self._thread_captures():
            self._invalidate_captures()
            raise fail(_CAPTURE_UNSUPPORTED)

    def _thread_captures(self) -> bool:
        raise AssertionError("streams define it")

    def _invalidate_captures(self) -> None:
        raise AssertionError("streams define it")

    # ---- Handles, devices, contexts

    def _handle(self) -> int:
        return next(self._handles)

    def _stack(self) -> list[int]:
        if not hasattr(self._thread, "stack"):
            self._thread.stack = []
        stack: list[int] = self._thread.stack
        return stack

    def _by_ordinal(self, ordinal: Any) -> Device:
        number = int(ordinal)
        if not 0 <= number < len(self._devices):
            raise fail(CUresult.CUDA_ERROR_INVALID_DEVICE)
        return self._devices[number]

    def _by_context(self, handle: Any) -> Device:
        for device in self._devices:
            if device.context and device.context == int(handle):
                return device
        raise fail(CUresult.CUDA_ERROR_INVALID_CONTEXT)

    def _device(self) -> Device:
        """The device of the current context."""
        stack = self._stack()
        if not stack or not stack[-1]:
            raise fail(CUresult.CUDA_ERROR_INVALID_CONTEXT)
        for device in self._devices:
            if device.context == stack[-1]:
                return device
        raise fail(CUresult.CUDA_ERROR_CONTEXT_IS_DESTROYED)
