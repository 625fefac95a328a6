"""View any CPU tensor that speaks DLPack as a NumPy array, without a copy.

`numpy.from_dlpack` would do, but for two things that a compiled function needs: it takes no
bfloat16, and what it makes from an unversioned capsule cannot be written.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_CPU_DEVICES = (1, 3)  # kDLCPU, kDLCUDAHost
_READ_ONLY = 1

# (code, bits) of a DLDataType, to the name of the NumPy dtype.
DTYPE_NAMES = {
    **{(0, bits): f"int{bits}" for bits in (8, 16, 32, 64)},
    **{(1, bits): f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{(2, bits): f"float{bits}" for bits in (16, 32, 64)},
    (4, 16): "bfloat16",
    (5, 64): "complex64",
    (5, 128): "complex128",
    (6, 8): "bool",
}
DTYPE_CODES = {name: code for code, name in DTYPE_NAMES.items()}


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class _Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.argtypes = [ctypes.py_object, ctypes.c_char_p]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_pointer.restype = ctypes.c_void_p


@dataclass(frozen=True, slots=True)
class Borrowed:
    """An array's memory as DLPack lends it; strides in bytes, None where it is compact."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    dtype: np.dtype[Any]
    read_only: bool
    owner: object


class _Memory:
    """Foreign memory, which lives as long as what it came from."""

    def __init__(self, owner: object, interface: dict[str, Any]) -> None:
        self.owner = owner
        self.__array_interface__ = interface


def dtype_of(name: str) -> np.dtype[Any]:
    """The NumPy dtype that holds elements of `name`.

    bfloat16 is that of `ml_dtypes` once a program has imported it; before, its bits as uint16.
    """
    try:
        return np.dtype(name)
    except TypeError:
        return np.dtype(np.uint16)


def from_dlpack(tensor: Any) -> npt.NDArray[Any]:
    """A view of `tensor`'s memory, writable unless its owner says otherwise.

    Raises:
        ValueError: it is not in CPU memory, has an element type that NumPy has not, or its owner
            refuses to lend it.
    """
    try:
        device = tuple(map(int, tensor.__dlpack_device__()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"does not say where its DLPack memory is: {error}") from None
    if device[0] not in _CPU_DEVICES:
        raise ValueError(f"is on DLPack device {device}, not in CPU memory")
    lent = borrow(tensor)
    dtype = lent.dtype
    interface = {
        "version": 3,
        "shape": lent.shape,
        "strides": lent.strides,
        "typestr": f"|V{dtype.itemsize}",
        "data": (lent.address, lent.read_only),
    }
    if 0 in lent.shape:
        return np.empty(lent.shape, dtype)
    return np.asarray(_Memory(lent.owner, interface)).view(dtype)


def borrow(tensor: Any, **options: Any) -> Borrowed:
    """What `tensor` lends through DLPack, wherever it is; `options` go to its `__dlpack__`.

    Raises:
        ValueError: it has an element type that NumPy has not, or its owner refuses to lend it.
    """
    try:
        try:
            capsule = tensor.__dlpack__(max_version=(1, 0), **options)
        except TypeError:  # A producer from before DLPack 1.0.
            capsule = tensor.__dlpack__(**options)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"cannot be lent through DLPack: {error}") from None
    found, read_only = _unpack(capsule)
    name = DTYPE_NAMES.get((found.code, found.bits))
    if name is None or found.lanes != 1:
        raise ValueError(f"has DLPack type ({found.code}, {found.bits}, {found.lanes})")
    dtype = dtype_of(name)
    strides = found.strides[: found.ndim] if found.strides and found.ndim else None
    return Borrowed(
        (found.data or 0) + found.byte_offset,
        tuple(found.shape[: found.ndim]),
        None if strides is None else tuple(s * dtype.itemsize for s in strides),
        dtype,
        read_only,
        # The capsule keeps its name, so that it frees the tensor itself when it goes.
        (tensor, capsule),
    )


def _unpack(capsule: object) -> tuple[_Tensor, bool]:
    if _is_valid(capsule, b"dltensor_versioned"):
        managed = _Versioned.from_address(_pointer(capsule, b"dltensor_versioned"))
        if managed.major != 1:
            raise ValueError(f"speaks version {managed.major} of DLPack")
        return managed.tensor, bool(managed.flags & _READ_ONLY)
    if not _is_valid(capsule, b"dltensor"):
        raise ValueError("gave no DLPack capsule")
    return _Tensor.from_address(_pointer(capsule, b"dltensor")), False
