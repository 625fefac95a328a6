"""Every case in every dtype that it takes, in the emulator: the interpreter's numbers, no finding.

Cases of one dtype are scheduled by rule, each by itself, and run as the kernels of one program,
since a C++ compiler takes as long to start as for a kernel. Each runs in three orders of threads,
which are searched for races, wrong accesses and reads of what nobody wrote.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import cuda_cases.table
import tensorc as tc
from codegen.cuda.harness import ORDERS, Emulated
from cuda_cases.table import CONSTANT, forward, gradients, program_of
from schedule.cuda.grids import interpreted, random_inputs
from schedule.grids_random import together
from tensorc import ops
from tensorc.schedule.auto import auto_schedule

if TYPE_CHECKING:
    from cuda_cases.table import Make
    from tensorc.ir.stmt import Program

TARGET = tc.Target("cuda-emu")
CASES = forward() | gradients()
PARTS = 6
TERMS = 1024  # Of a sum at most, each no larger than the largest result, by rule.
ROUNDING = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
INTEGERS = ("int32", "uint8", "bool")
# What a case of floats is refused for where it is asked for of integers.
FLOATS_ONLY = r"sides must have one dtype|must be of a float dtype|bool|cast to an integer first"


def assert_near(got: Any, expected: Any, name: str) -> None:
    if expected.dtype.kind in "biu":
        np.testing.assert_array_equal(got, expected, err_msg=name)
        return
    kind = expected.dtype.name
    # Narrow floats are summed in float32, and rounded once: that is all that differs.
    summed = ROUNDING["float64" if kind == "float64" else "float32"]
    bound = max(4 * ROUNDING[kind], TERMS * summed)
    wide = expected.astype(np.float64)
    scale = max(1.0, float(np.max(np.abs(wide[np.isfinite(wide)]), initial=0.0)))
    np.testing.assert_allclose(
        got.astype(np.float64), wide, rtol=bound, atol=bound * scale, err_msg=name
    )


def assert_run(programs: dict[str, Program]) -> None:
    """Each program by its automatic schedule, all of them as one."""
    arrays = {name: random_inputs(p) for name, p in programs.items()}
    whole = together([auto_schedule(p, TARGET).program for p in programs.values()])
    prefixes = dict(zip(programs, whole.prefixes, strict=True))
    emulated = Emulated(whole.program)
    given = {prefixes[n] + b: a for n, each in arrays.items() for b, a in each.items()}
    runs = [emulated.run(given, order) for order in ORDERS]
    for run in runs:
        findings = [f"{f.kernel}: {f.message}" for f in run.findings]
        assert not findings, "\n".join([*findings[:3], *map(str, prefixes.items())])
        assert run.status[0] == 0, "no check failed"
    for name, program in programs.items():
        for buffer, want in interpreted(program, arrays[name]).items():
            for run in runs:
                assert_near(run.results[prefixes[name] + buffer], want, f"{name}: {buffer}")


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_cases_run_on_the_emulated_device_as_in_the_interpreter(dtype: str, part: int) -> None:
    names = list(CASES)[part::PARTS]
    assert_run({name: program_of(CASES[name], dtype) for name in names})


def taken(make: Make, dtype: str) -> Program | None:
    """The program of a case, or None where it is refused for the dtype."""
    try:
        return program_of(make, dtype)
    except tc.TensorcError as e:
        if re.search(FLOATS_ONLY, str(e)):
            return None
        raise


@pytest.mark.parametrize("dtype", INTEGERS)
def test_cases_of_integers_run_as_in_the_interpreter(dtype: str) -> None:
    programs = {name: p for name, make in forward().items() if (p := taken(make, dtype))}
    assert len(programs) > (80 if dtype == "bool" else 100)
    assert_run(programs)


def test_each_operation_has_a_case_and_each_that_is_smooth_a_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: set[str] = set()

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            called.add(name)
            return getattr(ops, name)

    monkeypatch.setattr(cuda_cases.table, "ops", Recorder())
    for make in forward().values():
        make("float32")
    others = {n for n in ops.__all__ if not callable(getattr(ops, n))}
    assert set(ops.__all__) - others - called == set()
    assert set(CONSTANT) <= set(forward())
