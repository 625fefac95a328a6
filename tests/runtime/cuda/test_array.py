from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from runtime.cuda.examples import blend, fake
from tensorc_runtime.cuda import device_array, empty
from tensorc_runtime.cuda.array import DeviceArray
from tensorc_runtime.cuda.device import System
from tensorc_runtime.cuda.errors import OutOfDeviceMemory
from tensorc_runtime.dlpack import borrow
from tensorc_runtime.errors import ArgumentError

X = np.arange(6, dtype=np.float32).reshape(2, 3)


class Torch:
    """Another library's array: it lends what it was made of, and notes the stream asked for."""

    def __init__(self, array: DeviceArray, device: int | None = None) -> None:
        self.array = array
        self.device = device
        self.streams: list[Any] = []

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self.array.device.index if self.device is None else self.device

    def __dlpack__(self, *, stream: Any = None, **options: Any) -> Any:
        self.streams.append(stream)
        return self.array.__dlpack__(stream=stream, **options)


class Cupy:
    """Another library's array that only has the interface of CUDA arrays."""

    def __init__(self, array: DeviceArray, stream: int | None) -> None:
        self.array = array
        self.stream = stream

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.array.__cuda_array_interface__ | {"stream": self.stream}


def test_values_go_there_and_back() -> None:
    _, system = fake()
    for dtype in ("bool", "int8", "uint16", "int32", "int64", "float16", "float32", "float64"):
        for shape in ((), (0,), (5,), (2, 3)):
            values = np.ones(shape, dtype)
            array = device_array(values, system.device(0))
            assert (array.shape, array.dtype, array.nbytes) == (shape, values.dtype, values.nbytes)
            assert 0 in shape or array.strides == values.strides
            np.testing.assert_array_equal(array.numpy(), values)
            np.testing.assert_array_equal(np.asarray(array), values)


def test_what_is_not_row_major_is_copied_so() -> None:
    _, system = fake()
    np.testing.assert_array_equal(device_array(X.T, system.device(0)).numpy(), X.T)


def test_numbers_come_out_of_arrays_of_one_element() -> None:
    _, system = fake()
    one = device_array(np.array(2.5), system.device(0))
    assert (float(one), int(one), bool(one), one.item()) == (2.5, 2, True, 2.5)
    assert device_array([1, 2], system.device(0)).tolist() == [1, 2]
    with pytest.raises(ArgumentError) as caught:
        device_array(X, system.device(0)).item()
    assert str(caught.value) == (
        "item(): DeviceArray(float32[2, 3] on device 0 (Fake GPU)) has 6 elements"
    )


def test_an_array_of_another_kind_cannot_be_copied_into_it() -> None:
    _, system = fake()
    array = device_array(X, system.device(0))
    for wrong in (X.astype(np.float64), X[:1]):
        with pytest.raises(ArgumentError) as caught:
            array.copy_from(wrong)
        assert str(caught.value) == (
            f"copy_from(): expected float32 of shape (2, 3), got {wrong.dtype} of shape "
            f"{wrong.shape}"
        )
    with pytest.raises(ArgumentError) as caught:
        device_array(["a"], system.device(0))
    assert str(caught.value) == "device_array: elements of <U1 cannot be on a device"


def test_memory_is_freed_with_its_array() -> None:
    driver, system = fake()
    array = device_array(X, system.device(0))
    assert driver.live["memory"] == 1
    del array
    gc.collect()
    system.device(0).synchronize()
    assert driver.live["memory"] == 0


def test_a_view_keeps_the_memory() -> None:
    driver, system = fake()
    array = device_array(X, system.device(0))
    view = device_array(Torch(array), system.device(0))
    assert view.address == array.address
    del array
    gc.collect()
    np.testing.assert_array_equal(view.numpy(), X)
    del view
    gc.collect()
    system.device(0).synchronize()
    assert driver.live["memory"] == 0


@pytest.mark.parametrize("version", [None, (1, 0)])
def test_a_capsule_that_nobody_takes_lets_go(version: tuple[int, int] | None) -> None:
    driver, system = fake()
    array = device_array(X, system.device(0))
    capsule = array.__dlpack__(max_version=version)
    del array, capsule
    gc.collect()
    system.device(0).synchronize()
    assert driver.live["memory"] == 0


def test_dlpack_tells_what_the_array_is() -> None:
    _, system = fake()
    for dtype in ("bool", "uint8", "int64", "float16", "float32"):
        array = device_array(np.ones((2, 1, 3), dtype), system.device(1))
        assert array.__dlpack_device__() == (2, 1)
        lent = borrow(array)
        assert (lent.address, lent.shape, lent.dtype) == (array.address, (2, 1, 3), array.dtype)
        assert lent.strides == array.strides


def test_the_cuda_array_interface_tells_what_the_array_is() -> None:
    _, system = fake()
    array = device_array(X, system.device(0))
    assert array.__cuda_array_interface__ == {
        "shape": (2, 3),
        "strides": None,
        "typestr": "<f4",
        "data": (array.address, False),
        "stream": 1,
        "version": 3,
    }


def test_other_libraries_arrays_are_called_with_without_a_copy() -> None:
    driver, system = fake()
    f = blend(system)
    x, y = device_array(X[0], f.device), empty(3, np.float32, f.device)
    lent = Torch(x)
    f(2.0, lent, 0, out=Torch(y))
    assert lent.streams == [1]
    np.testing.assert_array_equal(y.numpy(), 2 * X[0])
    with f.device.current():
        stream = driver.cuStreamCreate(1)[1]
    f(2.0, lent, 1, out=y, stream=stream)
    assert lent.streams == [1, stream]
    np.testing.assert_array_equal(y.numpy(), 2 * X[0] + 1)


