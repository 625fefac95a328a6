"""Tensor cores and asynchronous copies, reached by the steps of a schedule."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, Emulated
from codegen.cuda.schedules import tensor_core_schedule
from tensorc.codegen.cuda import compile_cuda, disassemble, instruction_mix
from tensorc.dtypes import bfloat16


@pytest.mark.parametrize("stages", [1, 3])
def test_a_schedule_reaches_tensor_cores_and_asynchronous_copies(stages: int) -> None:
    emulated = Emulated(tensor_core_schedule(128, stages).program)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((128, 128)).astype(bfloat16.numpy) for _ in "AB")
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    bound = 128 * 2.0**-24 * (np.abs(wide_a) @ np.abs(wide_b))
    for options in ORDERS:
        run = emulated.run({"A": a, "B": b, "C": np.zeros((128, 128), np.float32)}, options)
        assert not run.findings, [str(f) for f in run.findings]
        assert np.all(np.abs(run.results["C"] - wide_a @ wide_b) <= bound)
    source = emulated.module.source
    assert "mma_m16n8k16_bf16(" in source
    assert "cp_async16(" in source
    assert f"cp_async_wait<{max(stages - 2, 0)}>();" in source


def test_its_machine_code_has_the_instructions_and_no_spills() -> None:
    binary = compile_cuda(Emulated(tensor_core_schedule(1024, 3).program).module.source, "sm_80")
    (mix,) = instruction_mix(disassemble(binary.cubin)).values()
    assert mix["HMMA"] >= 8
    assert mix["LDSM"] >= 6
    assert mix["LDGSTS"] >= 2
    assert not mix["LDL"]
    assert not mix["STL"]
    (resources,) = binary.resources.values()
    assert resources.spill_stores == 0
