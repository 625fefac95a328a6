"""NVIDIA's own bindings take what the runtime passes: they convert arguments before they look for
a driver, so without one every call ends in the same place, and a wrong argument does not."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from tensorc_runtime.cuda.api import (
    EVENT_DISABLE_TIMING,
    LEGACY_STREAM,
    STREAM_NON_BLOCKING,
    DriverApi,
)

driver: Any = pytest.importorskip("cuda.bindings.driver")
_memory = (ctypes.c_void_p * 4)()
HOST, DEVICE = ctypes.addressof(_memory), 4096


def arguments() -> dict[str, tuple[Any, ...]]:
    d = driver
    device, stream, event = d.CUdevice(0), d.CUstream(0), d.CUevent(0)
    module, function, pool = d.CUmodule(0), d.CUfunction(0), d.CUmemoryPool(0)
    graph, executable = d.CUgraph(0), d.CUgraphExec(0)
    most = d.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X
    threads = d.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK
    dynamic = d.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    keep = d.CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
    mode = d.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    s = LEGACY_STREAM
    return {
        "cuInit": (0,),
        "cuDriverGetVersion": (),
        "cuGetErrorName": (d.CUresult(700),),
        "cuGetErrorString": (d.CUresult(700),),
        "cuDeviceGetCount": (),
        "cuDeviceGet": (0,),
        "cuDeviceGetName": (128, device),
        "cuDeviceGetAttribute": (most, device),
        "cuDeviceGetDefaultMemPool": (device,),
        "cuDevicePrimaryCtxRetain": (device,),
        "cuDevicePrimaryCtxRelease": (device,),
        "cuCtxGetCurrent": (),
        "cuCtxPushCurrent": (d.CUcontext(0),),
        "cuCtxPopCurrent": (),
        "cuCtxSynchronize": (),
        "cuMemGetInfo": (),
        "cuMemAlloc": (64,),
        "cuMemFree": (DEVICE,),
        "cuMemAllocAsync": (64, s),
        "cuMemFreeAsync": (DEVICE, s),
        "cuMemPoolSetAttribute": (pool, keep, d.cuuint64_t(2**64 - 1)),
        "cuMemPoolTrimTo": (pool, 0),
        "cuMemHostAlloc": (64, 0),
        "cuMemFreeHost": (HOST,),
        "cuMemcpyHtoDAsync": (DEVICE, HOST, 8, s),
        "cuMemcpyDtoHAsync": (HOST, DEVICE, 8, s),
        "cuMemcpyDtoDAsync": (DEVICE, DEVICE, 8, s),
        "cuMemsetD8Async": (DEVICE, 0, 32, s),
        "cuStreamCreate": (STREAM_NON_BLOCKING,),
        "cuStreamDestroy": (stream,),
        "cuStreamSynchronize": (s,),
        "cuStreamWaitEvent": (s, event, 0),
        "cuStreamBeginCapture": (stream, mode),
        "cuStreamEndCapture": (stream,),
        "cuEventCreate": (EVENT_DISABLE_TIMING,),
        "cuEventRecord": (event, s),
        "cuEventSynchronize": (event,),
        "cuEventElapsedTime": (event, event),
        "cuEventDestroy": (event,),
        "cuModuleLoadData": (b".version 8.0\0",),
        "cuModuleGetFunction": (module, b"kernel"),
        "cuModuleUnload": (module,),
        "cuFuncGetAttribute": (threads, function),
        "cuFuncSetAttribute": (function, dynamic, 1024),
        "cuLaunchKernel": (function, 1, 1, 1, 32, 1, 1, 0, s, HOST, 0),
        "cuGraphInstantiate": (graph, 0),
        "cuGraphLaunch": (executable, s),
        "cuGraphExecDestroy": (executable,),
        "cuGraphDestroy": (graph,),
    }


@pytest.fixture(autouse=True)
def no_driver() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    pytest.skip("this machine has a driver, which these calls would reach")


def test_every_call_of_the_runtime_is_tried() -> None:
    assert set(arguments()) == {n for n in vars(DriverApi) if n.startswith("cu") and n[2].isupper()}


@pytest.mark.parametrize("name", list(arguments()))
def test_the_bindings_take_the_arguments(name: str) -> None:
    with pytest.raises(RuntimeError, match=r"driver|libcuda"):
        getattr(driver, name)(*arguments()[name])


def test_the_bindings_refuse_other_arguments() -> None:
    with pytest.raises((TypeError, AttributeError, ValueError)):
        driver.cuMemAllocAsync("64", LEGACY_STREAM)
    with pytest.raises((TypeError, AttributeError, ValueError)):
        driver.cuStreamBeginCapture(driver.CUstream(0), "thread local")
