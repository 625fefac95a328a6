"""The MNIST files in the user's cache, downloaded once and checked whenever they are read."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import time
import urllib.request
import warnings
from pathlib import Path

from tensorc.data.idx import read_bytes, unpack
from tensorc.errors import DataError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# SHA-256 of the unpacked bytes: mirrors pack the same files differently.
CHECKSUMS = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
ANSWER_SECONDS = 10.0  # How long a mirror may stay silent.
FILE_SECONDS = 300.0  # How long one file may take, however steadily it drips.
MAX_PACKED_BYTES = 16 << 20  # The largest file packs to under 10 MiB.
_CHUNK_BYTES = 1 << 16


def cache_folder() -> Path:
    """Where downloads are kept: `$XDG_CACHE_HOME/tensorc/mnist`, by default under `~/.cache`.

    Raises:
        DataError: there is no such variable and no home folder either.
    """
    named = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(named):  # The XDG specification: relative paths must be ignored.
        return Path(named, "tensorc", "mnist")
    try:
        return Path.home() / ".cache" / "tensorc" / "mnist"
    except RuntimeError as problem:
        raise DataError(f"no cache folder: {problem}; set XDG_CACHE_HOME") from problem


def fetch_mnist() -> dict[str, bytes]:
    """Get the unpacked bytes of each file of `CHECKSUMS`, downloading what the cache lacks.

    A cached file that fails its checksum counts as missing, and is replaced. A cache that cannot be
    written is a warning: the data are there, for this once.

    Raises:
        DataError: no mirror gave a file whose checksum is right.
    """
    folder = cache_folder()
    return {name: _from_cache(folder, name) or _download(folder, name) for name in CHECKSUMS}


def _from_cache(folder: Path, name: str) -> bytes | None:
    try:
        return _checked(read_bytes(folder / f"{name}.gz"), name)
    except DataError:
        return None


def _checked(packed: bytes, name: str) -> bytes:
    content = unpack(packed, name)
    found = hashlib.sha256(content).hexdigest()
    if found != CHECKSUMS[name]:
        raise DataError(
            f"{name}: SHA-256 of the {len(content)} unpacked bytes is {found}, "
            f"and should be {CHECKSUMS[name]}"
        )
    return content


def _download(folder: Path, name: str) -> bytes:
    failures = []
    for mirror in MIRRORS:
        url = f"{mirror}{name}.gz"
        try:
            packed = _get(url)
            content = _checked(packed, name)
        # HTTPException: an answer that is no HTTP. OSError: all that sockets, URLs and we raise.
        except (OSError, http.client.HTTPException) as problem:
            failures.append(f"  {url}: {problem}")
        else:
            _keep(folder / f"{name}.gz", packed)
            return content
    raise DataError("\n".join([f"cannot download {name}.gz from any mirror:", *failures]))


def _get(url: str) -> bytes:
    deadline = time.monotonic() + FILE_SECONDS
    packed = bytearray()
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:
        # read1 returns what has come, so that a mirror that drips cannot outlast the deadline.
        while chunk := answer.read1(_CHUNK_BYTES):
            packed += chunk
            if len(packed) > MAX_PACKED_BYTES:
                raise DataError(f"longer than {MAX_PACKED_BYTES} bytes")
            if time.monotonic() > deadline:
                raise DataError(f"{len(packed)} bytes came in {FILE_SECONDS:g} s, too slow")
    return bytes(packed)


def _keep(path: Path, content: bytes) -> None:
    """Write whole or not at all, since another process may read or write the same file now."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.replace(scratch, path)
        except BaseException:
            os.unlink(scratch)
            raise
    except OSError as problem:
        message = f"cannot keep {path}, and will download it again: {problem.strerror or problem}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
