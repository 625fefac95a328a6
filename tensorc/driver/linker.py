"""Make a shared library from an object file, with whichever linker is there."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tensorc.errors import CompileError
from tensorc_runtime.manifest import TargetInfo
from tensorc_runtime.machine import why_not_here

if TYPE_CHECKING:
    from collections.abc import Sequence

# -z defs refuses symbols that nothing defines; the weak ones of OpenMP may stay open.
_OPTIONS = ("-shared", "-z", "defs", "-z", "noexecstack", "-z", "relro", "--as-needed")
_COMPILERS = ("cc", "gcc", "clang")
_LINKERS = ("ld", "ld.lld", "ld.gold", "ld.mold")
_SECONDS = 120


class NoLinker(CompileError):
    """No linker here makes shared libraries for the target."""


def link_shared(object_file: Path, library: Path, triple: str) -> None:
    """Link `object_file` into `library`, whose soname is its file name.

    Raises:
        NoLinker: there is none for the target.
        CompileError: every linker that is there refused; the message holds what the last one said.
    """
    native = why_not_here(TargetInfo(triple, "")) is None
    commands = list(_commands(triple.split("-")[0], native))
    if "linux" not in triple or not commands:
        tried = ", ".join((*_LINKERS, *_COMPILERS))
        raise NoLinker(f"no linker for {triple} found (looked for {tried})")
    said = ""
    for start, libraries in commands:
        result = _run([*start, "-soname", library.name], object_file, library, libraries)
        if result is None:
            return
        said = result
    raise CompileError(f"cannot link {library.name}: {said}")


def _commands(arch: str, native: bool) -> list[tuple[list[str], list[str]]]:
    """Command lines without files, and the libraries for the few calls that LLVM makes itself."""
    found: list[tuple[list[str], list[str]]] = []
    here = _system_libraries() if native else []
    names = _LINKERS if native else (f"{arch}-linux-gnu-ld", "ld.lld")
    if here or not native:
        for name in filter(shutil.which, names):
            # For a foreign machine there is no C library at hand: memset and the like stay open.
            options = [o for o in _OPTIONS if native or o not in ("-z", "defs", "noexecstack", "relro")]
            found.append(([name, *options], here))
    for name in filter(shutil.which, _COMPILERS if native else (f"{arch}-linux-gnu-gcc",)):
        found.append(([name], ["-lm"]))
    return found


def _system_libraries() -> list[str]:
    """The C and maths libraries of this process: they are there without development packages."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    ctypes.CDLL(ctypes.util.find_library("m"))
    mapped = dict.fromkeys(x.split(maxsplit=5)[5] for x in lines if x.count("/"))
    return [p for p in mapped if Path(p).name.startswith(("libc.so", "libm.so", "libc-", "libm-"))]


def _run(
    start: Sequence[str], object_file: Path, library: Path, libraries: Sequence[str]
) -> str | None:
    """What the linker says when it fails, else None."""
    flags = list(start[1:])
    if Path(start[0]).name.endswith(("cc", "clang")):
        joined = ",".join((*_OPTIONS[1:], *flags))
        flags = ["-shared", "-nostartfiles", f"-Wl,{joined}"]
    command = [start[0], *flags, "-o", os.fspath(library), os.fspath(object_file), *libraries]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{start[0]}: {error}"
    return None if done.returncode == 0 else f"{start[0]}: {done.stderr.strip()}"
