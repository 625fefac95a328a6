"""The emulated driver: what the real one gives, for good use and for misuse."""

from __future__ import annotations

import ctypes
from enum import IntEnum
from typing import Any

import numpy as np
import pytest

from emulator.nvrtc import to_ptx
from tensorc.emulator import EmulatedDriver, LaunchOptions
from tensorc.emulator.driver import codes
from tensorc.emulator.driver.codes import CUresult
from tensorc.errors import ArgumentError

SOURCE = """
extern "C" __global__ void axpy(float a, const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] += a * x[i];
}
extern "C" __global__ void scale(float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] *= 2.0f;
}
extern "C" __global__ void count(int* out) { atomicAdd(out, 1); }
extern "C" __global__ void stop() { __trap(); }
extern "C" __global__ void dynamic(float* out) {
  extern __shared__ float tile[];
  tile[threadIdx.x] = threadIdx.x;
  __syncthreads();
  out[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}
__constant__ float table[4] = {1.0f, 2.0f, 3.0f, 4.0f};
extern "C" __global__ void lookup(float* out) { out[threadIdx.x] = table[threadIdx.x]; }
"""
N = 1000


class Device:
    """A driver with a context, and calls that must succeed."""

    def __init__(self, **kwargs: Any) -> None:
        self.driver = EmulatedDriver(**kwargs)
        self("cuInit", 0)
        self.context = self("cuDevicePrimaryCtxRetain", self("cuDeviceGet", 0))
        self("cuCtxSetCurrent", self.context)

    def __call__(self, name: str, *args: Any) -> Any:
        code, *values = getattr(self.driver, name)(*args)
        assert code == 0, f"{name}: {code!r} {self.driver.last_error}"
        return values[0] if len(values) == 1 else tuple(values)

    def code(self, name: str, *args: Any) -> str:
        """The name of the code of a call that fails, and gives nothing."""
        code, *values = getattr(self.driver, name)(*args)
        assert all(value is None for value in values)
        return CUresult(code).name.removeprefix("CUDA_ERROR_").removeprefix("CUDA_")

    def module(self) -> Any:
        return self("cuModuleLoadData", to_ptx(SOURCE).encode())

    def function(self, name: str) -> Any:
        return self("cuModuleGetFunction", self.module(), name.encode())

    def upload(self, values: np.ndarray[Any, Any]) -> int:
        address: int = self("cuMemAlloc", values.nbytes)
        self("cuMemcpyHtoD", address, values.ctypes.data, values.nbytes)
        return address

    def download(self, address: int, count: int = N) -> np.ndarray[Any, Any]:
        values = np.empty(count, np.float32)
        self("cuMemcpyDtoH", values.ctypes.data, address, values.nbytes)
        return values

    def launch(
        self, function: Any, *args: Any, stream: int = 0, shape: Any = ((4,), (256,))
    ) -> Any:
        return self("cuLaunchKernel", *launch_arguments(function, args, stream, shape))


def launch_arguments(function: Any, args: Any, stream: int = 0, shape: Any = ((4,), (256,))) -> Any:
    """`args` are pairs of a value and its type."""
    grid, block = ((*extents, 1, 1)[:3] for extents in shape[:2])
    shared = shape[2] if len(shape) > 2 else 0
    values = [np.array([value], kind) for value, kind in args]
    pointers = np.array([value.ctypes.data for value in values], np.uint64)
    keep.append((values, pointers))
    return (function, *grid, *block, shared, stream, pointers.ctypes.data, 0)


keep: list[Any] = []


def axpy_args(x: int, y: int) -> Any:
    return ((2.0, np.float32), (x, np.uint64), (y, np.uint64), (N, np.int32))


@pytest.fixture
def device() -> Device:
    return Device()


def test_a_launch_computes_on_device_memory(device: Device) -> None:
    x = np.arange(N, dtype=np.float32)
    dx, dy = device.upload(x), device.upload(np.ones(N, np.float32))
    device.launch(device.function("axpy"), *axpy_args(dx, dy))
    np.testing.assert_array_equal(device.download(dy), 1 + 2 * x)


def test_device_memory_starts_as_nan(device: Device) -> None:
    assert np.isnan(device.download(device("cuMemAlloc", 4 * N))).all()


def test_parameters_may_be_values_and_ctypes_types(device: Device) -> None:
    x = np.arange(N, dtype=np.float32)
    dx, dy = device.upload(x), device.upload(np.ones(N, np.float32))
    kinds = (ctypes.c_float, None, None, ctypes.c_int)
    function = device.function("axpy")
    device("cuLaunchKernel", function, 4, 1, 1, 256, 1, 1, 0, 0, ((2.0, dx, dy, N), kinds), 0)
    np.testing.assert_array_equal(device.download(dy), 1 + 2 * x)


