"""Make a shared library from an object file, with whichever linker is there."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tensorc.errors import CompileError
from tensorc_runtime.machine import why_not_here
from tensorc_runtime.manifest import TargetInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

# "defs" refuses symbols that nothing defines; the weak ones of OpenMP may stay open.
_STRICT = ("-z", "defs", "-z", "noexecstack", "-z", "relro", "--as-needed")
_LINKERS = ("ld", "ld.lld", "ld.gold", "ld.mold")
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 120


class NoLinkerError(CompileError):
    """No linker here makes shared libraries for the target."""


def link_shared(object_file: Path, library: Path, triple: str) -> None:
    """Link `object_file` into `library`, whose soname is its file name.

    Raises:
        NoLinkerError: there is none for the target.
        CompileError: every linker that is there refused; the message holds what the last one said.
    """
    commands = _commands(object_file, library, triple)
    if not commands:
        tried = ", ".join((*_LINKERS, *_COMPILERS))
        raise NoLinkerError(f"no linker for {triple} found (looked for {tried} on PATH)")
    said = ""
    for command in commands:
        said = _run(command)
        if not said:
            return
    raise CompileError(f"cannot link {library.name}: {said}")


def _commands(object_file: Path, library: Path, triple: str) -> list[list[str]]:
    """The command lines to try, those that need least installed first."""
    arch, files = triple.split("-")[0], ["-o", os.fspath(library), os.fspath(object_file)]
    if "linux" not in triple:
        return []
    if why_not_here(TargetInfo(triple, "")) is not None:
        # There is no C library for a foreign machine at hand: memset and the like stay open.
        linkers = _found(f"{arch}-linux-gnu-ld", "ld.lld")
        return [[name, "-shared", "-soname", library.name, *files] for name in linkers]
    options = ["-soname", library.name, *_STRICT]
    system = _system_libraries()  # For memset, fma and the like, which LLVM may call.
    linkers = _found(*_LINKERS) if system else []
    return [
        *([name, "-shared", *options, *files, *system] for name in linkers),
        *(
            [name, "-shared", "-nostartfiles", f"-Wl,{','.join(options)}", *files, "-lm"]
            for name in _found(*_COMPILERS)
        ),
    ]


def _found(*names: str) -> list[str]:
    return [name for name in names if shutil.which(name)]


def _system_libraries() -> list[str]:
    """The C and maths libraries of this process: they are there without development packages."""
    try:
        ctypes.CDLL(ctypes.util.find_library("m"))
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    mapped = dict.fromkeys(line.split(maxsplit=5)[5] for line in lines if "/" in line)
    return [p for p in mapped if Path(p).name.startswith(("libc.so", "libm.so", "libc-", "libm-"))]


def _run(command: Sequence[str]) -> str:
    """What the linker says when it fails, else nothing."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return "" if done.returncode == 0 else f"{command[0]}: {done.stderr.strip() or 'failed'}"
