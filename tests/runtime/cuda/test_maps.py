"""Tensor maps: encoded for the addresses of a call, by the driver's own library on a GPU."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from tensorc.emulator import EmulatedDriver
from tensorc_runtime.cuda.device import System
from tensorc_runtime.cuda.maps import ALIGNMENT, BYTES, BoundMap, Shape, encode_natively
from tensorc_runtime.cuda.plan import KernelArg, TensorMap
from tensorc_runtime.errors import ArgumentError

if TYPE_CHECKING:
    from tensorc_runtime.cuda.device import Device

MAP = TensorMap(KernelArg("param", 0), "bfloat16", ("n", 64), (64, 16), 128)


def device(arch: str = "sm_90") -> Device:
    return System(EmulatedDriver(arch=arch), emulated=True).device(0)


def test_a_map_is_encoded_once_for_an_address() -> None:
    found = device()
    with found.current():
        bound = BoundMap(found, "f", MAP, {"n": 128})
        assert bound.address % ALIGNMENT == 0
        first, second = (int(found.call("cuMemAlloc", 128 * 64 * 2)) for _ in range(2))
        images = []
        for address in (first, first, second):
            bound.point_to(address)
            images.append(ctypes.string_at(bound.address, BYTES))
    driver: Any = found.api
    assert sum(call.name == "cuTensorMapEncodeTiled" for call in driver.calls) == 2
    assert images[0] == images[1] != images[2]


def test_rows_off_sixteen_bytes_are_refused_by_their_sizes() -> None:
    found = device()
    with found.current(), pytest.raises(ArgumentError) as caught:
        BoundMap(found, "f", MAP, {"n": 100})
    assert str(caught.value) == (
        "f: an array of 64 x 100 elements of bfloat16 has rows of 200 bytes; a tensor map needs "
        "multiples of 16"
    )


def test_an_older_device_is_refused() -> None:
    found = device("sm_80")
    with found.current(), pytest.raises(ArgumentError) as caught:
        BoundMap(found, "f", MAP, {"n": 128})
    assert str(caught.value) == (
        "f: its kernels copy through tensor maps, which are there from sm_90 on, and "
        f"{found.place} is of sm_80; compile for that"
    )


def test_the_drivers_library_gets_what_its_header_says() -> None:
    got: list[Any] = []
    kind = ctypes.CFUNCTYPE(
        *(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p),
        *(ctypes.POINTER(ctypes.c_uint64), ctypes.POINTER(ctypes.c_uint64)),
        *(ctypes.POINTER(ctypes.c_uint32), ctypes.POINTER(ctypes.c_uint32)),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int),
    )

    def encode(to: int, dtype: int, rank: int, address: int, *rest: Any) -> int:
        sizes, strides, box, steps, *flags = rest
        got.append((to, dtype, rank, address, sizes[:2], strides[:1], box[:2], steps[:2], flags))
        return 1

    class Library:
        cuTensorMapEncodeTiled = kind(encode)  # noqa: N815

    shape = Shape(9, 4096, (128, 64), (256,), (64, 16))
    assert encode_natively(Library, 64, shape, 3) == 1
    assert got == [(64, 9, 2, 4096, [128, 64], [256], [64, 16], [1, 1], [0, 3, 2, 0])]


def test_a_compiled_function_passes_maps_of_its_arguments() -> None:
    a = tc.placeholder((64, 128), name="A")
    b = tc.compute((64, 128), lambda i, j: a[i, j] * 2.0, name="B")
    s = tc.Schedule([b], args=[a])
    row, column = s.loops("B")
    i_block, j_block, i, j = s.tile(row, column, 16, 32)
    copied = s.cache_read("A", j_block, scope="shared")
    s.bulk_fetch(copied.name)
    s.bind(i, "thread.y")
    s.bind(j, "thread.x")
    s.bind(i_block, "block.y")
    s.bind(j_block, "block.x")
    f: Any = tc.compile(s, target=tc.Target("cuda-emu", arch="sm_90"))
    rng = np.random.default_rng(0)
    for _ in range(2):
        x = rng.standard_normal((64, 128)).astype(np.float32)
        np.testing.assert_array_equal(f(x), x * 2)
    bound = f.bind(tc.cuda.device_array(x, device=f.device))
    np.testing.assert_array_equal(np.asarray(bound().numpy()), x * 2)
    assert f.check(x).ok
    assert "tma_load_2d(" in f.source
