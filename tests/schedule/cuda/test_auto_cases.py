"""The automatic schedules for CUDA on every case of the package, in the interpreter."""

from __future__ import annotations

import pytest

from cuda_cases.table import program_of, table
from schedule.cuda.grids import assert_close
from tensorc.ir.stmt import For
from tensorc.ir.walk import walk_stmts
from tensorc.schedule.auto import auto_schedule
from tensorc.target import Target

GPU = Target("cuda", arch="sm_80")
CASES = table()


@pytest.mark.parametrize("name", CASES)
def test_an_automatic_schedule_keeps_the_meaning_of(name: str) -> None:
    plain = program_of(CASES[name], "float64")
    s = auto_schedule(plain, GPU)
    assert any(isinstance(x, For) and x.axis is not None for x in walk_stmts(s.program.body))
    assert_close(plain, s.program)