def test_a_constant_table_is_readable_and_can_be_overwritten(device: Device) -> None:
    module = device.module()
    function = device("cuModuleGetFunction", module, b"lookup")
    address, size = device("cuModuleGetGlobal", module, b"table")
    assert size == 16
    out = device("cuMemAlloc", 16)
    device.launch(function, (out, np.uint64), shape=((1,), (4,)))
    np.testing.assert_array_equal(device.download(out, 4), [1, 2, 3, 4])
    new = np.array([5, 6, 7, 8], np.float32)
    device("cuMemcpyHtoD", address, new.ctypes.data, 16)
    device.launch(function, (out, np.uint64), shape=((1,), (4,)))
    np.testing.assert_array_equal(device.download(out, 4), new)


def test_attributes_are_those_of_the_named_architecture() -> None:
    device = Device(arch="sm_90a")
    numbers = {
        name: device("cuDeviceGetAttribute", getattr(device.driver.CUdevice_attribute, name), 0)
        for name in (
            "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR",
            "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR",
            "CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN",
            "CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT",
            "CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y",
        )
    }
    assert list(numbers.values()) == [9, 0, 227 * 1024, 132, 65535]


def test_codes_are_those_of_the_bindings() -> None:
    driver = pytest.importorskip("cuda.bindings.driver")
    for name, enum in vars(codes).items():
        if isinstance(enum, type) and issubclass(enum, IntEnum) and enum is not IntEnum:
            theirs = getattr(driver, name)
            expected = {m.name: int(getattr(theirs, m.name)) for m in enum}
            assert {m.name: int(m) for m in enum} == expected


MISUSE = {
    "no such device": ("cuDeviceGet", (1,), "INVALID_DEVICE"),
    "nothing to allocate": ("cuMemAlloc", (0,), "INVALID_VALUE"),
    "more than there is": ("cuMemAlloc", (1 << 50,), "OUT_OF_MEMORY"),
    "an address nobody gave": ("cuMemFree", (12345,), "INVALID_VALUE"),
    "a stream nobody made": ("cuStreamSynchronize", (9999,), "INVALID_HANDLE"),
    "an event nobody made": ("cuEventSynchronize", (9999,), "INVALID_HANDLE"),
    "a CUBIN": ("cuModuleLoadData", (b"\x7fELF\x02\x01",), "NO_BINARY_FOR_GPU"),
    "no PTX": ("cuModuleLoadData", (b"int main() {}",), "INVALID_PTX"),
    "a newer architecture": (
        "cuModuleLoadData",
        (b".version 8.0\n.target sm_90\n.address_size 64\n",),
        "INVALID_PTX",
    ),
    "a module nobody loaded": ("cuModuleGetFunction", (9999, b"axpy"), "INVALID_HANDLE"),
    "a function nobody has": ("cuFuncGetAttribute", (0, 9999), "INVALID_HANDLE"),
    "a graph nobody made": ("cuGraphInstantiate", (9999, 0), "INVALID_VALUE"),
    "bad stream flags": ("cuStreamCreate", (7,), "INVALID_VALUE"),
    "a copy to nowhere": ("cuMemcpyHtoD", (4096, 4096, 4), "INVALID_VALUE"),
    "a fill of nowhere": ("cuMemsetD32", (4096, 1, 1), "INVALID_VALUE"),
    "no capture to end": ("cuStreamEndCapture", (2,), "ILLEGAL_STATE"),
    "the default stream captured": ("cuStreamBeginCapture", (0, 0), "STREAM_CAPTURE_UNSUPPORTED"),
    "a pointer of nobody": ("cuPointerGetAttribute", (2, 4096), "INVALID_VALUE"),
    "a released context": ("cuCtxPushCurrent", (9999,), "INVALID_CONTEXT"),
}


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_gives_the_drivers_code(device: Device, name: str) -> None:
    call, args, code = MISUSE[name]
    assert device.code(call, *args) == code


def test_calls_before_init_and_without_a_context_fail() -> None:
    driver = EmulatedDriver()
    assert driver.cuDeviceGetCount() == (CUresult.CUDA_ERROR_NOT_INITIALIZED, None)
    driver.cuInit(0)
    assert driver.cuMemAlloc(4) == (CUresult.CUDA_ERROR_INVALID_CONTEXT, None)


