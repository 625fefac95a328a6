"""The errors of CUDA calls: which call, what the driver says, on which device, what would help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tensorc_runtime.errors import TensorcError

if TYPE_CHECKING:
    from tensorc_runtime.cuda.api import DriverApi


class CudaError(TensorcError, RuntimeError):
    """A CUDA call that failed.

    Attributes:
        call: the driver's function.
        code: what it returned, a `CUresult` as an integer; 0 where no call was made.
    """

    def __init__(self, message: str, call: str = "", code: int = 0) -> None:
        """An error of this message."""
        super().__init__(message)
        self.call = call
        self.code = code


class DeviceUnavailable(CudaError):  # noqa: N818
    """There is no driver, it is too old, or there is no such device."""


class OutOfDeviceMemory(CudaError, MemoryError):  # noqa: N818
    """A device has less memory than was asked for."""


class ContextLost(CudaError):  # noqa: N818
    """An earlier error ended this process's work on a device: nothing more can run there."""


OUT_OF_MEMORY = 2
DEINITIALIZED = 4
INVALID_HANDLE = 400

# What the driver's manual says of these codes: "the process must be terminated and relaunched".
STICKY = frozenset((214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719))

_UNAVAILABLE = frozenset((3, 34, 36, 46, 100, 101, 102, 227, 802, 803, 804))

_NEWER_DRIVER = "install a newer NVIDIA driver, or the CUDA packages of the driver's version"
_ARCH = (
    "the code is for another architecture than the device's; compile with "
    'target="cuda", which asks the device, or Target("cuda", arch=...) of the device'
)
_TOO_MUCH = "the kernel takes more registers, threads or shared memory than a multiprocessor has"
_CAPTURE = "a stream is being captured into a graph, where this call is not allowed"
_BUG = "run with TENSORC_CUDA_SYNC=1, or the same program with target='cuda-emu' and f.check()"
ADVICE = {
    1: "an argument is out of the driver's limits",
    3: "after a fork CUDA cannot be used; start workers with multiprocessing's 'spawn'",
    34: "libcuda is the linker's stub; put the driver's own library first in the search path",
    36: _NEWER_DRIVER,
    46: "another process has the device to itself, or it is being reset; wait, or take another",
    100: "no CUDA device is visible; look at nvidia-smi and at CUDA_VISIBLE_DEVICES",
    101: "there is no device of that number; look at nvidia-smi and at CUDA_VISIBLE_DEVICES",
    200: _ARCH,
    209: _ARCH,
    218: "the driver does not take this PTX; " + _NEWER_DRIVER,
    222: "the PTX is newer than the driver; " + _NEWER_DRIVER,
    223: "the code has to be compiled for the device's own architecture",
    400: "a stream, event or module that has been destroyed, or belongs to another device",
    700: "a kernel read or wrote outside of its buffers; " + _BUG,
    701: _TOO_MUCH,
    702: "a kernel ran longer than the system allows on a device that also drives a display",
    710: "a kernel's own assertion failed; " + _BUG,
    716: "a kernel read or wrote at a misaligned address; " + _BUG,
    719: "a kernel failed; " + _BUG,
    802: "the machine's GPU fabric is not ready; start the fabric manager, or wait for it",
    803: "the driver's library and its kernel module differ in version; restart the machine",
    804: _NEWER_DRIVER,
    900: _CAPTURE,
    901: _CAPTURE,
    906: _CAPTURE,
    908: _CAPTURE,
}


def error_name(api: DriverApi, result: Any) -> str:
    """The driver's name for a code, and its text where there is one."""
    code = int(result)
    texts = []
    for ask in (api.cuGetErrorName, api.cuGetErrorString):
        answer = ask(result)
        if int(answer[0]) == 0 and answer[1]:
            value = answer[1]
            texts.append(value.decode() if isinstance(value, bytes) else str(value))
    name = texts[0] if texts else "an unknown error"
    return f"{name} ({code})" + (f", {texts[1]}" if len(texts) > 1 else "")


def driver_error(api: DriverApi, call: str, result: Any, place: str, detail: str = "") -> CudaError:
    """The error for a call's `result`, made at `place`, such as "device 0 (NVIDIA H100)"."""
    code = int(result)
    kind: type[CudaError] = CudaError
    if code == OUT_OF_MEMORY:
        kind = OutOfDeviceMemory
    elif code in STICKY:
        kind = ContextLost
    elif code in _UNAVAILABLE:
        kind = DeviceUnavailable
    where = f" on {place}" if place else ""
    parts = [f"{call}{where}: {error_name(api, result)}"]
    # An emulated driver knows what its kernels did.
    said = str(getattr(api, "last_error", None) or "") if code in STICKY else ""
    parts += [text for text in (detail, said or ADVICE.get(code, "")) if text]
    if code in STICKY and not said:
        parts.append(
            "the device's context is lost: what is on it cannot be read any more, and nothing "
            "runs there until the process is started anew"
        )
    return kind("; ".join(parts), call, code)