def test_the_stream_of_a_cuda_array_interface_is_waited_for() -> None:
    driver, system = fake()
    f = blend(system)
    with f.device.current():
        stream = driver.cuStreamCreate(1)[1]
    x, source = empty(3, np.float32, f.device), device_array(X[1], f.device)
    theirs = Cupy(x, stream)
    with f.device.current():
        driver.cuMemcpyDtoDAsync(x.address, source.address, x.nbytes, stream)
    np.testing.assert_array_equal(f(2.0, theirs, 0).numpy(), 2 * X[1] + 3)


def test_an_array_of_another_device_is_no_view() -> None:
    _, system = fake()
    array = device_array(X, system.device(0))
    with pytest.raises(ArgumentError) as caught:
        device_array(Torch(array, 1), system.device(0))
    assert str(caught.value) == (
        "device_array: this Torch is on CUDA device 1, this function runs on device 0 (Fake GPU)"
    )


def test_arrays_of_an_emulated_device_are_not_lent() -> None:
    driver, _ = fake()
    system = System(driver, emulated=True)
    array = device_array(X, system.device(0))
    with pytest.raises(BufferError) as caught:
        array.__dlpack__()
    assert str(caught.value) == (
        "DLPack: DeviceArray(float32[2, 3] on device 0 (Fake GPU)) is in an emulated device, "
        "whose addresses mean nothing to other libraries; take its numpy()"
    )
    assert not hasattr(array, "__cuda_array_interface__")


def test_arrays_move_between_devices_through_the_host() -> None:
    _, system = fake()
    there = device_array(X, system.device(0))
    other = device_array(there, system.device(1))
    assert other.device is system.device(1)
    np.testing.assert_array_equal(other.numpy(), X)
    assert device_array(there, system.device(0)) is there


def test_too_little_memory_is_said_with_numbers() -> None:
    _, system = fake(memory=1000)
    kept = empty(100, np.float32, system.device(0))
    with pytest.raises(OutOfDeviceMemory) as caught:
        empty(200, np.float32, system.device(0))
    assert str(caught.value) == (
        "cuMemAllocAsync on device 0 (Fake GPU): CUDA_ERROR_OUT_OF_MEMORY (2), error out of "
        "memory; asked for 800 bytes, 600 of 1,000 are free; free arrays, or take smaller sizes"
    )
    assert isinstance(caught.value, MemoryError)
    del kept
    empty(200, np.float32, system.device(0))


def test_devices_without_pools_have_memory_too() -> None:
    driver, system = fake()
    driver.limits[115] = 0
    array = device_array(X, system.device(0))
    np.testing.assert_array_equal(array.numpy(), X)
    assert "cuMemAllocAsync" not in driver.log
    del array
    gc.collect()
    assert driver.live["memory"] == 0


def test_memory_of_a_destroyed_stream_is_freed() -> None:
    driver, system = fake()
    device = system.device(0)
    with device.current():
        stream = driver.cuStreamCreate(1)[1]
    array = device_array(X, device, stream=stream)
    with device.current():
        driver.cuStreamDestroy(stream)
    np.testing.assert_array_equal(device_array(X, device).copy_from(array).numpy(), X)
    del array
    gc.collect()
    device.synchronize()
    assert driver.live["memory"] == 0


def test_a_negative_size_is_refused() -> None:
    _, system = fake()
    with pytest.raises(ArgumentError) as caught:
        empty((2, -1), device=system.device(0))
    assert str(caught.value) == "empty: sizes must be 0 or more, got (2, -1)"


def test_a_view_that_is_not_aligned_is_refused() -> None:
    _, system = fake()
    f = blend(system)
    whole = device_array(np.zeros(8, np.float32), f.device)
    part = DeviceArray(f.device, whole.address + 4, (4,), whole.dtype, owner=whole)
    with pytest.raises(ArgumentError) as caught:
        f(2.0, part, 0)
    assert str(caught.value) == (
        "blend: argument 'x' (2 of 3): its data must be aligned to 16 bytes; pass a copy"
    )


def test_a_view_that_is_not_row_major_is_refused() -> None:
    _, system = fake()
    f = blend(system)
    whole = device_array(np.zeros(8, np.float32), f.device)
    part = DeviceArray(f.device, whole.address, (4,), whole.dtype, owner=whole, strides=(8,))
    with pytest.raises(ArgumentError) as caught:
        f(2.0, part, 0)
    assert str(caught.value) == (
        "blend: argument 'x' (2 of 3): must be C-contiguous, got strides (8,) for shape (4,) of "
        "float32; make it contiguous where it comes from"
    )
    with pytest.raises(ArgumentError) as caught:
        part.numpy()
    assert str(caught.value) == (
        "numpy(): DeviceArray(float32[4] on device 0 (Fake GPU)) has strides (8,), and only "
        "row-major arrays are copied; make it contiguous where it comes from"
    )


def test_an_array_that_its_owner_does_not_let_others_write_is_refused_as_an_output() -> None:
    _, system = fake()
    f = blend(system)
    whole = device_array(np.zeros(4, np.float32), f.device)
    part = DeviceArray(f.device, whole.address, (4,), whole.dtype, owner=whole, writeable=False)
    with pytest.raises(ArgumentError) as caught:
        f(2.0, whole, 0, out=part)
    assert str(caught.value) == (
        "blend: output 'y': is written, but the array is read-only; pass a copy"
    )
