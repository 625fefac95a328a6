"""Whether this machine can run what was compiled for another."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorc_runtime.manifest import TargetInfo

# LLVM's names for what a compiler may use of an x86 processor by itself (it takes a programmer to
# ask for AES), where Linux has another name in /proc/cpuinfo.
_LINUX_NAMES = {
    "sse3": "pni",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "bmi": "bmi1",
    "lzcnt": "abm",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
}
# The rest, whose names are the same in both.
_SAME_NAMES = (
    *("sse", "sse2", "ssse3", "sse4a", "popcnt", "avx", "avx2", "fma", "fma4", "xop", "f16c"),
    *("bmi2", "movbe", "gfni", "tbm", "avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"),
    *("avx512ifma", "avx512vbmi"),
)
LINUX_FLAGS = {**_LINUX_NAMES, **{name: name for name in _SAME_NAMES}}

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def why_not_here(target: TargetInfo) -> str | None:
    """Why code for `target` cannot run here; None says that it can."""
    wanted, here = target.triple.split("-")[0].lower(), platform.machine().lower()
    if _MACHINES.get(wanted, wanted) != _MACHINES.get(here, here):
        return f"made for {target.triple or 'an unknown machine'}, this is a {here}"
    missing = missing_features(target.requires, cpu_flags())
    if missing:
        return (
            f"made for {target.cpu}, and this processor lacks {', '.join(missing)}; "
            'compile it for a plainer one, such as Target(cpu="x86-64-v3") or "x86-64"'
        )
    return None


def missing_features(requires: tuple[str, ...], flags: frozenset[str]) -> list[str]:
    """The required features, by LLVM's names, that `flags` of /proc/cpuinfo lack.

    Nothing is missing where the flags are unknown.
    """
    return [f for f in requires if flags and f in LINUX_FLAGS and LINUX_FLAGS[f] not in flags]


@cache
def cpu_flags() -> frozenset[str]:
    """This processor's features, as Linux names them; empty where it does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    line = next((x for x in text.splitlines() if x.startswith(("flags", "Features"))), ":")
    return frozenset(line.partition(":")[2].split())
