"""Kernels for GPUs in the kernel cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorc as tc
from driver.kernels import scale
from tensorc.codegen.cuda.nvrtc import compile_cuda
from tensorc.driver.cuda import compile as cuda
from tensorc.driver.obtain import loaded

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_kept_kernel_is_not_compiled_again(
    cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archs: list[str] = []
    real = compile_cuda

    def counted(source: str, arch: str, **options: Any) -> Any:
        archs.append(arch)
        return real(source, arch, **options)

    def sources(arch: str) -> tuple[str, str]:
        loaded.clear()  # As a process that has nothing in memory.
        f = tc.compile(scale(), target=tc.Target("cuda", arch=arch))
        return f.inspect("cuda"), f.inspect("ptx")

    monkeypatch.setattr(cuda, "compile_cuda", counted)
    first = sources("sm_80")
    assert sources("sm_80") == first
    assert archs == ["sm_80"]
    sources("sm_86")
    assert archs == ["sm_80", "sm_86"]
    for entry in cache_dir.glob("*.tck"):
        entry.write_bytes(entry.read_bytes()[:-1])
    assert sources("sm_80") == first
    assert archs == ["sm_80", "sm_86", "sm_80"]
    monkeypatch.setattr(cuda, "nvrtc_version", lambda: (99, 0))
    sources("sm_80")
    assert len(archs) == 4, "another NVRTC has entries of its own"
