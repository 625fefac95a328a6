"""A PTX module on the CPU: built, launched, and what its launches say."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from tensorc.emulator.bindings import LOCK, LaunchConfig, RawFinding, runtime
from tensorc.emulator.heap import buffer_name
from tensorc.emulator.profile import MemoryAccess
from tensorc.emulator.report import KINDS, RACES, Finding, FindingKind, Index3, index_of, place
from tensorc.emulator.toolchain import build_kernels
from tensorc.emulator.translate import KernelInfo, translate
from tensorc.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

ORDERS = ("forward", "reverse", "random")
_NOBODY = 0xFFFFFFFF
_PARAM_ALIGN = 64
_PARAMS, _DYNAMIC, _SHARED, _VARIABLES = -3, -9, -10, -10_000
_PLACES = {-2: "a thread's local memory", -4: "accumulators of wgmma"}  # state.h


class Outcome(IntEnum):
    """How a launch ended; mirrors Outcome of state.h."""

    FINISHED = 0
    FAULT = 1
    TRAP = 2
    ASSERT = 3
    STUCK = 4
    LIMIT = 5
    MISUSE = 6


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How kernels are run.

    Attributes:
        checked: look for races, bad accesses and bad waits; slower.
        profile: count memory transactions; implies `checked`.
        order: in which order warps, lanes and blocks run: "forward", "reverse" or "random".
        seed: of the random order.
        seconds: processor time that a launch may take; 0 for no limit.
        steps: limit of loop iterations of all threads of a launch together; 0 for none.

    Raises:
        ArgumentError: there is no such order, or a limit is negative.
    """

    checked: bool = False
    profile: bool = False
    order: str = "forward"
    seed: int = 1
    seconds: float = 120.0
    steps: int = 0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ArgumentError(f"order must be one of {', '.join(ORDERS)}, got {self.order!r}")
        if self.seconds < 0 or self.steps < 0:
            raise ArgumentError(
                f"seconds and steps must be 0 or more, got {self.seconds} and {self.steps}"
            )


@dataclass(frozen=True)
class LaunchResult:
    """What a launch had to say besides its output.

    Attributes:
        outcome: how it ended.
        error: why it ended early, or "".
        findings: of checked mode.
        accesses: of the memory profile.
        printed: what the kernel printed.
        seconds: that it took.
        switches: of fibers.
    """

    outcome: Outcome
    error: str
    findings: tuple[Finding, ...]
    accesses: tuple[MemoryAccess, ...]
    printed: str
    seconds: float
    switches: int

    @property
    def ok(self) -> bool:
        """It finished, and nothing was found."""
        return self.outcome is Outcome.FINISHED and not self.findings

    def describe(self) -> str:
        """The error and all findings, one a line."""
        return "\n".join(
            dict.fromkeys(filter(None, [self.error, *(f.message for f in self.findings)]))
        )


@dataclass
class _Launch:
    """What names in reports depend on."""

    kernel: KernelInfo
    grid: Index3
    block: Index3
    names: dict[int, str] = field(default_factory=dict)


