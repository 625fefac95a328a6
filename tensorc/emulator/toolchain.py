"""The C++ compiler: which one there is, and what it makes of a text.

`CXX` names one, with options if need be; else it is g++, clang++ or c++ on the PATH, or the one in
the `ziglang` wheel. Nothing else in tensorc needs a compiler.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tensorc.errors import CompileError
from tensorc.store import Store, key_of

NATIVE = Path(__file__).parent / "native"
LIBRARIES = Store("emulator cache", b"TCEMULA1", ".tce", home="emulator", inside="emulator")
_NAMES = ("g++", "clang++", "c++")
# -fwrapv: PTX's integers wrap. No contraction: PTX names its fused operations.
_FLAGS = (
    *("-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden", "-march=native", "-fwrapv", "-w"),
    *("-fno-strict-aliasing", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
    "-fno-exceptions",
)
_KERNEL_FLAGS = ("-O1", "-fno-asynchronous-unwind-tables")
_RUNTIME_FLAGS = ("-O3",)
_SECONDS = 600


@cache
def find_compiler(named: str, path: str) -> tuple[str, ...]:
    """The command of a C++ compiler.

    Args:
        named: what `CXX` says.
        path: what `PATH` says.

    Raises:
        CompileError: there is none.
    """
    if named.strip():
        command = shlex.split(named)
        if shutil.which(command[0], path=path) is None:
            raise CompileError(f"the CUDA emulator: CXX={named!r} is not a program on the PATH")
        return tuple(command)
    for name in _NAMES:
        if found := shutil.which(name, path=path):
            return (found,)
    if importlib.util.find_spec("ziglang") is not None:
        return (sys.executable, "-m", "ziglang", "c++")
    raise CompileError(
        "the CUDA emulator translates kernels to C++, and there is no C++ compiler: "
        f"none of {', '.join(_NAMES)} is on the PATH and CXX is not set; install one "
        "(on Debian: apt install g++), or the one that comes as a wheel: pip install ziglang"
    )


def compiler() -> tuple[str, ...]:
    """The command of the compiler in use, by the environment as it is now."""
    return find_compiler(os.environ.get("CXX", ""), os.environ.get("PATH", ""))


@cache
def compiler_identity(command: tuple[str, ...]) -> str:
    """What tells one compiler and processor from another: all macros that it predefines.

    Raises:
        CompileError: the command is not a C++ compiler.
    """
    arguments = ["-march=native", "-E", "-dM", "-x", "c++", os.devnull]
    try:
        done = subprocess.run(
            [*command, *arguments], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except OSError as error:
        raise CompileError(f"the CUDA emulator: {command[0]} does not run: {error}") from None
    if done.returncode:
        raise CompileError(
            f"the CUDA emulator: {' '.join(command)} is not a C++ compiler: {done.stderr.strip()}"
        )
    return done.stdout


@cache
def native_texts() -> str:
    """All of the runtime's sources, for keys."""
    return "\0".join(f"{file.name}\0{file.read_text()}" for file in sorted(NATIVE.iterdir()))


def build_kernels(text: str, *, checked: bool) -> ctypes.CDLL:
    """A loaded library of translated kernels, from the cache or the compiler.

    Raises:
        CompileError: there is no compiler, or it fails.
    """
    flags = (*_FLAGS, *_KERNEL_FLAGS, *(("-DTCEMU_CHECKED",) if checked else ()))
    return _build(text, flags, "kernels")


def build_runtime(*options: str) -> ctypes.CDLL:
    """The loaded runtime; `options` are more flags, for tests.

    Raises:
        CompileError: there is no compiler, or it fails.
    """
    return _build('#include "runtime.cpp"\n', (*_FLAGS, *_RUNTIME_FLAGS, *options), "runtime")


def _build(text: str, flags: tuple[str, ...], what: str) -> ctypes.CDLL:
    command = compiler()
    key = key_of(text, native_texts(), compiler_identity(command), " ".join((*command, *flags)))
    folder = LIBRARIES.folder()
    library = LIBRARIES.load(folder, key) if folder else None
    if library is None:
        library = _compile(text, command, flags, what)
        if folder:
            LIBRARIES.save(folder, key, library)
    return _load_library(library)


def _compile(text: str, command: tuple[str, ...], flags: tuple[str, ...], what: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tensorc-emulator-") as folder:
        source, target = Path(folder) / "module.cpp", Path(folder) / "module.so"
        source.write_text(text)
        arguments = [*command, *flags, f"-I{NATIVE}", str(source), "-o", str(target), "-lm"]
        try:
            done = subprocess.run(
                arguments, capture_output=True, text=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CompileError(f"the CUDA emulator: {command[0]} failed: {error}") from None
        if done.returncode:
            raise CompileError(
                f"the CUDA emulator: {' '.join(command)} refuses the {what}:\n{done.stderr[:4000]}"
            )
        return target.read_bytes()


def _load_library(library: bytes) -> ctypes.CDLL:
    """Load it from a file of its own, which goes at once: it stays mapped."""
    handle, name = tempfile.mkstemp(prefix="tensorc-emulator-", suffix=".so")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(library)
        return ctypes.CDLL(name)
    except OSError as error:
        raise CompileError(f"the CUDA emulator: a library does not load: {error}") from None
    finally:
        os.unlink(name)
