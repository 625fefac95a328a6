"""What the target's instructions can do, as far as lowering and emission depend on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorc.target import Target

# x86 processors known to have FMA, F16C and SSE4.1, where the feature string says nothing.
_MODERN = (
    "x86-64-v3", "x86-64-v4", "haswell", "broadwell", "skylake", "cascadelake", "icelake",
    "tigerlake", "alderlake", "raptorlake", "sapphirerapids", "graniterapids", "znver",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Features:
    """Instructions for fused multiply-add, for float16 conversion, for rounding to integers.

    `table`: so many int32 of a register can be read at places that another one holds; 0 if none.
    `fence` is LLVM's name of the instruction after which other threads see what was stored around
    the caches; empty where none is needed.
    """

    fma: bool
    half: bool
    rounding: bool
    fence: str = ""
    table: int = 0


def features(target: Target) -> Features:
    """The features of a target, by its processor's name and its feature string."""
    if target.is_cuda:
        return Features(fma=True, half=True, rounding=True)
    resolved = target.resolved()
    if not resolved.triple.startswith(("x86_64", "i386", "i686")):
        arm = resolved.triple.startswith(("aarch64", "arm64"))
        return Features(fma=arm, half=arm, rounding=arm)
    flags = {f[1:] for f in resolved.features.split(",") if f.startswith("+")}
    modern = resolved.cpu.startswith(_MODERN)
    fma = modern or "fma" in flags
    half = fma and (modern or "f16c" in flags)
    table = (16 if "avx512f" in flags else 8) if modern or (fma and "avx2" in flags) else 0
    return Features(fma, half, fma or "sse4.1" in flags, "llvm.x86.sse.sfence", table)
