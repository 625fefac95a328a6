"""CUDA C to PTX by NVRTC, which needs neither a GPU nor a driver."""

from __future__ import annotations

from functools import cache

import pytest

nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="NVRTC's Python package is not there")


class NvrtcError(RuntimeError):
    """NVRTC refused the source; the message is its log."""


@cache
def to_ptx(source: str, arch: str = "compute_80", *options: str) -> str:
    """PTX with line numbers of `source`."""
    status, program = nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], [])
    assert int(status) == 0
    names = [f"-arch={arch}", "--std=c++17", "-lineinfo", *options]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(names), [name.encode() for name in names])
    if int(status):
        raise NvrtcError(_log(program))
    ptx = bytes(nvrtc.nvrtcGetPTXSize(program)[1])
    nvrtc.nvrtcGetPTX(program, ptx)
    nvrtc.nvrtcDestroyProgram(program)
    return ptx.rstrip(b"\0").decode()


def _log(program: object) -> str:
    # A log of one byte is empty, and a `bytes` of one byte is shared by the whole interpreter.
    size = nvrtc.nvrtcGetProgramLogSize(program)[1]
    log = bytes(size) if size > 1 else b""
    if size > 1:
        nvrtc.nvrtcGetProgramLog(program, log)
    return log.rstrip(b"\0").decode()
