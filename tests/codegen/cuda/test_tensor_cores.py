"""Nests that are a warp's matrix product run on tensor cores, and mean the same everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, Emulated
from codegen.cuda.programs import emitted, tensor_gemm
from tensorc.codegen.cuda import compile_cuda, disassemble, instruction_mix
from tensorc.dtypes import as_dtype

if TYPE_CHECKING:
    from codegen.harness import Array


def operands(dtype: str) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    kind = as_dtype(dtype).numpy
    a, b = (rng.standard_normal((64, 64)).astype(kind) for _ in "AB")
    return {"A": a, "B": b, "C": np.zeros((64, 64), np.float32)}


def assert_product(emulated: Emulated, arrays: dict[str, Array]) -> None:
    """The result is that of the operands in float64, within the bound of sums in any order."""
    a, b = (arrays[x].astype(np.float64) for x in "AB")
    bound = 64 * 2.0**-24 * (np.abs(a) @ np.abs(b))
    for options in ORDERS:
        run = emulated.run(arrays, options)
        assert not run.findings, [str(f) for f in run.findings]
        assert np.all(np.abs(run.results["C"] - a @ b) <= bound)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("k_rows", [False, True])
@pytest.mark.parametrize("n_rows", [False, True])
def test_a_product_in_every_layout_of_its_operands(dtype: str, k_rows: bool, n_rows: bool) -> None:
    emulated = Emulated(tensor_gemm(dtype=dtype, k_rows=k_rows, n_rows=n_rows))
    assert_product(emulated, operands(dtype))
    source = emulated.module.source
    assert source.count("  mma_m16n8k16_") == 1
    assert ("ldmatrix_x4_trans(As" in source) is k_rows
    assert ("ldmatrix_x2_trans(Bs" in source) is not n_rows


def test_an_older_architecture_computes_lane_by_lane() -> None:
    source = emitted(tensor_gemm(), "sm_75").source
    assert "mma" not in source.replace("gemm", "")
    assert "acc[mi * 2 + h][ni * 2 + c] = fmaf(" in source
    assert compile_cuda(source, "sm_75").resources["gemm_C"].spill_stores == 0


def test_the_barriers_around_a_product_are_needed() -> None:
    text = tensor_gemm()
    (barriers,) = emitted(text).barriers.values()
    assert len(barriers) == 2
    arrays = operands("bfloat16")
    for barrier in range(2):
        emulated = Emulated(text, drop=barrier)
        found = [str(f) for o in ORDERS for f in emulated.run(arrays, o).findings]
        assert any("race" in f for f in found), found


def test_the_instructions_are_there_and_registers_suffice() -> None:
    binary = compile_cuda(emitted(tensor_gemm(1024)).source, "sm_80")
    mix = instruction_mix(disassemble(binary.cubin))["gemm_C"]
    assert mix["HMMA"] == 8
    assert mix["LDSM"] == 2 + 4
    assert not mix["LDL"]
    assert not mix["STL"]
    assert binary.resources["gemm_C"].spill_stores == 0