def test_a_copy_past_the_end_of_an_allocation_is_refused(device: Device) -> None:
    address = device("cuMemAlloc", 16)
    values = np.zeros(5, np.float32)
    assert device.code("cuMemcpyHtoD", address, values.ctypes.data, 20) == "INVALID_VALUE"
    assert device.code("cuMemcpyHtoD", address + 8, values.ctypes.data, 12) == "INVALID_VALUE"
    device("cuMemcpyHtoD", address + 8, values.ctypes.data, 8)


def test_memory_cannot_be_freed_twice(device: Device) -> None:
    address = device("cuMemAlloc", 16)
    device("cuMemFree", address)
    assert device.code("cuMemFree", address) == "INVALID_VALUE"
    assert device.code("cuMemFreeAsync", address, 0) == "INVALID_VALUE"


BAD_LAUNCHES = {
    "no blocks": ((0,), (256,)),
    "too many blocks along y": ((1, 65536), (256,)),
    "too many threads": ((1,), (1025,)),
    "too many threads in all": ((1,), (32, 33)),
    "too deep a block": ((1,), (1, 1, 65)),
    "too much shared memory": ((1,), (32,), 48 * 1024 + 1),
}


@pytest.mark.parametrize("name", BAD_LAUNCHES)
def test_a_launch_beyond_limits_is_refused(device: Device, name: str) -> None:
    arguments = launch_arguments(device.function("stop"), (), 0, BAD_LAUNCHES[name])
    assert device.code("cuLaunchKernel", *arguments) == "INVALID_VALUE"


def test_more_than_48_kb_of_shared_memory_must_be_asked_for(device: Device) -> None:
    function, out = device.function("dynamic"), device("cuMemAlloc", 256 * 4)
    attribute = device.driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    shape, args = ((1,), (256,), 100 * 1024), ((out, np.uint64),)
    assert device.code("cuLaunchKernel", *launch_arguments(function, args, 0, shape)) == (
        "INVALID_VALUE"
    )
    assert device.code("cuFuncSetAttribute", function, attribute, 164 * 1024) == "INVALID_VALUE"
    device("cuFuncSetAttribute", function, attribute, 100 * 1024)
    device.launch(function, *args, shape=shape)
    np.testing.assert_array_equal(device.download(out, 256), np.arange(256)[::-1])


def test_a_fault_breaks_the_context_until_it_is_reset(device: Device) -> None:
    function = device.function("axpy")
    device.launch(function, *axpy_args(4096, 4096))  # The launch itself succeeds, as on a GPU.
    assert "axpy: the kernel touched an address of global memory" in device.driver.last_error
    for name, args in (("cuCtxSynchronize", ()), ("cuMemAlloc", (4,)), ("cuStreamCreate", (0,))):
        assert device.code(name, *args) == "ILLEGAL_ADDRESS"
    assert device.code("cuDevicePrimaryCtxReset", 0) == "SUCCESS"
    device("cuCtxSetCurrent", device("cuDevicePrimaryCtxRetain", 0))
    device("cuMemAlloc", 4)
    assert device.code("cuModuleUnload", 9999) == "INVALID_HANDLE"


def test_a_trap_is_a_failed_launch(device: Device) -> None:
    device.launch(device.function("stop"), shape=((1,), (1,)))
    assert device.code("cuCtxSynchronize") == "LAUNCH_FAILED"
    assert "trap (block 0,0,0 thread 0,0,0), at line 11 (trap)" in device.driver.last_error


def test_release_frees_everything(device: Device) -> None:
    device("cuMemAlloc", 1000)
    device("cuStreamCreate", 0)
    device.module()
    device("cuDevicePrimaryCtxRelease", 0)
    assert device.driver.bytes_in_use == 0
    assert device.driver.peak_bytes == 1000
    assert device.code("cuMemAlloc", 4) == "CONTEXT_IS_DESTROYED"
    assert device.code("cuDevicePrimaryCtxRelease", 0) == "INVALID_CONTEXT"


def test_a_planned_failure_happens_once_and_does_nothing(device: Device) -> None:
    device.driver.fail("cuMemAlloc", nth=2, code=CUresult.CUDA_ERROR_OUT_OF_MEMORY)
    device("cuMemAlloc", 4)
    assert device.code("cuMemAlloc", 4) == "OUT_OF_MEMORY"
    device("cuMemAlloc", 4)
    assert device.driver.bytes_in_use == 8
    codes = [(call.name, call.code) for call in device.driver.calls[-3:]]
    assert [code for _, code in codes] == [0, 2, 0]
    with pytest.raises(ArgumentError, match="no call 'cuNothing'"):
        device.driver.fail("cuNothing")


# ---- Streams, events, graphs


