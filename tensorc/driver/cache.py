"""The kernel cache on disk: what was compiled before. How it is kept, `store` says."""

from __future__ import annotations

import hashlib
import logging
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import llvmlite
import llvmlite.binding as llvm

from tensorc.driver.artifact import Artifact, from_bytes, to_bytes
from tensorc.store import Store, key_of

if TYPE_CHECKING:
    from tensorc.target import Target

_log = logging.getLogger("tensorc")

KERNELS = Store("kernel cache", b"TCKERNL1", ".tck", home="kernels")
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
    return key_of(kind, text, repr(target), str(opt_level), repr(versions))


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


def load(folder: Path, key: str) -> Artifact | None:
    """The entry of `key`, or None; a damaged one counts as none."""
    payload = KERNELS.load(folder, key)
    if payload is None:
        return None
    try:
        return from_bytes(payload)
    except ValueError as error:
        _log.debug("kernel cache: %s: %s; compiling again", key, error)
        return None


def store(folder: Path, key: str, artifact: Artifact) -> None:
    """Keep `artifact` under `key` if that can be done, and drop the oldest beyond the bound."""
    KERNELS.save(folder, key, to_bytes(artifact))
