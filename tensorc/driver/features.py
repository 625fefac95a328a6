"""The processor features that code for a target may use, so that another machine can refuse it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc_runtime.machine import LINUX_FLAGS

if TYPE_CHECKING:
    from tensorc.target import Target

_V1 = ("sse", "sse2")
_V2 = (*_V1, "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt")
_V3 = (*_V2, "avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_ICE_LAKE = (
    *(*_V4, "avx512ifma", "avx512vbmi", "avx512vbmi2", "avx512vnni", "avx512bitalg"),
    *("avx512vpopcntdq", "gfni"),
)

# What a processor name implies, by its first letters: clang's -march, the x86-64 psABI's levels.
_BY_CPU = {
    "x86-64-v4": _V4,
    "x86-64-v3": _V3,
    "x86-64-v2": _V2,
    "x86-64": _V1,
    "znver5": (*_ICE_LAKE, "avx512bf16", "avxvnni"),
    "znver4": (*_ICE_LAKE, "avx512bf16"),
    "znver": _V3,
    "sapphirerapids": (*_ICE_LAKE, "avx512bf16", "avx512fp16", "avxvnni"),
    "graniterapids": (*_ICE_LAKE, "avx512bf16", "avx512fp16", "avxvnni"),
    "icelake": _ICE_LAKE,
    "tigerlake": _ICE_LAKE,
    "rocketlake": _ICE_LAKE,
    "cooperlake": (*_V4, "avx512vnni", "avx512bf16"),
    "cascadelake": (*_V4, "avx512vnni"),
    "skylake-avx512": _V4,
    "alderlake": (*_V3, "avxvnni", "gfni"),
    "skylake": _V3,
    "broadwell": _V3,
    "haswell": _V3,
}


def required_features(target: Target) -> tuple[str, ...]:
    """LLVM's names of the features that a resolved x86 target counts on, sorted.

    Those that only a programmer asks for, such as AES, are left out. Empty for other processors
    and for names that are not known here.
    """
    if not target.triple.startswith(("x86_64", "amd64", "i686")):
        return ()
    implied = next((f for name, f in _BY_CPU.items() if target.cpu.startswith(name)), ())
    flags = [f.strip() for f in target.features.split(",")]
    on = {f[1:] for f in flags if f.startswith("+")}
    off = {f[1:] for f in flags if f.startswith("-")}
    return tuple(sorted((({*implied} - off) | on) & LINUX_FLAGS.keys()))