def test_a_captured_step_replays(device: Device) -> None:
    x = np.arange(N, dtype=np.float32)
    dx, dy = device.upload(x), device.upload(np.ones(N, np.float32))
    axpy, stream = device.function("axpy"), device("cuStreamCreate", 1)
    device("cuStreamBeginCapture", stream, 1)
    device.launch(axpy, *axpy_args(dx, dy), stream=stream)
    graph = device("cuStreamEndCapture", stream)
    np.testing.assert_array_equal(device.download(dy), 1)  # Nothing has run.
    executable = device("cuGraphInstantiate", graph, 0)
    device("cuGraphUpload", executable, stream)
    for _ in range(3):
        device("cuGraphLaunch", executable, stream)
    np.testing.assert_array_equal(device.download(dy), 1 + 6 * x)
    device("cuGraphDestroy", graph)
    device("cuGraphLaunch", executable, stream)  # An executable does not need its graph.
    device("cuGraphExecDestroy", executable)
    assert device.code("cuGraphLaunch", executable, stream) == "INVALID_VALUE"


def test_a_kernel_node_takes_new_parameters(device: Device) -> None:
    x = np.arange(N, dtype=np.float32)
    dx, dy, dz = device.upload(x), *(device.upload(np.ones(N, np.float32)) for _ in range(2))
    axpy, stream = device.function("axpy"), device("cuStreamCreate", 1)
    device("cuStreamBeginCapture", stream, 1)
    device.launch(axpy, *axpy_args(dx, dy), stream=stream)
    graph = device("cuStreamEndCapture", stream)
    executable = device("cuGraphInstantiate", graph, 0)
    (node,), count = device("cuGraphGetNodes", graph, 1)
    assert count == 1
    assert device("cuGraphNodeGetType", node) == 0
    params = device("cuGraphKernelNodeGetParams", node)
    params.kernelParams = launch_arguments(axpy, axpy_args(dx, dz))[9]
    device("cuGraphExecKernelNodeSetParams", executable, node, params)
    device("cuGraphLaunch", executable, stream)
    np.testing.assert_array_equal(device.download(dy), 1)
    np.testing.assert_array_equal(device.download(dz), 1 + 2 * x)


def forked_capture(device: Device, *, join: bool) -> tuple[Any, int, int]:
    """Two kernels on two streams, both behind a first one."""
    function = device.function("scale")
    first, second = (device("cuStreamCreate", 1) for _ in range(2))
    fork, joined = (device("cuEventCreate", 2) for _ in range(2))
    a, b = (device.upload(np.ones(N, np.float32)) for _ in range(2))
    device("cuStreamBeginCapture", first, 1)
    for address in (a, b):
        device.launch(function, (address, np.uint64), (N, np.int32), stream=first)
    device("cuEventRecord", fork, first)
    device("cuStreamWaitEvent", second, fork, 0)
    device.launch(function, (b, np.uint64), (N, np.int32), stream=second)
    device.launch(function, (a, np.uint64), (N, np.int32), stream=first)
    if join:
        device("cuEventRecord", joined, second)
        device("cuStreamWaitEvent", first, joined, 0)
    return first, a, b


@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_a_fork_and_join_is_captured_with_its_dependences(order: str) -> None:
    device = Device(options=LaunchOptions(order=order))
    stream, a, b = forked_capture(device, join=True)
    executable = device("cuGraphInstantiate", device("cuStreamEndCapture", stream), 0)
    device("cuGraphLaunch", executable, stream)
    for address in (a, b):
        np.testing.assert_array_equal(device.download(address), 4)


def test_a_fork_that_never_joins_ends_the_capture_with_an_error(device: Device) -> None:
    stream, _, _ = forked_capture(device, join=False)
    assert device.code("cuStreamEndCapture", stream) == "STREAM_CAPTURE_UNJOINED"


@pytest.mark.parametrize(
    ("name", "args", "code"),
    [
        ("cuMemAlloc", (4,), "STREAM_CAPTURE_UNSUPPORTED"),
        ("cuCtxSynchronize", (), "STREAM_CAPTURE_UNSUPPORTED"),
        ("cuMemAllocAsync", (4, "stream"), "STREAM_CAPTURE_UNSUPPORTED"),
        ("cuStreamSynchronize", ("stream",), "STREAM_CAPTURE_UNSUPPORTED"),
        ("cuModuleLoadData", (b"",), "STREAM_CAPTURE_UNSUPPORTED"),
    ],
)
def test_what_capture_forbids_fails_and_ends_it(
    device: Device, name: str, args: Any, code: str
) -> None:
    stream = device("cuStreamCreate", 1)
    device("cuStreamBeginCapture", stream, 1)
    assert device.code(name, *(stream if arg == "stream" else arg for arg in args)) == code
    assert device.code("cuStreamEndCapture", stream) == "STREAM_CAPTURE_INVALIDATED"
    device("cuStreamSynchronize", stream)


