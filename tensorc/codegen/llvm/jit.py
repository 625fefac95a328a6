"""LLVM IR to object code, to assembly, and into this process."""

from __future__ import annotations

import ctypes
import itertools
import struct
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import llvmlite.binding as llvm

from tensorc.errors import CompileError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
# Attributes of the functions of nests: without vectors, and with vectors that a schedule asked for.
PLAIN, SCHEDULED = "#0", "#1"
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
    return _new_machine(target, opt_level)


def _new_machine(target: Target, opt_level: int) -> Any:
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


def _parsed(llvm_text: str) -> Any:
    _initialize()
    try:
        module = llvm.parse_assembly(llvm_text, llvm.create_context())
        module.verify()
    except RuntimeError as error:
        numbered = "\n".join(f"{i:5} {s}" for i, s in enumerate(llvm_text.splitlines(), 1))
        raise AssertionError(f"LLVM refuses our text: {error}\n{numbered}") from None
    return module


def _run_passes(module: Any, machine: Any, scheduled: bool, opt_level: int) -> None:
    """Run LLVM's passes over a module; no lock of llvmlite's is held.

    Where all nests are scheduled, their text leaves little to simplify: locals go to registers,
    steps of sums and short loops are written out. The code is as fast as after all of LLVM's
    passes, which take four times as long.
    """
    library = _unlocked()
    options = llvm.create_pipeline_tuning_options(speed_level=opt_level)
    options.loop_vectorization = opt_level >= 2
    options.slp_vectorization = False  # What is worth a vector was scheduled as one.
    options.loop_unrolling = opt_level >= 2
    builder = llvm.create_pass_builder(machine, options)
    if not scheduled or opt_level < 2:
        every = builder.getModulePassManager()
        library.LLVMPY_RunNewModulePassManager(every._ptr, module._ptr, builder._ptr)
        return
    simplify = llvm.create_new_function_pass_manager()
    simplify.add_sroa_pass()
    simplify.add_instruction_combine_pass()
    simplify.add_loop_unroll_pass()
    simplify.add_sroa_pass()  # What was written out has constant places.
    simplify.add_instruction_combine_pass()
    simplify.add_dead_store_elimination_pass()
    simplify.add_simplify_cfg_pass()
    for function in module.functions:
        if not function.is_declaration:
            library.LLVMPY_RunNewFunctionPassManager(simplify._ptr, function._ptr, builder._ptr)


def _is_scheduled(llvm_text: str) -> bool:
    """Whether all nests of the module were scheduled."""
    return f"{PLAIN} {{\n" not in llvm_text


def _optimized(llvm_text: str, target: Target, opt_level: int) -> tuple[Any, Any]:
    module, machine = _parsed(llvm_text), target_machine(target, opt_level)
    _run_passes(module, machine, _is_scheduled(llvm_text), opt_level)
    return module, machine


def optimized(llvm_text: str, target: Target, opt_level: int = 3) -> str:
    """The module after LLVM's passes, as text."""
    return str(_optimized(llvm_text, target, opt_level)[0])


def compile_object(llvm_text: str, target: Target, opt_level: int = 3) -> bytes:
    """A relocatable, position independent object file."""
    module, machine = _optimized(llvm_text, target, opt_level)
    data: bytes = machine.emit_object(module)
    return data


class Objects:
    """Compiles modules on threads while others are being made; a block of `with`.

    With one thread they are compiled once the result is asked for. Each module has a context and a
    machine of its own, since LLVM shares those between no threads.
    """

    def __init__(self, target: Target, opt_level: int = 3, threads: int = 1) -> None:
        """Start with none."""
        self._target, self._opt_level = target, opt_level
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._jobs: list[Callable[[], bytes]] = []

    def __enter__(self) -> Objects:
        """Nothing needs to be opened."""
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being compiled; what was not begun is not."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def add(self, llvm_text: str) -> None:
        """`compile_object` of a module, from now on."""
        given = llvm_text, self._target, self._opt_level
        if self._pool is None:
            self._jobs.append(partial(compile_object, *given))
        else:
            self._jobs.append(self._pool.submit(_compile_apart, *given).result)

    def result(self) -> tuple[bytes, ...]:
        """The objects, in the order of the modules."""
        return tuple(job() for job in self._jobs)


def _compile_apart(llvm_text: str, target: Target, opt_level: int) -> bytes:
    """`compile_object` without llvmlite's lock around the two calls that take all the time."""
    module, machine = _parsed(llvm_text), _new_machine(target, opt_level)
    _run_passes(module, machine, _is_scheduled(llvm_text), opt_level)
    said = ctypes.c_char_p()
    buffer = _unlocked().LLVMPY_TargetMachineEmitToMemory(
        machine._ptr, module._ptr, 1, ctypes.byref(said)
    )
    assert buffer, f"LLVM emits no object: {(said.value or b'').decode(errors='replace')}"
    try:
        size = llvm.ffi.lib.LLVMPY_GetBufferSize(buffer)
        return ctypes.string_at(llvm.ffi.lib.LLVMPY_GetBufferStart(buffer), size)
    finally:
        llvm.ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


@cache
def _unlocked() -> ctypes.CDLL:
    """The library of llvmlite once more: its own handle lets one thread in at a time."""
    ffi = llvm.ffi
    library = ctypes.CDLL(ffi.lib._name)
    library.LLVMPY_RunNewModulePassManager.argtypes = [
        ffi.LLVMModulePassManagerRef,
        ffi.LLVMModuleRef,
        ffi.LLVMPassBuilderRef,
    ]
    library.LLVMPY_RunNewModulePassManager.restype = None
    library.LLVMPY_RunNewFunctionPassManager.argtypes = [
        ffi.LLVMFunctionPassManagerRef,
        ffi.LLVMValueRef,
        ffi.LLVMPassBuilderRef,
    ]
    library.LLVMPY_RunNewFunctionPassManager.restype = None
    library.LLVMPY_TargetMachineEmitToMemory.argtypes = [
        ffi.LLVMTargetMachineRef,
        ffi.LLVMModuleRef,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_char_p),
    ]
    library.LLVMPY_TargetMachineEmitToMemory.restype = ffi.LLVMMemoryBufferRef
    return library


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
    # Not the older linker: it maps code and constants apart, and where another mapping has left no
    # room for both within 2 GiB of each other, it ends the process.
    return llvm.create_lljit_compiler(use_jit_link=True)


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


def load_objects(objects: Sequence[bytes]) -> LoadedCode:
    """Link ELF object files into this process; their global functions can be asked for."""
    builder = llvm.JITLibraryBuilder()
    for name, address in _imports().items():
        builder.import_symbol(name, address)
    for object_bytes in objects:
        builder.add_object_img(object_bytes)
        for symbol in exported_functions(object_bytes):
            builder.export_symbol(symbol)
    return LoadedCode(builder.link(_compiler(), f"tensorc.{next(_serial)}"))


def exported_functions(elf: bytes) -> list[str]:
    """The functions that a little-endian ELF64 object defines for all (System V gABI, chapter 4).

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
            name, info, visibility, section = struct.unpack_from("<IBBH", elf, at)
            if info == _GLOBAL_FUNCTION and visibility == 0 and section != 0:
                end = elf.index(b"\0", strings + name)
                names.append(elf[strings + name : end].decode())
    return names
