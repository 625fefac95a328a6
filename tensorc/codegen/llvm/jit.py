"""LLVM IR to object code, to assembly, and into this process."""

from __future__ import annotations

import ctypes
import itertools
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

from tensorc.errors import CompileError

if TYPE_CHECKING:
    from tensorc.target import Target

WEAK = ("GOMP_parallel", "GOMP_barrier", "omp_get_thread_num", "omp_get_num_threads")
_OPENMP = (
    "libgomp.so.1",
    "libomp.so.5",
    "libomp.so",
    "libiomp5.so",
    "libgomp.dylib",
    "libomp.dylib",
)
# What LLVM may call: block copies, and an explicit float64 fma where there is no instruction.
_LIBRARY = ("memset", "memcpy", "memmove", "fma")
_SYMBOL_TABLE = 2
_GLOBAL_FUNCTION = 0x12  # Binding global, type function.
_serial = itertools.count()


@cache
def _initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.initialize_native_asmparser()


@cache
def target_machine(target: Target, opt_level: int = 3) -> Any:
    """LLVM's description of the target, for position independent code.

    Raises:
        CompileError: LLVM does not know the triple.
    """
    _initialize()
    resolved = target.resolved()
    try:
        kind = llvm.Target.from_triple(resolved.triple)
    except RuntimeError as error:
        raise CompileError(f"target {resolved.triple!r}: {error}") from None
    return kind.create_target_machine(
        cpu=resolved.cpu,
        features=resolved.features,
        opt=opt_level,
        reloc="pic",
        codemodel="default",
    )


def _optimized(llvm_text: str, target: Target, opt_level: int) -> tuple[Any, Any]:
    _initialize()
    try:
        module = llvm.parse_assembly(llvm_text)
        module.verify()
    except RuntimeError as error:
        numbered = "\n".join(f"{i:5} {s}" for i, s in enumerate(llvm_text.splitlines(), 1))
        raise AssertionError(f"LLVM refuses our text: {error}\n{numbered}") from None
    machine = target_machine(target, opt_level)
    options = llvm.create_pipeline_tuning_options(speed_level=opt_level)
    options.loop_vectorization = opt_level >= 2
    options.slp_vectorization = False  # What is worth a vector was scheduled as one.
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    return module, machine


def optimized(llvm_text: str, target: Target, opt_level: int = 3) -> str:
    """The module after LLVM's passes, as text."""
    return str(_optimized(llvm_text, target, opt_level)[0])


def compile_object(llvm_text: str, target: Target, opt_level: int = 3) -> bytes:
    """A relocatable, position independent object file."""
    module, machine = _optimized(llvm_text, target, opt_level)
    data: bytes = machine.emit_object(module)
    return data


def assembly(llvm_text: str, target: Target, opt_level: int = 3) -> str:
    """The target's assembly."""
    module, machine = _optimized(llvm_text, target, opt_level)
    return str(machine.emit_assembly(module))


@cache
def openmp_runtime() -> ctypes.CDLL | None:
    """An OpenMP runtime with GNU's entry points, or None: then everything runs serially."""
    for name in _OPENMP:
        try:
            library = ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        if all(hasattr(library, symbol) for symbol in WEAK):
            return library
    return None


@cache
def _imports() -> dict[str, int]:
    """Addresses of what an object may refer to; 0 for a weak symbol that is not there."""
    runtime = openmp_runtime()
    found = dict.fromkeys(WEAK, 0)
    if runtime is not None:
        found = {name: _address(runtime, name) for name in WEAK}
    process = ctypes.CDLL(None)
    for name in _LIBRARY:
        if hasattr(process, name):
            found[name] = _address(process, name)
    return found


def _address(library: ctypes.CDLL, name: str) -> int:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0


@cache
def _compiler() -> Any:
    _initialize()
    return llvm.create_lljit_compiler()


class LoadedCode:
    """Machine code in this process, for as long as the object lives."""

    def __init__(self, tracker: Any) -> None:
        """Keep what owns the code."""
        self._tracker = tracker

    def address(self, symbol: str) -> int:
        """The address of an exported function.

        Raises:
            KeyError: there is none of that name.
        """
        return int(self._tracker[symbol])


def load_object(object_bytes: bytes) -> LoadedCode:
    """Link an ELF object file into this process; all its global functions can be asked for."""
    builder = llvm.JITLibraryBuilder().add_object_img(object_bytes)
    for name, address in _imports().items():
        builder.import_symbol(name, address)
    for symbol in exported_functions(object_bytes):
        builder.export_symbol(symbol)
    return LoadedCode(builder.link(_compiler(), f"tensorc.{next(_serial)}"))


def exported_functions(elf: bytes) -> list[str]:
    """The global functions that a little-endian ELF64 object defines (System V gABI, chapter 4).

    Raises:
        CompileError: not such a file.
    """
    if elf[:6] != b"\x7fELF\x02\x01":
        raise CompileError("only 64-bit little-endian ELF objects can be loaded in process")
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count = struct.unpack_from("<HH", elf, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, table + i * size) for i in range(count)]
    names: list[str] = []
    for _, kind, _, _, offset, length, link, _, _, _ in sections:
        if kind != _SYMBOL_TABLE:
            continue
        strings = sections[link][4]
        for at in range(offset, offset + length, 24):
            name, info, _, section = struct.unpack_from("<IBBH", elf, at)
            if info == _GLOBAL_FUNCTION and section != 0:
                end = elf.index(b"\0", strings + name)
                names.append(elf[strings + name : end].decode())
    return names
