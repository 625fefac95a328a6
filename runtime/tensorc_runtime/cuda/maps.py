"""Tensor maps: what the driver makes of an array for the copy engine of sm_90, 128 bytes each.

A map holds the array's address, so a frame encodes it anew only where that address is another.
The driver wants the map on 64 bytes. The objects of NVIDIA's bindings do not lie so, so on a GPU
the driver's library is called itself.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tensorc_runtime import sizes
from tensorc_runtime.cuda.plan import MAP_TYPES
from tensorc_runtime.cuda.real import driver_library
from tensorc_runtime.errors import ArgumentError

if TYPE_CHECKING:
    from tensorc_runtime.cuda.device import Device
    from tensorc_runtime.cuda.plan import TensorMap
    from tensorc_runtime.sizes import Dims

BYTES = 128
ALIGNMENT = 64
_MAJOR = 9  # Of the first compute capability that has them.
# cuda.h, CUtensorMapDataType and CUtensorMapSwizzle; rows come through L2 by 128 bytes at a time.
_TYPES = {
    "uint8": 0, "int32": 3, "int64": 5, "float16": 6, "float32": 7, "float64": 8, "bfloat16": 9,
}  # fmt: skip
_SWIZZLES = {0: 0, 32: 1, 64: 2, 128: 3}
_L2_128B = 2


class BoundMap:
    """A tensor map for given sizes, at a fixed address on the host."""

    def __init__(self, device: Device, name: str, tensor_map: TensorMap, dims: Dims) -> None:
        """Evaluate its sizes.

        Raises:
            ArgumentError: rows of the array do not lie on 16 bytes; the device is older than sm_90.
        """
        self._device, self._name, self._map = device, name, tensor_map
        self._sizes = tuple(sizes.evaluate(s, dims) for s in tensor_map.sizes)
        strides = []
        step = MAP_TYPES[tensor_map.dtype]
        for size in self._sizes[:-1]:
            step *= size
            strides.append(step)
        self._strides = tuple(strides)
        self._check()
        self._room = ctypes.create_string_buffer(BYTES + ALIGNMENT)
        self.address = -(-ctypes.addressof(self._room) // ALIGNMENT) * ALIGNMENT
        self._encoded = -1

    def _check(self) -> None:
        device, shown = self._device, " x ".join(map(str, reversed(self._sizes)))
        if any(s % 16 for s in self._strides):
            raise ArgumentError(
                f"{self._name}: an array of {shown} elements of {self._map.dtype} has rows of "
                f"{self._strides[0]} bytes; a tensor map needs multiples of 16"
            )
        major = device.limit("COMPUTE_CAPABILITY_MAJOR")
        if major < _MAJOR:
            raise ArgumentError(
                f"{self._name}: its kernels copy through tensor maps, which are there from sm_90 "
                f"on, and {device.place} is of {device.arch}; compile for that"
            )

    def point_to(self, address: int) -> None:
        """Encode the map for the array at `address` of the device.

        Raises:
            CudaError: the driver refuses.
        """
        if address == self._encoded or 0 in self._sizes:
            return  # Nothing runs on an array without elements.
        m, device = self._map, self._device
        shape = Shape(_TYPES[m.dtype], address, self._sizes, self._strides, m.box)
        how = _SWIZZLES[m.swizzle]
        if device.system.emulated:
            code = _emulated(device, self.address, shape, how)
        else:
            code = encode_natively(driver_library(), self.address, shape, how)
            code = device.api.CUresult(code)
        if code:
            detail = f"a tensor map of {self._name}: {self._sizes} {m.dtype}, box {m.box}"
            raise device.error("cuTensorMapEncodeTiled", code, detail)
        self._encoded = address


@dataclass(frozen=True, slots=True)
class Shape:
    """The array of a map as the driver counts it: the last dimension first, strides in bytes."""

    dtype: int
    address: int
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    box: tuple[int, ...]


def _emulated(device: Device, to: int, a: Shape, swizzle: int) -> Any:
    api: Any = device.api
    rank, steps = len(a.box), (1,) * len(a.box)
    code, *made = api.cuTensorMapEncodeTiled(
        a.dtype, rank, a.address, a.sizes, a.strides, a.box, steps, 0, swizzle, _L2_128B, 0
    )
    if not code:
        ctypes.memmove(to, made[0].getPtr(), BYTES)
    return code


def encode_natively(library: Any, to: int, a: Shape, swizzle: int) -> int:
    """Call `cuTensorMapEncodeTiled` of the driver's library, or of what plays it; its code."""
    rank = len(a.box)
    longs, ints = ctypes.c_uint64 * rank, ctypes.c_uint32 * rank
    code = library.cuTensorMapEncodeTiled(
        ctypes.c_void_p(to),
        ctypes.c_int(a.dtype),
        ctypes.c_uint32(rank),
        ctypes.c_void_p(a.address),
        longs(*a.sizes),
        longs(*a.strides),
        ints(*a.box),
        ints(*(1,) * rank),
        ctypes.c_int(0),
        ctypes.c_int(swizzle),
        ctypes.c_int(_L2_128B),
        ctypes.c_int(0),
    )
    return int(code)
