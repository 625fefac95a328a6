"""The caller's streams: integers, and the stream objects of other libraries."""

from __future__ import annotations

from typing import Any

from tensorc_runtime.cuda.api import LEGACY_STREAM
from tensorc_runtime.errors import ArgumentError

_TAKEN = (
    "an integer, an object with __cuda_stream__ (cuda.core, CuPy), torch's with cuda_stream, "
    "or None for the default stream"
)


def stream_number(stream: Any) -> int:
    """The handle of a stream as an integer; the default stream is `LEGACY_STREAM`.

    Args:
        stream: an integer; an object with `__cuda_stream__`, with `cuda_stream` (torch) or with
            `ptr` (CuPy); or None.

    Raises:
        ArgumentError: it is none of these.
    """
    if stream is None:
        return LEGACY_STREAM
    value: Any = stream
    if hasattr(stream, "__cuda_stream__"):
        protocol = stream.__cuda_stream__
        version, value = protocol() if callable(protocol) else protocol
        if version != 0:
            raise ArgumentError(f"stream: version {version} of __cuda_stream__ is not known")
    elif hasattr(stream, "cuda_stream"):
        value = stream.cuda_stream
    elif hasattr(stream, "ptr"):
        value = stream.ptr
    if isinstance(value, bool) or not hasattr(value, "__int__") or isinstance(value, float):
        raise ArgumentError(f"stream: got a {type(stream).__name__}; expected {_TAKEN}")
    number = int(value)
    if number < 0:
        raise ArgumentError(f"stream: got {number}; expected {_TAKEN}")
    return number or LEGACY_STREAM
