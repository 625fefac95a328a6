"""Nests that are a warp's matrix product run on tensor cores, and mean the same everywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, PROFILED, Emulated
from codegen.cuda.programs import emitted, tensor_gemm
from tensorc.codegen.cuda import compile_cuda, disassemble, instruction_mix
from tensorc.dtypes import as_dtype
from tensorc.ir import scalars

if TYPE_CHECKING:
    from codegen.harness import Array


def operands(dtype: str) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    kind = as_dtype(dtype).numpy
    a, b = (rng.standard_normal((64, 64)).astype(kind) for _ in "AB")
    return {"A": a, "B": b, "C": np.zeros((64, 64), np.float32)}


def assert_product(emulated: Emulated, arrays: dict[str, Array]) -> None:
    """The result is that of the operands in float64, within the bound of sums in any order.

    Those of float32 are first rounded to tf32, which leaves their products exact in float32.
    """
    a, b = (arrays[x] for x in "AB")
    if a.dtype == np.float32:
        a, b = (np.vectorize(scalars.tf32)(x) for x in (a, b))
    a, b = (x.astype(np.float64) for x in (a, b))
    bound = 64 * 2.0**-24 * (np.abs(a) @ np.abs(b))
    for options in ORDERS:
        run = emulated.run(arrays, options)
        assert not run.findings, [str(f) for f in run.findings]
        assert np.all(np.abs(run.results["C"] - a @ b) <= bound)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.parametrize("k_rows", [False, True])
@pytest.mark.parametrize("n_rows", [False, True])
def test_a_product_in_every_layout_of_its_operands(dtype: str, k_rows: bool, n_rows: bool) -> None:
    emulated = Emulated(tensor_gemm(dtype=dtype, k_rows=k_rows, n_rows=n_rows))
    assert_product(emulated, operands(dtype))
    source = emulated.module.source
    assert source.count("  mma_m16n8k") == 1
    if dtype == "float32":
        assert ("ldmatrix_x4(As" in source) is not k_rows
        assert ("ldmatrix_x2(Bs" in source) is n_rows
        assert ("= tf32_bits(As" in source) is k_rows
        assert ("= tf32_bits(Bs" in source) is not n_rows
    else:
        assert ("ldmatrix_x4_trans(As" in source) is k_rows
        assert ("ldmatrix_x2_trans(Bs" in source) is not n_rows


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_padded_operands_are_loaded_without_bank_conflicts(dtype: str) -> None:
    profile = Emulated(tensor_gemm(dtype=dtype)).run(operands(dtype), PROFILED).profile
    loads = [a for a in profile.accesses if a.space == "shared" and not a.is_write]
    assert loads
    assert all(a.ratio == 1.0 for a in loads)


def test_an_older_architecture_rounds_to_tf32_lane_by_lane() -> None:
    emulated = Emulated(tensor_gemm(dtype="float32"), "sm_75")
    assert "mma" not in emulated.module.source.replace("gemm", "")
    assert "round_tf32(As" in emulated.module.source
    assert_product(emulated, operands("float32"))


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


def test_tf32_operands_are_loaded_by_rows_where_they_lie_so() -> None:
    binary = compile_cuda(emitted(tensor_gemm(1024, "float32", n_rows=True)).source, "sm_80")
    code = disassemble(binary.cubin)
    assert "HMMA.1688.F32.TF32" in code
    mix = instruction_mix(code)["gemm_C"]
    assert mix["HMMA"] == 8
    assert mix["LDSM"] == 2 + 4
    assert not mix["LDL"]
    assert not mix["STL"]
