"""What NVRTC makes of golden kernels: the instructions that they are written for, and no spill."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest

from codegen.cuda.programs import emitted, gemm, pipelined, tensor_gemm
from codegen.cuda.schedules import tensor_core_schedule
from tensorc.codegen.cuda import compile_cuda, disassemble, instructions

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program

ARCHS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")
KERNELS: dict[str, str | Program] = {
    "gemm": gemm(),
    "bf16": tensor_gemm(1024),
    "f16": tensor_gemm(1024, "float16"),
    "tf32": tensor_gemm(1024, "float32", n_rows=True),
    "pipelined": pipelined(3),
}
MATRICES = {
    "bf16": "HMMA.16816.F32.BF16",
    "f16": "HMMA.16816.F32",
    "tf32": "HMMA.1688.F32.TF32",
    "tensor pipeline": "HMMA.16816.F32.BF16",
}


@cache
def program(name: str) -> str | Program:
    if name == "tensor pipeline":
        return tensor_core_schedule(1024, 3, swizzled=True).program
    return KERNELS[name]


@cache
def machine_code(name: str, arch: str) -> tuple[str, ...]:
    """The instructions of a kernel, which has no spill and no stack."""
    binary = compile_cuda(emitted(program(name), arch).source, arch)
    assert "warning" not in binary.log
    for said in binary.resources.values():
        assert said.stack == said.spill_stores == said.spill_loads == 0
    (found,) = instructions(disassemble(binary.cubin)).values()
    assert not [x for x in found if x.startswith(("LDL", "STL"))]
    return tuple(found)


def has(name: str, arch: str, *parts: str) -> bool:
    """Whether some instruction begins with the first part and has all others."""
    first, *others = parts
    return any(
        x.startswith(first) and all(p in x for p in others) for x in machine_code(name, arch)
    )


@pytest.mark.parametrize("arch", ARCHS)
def test_a_tiled_product_moves_16_bytes_at_once(arch: str) -> None:
    assert has("gemm", arch, "LDG", "128")
    assert has("gemm", arch, "LDS", "128")
    assert has("gemm", arch, "STG", "128")
    assert has("gemm", arch, "FFMA")


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", MATRICES)
def test_products_of_tiles_run_on_tensor_cores(name: str, arch: str) -> None:
    modern = arch != "sm_75"
    assert has(name, arch, MATRICES[name]) is modern
    assert has(name, arch, "LDSM") is modern
    assert has(name, arch, "HMMA") is modern


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("name", ["pipelined", "tensor pipeline"])
def test_asynchronous_copies_go_past_the_registers(name: str, arch: str) -> None:
    modern = arch != "sm_75"
    assert has(name, arch, "LDGSTS", "128") is modern
    assert has(name, arch, "LDGDEPBAR") is modern
    assert has(name, arch, "LDG.E", "128") is not modern
