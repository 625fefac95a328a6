"""Call a function that is compiled for CUDA: NumPy in, NumPy out; device arrays in and out."""

from __future__ import annotations

import contextlib
import ctypes
import statistics
from collections import OrderedDict
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tensorc_runtime import sizes
from tensorc_runtime.cuda.array import DeviceArray, new_array
from tensorc_runtime.cuda.graph import status_error
from tensorc_runtime.cuda.mirror import Mirror, mirror_of
from tensorc_runtime.cuda.module import STATUS_BYTES, Frame, Module
from tensorc_runtime.cuda.session import Session, session_key
from tensorc_runtime.cuda.signature import CudaSignature
from tensorc_runtime.cuda.stream import stream_number
from tensorc_runtime.errors import ArgumentError
from tensorc_runtime.function import BoundFunction, Function, NativeCode, _result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tensorc_runtime.cuda.device import Device, System
    from tensorc_runtime.cuda.plan import CudaImage, CudaPlan
    from tensorc_runtime.manifest import Manifest
    from tensorc_runtime.signature import Arguments, Array

    State: TypeAlias = Array | DeviceArray

_MAX_SESSIONS = 8
_MAX_FRAMES = 64


class CudaFunction(Function):
    """A function compiled for CUDA: `f(*inputs, out=None, stream=None)`, as `Function` otherwise.

    With NumPy arrays (and numbers) a call copies them to the device, waits, and returns NumPy
    arrays. With a device array among them (tensorc's own, or any that speaks DLPack or
    `__cuda_array_interface__`, used where it is) a call only queues the work, on `stream` or the
    default one, and returns device arrays; where the function checks values it waits to tell.

    State lives on the device. `state` and `sync_state` bring the host's arrays up to date; what is
    written into them through `state`, and into small ones in any way, takes effect at the next
    call, and `load_state` passes on the rest.

    A function with state, or with arguments updated in place, runs as one CUDA graph, captured with
    the first call of given shapes: a call runs whole or not at all.
    """

    def __init__(
        self,
        manifest: Manifest,
        plan: CudaPlan,
        image: CudaImage,
        system: Callable[[], System],
        state: Mapping[str, object] | None = None,
        device: int = 0,
    ) -> None:
        """Make the function callable; nothing is loaded before the first call.

        Args:
            manifest: its signature.
            plan: its launches.
            image: its code.
            system: gives the devices, or raises why there are none.
            state: an array for each parameter that is state; None attaches none yet.
            device: the number of the device to run on.

        Raises:
            ArgumentError: an array of the state does not fit.
        """
        Function.__init__(self, manifest, NativeCode(0, 0, None), None)
        self._plan_of_launches = plan
        self._image = image
        self._system = system
        self._device_index = device
        self._cuda_signature = CudaSignature(manifest)
        self._signature = self._cuda_signature
        self._given: dict[int, Any] = (
            {} if state is None else self._cuda_signature.check_state(state)
        )
        self._module: Module | None = None
        self._sources: dict[int, Mirror | DeviceArray] = {}
        self._sessions: OrderedDict[object, Session] = OrderedDict()
        self._frames: dict[tuple[int, ...], list[Frame]] = {}
        self._in_place = any(p.state or p.role == "inout" for p in manifest.params)
        self._turn = RLock()

    # --- what it is ------------------------------------------------------------------------------

    @property
    def device(self) -> Device:
        """Where it runs.

        Raises:
            CudaError: there is no such device.
        """
        return self._system().device(self._device_index)

    @property
    def plan(self) -> CudaPlan:
        """The launches of a call."""
        return self._plan_of_launches

    def on(self, device: int) -> CudaFunction:
        """The same function on another device; its state is the same host arrays there."""
        made = self._again(dict(self._host_state("on")))
        made._device_index, made._module = device, None
        return made

    def attach(self, state: Mapping[str, object]) -> CudaFunction:
        """The same function on other state: host arrays, or device arrays that calls update.

        Raises:
            ArgumentError: an array is missing, unknown, or does not fit.
        """
        return self._again(state)

    def _again(self, state: Mapping[str, object] | None) -> CudaFunction:
        made = CudaFunction(
            self.manifest,
            self._plan_of_launches,
            self._image,
            self._system,
            state or None,
            self._device_index,
        )
        made._module = self._module
        return made

    def workspace_bytes(self, **dims: int) -> int:
        """The device memory that a call with these symbolic sizes needs for its temporaries.

        Raises:
            ArgumentError: a size is missing, or below what it must be.
        """
        self._check_dims(dims)
        return max(sizes.evaluate(self._plan_of_launches.arena, dims), 0)

    # --- state -----------------------------------------------------------------------------------

    @property
    def state(self) -> Mapping[str, Any]:
        """The attached arrays by name, the host's as they are after all calls so far.

        Host arrays may be written: that takes effect at the next call.

        Raises:
            CudaError: the device's work failed.
        """
        self.sync_state()
        return MappingProxyType(self._by_name())

    def sync_state(self) -> None:
        """Bring the host's arrays of the state up to date: a model's parameters, for one.

        Raises:
            CudaError: the device's work failed.
        """
        with self._turn:
            mirrors = [s for s in self._sources.values() if isinstance(s, Mirror)]
            if mirrors:
                with self.device.turn:
                    for mirror in mirrors:
                        mirror.pull()

    def load_state(self, state: Mapping[str, object] | None = None) -> None:
        """Take the state's values from `state`, or from the host's arrays as they are now.

        Args:
            state: arrays by name, for all of the state or a part of it.

        Raises:
            ArgumentError: a name is unknown, or an array does not fit.
        """
        own = self._by_name()
        values = own if state is None else dict(state)
        for name, value in values.items():
            if name not in own:
                known = ", ".join(map(repr, own)) or "none"
                raise ArgumentError(f"{self.name}: load_state: no state {name!r}; there is {known}")
            array = value if isinstance(value, DeviceArray) else np.asarray(value)
            if array.shape != own[name].shape or array.dtype != own[name].dtype:
                raise ArgumentError(
                    f"{self.name}: load_state: state {name!r} is {own[name].dtype.name} of shape "
                    f"{own[name].shape}, got {array.dtype.name} of shape {array.shape}"
                )
        with self._turn:
            sources = {self.manifest.params[i].name: s for i, s in self._sources.items()}
            for name, value in values.items():
                if isinstance(own[name], DeviceArray):
                    if value is not own[name]:
                        own[name].copy_from(value)
                    continue
                if value is not own[name]:
                    np.copyto(own[name], np.asarray(value))
                source = sources.get(name)
                if isinstance(source, Mirror):
                    source.written()

    def _by_name(self) -> dict[str, Any]:
        return {self.manifest.params[i].name: a for i, a in self._given.items()}

    def _host_state(self, what: str) -> Mapping[str, Any]:
        self.sync_state()
        for name, array in self._by_name().items():
            if isinstance(array, DeviceArray):
                raise ArgumentError(
                    f"{self.name}: {what}: state {name!r} is on {array.device.place}; attach() "
                    "arrays of the host, or of the other device"
                )
        return self._by_name()

    def _attach_sources(self, device: Device) -> None:
        """Find or make the device's copy of each piece of state; the context is current."""
        for i, array in self._given.items():
            if i not in self._sources:
                name = self.manifest.params[i].name
                if isinstance(array, DeviceArray):
                    if array.device is not device:
                        raise ArgumentError(
                            f"{self.name}: state {name!r} is on {array.device.place}, and the "
                            f"function runs on {device.place}; take its on({array.device.index})"
                        )
                    self._sources[i] = array
                else:
                    mirror = self._sources[i] = mirror_of(device, array, name)
                    self._observe(mirror)

    def _observe(self, mirror: Mirror) -> None:
        """Hear of the mirror of a piece of state."""

    # --- calls -----------------------------------------------------------------------------------

    def __call__(self, /, *inputs: Any, out: Any = None, stream: Any = None, **named: Any) -> Any:
        """Run once. See the class.

        Args:
            inputs: by position.
            out: arrays for the outputs: one, or several as a tuple, list or dict by name.
            stream: to queue the work on; see `tensorc_runtime.cuda.stream.stream_number`.
            named: inputs by name.

        Raises:
            ArgumentError: an argument does not fit; nothing has been written.
            CheckFailed: a value in the arguments is not allowed.
            CudaError: there is no device, or the driver refuses; state is as it was.
        """
        if named:
            inputs = self._cuda_signature.place(inputs, named)
        number = stream_number(stream)
        device = self.device
        with device.current():
            module = self._load(device)
            if self._in_place:
                with self._turn, device.turn:
                    return self._graph_call(module, inputs, out, number)
            return self._plain_call(module, inputs, out, number)

    def bind(self, /, *inputs: Any, out: Any = None, stream: Any = None, **named: Any) -> BoundCuda:
        """This function on these arrays, as one CUDA graph: `bound()` launches it.

        Device arrays are read and written where they are, and a call does not wait. NumPy arrays
        are read anew with each call, which returns when the results are there. A Python number is
        taken as it is now.

        Raises:
            ArgumentError: an argument does not fit.
            CudaError: there is no device, or the driver refuses.
        """
        if named:
            inputs = self._cuda_signature.place(inputs, named)
        number = stream_number(stream)
        device = self.device
        with device.current(), self._turn, device.turn:
            module = self._load(device)
            call = self._check(module, inputs, out, number)
            signature = self._cuda_signature
            session = Session(module, signature, call.dims, call.arrays, self._sources, bound=True)
            for result in call.results:
                if isinstance(result, DeviceArray) and self._plan_of_launches.checks:
                    result._watch = session.replay
            return BoundCuda(self, session, call, number)

    def time_ms(self, /, *inputs: Any, repeat: int = 20, **named: Any) -> float:
        """The median time of one call on these arrays, by the device's clock, in milliseconds.

        NumPy arrays are copied to the device before, so that kernels alone are timed. The function
        is called `repeat` + 3 times: state moves on as often.

        Raises:
            ArgumentError: an argument does not fit.
            CudaError: there is no device, or the driver refuses.
        """
        if named:
            inputs = self._cuda_signature.place(inputs, named)
        device = self.device
        moved = []
        with device.current():
            for value in inputs:
                array = value
                if isinstance(value, np.ndarray) and value.ndim:
                    array = new_array(device, value.shape, value.dtype)
                    array.copy_from(np.ascontiguousarray(value))
                moved.append(array)
        return self.bind(*moved).time_ms(repeat)

    def _load(self, device: Device) -> Module:
        module = self._module
        if module is not None and module.device is not device:
            self._start_anew()
            module = None
        if module is None:
            with self._turn:
                if self._module is None:
                    self._module = Module(device, self.name, self._plan_of_launches, self._image)
                module = self._module
        if len(self._sources) != len(self._given):
            with self._turn, device.turn:
                self._attach_sources(device)
        return module

    def _start_anew(self) -> None:
        """Let go of a device that was lost, where the system has put another in its place."""
        with self._turn:
            self._module = None
            self._sources.clear()
            self._sessions.clear()
            self._frames.clear()

    def _check(self, module: Module, inputs: Sequence[Any], out: Any, stream: int) -> Arguments:
        signature = self._cuda_signature.on(module.device, stream)
        state = {i: s.array if isinstance(s, Mirror) else s for i, s in self._sources.items()}
        return signature.check(inputs, out, state)  # type: ignore[arg-type]

    def _graph_call(self, module: Module, inputs: Sequence[Any], out: Any, stream: int) -> Any:
        call = self._check(module, inputs, out, stream)
        roles = [p.role for p in self.manifest.params]
        key = session_key(call.arrays, roles, self._sources)
        session = self._sessions.get(key)
        if session is None:
            session = Session(
                module,
                self._cuda_signature,
                call.dims,
                call.arrays,
                self._sources,
                bound=False,
            )
            self._sessions[key] = session
            if len(self._sessions) > _MAX_SESSIONS:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(key)
        session.run(call.arrays, stream)
        return self._give(call, out)

    def _plain_call(self, module: Module, inputs: Sequence[Any], out: Any, stream: int) -> Any:
        """Copy in, launch, copy out: for functions that change nothing but their outputs."""
        call = self._check(module, inputs, out, stream)
        device, checks = module.device, self._plan_of_launches.checks
        key = tuple(call.dims[name] for name in self._plan_of_launches.dims)
        frame = self._take_frame(module, key, call.dims)
        memory = device.allocate(frame.bytes, stream)
        status = memory.address + frame.status_offset
        if checks:
            device.call("cuMemsetD8Async", status, 0, STATUS_BYTES, stream)
        arrays = [self._there(device, i, array, stream) for i, array in enumerate(call.arrays)]
        frame.fill([array.address_on(stream) for array in arrays], memory.address)
        frame.launch(stream)
        self._give_frame(key, frame)
        words = (ctypes.c_uint8 * STATUS_BYTES)()
        if checks:
            _fetch(device, ctypes.addressof(words), status, STATUS_BYTES, stream)
        for i in self._cuda_signature.outputs:
            if isinstance(call.arrays[i], np.ndarray):
                _fetch_array(call.arrays[i], arrays[i], stream)
        # An array of the host may be pinned, and is read until the work is done.
        if checks or any(isinstance(array, np.ndarray) for array in call.arrays):
            device.wait(stream)
        if any(words[:4]):
            raise status_error(self._cuda_signature, words)
        return self._give(call, out)

    def _give(self, call: Arguments, out: Any) -> Any:
        fresh = out is None and not any(isinstance(r, DeviceArray) for r in call.results)
        return _result(call.results, fresh)

    def _there(self, device: Device, index: int, array: Any, stream: int) -> DeviceArray:
        """`array` on the device: itself, or a copy, or room for an output."""
        if isinstance(array, DeviceArray):
            return array
        copy = new_array(device, array.shape, array.dtype, stream)
        if self.manifest.params[index].role != "out" and array.nbytes:
            source = array.ctypes.data
            device.call("cuMemcpyHtoDAsync", copy.address, source, array.nbytes, stream)
        return copy

    def _take_frame(self, module: Module, key: tuple[int, ...], dims: Mapping[str, int]) -> Frame:
        with contextlib.suppress(KeyError, IndexError):
            return self._frames[key].pop()
        return Frame(module, dims)

    def _give_frame(self, key: tuple[int, ...], frame: Frame) -> None:
        if len(self._frames) > _MAX_FRAMES:
            self._frames.clear()
        self._frames.setdefault(key, []).append(frame)


