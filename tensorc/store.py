"""What can be made again, kept on disk: compiled kernels, the libraries of the emulator.

An entry is one file, named by its key: a magic, a checksum, a payload. A file appears whole or not
at all (written beside, then renamed), so processes may share the folder and a writer may die.
Whatever is wrong with a file or the folder, the answer is to make the entry again: nothing here
raises.

`TENSORC_CACHE_DIR` names the folder, else it is in the user's cache folder; `TENSORC_CACHE=0`
leaves the disk alone; `TENSORC_CACHE_BYTES` bounds the size of a store, 512 MB by default.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger("tensorc")

_DEFAULT_BYTES = 512 * 1024 * 1024
_ABANDONED_SECONDS = 3600.0
_DIGEST = hashlib.sha256().digest_size


def key_of(*parts: str) -> str:
    """A name for everything that an entry depends on."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Store:
    """Entries of one kind.

    Attributes:
        what: what log lines call it.
        magic: how its files begin.
        suffix: how their names end.
        home: its folder inside of `tensorc` in the user's cache folder.
        inside: its folder inside of `TENSORC_CACHE_DIR`, "" for that itself.
    """

    what: str
    magic: bytes
    suffix: str
    home: str
    inside: str = ""

    def folder(self) -> Path | None:
        """Where entries are kept; None where they are not."""
        if os.environ.get("TENSORC_CACHE", "") == "0":
            return None
        chosen = os.environ.get("TENSORC_CACHE_DIR", "")
        if chosen:
            return Path(chosen) / self.inside
        base = os.environ.get("XDG_CACHE_HOME", "")
        try:
            root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
        except RuntimeError:  # There is no home.
            return None
        return root / "tensorc" / self.home

    def load(self, folder: Path, key: str) -> bytes | None:
        """The payload of `key`, or None; a damaged one counts as none."""
        path = folder / f"{key}{self.suffix}"
        try:
            data = path.read_bytes()
        except OSError:
            return None
        start = len(self.magic) + _DIGEST
        if data[:start] != self.magic + hashlib.sha256(data[start:]).digest():
            _log.debug("%s: %s: truncated or damaged; made again", self.what, path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # The oldest go first when space runs out, so note the use.
        return data[start:]

    def save(self, folder: Path, key: str, payload: bytes) -> None:
        """Keep `payload` under `key` if that can be done; drop the oldest beyond the bound."""
        temporary = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # It holds code that will be run.
            handle, temporary = tempfile.mkstemp(prefix=".new-", dir=folder)
            with os.fdopen(handle, "wb") as file:
                file.write(self.magic + hashlib.sha256(payload).digest() + payload)
            os.replace(temporary, folder / f"{key}{self.suffix}")
            temporary = None
            self._evict(folder, _size_limit())
        except OSError as error:
            _log.debug("%s: %s: not kept: %s", self.what, folder, error)
        finally:
            if temporary is not None:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)

    def _evict(self, folder: Path, limit: int) -> None:
        """Delete the entries used longest ago until the rest fit, and what dead writers left."""
        entries = []
        now = time.time()
        for item in os.scandir(folder):
            with contextlib.suppress(FileNotFoundError):  # Another process cleans up too.
                info = item.stat()
                if item.name.endswith(self.suffix):
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


def _size_limit() -> int:
    text = os.environ.get("TENSORC_CACHE_BYTES", "")
    return int(text) if text.isascii() and text.isdigit() else _DEFAULT_BYTES