def test_the_default_stream_ends_a_capture_of_a_blocking_one(device: Device) -> None:
    address, stream = device("cuMemAlloc", 4), device("cuStreamCreate", 0)
    device("cuStreamBeginCapture", stream, 2)
    assert device.code("cuMemsetD8Async", address, 0, 4, 0) == "STREAM_CAPTURE_IMPLICIT"
    assert device.code("cuStreamEndCapture", stream) == "STREAM_CAPTURE_INVALIDATED"


def test_events_time_what_lies_between(device: Device) -> None:
    stream = device("cuStreamCreate", 1)
    start, end = (device("cuEventCreate", 0) for _ in range(2))
    assert device.code("cuEventElapsedTime", start, end) == "INVALID_HANDLE"
    device("cuEventRecord", start, stream)
    device("cuEventRecord", end, stream)
    device("cuEventSynchronize", end)
    assert device("cuEventElapsedTime", start, end) >= 0
    silent = device("cuEventCreate", 2)
    device("cuEventRecord", silent, stream)
    assert device.code("cuEventElapsedTime", start, silent) == "INVALID_HANDLE"


def test_a_deferred_driver_shows_a_forgotten_wait() -> None:
    device = Device(deferred=True)
    ones = np.ones(N, np.float32)
    address, stream = device.upload(ones), device("cuStreamCreate", 1)
    pinned = device("cuMemHostAlloc", 4 * N, 0)
    host = np.ctypeslib.as_array((np.ctypeslib.as_ctypes_type(np.float32) * N).from_address(pinned))
    host[:] = 0
    device.launch(device.function("scale"), (address, np.uint64), (N, np.int32), stream=stream)
    device("cuMemcpyDtoHAsync", pinned, address, 4 * N, stream)
    assert device.code("cuStreamQuery", stream) == "NOT_READY"
    assert not host.any()
    device("cuStreamSynchronize", stream)
    np.testing.assert_array_equal(host, 2)


def test_a_deferred_stream_waits_for_the_event_of_another() -> None:
    device = Device(deferred=True)
    function = device.function("scale")
    first, second = (device("cuStreamCreate", 1) for _ in range(2))
    event, address = device("cuEventCreate", 2), device.upload(np.ones(N, np.float32))
    device.launch(function, (address, np.uint64), (N, np.int32), stream=first)
    device("cuEventRecord", event, first)
    device("cuStreamWaitEvent", second, event, 0)
    device.launch(function, (address, np.uint64), (N, np.int32), stream=second)
    device("cuStreamSynchronize", second)
    np.testing.assert_array_equal(device.download(address), 4)


def test_two_devices_have_memories_and_contexts_of_their_own() -> None:
    device = Device(devices=2)
    first = device("cuMemAlloc", 4)
    stream = device("cuStreamCreate", 0)
    other = device("cuDevicePrimaryCtxRetain", 1)
    device("cuCtxPushCurrent", other)
    second = device("cuMemAlloc", 8)
    ordinal = device.driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    assert [device("cuPointerGetAttribute", ordinal, p) for p in (first, second)] == [0, 1]
    assert device.code("cuStreamSynchronize", stream) == "INVALID_CONTEXT"
    assert device("cuCtxPopCurrent") == other
    device("cuStreamSynchronize", stream)


def test_a_tensor_map_that_the_hardware_cannot_read_is_refused(device: Device) -> None:
    address = device("cuMemAlloc", 64 * 64 * 2)
    bf16 = device.driver.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
    good = (bf16, 2, address, (64, 64), (128,), (64, 8), (1, 1), 0, 3, 0, 0)
    assert len(device("cuTensorMapEncodeTiled", *good).opaque) == 16
    for place, value in ((1, 6), (2, address + 8), (4, (130,)), (5, (128, 8)), (5, (64, 257))):
        bad = (*good[:place], value, *good[place + 1 :])
        assert device.code("cuTensorMapEncodeTiled", *bad) == "INVALID_VALUE"


def test_every_call_of_the_runtime_is_there() -> None:
    api = pytest.importorskip("tensorc_runtime.cuda.api").DriverApi
    names = [name for name in (*vars(api), *api.__annotations__) if name.lower().startswith("cu")]
    assert len(names) > 40
    assert [name for name in names if not hasattr(EmulatedDriver, name)] == []
