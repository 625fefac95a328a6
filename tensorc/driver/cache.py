"""The kernel cache: what was compiled before, in this process and on disk.

On disk each entry is one file, named by its key: a magic, a checksum, and an artifact. A file
appears whole or not at all (written beside, then renamed), so processes may share the folder and
a writer may die. Whatever is wrong with a file or the folder, the answer is to compile again: the
cache never raises.

`TENSORC_CACHE_DIR` names the folder, else it is `tensorc/kernels` in the user's cache folder;
`TENSORC_CACHE=0` leaves the disk alone; `TENSORC_CACHE_BYTES` bounds the size, 512 MB by default.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite
import llvmlite.binding as llvm

from tensorc.driver.artifact import Artifact, from_bytes, to_bytes

if TYPE_CHECKING:
    from tensorc.target import Target

_log = logging.getLogger("tensorc")

_MAGIC = b"TCKERNL1"
_SUFFIX = ".tck"
_DEFAULT_BYTES = 512 * 1024 * 1024
_ABANDONED_SECONDS = 3600.0
_SOURCES = ("dtypes.py", "target.py", "ir", "schedule", "lower", "codegen", "driver")


def kernel_key(kind: str, text: str, target: Target, opt_level: int) -> str:
    """The name of a compilation: everything that its result depends on, hashed.

    Args:
        kind: how the program came about: "auto" (still to be scheduled) or "scheduled".
        text: the program, printed.
        target: a resolved target.
        opt_level: LLVM's.
    """
    versions = (llvmlite.__version__, llvm.llvm_version_info, compiler_fingerprint())
    parts = (kind, text, repr(target), str(opt_level), repr(versions))
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@cache
def compiler_fingerprint() -> str:
    """Which compiler this is: an entry that another version made is not found.

    A hash of the names, sizes and times of change of the compiler's own sources, since reading all
    of them would take as long as a small compilation.
    """
    root = Path(__file__).parent.parent
    files: list[str] = []
    for source in _SOURCES:
        path = root / source
        found = [str(path)] if path.is_file() else _python_files(str(path))
        for name in found:
            status = os.stat(name)
            files.append(f"{name[len(str(root)) :]} {status.st_size} {status.st_ctime_ns}")
    return hashlib.sha256("\n".join(files).encode()).hexdigest()


def _python_files(folder: str) -> list[str]:
    walk = ((top, sorted(names)) for top, _, names in sorted(os.walk(folder)))
    return [f"{top}/{name}" for top, names in walk for name in names if name.endswith(".py")]


def cache_folder() -> Path | None:
    """Where entries are kept on disk; None where they are not."""
    if os.environ.get("TENSORC_CACHE", "") == "0":
        return None
    chosen = os.environ.get("TENSORC_CACHE_DIR", "")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # There is no home.
        return None
    return root / "tensorc" / "kernels"


def load(folder: Path, key: str) -> Artifact | None:
    """The entry of `key`, or None; a damaged one counts as none."""
    path = folder / f"{key}{_SUFFIX}"
    try:
        data = path.read_bytes()
    except OSError:
        return None
    try:
        artifact = _unseal(data)
    except ValueError as error:
        _log.debug("kernel cache: %s: %s; compiling again", path, error)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # The oldest go first when space runs out, so note the use.
    return artifact


def store(folder: Path, key: str, artifact: Artifact) -> None:
    """Keep `artifact` under `key` if that can be done, and drop the oldest beyond the bound."""
    temporary = None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # It holds code that will be run.
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(_seal(artifact))
        os.replace(temporary, folder / f"{key}{_SUFFIX}")
        temporary = None
        _evict(folder, _size_limit())
    except OSError as error:
        _log.debug("kernel cache: %s: not kept: %s", folder, error)
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _seal(artifact: Artifact) -> bytes:
    payload = to_bytes(artifact)
    return _MAGIC + hashlib.sha256(payload).digest() + payload


def _unseal(data: bytes) -> Artifact:
    start = len(_MAGIC) + hashlib.sha256().digest_size
    payload = data[start:]
    if data[:start] != _MAGIC + hashlib.sha256(payload).digest():
        raise ValueError("truncated or damaged")
    return from_bytes(payload)


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