class EmulatedModule:
    """The kernels of one PTX text, built for this machine.

    Args:
        ptx: text, as NVRTC writes it.
        checked: build so that launches can be checked and profiled.

    Raises:
        UnsupportedPtxError: an instruction is not translated; the message quotes its line.
        CompileError: there is no C++ compiler, or it fails.
    """

    def __init__(self, ptx: str | bytes, *, checked: bool = False) -> None:
        """Translate, build and load it."""
        text = ptx.decode() if isinstance(ptx, bytes) else ptx
        self.checked = checked
        self.translation = translate(text, checked=checked)
        self.kernels = self.translation.kernels
        self._library = build_kernels(self.translation.text, checked=checked)
        self._entries = {
            name: ctypes.cast(getattr(self._library, info.symbol), ctypes.c_void_p)
            for name, info in self.kernels.items()
        }

    def variable(self, name: str) -> tuple[int, int]:
        """Address and bytes of a `__device__` or `__constant__` variable.

        Raises:
            KeyError: there is none of that name.
        """
        variable = self.translation.variables[name]
        address = ctypes.addressof(ctypes.c_char.in_dll(self._library, variable.symbol))
        return address, variable.bytes

    def launch(
        self,
        name: str,
        grid: Index3,
        block: Index3,
        params: Sequence[bytes],
        shared_bytes: int = 0,
        options: LaunchOptions | None = None,
    ) -> LaunchResult:
        """Run a kernel on memory that its parameters point to.

        Args:
            name: of the kernel.
            grid: blocks along x, y and z.
            block: threads along x, y and z.
            params: the bytes of each parameter, in order.
            shared_bytes: dynamic shared memory.
            options: how to run it.

        Raises:
            ArgumentError: the parameters are not those of the kernel, the block is larger than
                1024 threads, or the module was not built to be checked.
        """
        options = options or LaunchOptions()
        kernel = self.kernels[name]
        checked = options.checked or options.profile
        self._require(kernel, block, params, checked)
        config = LaunchConfig(
            grid,
            block,
            kernel.static_bytes,
            kernel.dynamic_offset + shared_bytes,
            kernel.stack_bytes,
            ORDERS.index(options.order),
            options.seed % (1 << 64),
            checked,
            options.profile,
            options.seconds,
            options.steps,
        )
        launch = _Launch(kernel, grid, block)
        buffer, pointers, size = _packed(params)
        with LOCK:
            library = runtime()
            library.tcemu_begin(ctypes.byref(config))
            if checked:
                self._add_ranges(launch, shared_bytes, ctypes.addressof(buffer), size)
            started = time.perf_counter()
            outcome = Outcome(library.tcemu_launch(self._entries[name], pointers))
            return self._result(launch, outcome, time.perf_counter() - started)

    def _require(
        self, kernel: KernelInfo, block: Index3, params: Sequence[bytes], checked: bool
    ) -> None:
        sizes = tuple(len(value) for value in params)
        if sizes != kernel.param_bytes:
            raise ArgumentError(
                f"{kernel.name} takes parameters of {kernel.param_bytes} bytes, got {sizes}"
            )
        if not 0 < block[0] * block[1] * block[2] <= 1024:
            raise ArgumentError(f"{kernel.name}: a block has 1 to 1024 threads, got {block}")
        if checked and not self.checked:
            raise ArgumentError(
                f"{kernel.name}: this module was built for speed; build it with checked=True"
            )

    def _add_ranges(
        self, launch: _Launch, shared_bytes: int, params: int, params_size: int
    ) -> None:
        library, kernel = runtime(), launch.kernel
        for i, array in enumerate(kernel.shared):
            library.tcemu_add_shared(array.offset, array.bytes, _SHARED - i)
            launch.names[_SHARED - i] = f"shared {array.name}"
        if shared_bytes:
            library.tcemu_add_shared(kernel.dynamic_offset, shared_bytes, _DYNAMIC)
            launch.names[_DYNAMIC] = f"shared {kernel.dynamic_name or 'memory'}"
        library.tcemu_add_constant(params, params_size, _PARAMS)
        launch.names[_PARAMS] = "the kernel's parameters"
        for i, name in enumerate(self.translation.variables):
            address, size = self.variable(name)
            library.tcemu_add_constant(address, size, _VARIABLES - i)
            launch.names[_VARIABLES - i] = name

    def _result(self, launch: _Launch, outcome: Outcome, seconds: float) -> LaunchResult:
        library = runtime()
        error = library.tcemu_error().decode(errors="replace")
        site = library.tcemu_error_site()
        if error and 0 <= site < len(self.translation.sites):
            error = f"{error}, at {place(self.translation.sites[site])}"
        findings = [
            self._finding(launch, library.tcemu_finding(i).contents)
            for i in range(library.tcemu_finding_count())
        ]
        if outcome is Outcome.MISUSE and self.checked:
            at = self.translation.sites[site] if site >= 0 else None
            message = f"{launch.kernel.name}: {FindingKind.WRONG_USE.value}: {error}"
            findings.append(Finding(FindingKind.WRONG_USE, launch.kernel.name, message, at))
        accesses = []
        for i in range(library.tcemu_profile_count()):
            raw = library.tcemu_profile(i).contents
            accesses.append(
                MemoryAccess(
                    self.translation.sites[raw.site],
                    "shared" if raw.is_shared else "global",
                    bool(raw.is_write),
                    raw.bytes,
                    raw.requests,
                    raw.transactions,
                    raw.ideal,
                )
            )
        return LaunchResult(
            outcome,
            error if outcome else "",
            tuple(findings),
            tuple(accesses),
            library.tcemu_printed().decode(errors="replace"),
            seconds,
            library.tcemu_switches(),
        )

    # ---- Findings in words

    def _finding(self, launch: _Launch, raw: RawFinding) -> Finding:
        sites = self.translation.sites
        site = sites[raw.site] if raw.site >= 0 else None
        other = sites[raw.other_site] if raw.other_site >= 0 else None
        threads = [i for i in (raw.thread, raw.other_thread) if i != _NOBODY]
        blocks = [i for i in (raw.block, raw.other_block) if i != _NOBODY]
        kind = KINDS[raw.kind]
        buffer = launch.names.get(raw.range, "")
        if raw.range >= 0:
            buffer = buffer_name(raw.range)
        elif raw.range in _PLACES:
            buffer = _PLACES[raw.range]
        finding = Finding(
            kind=kind,
            kernel=launch.kernel.name,
            message="",
            site=site,
            other=other,
            threads=tuple(index_of(i, launch.block) for i in threads),
            blocks=tuple(index_of(i, launch.grid) for i in blocks),
            buffer=buffer,
            offset=raw.offset,
            bytes=raw.bytes,
            count=raw.count,
        )
        message = _message(finding, raw)
        values = {name: getattr(finding, name) for name in finding.__dataclass_fields__}
        return Finding(**{**values, "message": message})


