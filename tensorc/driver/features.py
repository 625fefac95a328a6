"""The processor features that code for a target may use, so that another machine can refuse it."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import llvmlite.binding as llvm

from tensorc.errors import CompileError
from tensorc_runtime.machine import LINUX_FLAGS

if TYPE_CHECKING:
    from collections.abc import Iterator

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


# Processors without a 64-bit mode: for these LLVM would end the process.
_ONLY_32_BIT = (
    *("i386", "i486", "i586", "i686", "pentium", "pentium-mmx", "pentiumpro", "pentium2"),
    *("pentium3", "pentium3m", "pentium-m", "pentium4", "pentium4m", "yonah", "prescott"),
    *("lakemont", "k6", "k6-2", "k6-3", "athlon", "athlon-tbird", "athlon-4", "athlon-xp"),
    *("athlon-mp", "geode", "winchip-c6", "winchip2", "c3", "c3-2"),
)


@cache
def check_target(target: Target) -> None:
    """Refuse a processor or a feature that LLVM does not know for the resolved `target`.

    LLVM says so on the standard error stream alone, and goes on as if nothing had been asked.

    Raises:
        CompileError: the processor or a feature is not known, or has no 64-bit code.
    """
    if target.triple.startswith(("x86_64", "amd64")) and target.cpu in _ONLY_32_BIT:
        raise CompileError(f"target: processor {target.cpu!r} has no {target.triple} code")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        kind = llvm.Target.from_triple(target.triple)
    except RuntimeError as error:
        raise CompileError(f"target {target.triple!r}: {error}") from None
    with _stderr() as said:
        kind.create_target_machine(cpu=target.cpu, features=target.features)
    unknown = re.search(r"'([^']*)' is not a recognized (processor|feature)", said[0])
    if unknown:
        name, what = unknown.groups()
        raise CompileError(f"target: LLVM knows no {what} {name!r} for {target.triple}")


@contextmanager
def _stderr() -> Iterator[list[str]]:
    """What is written to the process's standard error stream meanwhile, by native code too."""
    said = [""]
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                yield said
            finally:
                os.dup2(before, 2)
            file.seek(0)
            said[0] = file.read().decode(errors="replace")
    finally:
        os.close(before)


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
