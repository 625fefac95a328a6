"""Whole kernels as text, which compile for every architecture without spills or warnings."""

from __future__ import annotations

from pathlib import Path

import pytest

from codegen.cuda.hopper_programs import product
from codegen.cuda.programs import ARCHS, ROW_SUMS, emitted, gemm, pipelined, tensor_gemm
from tensorc.codegen.cuda import compile_cuda, parse_cubin

FOLDER = Path(__file__).parents[2] / "golden" / "cuda"
SOFTMAX = """program softmax(A: in float32[m, 1000], B: out float32[m, 1000]) dims(m >= 0):
  for i in block.x(m):
    alloc row: float32[1024] local
      alloc largest: float32[] shared
        alloc total: float32[] shared
          largest[] = -inf
          total[] = 0.0
          for t in thread.x(256):
            for k in range(4):
              row[k*256 + t] = where(k*256 + t < 1000, A[i, k*256 + t], -inf)
          for k in range(4):
            for t in thread.x(256):
              largest[] max= row[k*256 + t]
          for k in range(4):
            for t in thread.x(256):
              total[] += exp(row[k*256 + t] - largest[])
          for t in thread.x(256):
            for k in range(4):
              if k*256 + t < 1000:
                B[i, k*256 + t] = exp(row[k*256 + t] - largest[]) / total[]
"""
KERNELS = {
    "gemm": gemm(),
    "tensor_gemm": tensor_gemm(1024),
    "row_sums": ROW_SUMS,
    "softmax": SOFTMAX,
    "pipelined": pipelined(3),
}

# For one architecture alone.
OWN = {"warp_groups": (product(128, 512, 2, 3, roles=True), "sm_90a")}


@pytest.mark.parametrize("name", [*KERNELS, *OWN])
def test_a_kernel_reads_as_it_did(name: str, pytestconfig: pytest.Config) -> None:
    module = emitted(*OWN[name]) if name in OWN else emitted(KERNELS[name])
    barriers = [
        f"// {line}" for b in sum(module.barriers.values(), ()) for line in str(b).split("\n")
    ]
    text = "\n".join([module.source, "// Barriers, and what each is for:", *barriers, ""])
    path = FOLDER / f"{name}.cu"
    if pytestconfig.option.update_golden:
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("arch", ARCHS)
def test_kernels_compile_for_every_architecture(arch: str) -> None:
    for text in KERNELS.values():
        module = emitted(text, arch)
        binary = compile_cuda(module.source, arch)
        assert "warning" not in binary.log
        code = parse_cubin(binary.cubin)
        for name, said in binary.resources.items():
            assert said.stack == said.spill_stores == said.spill_loads == 0
            assert said.shared == code[name].shared <= module.static_shared[name]
            assert said.barriers == (1 if any(not b.warp for b in module.barriers[name]) else 0)


def test_the_same_program_gives_the_same_text() -> None:
    for text in KERNELS.values():
        assert emitted(text).source == emitted(text).source
