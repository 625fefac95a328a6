"""What one compilation leaves: an object file, the text of each stage, and how long it took."""

from __future__ import annotations

import itertools
import json
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_LENGTHS = struct.Struct("<QQQ")


@dataclass(frozen=True)
class Artifact:
    """The result of a compilation, as it is kept in the cache.

    Attributes:
        objects: relocatable object files, which make the function when linked together.
        checks: the messages of the program's checks, by the index that the code reports.
        timing: seconds by phase.
        packed: the text of each stage, compressed, since it is read seldom.
    """

    objects: tuple[bytes, ...]
    checks: tuple[str, ...]
    timing: dict[str, float]
    packed: bytes

    @cached_property
    def texts(self) -> dict[str, str]:
        """The text of each stage."""
        texts: dict[str, str] = json.loads(zlib.decompress(self.packed))
        return texts


def packed_texts(texts: dict[str, str]) -> bytes:
    """The text of each stage, as an artifact keeps it."""
    return zlib.compress(json.dumps(texts).encode(), 1)


def to_bytes(artifact: Artifact) -> bytes:
    """The artifact as bytes, which `from_bytes` reads."""
    head = json.dumps(
        {
            "checks": artifact.checks,
            "timing": artifact.timing,
            "sizes": [len(o) for o in artifact.objects],
        }
    ).encode()
    code = b"".join(artifact.objects)
    lengths = _LENGTHS.pack(len(head), len(code), len(artifact.packed))
    return b"".join((lengths, head, code, artifact.packed))


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
    text, code, packed = _cut(data[_LENGTHS.size :], lengths)
    head: Any = json.loads(text)
    if not isinstance(head, dict):
        raise ValueError("its head is no object")
    checks, timing, sizes = head.get("checks"), head.get("timing"), head.get("sizes")
    if not isinstance(checks, list) or not isinstance(timing, dict):
        raise ValueError("its head lacks a part")
    if not isinstance(sizes, list) or sum(sizes) != len(code):
        raise ValueError(f"{len(code)} bytes of code, for objects of {sizes}")
    return Artifact(_cut(code, sizes), tuple(map(str, checks)), timing, packed)


def _cut(data: bytes, sizes: Iterable[int]) -> tuple[bytes, ...]:
    """`data` in pieces of these sizes."""
    ends = tuple(itertools.accumulate(sizes))
    return tuple(data[a:b] for a, b in itertools.pairwise((0, *ends)))
