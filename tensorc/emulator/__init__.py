"""CUDA kernels on a CPU: NVRTC's PTX, translated to C++ and run on fibers, checked and profiled.

`EmulatedModule` runs the kernels of a PTX text; `EmulatedDriver` has the names of
`cuda.bindings.driver`, so that whatever drives a GPU through that module can run on it. A C++
compiler must be there.
"""

from tensorc.emulator.driver import Call, EmulatedDriver
from tensorc.emulator.module import EmulatedModule, LaunchOptions, LaunchResult, Outcome
from tensorc.emulator.profile import MemoryAccess, MemoryProfile
from tensorc.emulator.report import EmulatorReport, Finding, FindingKind
from tensorc.emulator.types import UnsupportedPtxError

__all__ = [
    "Call",
    "EmulatedDriver",
    "EmulatedModule",
    "EmulatorReport",
    "Finding",
    "FindingKind",
    "LaunchOptions",
    "LaunchResult",
    "MemoryAccess",
    "MemoryProfile",
    "Outcome",
    "UnsupportedPtxError",
]