def _packed(params: Sequence[bytes]) -> tuple[ctypes.Array[ctypes.c_char], object, int]:
    """The parameters in one buffer, each aligned as a CUtensorMap must be; their addresses."""
    offsets, end = [], 0
    for value in params:
        offsets.append(end)
        end += -(-max(len(value), 1) // _PARAM_ALIGN) * _PARAM_ALIGN
    buffer = ctypes.create_string_buffer(end + _PARAM_ALIGN)
    start = -(-ctypes.addressof(buffer) // _PARAM_ALIGN) * _PARAM_ALIGN
    for offset, value in zip(offsets, params, strict=True):
        ctypes.memmove(start + offset, value, len(value))
    pointers = (ctypes.c_void_p * max(1, len(offsets)))(*(start + offset for offset in offsets))
    return buffer, pointers, end + _PARAM_ALIGN


def _message(finding: Finding, raw: RawFinding) -> str:
    kind, times = finding.kind, f"; {finding.count} times" if finding.count > 1 else ""
    head = f"{finding.kernel}: {kind.value}"
    if finding.buffer:
        head += f" in {finding.buffer}"
    who = _who(finding, 0)
    access = f"{'writes' if raw.is_write else 'reads'} {finding.bytes} bytes at offset"
    if kind in RACES:
        verb = "wrote" if kind is not FindingKind.RACE_WRITE_AFTER_READ else "read"
        other = "an asynchronous copy" if raw.other_is_async else _who(finding, 1)
        return (
            f"{head}: {who} {access} {finding.offset} at {place(finding.site)}, which {other} "
            f"{verb} at {place(finding.other)}; nothing orders the two{times}"
        )
    if kind in (FindingKind.UNWAITED_READ, FindingKind.UNWAITED_WRITE):
        return (
            f"{head}: {who} {access} {finding.offset} at {place(finding.site)}, while what "
            f"{_who(finding, 1)} issued at {place(finding.other)} is not complete{times}"
        )
    if kind is FindingKind.OUT_OF_BOUNDS and not finding.buffer:
        where = f"address {finding.offset:#x}, which is in no buffer"
        verb = "writes" if raw.is_write else "reads"
        return f"{head}: {who} {verb} {finding.bytes} bytes at {where}, at {place(finding.site)}"
    if kind in (FindingKind.DIVERGENCE, FindingKind.DEADLOCK):
        detail = raw.detail.decode() or "threads of one block wait at different places"
        text = f"{head}: {detail}; {who} waits at {place(finding.site)}"
        if finding.other is not None:
            text += f", others at {place(finding.other)}"
        return text
    return f"{head}: {who} {access} {finding.offset}, at {place(finding.site)}{times}"


def _who(finding: Finding, number: int) -> str:
    if number >= len(finding.threads):
        return "another thread"
    thread = ",".join(map(str, finding.threads[number]))
    block = finding.blocks[min(number, len(finding.blocks) - 1)] if finding.blocks else (0, 0, 0)
    return f"thread ({thread}) of block ({','.join(map(str, block))})"
