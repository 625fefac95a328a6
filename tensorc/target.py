"""What we compile for: a kind of machine, described enough to choose a schedule and emit code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from tensorc.errors import CompileError
from tensorc_runtime.threads import available_threads


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of machine.

    Attributes:
        kind: "cpu".
        cpu: an LLVM processor name ("znver4", "generic"); "native" is this machine's.
        features: LLVM feature string, such as "+avx2,+fma"; empty takes what `cpu` implies.
        threads: how many threads a call may use; 0 means as many as the process may run on.
        triple: an LLVM target triple; empty means this machine's.
    """

    kind: str = "cpu"
    cpu: str = "native"
    features: str = ""
    threads: int = 0
    triple: str = ""

    def __post_init__(self) -> None:
        texts = (self.cpu, self.features, self.triple)
        if not all(isinstance(t, str) for t in texts) or not isinstance(self.threads, int):
            raise CompileError(
                "target: cpu, features and triple are texts and threads is an integer, got "
                f"{self!r}"
            )
        if self.kind != "cpu":
            raise CompileError(f"target {self.kind!r} is not known; there is 'cpu'")
        if self.threads < 0:
            raise CompileError(f"target: threads must be 0 or more, got {self.threads}")

    def resolved(self) -> Target:
        """The same target with "native", 0 threads and empty fields filled in from this machine."""
        triple = self.triple or llvm.get_process_triple()
        native = self.cpu == "native"
        cpu = llvm.get_host_cpu_name() if native else self.cpu
        features = self.features or (host_features() if native else "")
        return Target(self.kind, cpu, features, self.threads or available_threads(), triple)

    @property
    def vector_bytes(self) -> int:
        """The width of a vector register: 64 (AVX-512), 32 (AVX) or 16 bytes."""
        flags = _feature_set(self.resolved())
        return 64 if "avx512f" in flags else 32 if "avx" in flags else 16

    @property
    def vector_registers(self) -> int:
        """How many vector registers there are: 32 with AVX-512 or on AArch64, else 16."""
        target = self.resolved()
        wide = "avx512f" in _feature_set(target) or target.triple.startswith("aarch64")
        return 32 if wide else 16


def as_target(value: Target | str) -> Target:
    """`value` as a Target; a text names its kind."""
    return value if isinstance(value, Target) else Target(value)


@cache
def host_features() -> str:
    """This machine's LLVM feature string, in a fixed order."""
    found: dict[str, bool] = dict(llvm.get_host_cpu_features())
    return ",".join(("+" if on else "-") + name for name, on in sorted(found.items()))


# What an LLVM processor name implies, where the feature string says nothing.
_AVX512 = (
    "znver4",
    "znver5",
    "skylake-avx512",
    "icelake",
    "sapphirerapids",
    "x86-64-v4",
    "cascade",
)
_AVX = ("znver", "haswell", "skylake", "broadwell", "x86-64-v3", "alderlake")


def _feature_set(target: Target) -> set[str]:
    if target.features:
        return {f[1:] for f in target.features.split(",") if f.startswith("+")}
    if target.cpu.startswith(_AVX512):
        return {"avx512f", "avx"}
    return {"avx"} if target.cpu.startswith(_AVX) else set()
