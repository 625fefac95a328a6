"""Memory that plays a GPU's: each allocation lies between pages that nobody may touch."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from bisect import bisect_right
from dataclasses import dataclass

from tensorc.emulator.bindings import LOCK, runtime

ALIGNMENT = 256  # As the driver gives.
_POISON = 0xFF  # Reads as NaN in every float format.
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE

_libc = ctypes.CDLL(None)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_MAP_FAILED = ctypes.c_void_p(-1).value

_numbers = itertools.count()
_names: dict[int, str] = {}  # Of the allocations that live, by their number.


def buffer_name(number: int) -> str:
    """What reports call an allocation."""
    return _names.get(number, f"buffer {number}")


@dataclass(frozen=True)
class Allocation:
    """One piece of device memory."""

    address: int
    bytes: int
    number: int
    mapped: int  # Where its pages start, guards included.
    mapped_bytes: int


class DeviceHeap:
    """The memory of one emulated device.

    Args:
        capacity: bytes that it has.
    """

    def __init__(self, capacity: int) -> None:
        """Start with all of it free."""
        self.capacity = capacity
        self.in_use = 0
        self.peak = 0
        self._by_address: dict[int, Allocation] = {}
        self._addresses: list[int] = []

    def __len__(self) -> int:
        return len(self._by_address)

    def allocate(self, size: int) -> Allocation | None:
        """`size` bytes, filled with NaN; None where that is more than is free."""
        if size <= 0 or self.in_use + size > self.capacity:
            return None
        page = mmap.PAGESIZE
        room = -(-size // ALIGNMENT) * ALIGNMENT
        body = -(-room // page) * page
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        mapped = _libc.mmap(None, body + 2 * page, 0, flags, -1, 0)
        if mapped == _MAP_FAILED or _libc.mprotect(mapped + page, body, _READ_WRITE):
            return None
        address = mapped + page + body - room
        ctypes.memset(address, _POISON, room)
        number = next(_numbers)
        allocation = Allocation(address, size, number, mapped, body + 2 * page)
        with LOCK:
            runtime().tcemu_add_global(address, size, number, 0)
        _names[number] = f"buffer {number}"
        self._by_address[address] = allocation
        self._addresses.insert(bisect_right(self._addresses, address), address)
        self.in_use += size
        self.peak = max(self.peak, self.in_use)
        return allocation

    def free(self, address: int) -> bool:
        """Give one back; False where none starts at `address`."""
        allocation = self._by_address.pop(address, None)
        if allocation is None:
            return False
        self._addresses.remove(address)
        self.in_use -= allocation.bytes
        with LOCK:
            runtime().tcemu_remove_global(address)
        _names.pop(allocation.number, None)
        _libc.munmap(allocation.mapped, allocation.mapped_bytes)
        return True

    def clear(self) -> None:
        """Give all of it back."""
        for address in list(self._by_address):
            self.free(address)

    def find(self, address: int, size: int = 0) -> Allocation | None:
        """The allocation that holds `size` bytes from `address`, or None."""
        place = bisect_right(self._addresses, address) - 1
        if place < 0:
            return None
        allocation = self._by_address[self._addresses[place]]
        end = allocation.address + allocation.bytes
        inside = address < end or (size == 0 and address == allocation.address)
        return allocation if inside and address + size <= end else None

    def starts(self, address: int) -> bool:
        """Whether an allocation starts at `address`."""
        return address in self._by_address

    def name(self, address: int, name: str) -> None:
        """Give an allocation a name for reports.

        Raises:
            KeyError: none starts at `address`.
        """
        _names[self._by_address[address].number] = name


def note_written(address: int, size: int, source: int = 0) -> None:
    """Tell checked mode that the host wrote these bytes, or copied them from `source`."""
    if size:
        with LOCK:
            runtime().tcemu_mark_written(address, size, source)
