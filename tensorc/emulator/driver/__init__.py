"""An object with the names, argument shapes and results of `cuda.bindings.driver`, without a GPU.

Memory is this process's, kernels run through the emulator, and misuse gives the driver's codes. It
keeps a log of calls, and fails those that a test plans to fail. Needs neither NVIDIA's driver nor
its Python package.
"""

from __future__ import annotations

from tensorc.emulator.driver import codes
from tensorc.emulator.driver.base import Call
from tensorc.emulator.driver.graphs import Graphs

__all__ = ["Call", "EmulatedDriver"]


class EmulatedDriver(Graphs):
    """A driver of emulated GPUs.

    Args:
        arch: of the devices, a name of `tensorc.target.ARCHS`.
        devices: how many there are.
        options: how kernels run: order, checks, profile, limits.
        memory: bytes of each device.
        deferred: do work as late as is legal, not at once.
        log: keep the calls in `calls`.

    Handles and addresses are integers. Results of launches that are no part of the driver's
    interface: `report`, `profile`, `printed`, `last_error`.
    """

    CUresult = codes.CUresult
    CUdevice_attribute = codes.CUdevice_attribute
    CUfunction_attribute = codes.CUfunction_attribute
    CUstreamCaptureMode = codes.CUstreamCaptureMode
    CUstreamCaptureStatus = codes.CUstreamCaptureStatus
    CUmemPool_attribute = codes.CUmemPool_attribute
    CUpointer_attribute = codes.CUpointer_attribute
    CUmemorytype = codes.CUmemorytype
    CUgraphNodeType = codes.CUgraphNodeType
    CUtensorMapDataType = codes.CUtensorMapDataType
    CUtensorMapSwizzle = codes.CUtensorMapSwizzle
    CUtensorMapInterleave = codes.CUtensorMapInterleave
    CUtensorMapL2promotion = codes.CUtensorMapL2promotion
    CUtensorMapFloatOOBfill = codes.CUtensorMapFloatOOBfill
    cuuint32_t = int
    cuuint64_t = int
