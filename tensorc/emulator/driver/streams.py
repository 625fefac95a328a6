"""Streams, events and capture.

Work is done when it is submitted. In a deferred driver it waits in its stream until something
waits for the stream, or for an event in it: as late as is legal, so that a forgotten wait shows.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tensorc.emulator.driver.base import Device, Result, call, fail
from tensorc.emulator.driver.codes import (
    CUgraphNodeType,
    CUresult,
    CUstreamCaptureMode,
    CUstreamCaptureStatus,
)
from tensorc.emulator.driver.devices import Devices

if TYPE_CHECKING:
    from collections.abc import Callable

LEGACY, PER_THREAD = 1, 2
_NON_BLOCKING = 1
_DISABLE_TIMING = 2
_EMPTY = CUgraphNodeType.CU_GRAPH_NODE_TYPE_EMPTY
_INVALID = CUresult.CUDA_ERROR_INVALID_VALUE


@dataclass(eq=False)
class Node:
    """One piece of work: in a stream, or in a graph behind others."""

    kind: CUgraphNodeType
    run: Callable[[], None]
    after: tuple[Node, ...] = ()
    handle: int = 0
    kernel: Any = None  # The launch, of a kernel node.


@dataclass(eq=False)
class Capture:
    """A graph in the making."""

    origin: Stream
    mode: int
    thread: int
    nodes: list[Node] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    invalid: bool = False


@dataclass(eq=False)
class Stream:
    """A queue of work. `done` and `submitted` count pieces; `tips` is what a capture ends with."""

    handle: int
    device: Device
    blocking: bool
    queue: deque[Node] = field(default_factory=deque)
    submitted: int = 0
    done: int = 0
    capture: Capture | None = None
    tips: tuple[Node, ...] = ()


@dataclass(eq=False)
class Event:
    """A point in a stream, or in a capture."""

    handle: int
    device: Device
    timing: bool
    stream: Stream | None = None
    position: int = 0
    time: float | None = None
    capture: Capture | None = None
    tips: tuple[Node, ...] = ()


class Streams(Devices):
    """cuStream* and cuEvent*."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Start with the default streams alone."""
        super().__init__(*args, **kwargs)
        self._streams: dict[int, Stream] = {}
        self._defaults: dict[tuple[int, int, int], Stream] = {}
        self._events: dict[int, Event] = {}
        self._captures: list[Capture] = []

    # ---- Work

    def _stream(self, handle: Any) -> Stream:
        number = int(handle) if handle is not None else 0
        device = self._device()
        if number in (0, LEGACY, PER_THREAD):
            thread = threading.get_ident() if number == PER_THREAD else 0
            key = (device.ordinal, max(number, LEGACY), thread)
            if key not in self._defaults:
                self._defaults[key] = Stream(key[1], device, blocking=True)
            return self._defaults[key]
        stream = self._streams.get(number)
        if stream is None:
            raise fail(CUresult.CUDA_ERROR_INVALID_HANDLE)
        if stream.device is not device:
            raise fail(CUresult.CUDA_ERROR_INVALID_CONTEXT)
        return stream

    def _submit(
        self, handle: Any, kind: CUgraphNodeType, run: Callable[[], None], kernel: Any = None
    ) -> None:
        """Put work in a stream, or in the graph that the stream is captured into."""
        stream = self._stream(handle)
        if stream.handle == LEGACY:  # It would wait for the captured streams that block.
            for capture in self._captures:
                if any(member.blocking for member in capture.streams):
                    self._invalidate(capture)
                    raise fail(CUresult.CUDA_ERROR_STREAM_CAPTURE_IMPLICIT)
        if stream.capture is not None:
            self._add_to_capture(stream, Node(kind, run, stream.tips, self._handle(), kernel))
            return
        node = Node(kind, run, kernel=kernel)
        stream.submitted += 1
        stream.queue.append(node)
        if stream.handle == LEGACY:  # It waits for all blocking streams, and they for it.
            for other in self._all_streams(stream.device):
                if other.blocking and other is not stream:
                    self._drain(other)
            self._drain(stream)
        elif not self.deferred:
            self._drain(stream)

    def _add_to_capture(self, stream: Stream, node: Node) -> None:
        assert stream.capture is not None, "only captured streams come here"
        if stream.capture.invalid:
            raise fail(CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
        stream.capture.nodes.append(node)
        stream.tips = (node,)

    def _all_streams(self, device: Device) -> list[Stream]:
        streams = (*self._streams.values(), *self._defaults.values())
        return [stream for stream in streams if stream.device is device]

    def _drain(self, stream: Stream, until: int | None = None) -> None:
        """Do a stream's work, up to the position `until`."""
        until = stream.submitted if until is None else until
        while stream.queue and stream.done < until:
            node = stream.queue.popleft()
            stream.done += 1
            if not stream.device.broken:
                node.run()

    def _drain_device(self, device: Device) -> None:
        for stream in self._all_streams(device):
            self._drain(stream)

    @staticmethod
    def _check_whole(device: Device) -> None:
        if device.broken:
            raise fail(device.broken)

    def _kill_context(self, device: Device) -> None:
        self._streams = {h: s for h, s in self._streams.items() if s.device is not device}
        self._events = {h: e for h, e in self._events.items() if e.device is not device}
        self._defaults = {k: s for k, s in self._defaults.items() if s.device is not device}
        self._captures = [c for c in self._captures if c.origin.device is not device]

    # ---- Streams

    @call(1)
    def cuStreamCreate(self, flags: int) -> Result:
        if flags not in (0, _NON_BLOCKING):
            raise fail(CUresult.CUDA_ERROR_INVALID_VALUE)
        stream = Stream(self._handle(), self._device(), blocking=not flags)
        self._streams[stream.handle] = stream
        return (stream.handle,)

    @call(1)
    def cuStreamCreateWithPriority(self, flags: int, priority: int) -> Result:
        code, handle = self.cuStreamCreate(flags)
        if code:
            raise fail(code)
        return (handle,)

    @call()
    def cuStreamDestroy(self, stream: Any) -> Result:
        found = self._uncaptured(stream)
        if self._streams.pop(found.handle, None) is None:
            raise fail(CUresult.CUDA_ERROR_INVALID_HANDLE)  # A default stream.
        self._drain(found)
        return ()

    def _uncaptured(self, handle: Any) -> Stream:
        """A stream for a call that is not allowed while it is captured."""
        stream = self._stream(handle)
        if stream.capture is not None:
            self._invalidate(stream.capture)
            raise fail(CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
        return stream

    @call()
    def cuStreamSynchronize(self, stream: Any) -> Result:
        found = self._uncaptured(stream)
        self._drain(found)
        self._check_whole(found.device)
        return ()

    @call()
    def cuStreamQuery(self, stream: Any) -> Result:
        found = self._uncaptured(stream)
        if found.queue:
            raise fail(CUresult.CUDA_ERROR_NOT_READY)
        self._check_whole(found.device)
        return ()

    @call(during_capture=False)
    def cuCtxSynchronize(self) -> Result:
        device = self._device()
        self._drain_device(device)
        self._check_whole(device)
        return ()

    @call()
    def cuStreamWaitEvent(self, stream: Any, event: Any, flags: int) -> Result:
        waiting, found = self._stream(stream), self._event(event)
        if found.capture is not None:
            self._join_capture(waiting, found)
            return ()
        if waiting.capture is not None and found.stream is not None:
            self._invalidate(waiting.capture)  # It would wait for work outside of the graph.
            raise fail(CUresult.CUDA_ERROR_STREAM_CAPTURE_ISOLATION)
        source, position = found.stream, found.position
        if source is not None:
            self._submit(stream, _EMPTY, lambda: self._drain(source, position))
        return ()

    # ---- Events

    def _event(self, handle: Any) -> Event:
        event = self._events.get(int(handle))
        if event is None:
            raise fail(CUresult.CUDA_ERROR_INVALID_HANDLE)
        return event

    @call(1)
    def cuEventCreate(self, flags: int) -> Result:
        if flags & ~7:
            raise fail(CUresult.CUDA_ERROR_INVALID_VALUE)
        timing = not flags & _DISABLE_TIMING
        event = Event(self._handle(), self._device(), timing)
        self._events[event.handle] = event
        return (event.handle,)

    @call()
    def cuEventDestroy(self, event: Any) -> Result:
        del self._events[self._event(event).handle]
        return ()

    @call()
    def cuEventRecord(self, event: Any, stream: Any) -> Result:
        found, source = self._event(event), self._stream(stream)
        if source.device is not found.device:
            raise fail(CUresult.CUDA_ERROR_INVALID_HANDLE)
        if source.capture is not None:
            found.capture, found.tips, found.stream = source.capture, source.tips, None
            return ()
        found.capture, found.tips, found.time = None, (), None

        def record() -> None:
            found.time = time.perf_counter()

        found.stream, found.position = source, source.submitted + 1
        self._submit(stream, _EMPTY, record)
        return ()

    def _uncaptured_event(self, handle: Any) -> Event:
        event = self._event(handle)
        if event.capture is not None:
            self._invalidate(event.capture)
            raise fail(CUresult.CUDA_ERROR_CAPTURED_EVENT)
        return event

    @call()
    def cuEventSynchronize(self, event: Any) -> Result:
        found = self._uncaptured_event(event)
        if found.stream is not None:
            self._drain(found.stream, found.position)
        self._check_whole(found.device)
        return ()

    @call()
    def cuEventQuery(self, event: Any) -> Result:
        found = self._uncaptured_event(event)
        if found.stream is not None and found.stream.done < found.position:
            raise fail(CUresult.CUDA_ERROR_NOT_READY)
        self._check_whole(found.device)
        return ()

    @call(1)
    def cuEventElapsedTime(self, start: Any, end: Any) -> Result:
        first, last = self._uncaptured_event(start), self._uncaptured_event(end)
        for event in (first, last):
            if not event.timing or event.stream is None:
                raise fail(CUresult.CUDA_ERROR_INVALID_HANDLE)
            if event.time is None:
                raise fail(CUresult.CUDA_ERROR_NOT_READY)
        assert first.time is not None, "checked above"
        assert last.time is not None, "checked above"
        return (1e3 * (last.time - first.time),)

    # ---- Capture

    def _thread_captures(self) -> bool:
        relaxed = CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        everywhere = CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_GLOBAL
        own = threading.get_ident()
        return any(
            c.mode != relaxed and (c.thread == own or c.mode == everywhere) for c in self._captures
        )

    def _invalidate_captures(self) -> None:
        for capture in self._captures:
            self._invalidate(capture)

    @staticmethod
    def _invalidate(capture: Capture) -> None:
        capture.invalid = True

    @call()
    def cuStreamBeginCapture(self, stream: Any, mode: Any) -> Result:
        found = self._stream(stream)
        if found.handle == LEGACY:
            raise fail(CUresult.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
        if found.capture is not None or int(mode) not in (0, 1, 2):
            raise fail(CUresult.CUDA_ERROR_ILLEGAL_STATE if found.capture else _INVALID)
        capture = Capture(found, int(mode), threading.get_ident(), streams=[found])
        found.capture, found.tips = capture, ()
        self._captures.append(capture)
        return ()

    def _join_capture(self, stream: Stream, event: Event) -> None:
        capture = event.capture
        assert capture is not None, "the event was recorded in a capture"
        if capture not in self._captures:
            raise fail(CUresult.CUDA_ERROR_INVALID_VALUE)
        if stream.capture is None:
            stream.capture, stream.tips = capture, ()
            capture.streams.append(stream)
        elif stream.capture is not capture:
            self._invalidate(capture)
            self._invalidate(stream.capture)
            raise fail(CUresult.CUDA_ERROR_STREAM_CAPTURE_MERGE)
        stream.tips = tuple(dict.fromkeys((*stream.tips, *event.tips)))

    def _finish_capture(self, handle: Any) -> Capture:
        stream = self._stream(handle)
        capture = stream.capture
        if capture is None:
            raise fail(CUresult.CUDA_ERROR_ILLEGAL_STATE)
        if capture.mode != CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED and (
            capture.thread != threading.get_ident()
        ):
            raise fail(CUresult.CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD)
        if capture.origin is not stream:
            self._invalidate(capture)
            raise fail(CUresult.CUDA_ERROR_STREAM_CAPTURE_UNMATCHED)
        followed = {id(before) for node in capture.nodes for before in node.after}
        ends = [node for node in capture.nodes if id(node) not in followed]
        joined = all(node in stream.tips for node in ends)
        self._captures.remove(capture)
        for member in capture.streams:
            member.capture, member.tips = None, ()
        if capture.invalid:
            raise fail(CUresult.CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
        if not joined:
            raise fail(CUresult.CUDA_ERROR_STREAM_CAPTURE_UNJOINED)
        return capture

    @call(1)
    def cuStreamIsCapturing(self, stream: Any) -> Result:
        capture = self._stream(stream).capture
        if capture is None:
            return (CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_NONE,)
        if capture.invalid:
            return (CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_INVALIDATED,)
        return (CUstreamCaptureStatus.CU_STREAM_CAPTURE_STATUS_ACTIVE,)