class BoundCuda(BoundFunction):
    """A CUDA function with its arrays: a call is one launch of a graph.

    `result` holds the same arrays for all calls. With NumPy arrays a call waits for their new
    contents. With device arrays it only queues the work; a check that failed is then reported by
    the next call, by `numpy()` of a result, or by the device's `synchronize()`.
    """

    __slots__ = ("_call", "_session", "_stream")

    def __init__(
        self, function: CudaFunction, session: Session, call: Arguments, stream: int
    ) -> None:
        """Made by `CudaFunction.bind`."""
        self.function = function
        self.result = _result(call.results, fresh=False)
        self._session = session
        self._call = call
        self._stream = stream

    def __call__(self) -> Any:
        """Run once.

        Raises:
            CheckFailed: a check failed, in this call or, where calls do not wait, an earlier one.
            CudaError: the driver refuses; nothing has run.
        """
        device = self._session.module.device
        with device.turn, device.current():
            self._session.run(self._call.arrays, self._stream)
        return self.result

    def time_ms(self, repeat: int = 20) -> float:
        """The median time of one call by the device's clock, in milliseconds, after 3 more calls.

        Raises:
            ArgumentError: `repeat` is below 1.
            CudaError: the driver refuses.
        """
        if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 1:
            raise ArgumentError(f"time_ms: repeat must be at least 1, got {repeat!r}")
        device = self._session.module.device
        times = []
        with device.turn, device.current():
            start, stop = device.event(timing=True), device.event(timing=True)
            for _ in range(3):
                self()
            for _ in range(repeat):
                device.call("cuEventRecord", start.value, self._stream)
                self()
                device.call("cuEventRecord", stop.value, self._stream)
                device.call("cuEventSynchronize", stop.value)
                times.append(float(device.call("cuEventElapsedTime", start.value, stop.value)))
        return statistics.median(times)


def _fetch(device: Device, target: int, source: int, size: int, stream: int) -> None:
    if size:
        device.call("cuMemcpyDtoHAsync", target, source, size, stream)


def _fetch_array(host: Array, array: DeviceArray, stream: int) -> None:
    _fetch(array.device, host.ctypes.data, array.address, host.nbytes, stream)
