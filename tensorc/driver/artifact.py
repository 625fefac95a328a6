"""What one compilation leaves: an object file, the text of each stage, and how long it took."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_LENGTHS = struct.Struct("<QQQ")


@dataclass(frozen=True)
class Artifact:
    """The result of a compilation, as it is kept in the cache.

    Attributes:
        object: a relocatable object file.
        checks: the messages of the program's checks, by the index that the code reports.
        timing: seconds by phase.
        packed: the text of each stage, compressed, since it is read seldom.
    """

    object: bytes
    checks: tuple[str, ...]
    timing: dict[str, float]
    packed: bytes

    @cached_property
    def texts(self) -> dict[str, str]:
        """The text of each stage."""
        texts: dict[str, str] = json.loads(zlib.decompress(self.packed))
        return texts


def make_artifact(
    object_bytes: bytes, checks: tuple[str, ...], timing: dict[str, float], texts: dict[str, str]
) -> Artifact:
    """An artifact of these parts."""
    return Artifact(object_bytes, checks, timing, zlib.compress(json.dumps(texts).encode(), 1))


def to_bytes(artifact: Artifact) -> bytes:
    """The artifact as bytes, which `from_bytes` reads."""
    head = json.dumps({"checks": artifact.checks, "timing": artifact.timing}).encode()
    lengths = _LENGTHS.pack(len(head), len(artifact.object), len(artifact.packed))
    return b"".join((lengths, head, artifact.object, artifact.packed))


def from_bytes(data: bytes) -> Artifact:
    """The artifact that `to_bytes` wrote.

    Raises:
        ValueError: the bytes are no artifact.
    """
    try:
        lengths = _LENGTHS.unpack_from(data)
    except struct.error as error:
        raise ValueError(str(error)) from None
    if _LENGTHS.size + sum(lengths) != len(data):
        raise ValueError(f"{len(data)} bytes, for parts of {lengths}")
    parts: list[bytes] = []
    start = _LENGTHS.size
    for length in lengths:
        parts.append(data[start : start + length])
        start += length
    head: Any = json.loads(parts[0])
    if not isinstance(head, dict):
        raise ValueError("its head is no object")
    checks, timing = head.get("checks"), head.get("timing")
    if not isinstance(checks, list) or not isinstance(timing, dict):
        raise ValueError("its head lacks a part")
    return Artifact(parts[1], tuple(map(str, checks)), timing, parts[2])
