"""Libraries that were built before, on disk: the same conventions as the kernel cache.

An entry is one file, named by its key: a magic, a checksum, a shared library. It appears whole or
not at all; whatever is wrong with a file or the folder, the answer is to build again.

They lie in `emulator` inside of `TENSORC_CACHE_DIR`, else in `tensorc/emulator` in the user's cache
folder; `TENSORC_CACHE=0` leaves the disk alone; `TENSORC_CACHE_BYTES` bounds the size, 512 MB by
default.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from pathlib import Path

_log = logging.getLogger("tensorc")

_MAGIC = b"TCEMULA1"
_SUFFIX = ".tce"
_DEFAULT_BYTES = 512 * 1024 * 1024
_ABANDONED_SECONDS = 3600.0


def key_of(*parts: str) -> str:
    """A name for everything that a build depends on."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def cache_folder() -> Path | None:
    """Where entries are kept; None where they are not."""
    if os.environ.get("TENSORC_CACHE", "") == "0":
        return None
    chosen = os.environ.get("TENSORC_CACHE_DIR", "")
    if chosen:
        return Path(chosen) / "emulator"
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # There is no home.
        return None
    return root / "tensorc" / "emulator"


def load(folder: Path, key: str) -> bytes | None:
    """The library of `key`, or None; a damaged one counts as none."""
    path = folder / f"{key}{_SUFFIX}"
    try:
        data = path.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + hashlib.sha256().digest_size
    if data[:start] != _MAGIC + hashlib.sha256(data[start:]).digest():
        _log.debug("emulator cache: %s: truncated or damaged; building again", path)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # The oldest go first when space runs out, so note the use.
    return data[start:]


def store(folder: Path, key: str, library: bytes) -> None:
    """Keep `library` under `key` if that can be done, and drop the oldest beyond the bound."""
    temporary = None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # It holds code that will be run.
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(library).digest() + library)
        os.replace(temporary, folder / f"{key}{_SUFFIX}")
        temporary = None
        _evict(folder, _size_limit())
    except OSError as error:
        _log.debug("emulator cache: %s: not kept: %s", folder, error)
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _size_limit() -> int:
    text = os.environ.get("TENSORC_CACHE_BYTES", "")
    return int(text) if text.isascii() and text.isdigit() else _DEFAULT_BYTES


def _evict(folder: Path, limit: int) -> None:
    """Delete the entries used longest ago until the rest fit, and what dead writers left."""
    entries = []
    now = time.time()
    for item in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # Another process cleans up too.
            info = item.stat()
            if item.name.endswith(_SUFFIX):
                entries.append((info.st_mtime_ns, item.path, info.st_size))
            elif item.name.startswith(".new-") and now - info.st_mtime > _ABANDONED_SECONDS:
                os.unlink(item.path)
    total = sum(size for _, _, size in entries)
    for _, path, size in sorted(entries):
        if total <= limit:
            break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        total -= size
