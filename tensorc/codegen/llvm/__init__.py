"""Programs to LLVM IR, and that to machine code."""

from tensorc.codegen.llvm.jit import (
    LoadedCode,
    assembly,
    compile_object,
    compile_objects,
    load_objects,
    openmp_runtime,
    optimized,
)
from tensorc.codegen.llvm.module import ModuleText, emit_module

__all__ = [
    "LoadedCode",
    "ModuleText",
    "assembly",
    "compile_object",
    "compile_objects",
    "emit_module",
    "load_objects",
    "openmp_runtime",
    "optimized",
]
