"""Every case through `target="cuda-emu"`: the numbers of the interpreter, and nothing found.

`check` runs each kernel in three orders of threads and looks for races, wrong accesses, reads of
what nobody wrote. Training steps are compared with the CPU in `driver/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import tensorc as tc
from cuda_cases.table import program_of, table
from schedule.cuda.grids import interpreted, random_inputs
from tensorc.ir.stmt import Role
from tensorc.schedule.auto import auto_schedule

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program

CASES = table()
NARROW = ("exp", "sum", "matmul", "softmax", "layer_norm", "conv2d", "gradient of a layer")
TERMS = 1024  # Of a sum at most, each no larger than the largest result, by rule.
ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}


def assert_runs(program: Program, dtype: str) -> None:
    arrays = random_inputs(program)
    want = interpreted(program, arrays)
    f = tc.compile(auto_schedule(program, tc.Target("cuda-emu")), target="cuda-emu")
    inputs = [arrays[p.buffer.name] for p in program.params if p.role is Role.IN]
    got: Any = f(*inputs)
    outputs = [p.buffer.name for p in program.params if p.role is Role.OUT]
    for name, array in zip(outputs, got if isinstance(got, tuple | list) else [got], strict=True):
        expected = np.asarray(want[name])
        if expected.dtype.kind in "biu":
            np.testing.assert_array_equal(array, expected, err_msg=name)
            continue
        # Narrow floats are summed in float32, and rounded once: that is all that differs.
        bound = max(4 * ROUNDING[dtype], TERMS * ROUNDING["float32"])
        bound = TERMS * ROUNDING[dtype] if dtype == "float64" else bound
        wide = expected.astype(np.float64)
        scale = max(1.0, float(np.max(np.abs(wide[np.isfinite(wide)]), initial=0.0)))
        np.testing.assert_allclose(
            np.asarray(array).astype(np.float64), wide, rtol=bound, atol=bound * scale, err_msg=name
        )
    report = f.check(*inputs)
    assert report.ok, str(report)


@pytest.mark.parametrize("name", CASES)
def test_a_case_runs_on_the_emulated_device_as_in_the_interpreter(name: str) -> None:
    assert_runs(program_of(CASES[name], "float32"), "float32")


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", NARROW)
def test_a_case_of_another_dtype_runs_as_in_the_interpreter(name: str, dtype: str) -> None:
    assert_runs(program_of(CASES[name], dtype), dtype)
