"""On a real device: every case of the package, bit for bit as in the emulator."""

from __future__ import annotations

import numpy as np
import pytest

import tensorc as tc
from cuda_cases.table import program_of, table
from schedule.cuda.grids import random_inputs
from tensorc.ir.stmt import Role

REASON = tc.cuda.why_not_available()
pytestmark = pytest.mark.skipif(REASON is not None, reason=f"no device: {REASON}")
CASES = table()


@pytest.mark.parametrize("name", CASES)
def test_a_device_gives_the_bits_of_the_emulator(name: str) -> None:
    program = program_of(CASES[name], "float32")
    arrays = random_inputs(program)
    inputs = [arrays[p.buffer.name] for p in program.params if p.role is not Role.OUT]
    device, emulated = (
        tc.compile(program_of(CASES[name], "float32"), target=target)(*inputs)
        for target in ("cuda", "cuda-emu")
    )
    for one, other in zip(_each(device), _each(emulated), strict=True):
        np.testing.assert_array_equal(one, other)


def _each(results: object) -> tuple[object, ...]:
    return results if isinstance(results, tuple) else (results,)
