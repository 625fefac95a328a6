"""What we compile for: a kind of machine, described enough to choose a schedule and emit code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import llvmlite.binding as llvm

from tensorc.errors import CompileError
from tensorc_runtime.threads import available_threads

KINDS = ("cpu", "cuda", "cuda-emu")
DEFAULT_ARCH = "sm_80"
PRECISIONS = ("float32", "tf32")


@dataclass(frozen=True, slots=True)
class CudaArch:
    """The limits of a CUDA architecture; sizes in bytes.

    Attributes:
        name: "sm_90"; with an "a" code that runs on this very architecture only.
        capability: the compute capability, major * 10 + minor.
        warps: warps that a multiprocessor holds.
        blocks: blocks that it holds.
        shared: shared memory of a multiprocessor.
        block_shared: the most that one block may use of it; above `STATIC_SHARED` as dynamic.
        reserved: what the system takes of it for each block.
        sms: multiprocessors of a common device.
        device: that device.
    """

    name: str
    capability: int
    warps: int
    blocks: int
    shared: int
    block_shared: int
    reserved: int
    sms: int
    device: str


# The same for all of them: NVIDIA, "CUDA C++ Programming Guide", 13.0, "Compute Capabilities",
# table of technical specifications.
WARP = 32
THREADS_PER_BLOCK = 1024
REGISTERS = 65536  # Of 32 bits, on a multiprocessor and for one block.
REGISTERS_PER_THREAD = 255
REGISTER_UNIT = 256  # A warp takes a multiple of this.
SHARED_UNIT = 128  # A block takes a multiple of this (256 on sm_75).
STATIC_SHARED = 48 * 1024
GRID_LIMITS = (2**31 - 1, 65535, 65535)
BLOCK_LIMITS = (1024, 1024, 64)

_KIB = 1024
# Warps, blocks and shared memory: the same table. Multiprocessors: NVIDIA's data sheets.
_TABLE = (
    ("sm_75", 32, 16, 64, 64, 0, 40, "T4"),
    ("sm_80", 64, 32, 164, 163, 1, 108, "A100"),
    ("sm_86", 48, 16, 100, 99, 1, 72, "A10"),
    ("sm_87", 48, 16, 164, 163, 1, 16, "Jetson AGX Orin"),
    ("sm_89", 48, 24, 100, 99, 1, 142, "L40S"),
    ("sm_90", 64, 32, 228, 227, 1, 132, "H100 SXM"),
    ("sm_90a", 64, 32, 228, 227, 1, 132, "H100 SXM"),
    ("sm_100", 64, 32, 228, 227, 1, 148, "B200"),
    ("sm_100a", 64, 32, 228, 227, 1, 148, "B200"),
    ("sm_103", 64, 32, 228, 227, 1, 148, "B300"),
    ("sm_103a", 64, 32, 228, 227, 1, 148, "B300"),
    ("sm_120", 48, 24, 100, 99, 1, 170, "RTX 5090"),
    ("sm_120a", 48, 24, 100, 99, 1, 170, "RTX 5090"),
)
ARCHS: dict[str, CudaArch] = {
    name: CudaArch(
        name,
        int(name[3:].rstrip("a")),
        warps,
        blocks,
        shared * _KIB,
        most * _KIB,
        own * _KIB,
        sms,
        device,
    )
    for name, warps, blocks, shared, most, own, sms, device in _TABLE
}


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of machine.

    Attributes:
        kind: "cpu"; "cuda", an NVIDIA GPU; "cuda-emu", the emulator of one on this machine's CPU.
        cpu: an LLVM processor name ("znver4", "generic"); "native" is this machine's.
        features: LLVM feature string, such as "+avx2,+fma"; empty takes what `cpu` implies.
        threads: how many threads a call may use; 0 means as many as the process may run on.
        triple: an LLVM target triple; empty means this machine's.
        arch: of a GPU, its architecture ("sm_90"); empty means `DEFAULT_ARCH`.
        sms: of a GPU, how many multiprocessors it has; 0 means as many as a common one.
        precision: of a GPU, what operands of float32 products may be rounded to: "float32" leaves
            them as they are, "tf32" (10 bits of fraction) lets tensor cores multiply them.

    Raises:
        CompileError: there is no such kind or architecture, or a field that the kind has not.
    """

    kind: str = "cpu"
    cpu: str = "native"
    features: str = ""
    threads: int = 0
    triple: str = ""
    arch: str = ""
    sms: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        texts = (self.cpu, self.features, self.triple, self.arch, self.precision)
        numbers = (self.threads, self.sms)
        if not all(isinstance(t, str) for t in texts) or not all(
            isinstance(n, int) and not isinstance(n, bool) for n in numbers
        ):
            raise CompileError(
                "target: cpu, features, triple, arch and precision are texts, threads and sms are "
                f"integers, got {self!r}"
            )
        if self.kind not in KINDS:
            there = " and ".join((", ".join(map(repr, KINDS[:-1])), repr(KINDS[-1])))
            raise CompileError(f"target {self.kind!r} is not known; there are {there}")
        if self.threads < 0:
            raise CompileError(f"target: threads must be 0 or more, got {self.threads}")
        if self.sms < 0:
            raise CompileError(f"target: sms must be 0 or more, got {self.sms}")
        if self.precision not in PRECISIONS:
            raise CompileError(
                f"target: precision {self.precision!r} is not known; there are "
                f"{' and '.join(map(repr, PRECISIONS))}"
            )
        if self.is_cuda:
            self._check_cuda()
        elif self.arch or self.sms:
            given = f"arch={self.arch!r}" if self.arch else f"sms={self.sms}"
            raise CompileError(f"target cpu: {given} is for the kinds 'cuda' and 'cuda-emu'")
        elif self.precision != PRECISIONS[0]:
            raise CompileError(
                f"target cpu: precision={self.precision!r} is for the kinds 'cuda' and 'cuda-emu'; "
                "a CPU multiplies float32 as it is"
            )

    def _check_cuda(self) -> None:
        if (self.cpu, self.features, self.threads, self.triple) != ("native", "", 0, ""):
            raise CompileError(
                f"target {self.kind}: cpu, features, threads and triple are for the kind 'cpu', "
                f"got {self!r}"
            )
        if self.arch and self.arch not in ARCHS:
            raise CompileError(
                f"target {self.kind}: architecture {self.arch!r} is not known; there are "
                f"{', '.join(ARCHS)}"
            )

    @property
    def is_cuda(self) -> bool:
        """Whether code for it is CUDA C."""
        return self.kind != "cpu"

    def resolved(self) -> Target:
        """The same target with all that it leaves open filled in.

        Of a CPU "native", 0 threads and empty fields from this machine; of a GPU the default
        architecture and its number of multiprocessors.
        """
        if self.is_cuda:
            arch = self.arch or DEFAULT_ARCH
            return replace(self, arch=arch, sms=self.sms or ARCHS[arch].sms)
        triple = self.triple or llvm.get_process_triple()
        native = self.cpu == "native"
        cpu = llvm.get_host_cpu_name() if native else self.cpu
        features = self.features or (host_features() if native else "")
        return Target(self.kind, cpu, features, self.threads or available_threads(), triple)

    @property
    def cuda(self) -> CudaArch:
        """The limits of a GPU target's architecture."""
        assert self.is_cuda, "a CPU has no CUDA architecture"
        return ARCHS[self.arch or DEFAULT_ARCH]

    @property
    def vector_bytes(self) -> int:
        """The width of a vector register: 64 (AVX-512), 32 (AVX) or 16 bytes.

        Of a GPU the most that a thread loads or stores at once.
        """
        if self.is_cuda:
            return 16
        flags = _feature_set(self.resolved())
        return 64 if "avx512f" in flags else 32 if "avx" in flags else 16

    @property
    def vector_registers(self) -> int:
        """How many vector registers there are: 32 with AVX-512 or on AArch64, else 16.

        Of a GPU how often a thread can keep `vector_bytes` in registers.
        """
        if self.is_cuda:
            return REGISTERS_PER_THREAD // 4
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
