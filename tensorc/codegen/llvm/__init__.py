"""Programs to LLVM IR, and that to machine code."""

from tensorc.codegen.llvm.jit import (
    LoadedCode,
    assembly,
    compile_object,
    load_object,
    openmp_runtime,
    optimized,
)
from tensorc.codegen.llvm.module import emit_module

__all__ = [
    "LoadedCode",
    "assembly",
    "compile_object",
    "emit_module",
    "load_object",
    "openmp_runtime",
    "optimized",
]
