"""Kernels on NumPy arrays, straight through the emulator."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from emulator.nvrtc import to_ptx
from tensorc.emulator import EmulatedModule, LaunchOptions, LaunchResult
from tensorc.emulator.heap import DeviceHeap, note_written
from tensorc.emulator.tensor_map import encode_tensor_map

if TYPE_CHECKING:
    from collections.abc import Sequence

ORDERS = (
    LaunchOptions(order="forward"),
    LaunchOptions(order="reverse"),
    LaunchOptions(order="random", seed=5),
)
CHECKED = LaunchOptions(checked=True)
PROFILED = LaunchOptions(profile=True)
CAPACITY = 1 << 30


@dataclass(frozen=True)
class Tensor2D:
    """A row-major array for bulk tensor copies, in boxes of (rows, columns)."""

    array: np.ndarray[Any, Any]
    box: tuple[int, int]
    swizzle: int = 3
    format_name: str = ""

    def encode(self, address: int) -> bytes:
        rows, columns = self.array.shape
        size = self.array.itemsize
        extents, strides, box = (columns, rows), (columns * size,), (self.box[1], self.box[0])
        return encode_tensor_map(
            address, extents, strides, box, size, self.format_name, self.swizzle
        )


@dataclass(frozen=True)
class Unset:
    """An array that the kernel writes, and nobody before it."""

    array: np.ndarray[Any, Any]


@cache
def built(source: str, arch: str = "compute_80", *, checked: bool = False) -> EmulatedModule:
    return EmulatedModule(to_ptx(source, arch), checked=checked)


def _three(extents: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*extents, 1, 1)[:3]
    return x, y, z


def run(
    module: EmulatedModule,
    name: str,
    grid: Sequence[int],
    block: Sequence[int],
    *args: object,
    shared: int = 0,
    options: LaunchOptions | None = None,
) -> LaunchResult:
    """Launch on copies of the arrays among `args`, and copy the results back."""
    heap = DeviceHeap(CAPACITY)
    params: list[bytes] = []
    copies: list[tuple[int, np.ndarray[Any, Any]]] = []
    for i, arg in enumerate(args):
        array = arg.array if isinstance(arg, (Tensor2D, Unset)) else arg
        if not isinstance(array, np.ndarray):
            params.append(np.asarray(arg).tobytes())
            continue
        allocation = heap.allocate(max(array.nbytes, 1))
        assert allocation is not None
        heap.name(allocation.address, f"argument {i}")
        if not isinstance(arg, Unset):
            ctypes.memmove(allocation.address, array.ctypes.data, array.nbytes)
            note_written(allocation.address, array.nbytes)
        copies.append((allocation.address, array))
        if isinstance(arg, Tensor2D):
            params.append(arg.encode(allocation.address))
        else:
            params.append(allocation.address.to_bytes(8, "little"))
    try:
        result = module.launch(name, _three(grid), _three(block), params, shared, options)
        for address, array in copies:
            ctypes.memmove(array.ctypes.data, address, array.nbytes)
    finally:
        heap.clear()
    return result
