"""Programs to CUDA C, and that to code for a GPU."""

from tensorc.codegen.cuda.inspect import (
    disassemble,
    instruction_mix,
    instructions,
    occupancies,
    resources_text,
)
from tensorc.codegen.cuda.module import CudaModule, emit_cuda
from tensorc.codegen.cuda.nvrtc import CudaBinary, compile_cuda, nvrtc_version, supported_archs
from tensorc.codegen.cuda.resources import (
    CudaWarning,
    Occupancy,
    Resources,
    occupancy,
    parse_cubin,
    parse_log,
    warn_of,
)

__all__ = [
    "CudaBinary",
    "CudaModule",
    "CudaWarning",
    "Occupancy",
    "Resources",
    "compile_cuda",
    "disassemble",
    "emit_cuda",
    "instruction_mix",
    "instructions",
    "nvrtc_version",
    "occupancies",
    "occupancy",
    "parse_cubin",
    "parse_log",
    "resources_text",
    "supported_archs",
    "warn_of",
]
