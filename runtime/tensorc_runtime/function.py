"""Call a compiled function with arrays.

A call first takes the short way: plain NumPy arrays of the right dtype whose shapes came before
need a few comparisons each. Everything else, errors included, goes through `Signature.check`.
"""

from __future__ import annotations

import ctypes
import sys
from bisect import bisect_right
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tensorc_runtime import openmp, sizes
from tensorc_runtime.errors import ArgumentError
from tensorc_runtime.signature import Array, Signature, address, describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc_runtime.manifest import Manifest

WORKSPACE_ALIGNMENT = 64

_MAX_PLANS = 1024
_MAX_HEADS = 4096
_SERIAL = ctypes.c_int32(1)
_RUN_TYPE = ctypes.CFUNCTYPE(ctypes.c_int32)
_WORKSPACE_TYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.POINTER(ctypes.c_int64), ctypes.c_int32)


class _Head(ctypes.Structure):
    """NumPy's `PyArrayObject_fields` after the object's header: part of its stable C ABI."""

    _fields_ = (
        ("data", ctypes.c_size_t),
        ("nd", ctypes.c_int),
        ("dimensions", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("descr", ctypes.c_void_p),
        ("flags", ctypes.c_int),
    )


_ARRAY = np.ndarray
_OFFSET = object.__basicsize__
_READABLE = 0x1 | 0x100  # NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_ALIGNED
_WRITABLE = _READABLE | 0x400  # NPY_ARRAY_WRITEABLE
_head = _Head.from_address  # Ten times faster than `array.ctypes.data`.


_heads: dict[int, _Head] = {}  # By the address of an array, which is read anew through its head.


def _head_of(array: Array) -> _Head:
    """The head of an array that is not among `_heads`, and will be."""
    if len(_heads) >= _MAX_HEADS:
        _heads.clear()
    head = _heads[id(array)] = _head(id(array) + _OFFSET)
    return head


def _can_read_heads() -> bool:
    """Whether arrays lie in memory as `_Head` says, tried on one."""
    if sys.implementation.name != "cpython":
        return False
    probe = np.zeros((2, 3), np.float32)
    probe.flags.writeable = False
    head = _head(id(probe) + _OFFSET)
    found = (head.data, head.nd, head.flags & _WRITABLE)
    return found == (address(probe), probe.ndim, _READABLE)


_SHORT_WAY = _can_read_heads()


@dataclass(frozen=True, slots=True)
class NativeCode:
    """The addresses of a function's C symbols, and what keeps them in memory."""

    run: int
    workspace: int
    owner: object


class _Scratch:
    """What one running call needs for itself: pointers, error_info, and a workspace."""

    __slots__ = ("_memory", "bytes", "data", "info", "workspace")

    def __init__(self, params: int) -> None:
        self.data = (ctypes.c_size_t * params)()
        self.info = (ctypes.c_int64 * 4)()
        self.workspace = ctypes.c_void_p()
        self.bytes = 0

    def reserve(self, size: int) -> None:
        """Make the workspace at least `size` bytes."""
        if size > self.bytes:
            self._memory = np.empty(size + WORKSPACE_ALIGNMENT, np.uint8)
            self.workspace.value = -(-address(self._memory) // WORKSPACE_ALIGNMENT) * (
                WORKSPACE_ALIGNMENT
            )
            self.bytes = size


@dataclass(frozen=True, slots=True)
class _Plan:
    """What follows from the shapes of a call's inputs."""

    shapes: tuple[tuple[int, ...], ...]
    dims: Any
    workspace: int
    outputs: tuple[tuple[int, tuple[int, ...], np.dtype[Any]], ...]
    bytes: tuple[int, ...]


class Function:
    """A compiled function: `f(*inputs, out=None)`, the inputs by position or by name.

    Takes NumPy arrays, anything else in CPU memory that speaks DLPack, and Python numbers for
    parameters without dimensions; copies none of them. Returns the output, a tuple where there are
    several, None where there is none; new ones unless `out` (an array, or a tuple, list or dict by
    name) gives them. A new output without dimensions comes back as a NumPy scalar.

    State (weights, optimizer state) is attached once, and each call updates it in place.

    Several Python threads may call at once; with state they take turns.
    """

    def __init__(
        self, manifest: Manifest, code: NativeCode, state: Mapping[str, object] | None = None
    ) -> None:
        """Make the function that `code` holds callable.

        Args:
            manifest: its signature.
            code: where it is.
            state: an array for each parameter that is state; None attaches none yet.

        Raises:
            ArgumentError: an array of the state does not fit.
        """
        self.manifest = manifest
        self._code = code
        self._native = _RUN_TYPE(code.run)
        self._workspace = _WORKSPACE_TYPE(code.workspace)
        self._threads = ctypes.c_int32(manifest.target.threads)
        self._signature = signature = Signature(manifest)
        self._state = {} if state is None else signature.check_state(state)
        self._lock = Lock() if self._state else None
        self._pool: list[_Scratch] = []
        self._plans: dict[tuple[tuple[int, ...] | None, ...], _Plan] = {}
        self._recent: _Plan | None = None
        roles = [p.role for p in manifest.params]
        self._inputs = [
            (i, signature.dtypes[i], _READABLE if roles[i] == "in" else _WRITABLE)
            for i in signature.inputs
        ]
        self._written = [i for i in signature.inputs if roles[i] != "in"]
        self._pointers = [
            address(self._state[i]) if i in self._state else 0 for i in range(len(roles))
        ]
        spans = sorted((address(a), address(a) + a.nbytes) for a in self._state.values() if a.size)
        self._state_starts = [start for start, _ in spans]
        self._state_stops = [stop for _, stop in spans]

    @property
    def name(self) -> str:
        """The function's name, which is its C symbol too."""
        return self.manifest.name

    @property
    def state(self) -> Mapping[str, Array]:
        """The attached arrays by name; each call updates them in place."""
        names = [p.name for p in self.manifest.params]
        return MappingProxyType({names[i]: a for i, a in self._state.items()})

    def __repr__(self) -> str:
        params = self.manifest.params
        ins = ", ".join(
            f"{p.name}: {describe(p)}" for p in params if not p.state and p.role != "out"
        )
        outs = ", ".join(f"{p.name}: {describe(p)}" for p in params if p.role == "out")
        return f"<{type(self).__name__} {self.name}({ins}) -> {outs or None}>"

    def __reduce__(self) -> NoReturn:
        raise ArgumentError(
            f"{self.name}: a compiled function is native code of this process and cannot be copied "
            "or pickled; compile it in each process, or export it and load that"
        )

    def attach(self, state: Mapping[str, object]) -> Function:
        """The same function on other state, whose arrays every call updates in place.

        Raises:
            ArgumentError: an array is missing, unknown, or does not fit.
        """
        return Function(self.manifest, self._code, state)

    def workspace_bytes(self, **dims: int) -> int:
        """The scratch memory that a call with these symbolic sizes needs.

        Raises:
            ArgumentError: a size is missing, or too large for the memory it asks for.
        """
        self._check_dims(dims)
        needed = int(self._workspace(self._dims(dims), self.manifest.target.threads))
        if needed < 0:
            raise ArgumentError(f"{self.name}: sizes {dims} need more memory than can be addressed")
        return needed

    def _check_dims(self, dims: Mapping[str, int]) -> None:
        known = {d.name: d.lower for d in self.manifest.dims}
        for name in known:
            if name not in dims:
                raise ArgumentError(f"{self.name}: workspace_bytes needs the size {name}")
        for name, size in dims.items():
            if name not in known:
                raise ArgumentError(f"{self.name}: workspace_bytes: there is no size {name}")
            if not isinstance(size, int | np.integer) or not known[name] <= size < 2**63:
                raise ArgumentError(
                    f"{self.name}: workspace_bytes: size {name} must be an integer of at least "
                    f"{known[name]}, got {size!r}"
                )

    def __call__(self, /, *inputs: Any, out: Any = None, **named: Any) -> Any:
        """Run once. See the class.

        Raises:
            ArgumentError: an argument does not fit; nothing has been written.
            CheckFailed: a value in the arguments is not allowed.
        """
        if named:
            inputs = self._signature.place(inputs, named)
        plan = self._recent
        if (
            not _SHORT_WAY
            or plan is None
            or len(inputs) != len(self._inputs)
            or (out is not None and out.__class__ is not _ARRAY)
        ):
            return self._checked_call(inputs, out)
        pointers = self._pointers.copy()
        for (i, dtype, flags), shape, array in zip(self._inputs, plan.shapes, inputs, strict=True):
            if array.__class__ is not _ARRAY or array.dtype is not dtype:
                return self._checked_call(inputs, out)
            if array.shape != shape:
                plan = self._plan_of(inputs)
                if plan is None:
                    return self._checked_call(inputs, out)
            head = _heads.get(id(array)) or _head_of(array)
            if head.flags & flags != flags:
                return self._checked_call(inputs, out)
            pointers[i] = head.data
        if out is None:
            outs = []
            for i, shape, dtype in plan.outputs:
                array = np.empty(shape, dtype)
                pointers[i] = _head(id(array) + _OFFSET).data
                outs.append(array)
        else:
            if len(plan.outputs) != 1:
                return self._checked_call(inputs, out)
            i, shape, dtype = plan.outputs[0]
            head = _head(id(out) + _OFFSET)
            if out.dtype is not dtype or out.shape != shape or head.flags & _WRITABLE != _WRITABLE:
                return self._checked_call(inputs, out)
            pointers[i] = head.data
            outs = [out]
        if (out is not None or self._written or self._state_starts) and self._may_overlap(
            pointers, plan.bytes, out is not None
        ):
            return self._checked_call(inputs, out)
        self._launch(plan, pointers)
        if len(outs) == 1:
            return outs[0] if outs[0].shape or out is not None else outs[0][()]
        return _result(outs, fresh=out is None)

    def bind(self, /, *inputs: Any, out: Any = None, **named: Any) -> BoundFunction:
        """This function on these arrays: `bound()` then runs it with hardly any overhead.

        The arrays stay alive with the bound function, and are read anew at each call; a Python
        number is taken as it is now.

        Raises:
            ArgumentError: an argument does not fit.
        """
        if named:
            inputs = self._signature.place(inputs, named)
        call = self._signature.check(inputs, out, self._state)
        plan = self._plan(call.dims)
        scratch = _Scratch(len(call.arrays))
        scratch.reserve(plan.workspace)
        scratch.data[:] = [address(a) for a in call.arrays]
        return BoundFunction(
            self, call.arrays, _result(call.results, fresh=False), plan.dims, scratch
        )

    def _checked_call(self, inputs: Sequence[Any], out: Any) -> Any:
        call = self._signature.check(inputs, out, self._state)
        plan = self._plan(call.dims)
        given = {i: a for i, a in enumerate(call.arrays) if i not in self._signature.outputs}
        if out is None or self._signature.bind_dims(given)[0] == call.dims:
            if len(self._plans) >= _MAX_PLANS:  # The shapes of the inputs tell all sizes.
                self._plans.clear()
            self._plans[plan.shapes] = self._recent = plan
        self._launch(plan, [address(a) for a in call.arrays])
        return _result(call.results, fresh=out is None)

    def _plan_of(self, inputs: Sequence[Any]) -> _Plan | None:
        """The plan of an earlier call with inputs of the same shapes."""
        shapes = tuple(x.shape if x.__class__ is _ARRAY else None for x in inputs)
        plan = self._plans.get(shapes)
        if plan is not None:
            self._recent = plan
        return plan

    def _plan(self, dims: Mapping[str, int]) -> _Plan:
        params = self.manifest.params
        shapes = [tuple(sizes.evaluate(s, dims) for s in p.shape) for p in params]
        dtypes = self._signature.dtypes
        counts = [int(np.prod(shape, dtype=object)) for shape in shapes]
        return _Plan(
            tuple(shapes[i] for i in self._signature.inputs),
            self._dims(dims),
            self.workspace_bytes(**dims),
            tuple((i, shapes[i], dtypes[i]) for i in self._signature.outputs),
            tuple(n * d.itemsize for n, d in zip(counts, dtypes, strict=True)),
        )

    def _dims(self, dims: Mapping[str, int]) -> Any:
        values = [dims[d.name] for d in self.manifest.dims]
        return (ctypes.c_int64 * max(len(values), 1))(*values)

    def _may_overlap(
        self, pointers: Sequence[int], lengths: Sequence[int], out_given: bool
    ) -> bool:
        """Whether memory that is written may be another argument's too."""
        others = [i for i, _, _ in self._inputs]
        written = self._written
        if out_given:
            others, written = others + self._signature.outputs, written + self._signature.outputs
        for i in written:
            start, stop = pointers[i], pointers[i] + lengths[i]
            for j in others:
                if i != j and start < pointers[j] + lengths[j] and pointers[j] < stop:
                    return True
        for i in others if self._state_starts else ():
            at = bisect_right(self._state_starts, pointers[i] + lengths[i] - 1)
            if at and lengths[i] and self._state_stops[at - 1] > pointers[i]:
                return True
        return False

    def _launch(self, plan: _Plan, pointers: list[int]) -> None:
        try:
            scratch = self._pool.pop()
        except IndexError:
            scratch = _Scratch(len(pointers))
        if plan.workspace > scratch.bytes:
            scratch.reserve(plan.workspace)
        scratch.data[:] = pointers  # type: ignore[assignment]
        threads = _SERIAL if openmp.in_forked_child else self._threads
        if self._lock is None:
            code = self._native(scratch.data, plan.dims, scratch.workspace, threads, scratch.info)
        else:
            with self._lock:
                code = self._native(
                    scratch.data, plan.dims, scratch.workspace, threads, scratch.info
                )
        if code:
            error = self._signature.native_error(code, list(scratch.info))
            self._pool.append(scratch)
            raise error
        self._pool.append(scratch)


class BoundFunction:
    """A compiled function with its arrays: calling it runs the native code and little else.

    A call returns what `result` holds: the output array, a tuple of several, or None; always the
    same arrays, with new contents. Two threads that call it take turns.
    """

    __slots__ = (
        "_arrays",
        "_data",
        "_dims",
        "_info",
        "_lock",
        "_native",
        "_scratch",
        "_threads",
        "_workspace",
        "function",
        "result",
    )

    def __init__(
        self, function: Function, arrays: list[Array], result: Any, dims: Any, scratch: _Scratch
    ) -> None:
        """Made by `Function.bind`, which has checked the arrays."""
        self.function = function
        self.result = result
        self._arrays = arrays
        self._scratch = scratch
        self._data = scratch.data
        self._dims = dims
        self._workspace = scratch.workspace
        self._info = scratch.info
        self._native = function._native
        self._threads = function._threads
        self._lock = function._lock or Lock()

    def __call__(self) -> Any:
        """Run once.

        Raises:
            CheckFailed: a value in the arguments is not allowed.
        """
        with self._lock:
            code = self._native(
                self._data,
                self._dims,
                self._workspace,
                _SERIAL if openmp.in_forked_child else self._threads,
                self._info,
            )
            if code:
                raise self.function._signature.native_error(code, list(self._info))
        return self.result

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.function!r}>"


def _result(results: Sequence[Any], fresh: bool) -> Any:
    """The outputs as a call gives them back; `fresh` ones without dimensions as scalars."""
    values = [r[()] if fresh and r.ndim == 0 else r for r in results]
    if not values:
        return None
    return values[0] if len(values) == 1 else tuple(values)
