"""Lend device memory through DLPack: the producer's side of the protocol, in ctypes.

A capsule owns a managed tensor until a consumer takes it; whoever has it last calls its deleter.
"""

from __future__ import annotations

import ctypes
from typing import Any

from tensorc_runtime.dlpack import DTYPE_CODES, _Tensor, _Versioned

KDL_CUDA = 2
DEVICES = (2, 13)  # kDLCUDA, kDLCUDAManaged


class _Unversioned(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p))


_DELETER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_new = ctypes.pythonapi.PyCapsule_New
_new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_new.restype = ctypes.py_object
# A destructor gets a capsule that is going away: it must not be counted as an object again. These
# are copies of the functions, whose argument is a plain pointer.
_prototype = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)
_is_valid = _prototype(("PyCapsule_IsValid", ctypes.pythonapi))
_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)

# What is lent, by the address of its managed tensor, until its deleter is called.
_lent: dict[int, tuple[object, ...]] = {}


def _delete(address: int) -> None:
    _lent.pop(address, None)


def _drop_capsule(capsule: int) -> None:
    for name in (_NAME, _NAME_VERSIONED):
        if _is_valid(capsule, name):  # No consumer has renamed it.
            _lent.pop(_pointer(capsule, name), None)


_NAME, _NAME_VERSIONED = b"dltensor", b"dltensor_versioned"
_callbacks = (_DELETER(_delete), _DELETER(_drop_capsule))
_delete_address, _drop_address = (ctypes.cast(c, ctypes.c_void_p).value for c in _callbacks)


def capsule_of(
    owner: object,
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: str,
    device: int,
    *,
    versioned: bool,
) -> Any:
    """A capsule over memory of CUDA device number `device`, which keeps `owner` alive.

    Args:
        owner: what keeps the memory.
        address: of the first element.
        shape: in elements.
        strides: in elements.
        dtype: its name.
        device: number.
        versioned: whether to speak DLPack 1.0, as a consumer that asks for it wants.
    """
    code, bits = DTYPE_CODES[dtype]
    n = len(shape)
    sizes, steps = (ctypes.c_int64 * n)(*shape), (ctypes.c_int64 * n)(*strides)
    tensor = _Tensor(
        data=address,
        device_type=KDL_CUDA,
        device_id=device,
        ndim=n,
        code=code,
        bits=bits,
        lanes=1,
        shape=ctypes.cast(sizes, ctypes.POINTER(ctypes.c_int64)),
        strides=ctypes.cast(steps, ctypes.POINTER(ctypes.c_int64)),
        byte_offset=0,
    )
    managed: ctypes.Structure
    if versioned:
        managed = _Versioned(major=1, minor=0, deleter=_delete_address, flags=0, tensor=tensor)
    else:
        managed = _Unversioned(tensor=tensor, deleter=_delete_address)
    where = ctypes.addressof(managed)
    _lent[where] = (managed, sizes, steps, owner)
    return _new(where, _NAME_VERSIONED if versioned else _NAME, _drop_address)
