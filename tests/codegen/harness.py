"""Compile a Program by hand and call it on NumPy arrays through ctypes."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from tensorc.codegen.llvm import Objects, emit_module, load_objects
from tensorc.codegen.llvm.entry import dlpack_type
from tensorc.dtypes import as_dtype
from tensorc.ir.stmt import Program, Role
from tensorc.lower.memory import plan_memory
from tensorc.target import Target

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Array = np.ndarray[Any, np.dtype[Any]]


class DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", ctypes.c_uint32),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


def tensor(array: Array) -> DLTensor:
    shape = (ctypes.c_int64 * max(1, array.ndim))(*array.shape)
    steps = [s // array.itemsize for s in array.strides]
    strides = (ctypes.c_int64 * max(1, array.ndim))(*steps)
    kind = dlpack_type(as_dtype(array.dtype))
    return DLTensor(array.ctypes.data, 1, 0, array.ndim, kind, shape, strides, 0)


class Kernel:
    """A compiled program, in parts with `cut`; calling it returns (code, error_info)."""

    def __init__(
        self,
        program: Program,
        target: Target | None = None,
        opt_level: int = 3,
        *,
        cut: bool = False,
    ) -> None:
        self.program = program
        self.target = target or Target()
        with Objects(self.target, opt_level) as objects:
            told = objects.add if cut else len
            module = emit_module(program, self.target, plan_memory(program), told)
            self.text = module.whole
            if not cut:
                objects.add(self.text)
            self.code = load_objects(objects.result())
        # What is cut lacks the entry that checks arguments.
        pointer = ctypes.c_void_p
        last = (ctypes.c_int32, ctypes.c_void_p)
        middle = (ctypes.c_void_p, ctypes.c_void_p) if cut else (ctypes.c_void_p, ctypes.c_int64)
        self.entry = ctypes.CFUNCTYPE(ctypes.c_int32, pointer, *middle, *last)(
            self.code.address(f"{program.name}_run" if cut else program.name)
        )
        self.cut = cut
        self.size = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int32)(
            self.code.address(f"{program.name}_workspace")
        )

    def dims(self, arrays: Mapping[str, Array]) -> dict[str, int]:
        found: dict[str, int] = {}
        for param in self.program.params:
            for size, value in zip(
                param.buffer.shape, arrays[param.buffer.name].shape, strict=False
            ):
                found.setdefault(getattr(size, "name", ""), value)
        return found

    def workspace_bytes(self, arrays: Mapping[str, Array], threads: int = 1) -> int:
        return int(self.size(self._dims(arrays), threads))

    def _dims(self, arrays: Mapping[str, Array]) -> ctypes.Array[ctypes.c_int64]:
        named = self.dims(arrays)
        dims = [named[d.name] for d in self.program.dims]
        return (ctypes.c_int64 * max(1, len(dims)))(*dims)

    def __call__(self, arrays: Mapping[str, Array], threads: int = 1) -> tuple[int, list[int]]:
        tensors = [tensor(arrays[p.buffer.name]) for p in self.program.params]
        return self.call(tensors, arrays, threads)

    def call(
        self, tensors: Sequence[DLTensor | None], arrays: Mapping[str, Array], threads: int = 1
    ) -> tuple[int, list[int]]:
        pointers = (ctypes.c_void_p * max(1, len(tensors)))(
            *(None if t is None else t.data if self.cut else ctypes.addressof(t) for t in tensors)
        )
        need = self.workspace_bytes(arrays, threads)
        space = np.empty(need + 64, np.uint8)
        start = -space.ctypes.data % 64
        info = (ctypes.c_int64 * 4)(-9, -9, -9, -9)
        at = space.ctypes.data + start
        middle = (self._dims(arrays), at) if self.cut else (at, need)
        code = self.entry(pointers, *middle, threads, info)
        return code, list(info)

    def run(self, threads: int = 1, **arrays: Array) -> dict[str, Array]:
        """The arrays after the call, outputs made here where they are not given."""
        named = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
        dims = {}
        for param in self.program.params:
            if param.buffer.name in named:
                for size, value in zip(
                    param.buffer.shape, named[param.buffer.name].shape, strict=True
                ):
                    dims[getattr(size, "name", "")] = value
        for param in self.program.params:
            if param.buffer.name not in named:
                shape = [
                    dims[s.name] if hasattr(s, "name") else int(s.value)  # type: ignore[union-attr, arg-type]
                    for s in param.buffer.shape
                ]
                named[param.buffer.name] = garbage(shape, param.buffer.dtype.numpy)
        code, info = self(named, threads)
        assert code == 0, (code, info)
        return {
            p.buffer.name: named[p.buffer.name]
            for p in self.program.params
            if p.role is not Role.IN
        }


def garbage(shape: list[int], dtype: np.dtype[Any]) -> Array:
    """An array that no correct program leaves as it is."""
    if dtype == np.bool_:
        return np.ones(shape, dtype)
    if dtype.kind == "f" or dtype == ml_dtypes.bfloat16:
        return np.full(shape, np.nan, dtype)
    return np.full(shape, 99, dtype)
