"""Calls that go through a graph: bound functions, and all calls of functions with state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tensorc_runtime.cuda.array import DeviceArray
from tensorc_runtime.cuda.graph import Places, Replay

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tensorc_runtime.cuda.mirror import Mirror
    from tensorc_runtime.cuda.module import Module
    from tensorc_runtime.cuda.signature import CudaSignature

_AFTER = "the call itself has been queued: its state is that after the call"


class Session:
    """A captured call, and what moves between its fixed addresses and the caller's arrays.

    Host arrays go through pinned memory, as part of the graph. A device array that is bound, or
    updated in place, is used where it is; others are copied to and from buffers of the graph.
    """

    def __init__(
        self,
        module: Module,
        signature: CudaSignature,
        dims: Mapping[str, int],
        arrays: Sequence[Any],
        state: Mapping[int, Mirror | DeviceArray],
        *,
        bound: bool,
    ) -> None:
        """Capture the call on `arrays`; the device's context is current.

        Args:
            module: the kernels.
            signature: of the function.
            dims: the symbolic sizes.
            arrays: one for each parameter.
            state: where each piece of state is.
            bound: whether calls are on these very arrays.

        Raises:
            CudaError: the driver refuses.
            ArgumentError: a grid is beyond the device's limits.
        """
        self.module = module
        params = signature.manifest.params
        places = Places()
        self._sent, self._fetched = places.sent, places.fetched
        self._copied: list[int] = []
        self._returned: list[int] = []
        self._in_place: list[int] = []
        for i, array in enumerate(arrays):
            role = params[i].role
            if i in state:
                places.fixed[i] = _array(state[i]).address
            elif isinstance(array, DeviceArray) and (bound or role == "inout"):
                places.fixed[i] = array.address
                self._in_place.append(i)
            else:
                places.own[i] = array.nbytes
                on_device = isinstance(array, DeviceArray)
                if role != "out":
                    (self._copied if on_device else self._sent).append(i)
                if role != "in":
                    (self._returned if on_device else self._fetched).append(i)
        self._checked = bool(module.plan.checks)
        self.replay = Replay(module, signature, dims, places)
        self._pinned = {
            i: self.replay.host(i, arrays[i].shape, arrays[i].dtype)
            for i in dict.fromkeys((*self._sent, *self._fetched))
        }
        self._sent_event = self.replay.device.event() if self._sent else None
        self._sending = False
        self._on_device = [s for s in state.values() if isinstance(s, DeviceArray)]
        self._mirrors = [s for s in state.values() if not isinstance(s, DeviceArray)]
        written = [s for i, s in state.items() if params[i].role != "in"]
        self._changed = [s for s in written if not isinstance(s, DeviceArray)]
        self.waits = bool(self._fetched) or (self._checked and not bound)
        self._unfinished = self.waits or bool(self._returned or self._sent)

    def run(self, arrays: Sequence[Any], stream: int) -> None:
        """One call on `arrays`; host arrays are filled when it returns. The context is current.

        Raises:
            CheckFailed: a check failed, in this call or, where calls do not wait, an earlier one.
            CudaError: the driver refuses.
        """
        device, replay = self.replay.device, self.replay
        replay.raise_seen()
        for mirror in self._mirrors:
            mirror.push(stream)
        for array in self._on_device:
            array.address_on(stream)
        for i in self._in_place:
            arrays[i].address_on(stream)
        self._send(arrays)
        for i in self._copied:
            start = arrays[i].address_on(stream)
            if arrays[i].nbytes:
                target = replay.address(i)
                device.call("cuMemcpyDtoDAsync", target, start, arrays[i].nbytes, stream)
        replay.run(stream)
        for mirror in self._changed:
            mirror.device_newer, mirror.exposed = True, False
        if self._unfinished:
            try:
                self._finish(arrays, stream)
            except Exception as error:
                error.add_note(_AFTER)
                raise

    def _send(self, arrays: Sequence[Any]) -> None:
        if self._sending and self._sent_event is not None:
            # The device may not have read the last call's values yet.
            self.replay.device.call("cuEventSynchronize", self._sent_event.value)
            self._sending = False
        for i in self._sent:
            np.copyto(self._pinned[i], arrays[i])

    def _finish(self, arrays: Sequence[Any], stream: int) -> None:
        device, replay = self.replay.device, self.replay
        if not self.waits and self._sent_event is not None:
            device.call("cuEventRecord", self._sent_event.value, stream)
            self._sending = True
        for i in self._returned:
            target = arrays[i].address_on(stream)
            if arrays[i].nbytes:
                start = replay.address(i)
                device.call("cuMemcpyDtoDAsync", target, start, arrays[i].nbytes, stream)
        if self.waits:
            device.wait(stream)
            replay.raise_failed()
        for i in self._fetched:
            np.copyto(arrays[i], self._pinned[i])


def session_key(
    arrays: Sequence[Any], roles: Sequence[str], state: Mapping[int, object]
) -> tuple[object, ...]:
    """What tells the session that an unbound call can use."""
    key: list[object] = []
    for i, array in enumerate(arrays):
        if i in state:
            continue
        on_device = isinstance(array, DeviceArray)
        where = array.address if on_device and roles[i] == "inout" else on_device
        key.append((array.shape, where))
    return tuple(key)


def _array(source: Mirror | DeviceArray) -> DeviceArray:
    return source if isinstance(source, DeviceArray) else source.array
