"""CUDA C to machine code: NVRTC, through `cuda.bindings.nvrtc` alone, with or without a GPU.

One compilation for `sm_80` gives a CUBIN and the PTX that it was made from. The package of NVRTC
and its bindings come with an extra (`tensorc[cuda13]`, `tensorc[cuda12]`); nothing imports them
until code is compiled. The driver's kernel cache keeps what comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from tensorc.codegen.cuda.resources import Resources, parse_log
from tensorc.errors import CompileError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FILE = "kernels.cu"  # What NVRTC calls the source in its messages.

# No contraction: a product that is added to a sum is fused where the source says fmaf, only there.
OPTIONS = ("--std=c++17", "--fmad=false", "--ptxas-options=-v")
MISSING = (
    "compiling CUDA C needs NVRTC and its Python bindings, and {}; install them with "
    "pip install 'tensorc[cuda13]' (or 'tensorc[cuda12]' for CUDA 12)"
)


@dataclass(frozen=True, slots=True)
class CudaBinary:
    """Compiled kernels.

    Attributes:
        source: the CUDA C text.
        arch: what it was compiled for.
        ptx: the intermediate text.
        cubin: the machine code.
        log: what NVRTC and its assembler said.
        resources: what each kernel takes, by name.
    """

    source: str
    arch: str
    ptx: bytes
    cubin: bytes
    log: str
    resources: Mapping[str, Resources]


def compile_cuda(source: str, arch: str, *, lines: bool = False) -> CudaBinary:
    """Compile CUDA C for one architecture.

    Args:
        source: the text.
        arch: "sm_80", "sm_90a", ...
        lines: keep the source's line numbers in the code, for profilers and the emulator.

    Raises:
        CompileError: NVRTC or its bindings are not installed; NVRTC does not know `arch`; it
            refuses the source, which the message shows with line numbers.
    """
    options = (f"-arch={arch}", *OPTIONS, *(("-lineinfo",) if lines else ()))
    ptx, cubin, log = _compile(source, arch, options)
    return CudaBinary(source, arch, ptx, cubin, log, parse_log(log))


def nvrtc_version() -> tuple[int, int]:
    """The version of NVRTC, major and minor.

    Raises:
        CompileError: it is not installed.
    """
    nvrtc = _bindings()
    _, major, minor = _checked(nvrtc, "nvrtcVersion", nvrtc.nvrtcVersion())
    return int(major), int(minor)


def supported_archs() -> tuple[str, ...]:
    """The architectures that NVRTC compiles for, such as "sm_80", without the "a" kinds."""
    nvrtc = _bindings()
    found = _checked(nvrtc, "nvrtcGetSupportedArchs", nvrtc.nvrtcGetSupportedArchs())[1]
    return tuple(f"sm_{n}" for n in found)


@cache
def _bindings() -> Any:
    """The module `cuda.bindings.nvrtc`: optional, and slow to import, so only when asked for.

    Raises:
        CompileError: it, or NVRTC itself, is not installed.
    """
    try:
        from cuda.bindings import nvrtc  # noqa: PLC0415 - optional, see above
    except ImportError as error:
        raise CompileError(MISSING.format(f"cuda.bindings is missing ({error})")) from None
    try:
        nvrtc.nvrtcVersion()
    except RuntimeError as error:  # The library is loaded with the first call.
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CompileError(MISSING.format(f"NVRTC cannot be loaded ({first})")) from None
    return nvrtc


def _checked(nvrtc: Any, call: str, result: tuple[Any, ...]) -> tuple[Any, ...]:
    if int(result[0]) != 0:
        name = nvrtc.nvrtcGetErrorString(result[0])[1].decode()
        raise CompileError(f"{call}: {name}")
    return result


def _compile(source: str, arch: str, options: tuple[str, ...]) -> tuple[bytes, bytes, str]:
    nvrtc = _bindings()
    if arch.rstrip("af") not in supported_archs():
        major, minor = nvrtc_version()
        raise CompileError(
            f"NVRTC {major}.{minor} does not compile for {arch}; it knows "
            f"{', '.join(supported_archs())}: install another version of it, or choose one of these"
        )
    text, name = source.encode(), FILE.encode()
    made = nvrtc.nvrtcCreateProgram(text, name, 0, [], [])
    program = _checked(nvrtc, "nvrtcCreateProgram", made)[1]
    try:
        encoded = [o.encode() for o in options]
        status = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)[0]
        log = _fetched(nvrtc, program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        if int(status) != 0:
            reason = nvrtc.nvrtcGetErrorString(status)[1].decode()
            raise CompileError(_refusal(reason, log, source))
        ptx = _fetched(nvrtc, program, "PTX").rstrip(b"\0")
        return ptx, _fetched(nvrtc, program, "CUBIN"), log
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _fetched(nvrtc: Any, program: Any, what: str) -> bytes:
    """The bytes of one result.

    Those of length 1 are the NUL of an empty text, and must not be fetched: CPython shares one-byte
    objects, and NVRTC would write into the one that all of the process uses.
    """
    get: Callable[..., tuple[Any, ...]] = getattr(nvrtc, f"nvrtcGet{what}")
    size = _checked(nvrtc, what, getattr(nvrtc, f"nvrtcGet{what}Size")(program))[1]
    if size <= 1:
        return b""
    data = bytes(size)
    _checked(nvrtc, what, get(program, data))
    return data


def _refusal(reason: str, log: str, source: str) -> str:
    lines = source.splitlines()
    width = len(str(len(lines)))
    numbered = "\n".join(f"{i:{width}} | {line}" for i, line in enumerate(lines, 1))
    return f"NVRTC refused the source ({reason}):\n{log.strip()}\n\n{numbered}"


# --- what is kept on disk ---------------------------------------------------------------------
