"""Compile for CUDA devices and for the emulator of one."""

from tensorc.driver.cuda.compile import cuda_function
from tensorc.driver.cuda.function import CudaCompiledFunction

__all__ = ["CudaCompiledFunction", "cuda_function"]
