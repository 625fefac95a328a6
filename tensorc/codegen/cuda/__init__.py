"""Programs to CUDA C, and that to code for a GPU."""

from tensorc.codegen.cuda.module import CudaModule, emit_cuda

__all__ = ["CudaModule", "emit_cuda"]
