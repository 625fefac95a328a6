"""Programs to LLVM IR, and that to machine code."""

from tensorc.codegen.llvm.jit import (
    LoadedCode,
    Objects,
    assembly,
    compile_object,
    load_objects,
    openmp_runtime,
    optimized,
)
from tensorc.codegen.llvm.module import ModuleText, emit_module

__all__ = [
    "LoadedCode",
    "ModuleText",
    "Objects",
    "assembly",
    "compile_object",
    "emit_module",
    "load_objects",
    "openmp_runtime",
    "optimized",
]
