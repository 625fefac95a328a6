"""Random schedules bound to grids, in the emulator, against the plain programs: no race, no bit.

Many pairs are one program, since a C++ compiler takes as long to start as for a kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from codegen.cuda.harness import ORDERS, Emulated
from codegen.cuda.programs import emitted
from schedule.cuda.grids import interpreted
from schedule.grids_random import on_a_grid, random_plain, shared_at_last, together
from schedule.programs_random import SIZES, random_arrays
from tensorc.emulator import FindingKind
from tensorc.errors import CompileError
from tensorc.ir.printer import show
from tensorc.ir.verify import verify

if TYPE_CHECKING:
    from schedule.programs_random import Arrays
    from tensorc.ir.stmt import Program
    from tensorc.schedule.schedule import Schedule

PAIRS = 500
PARTS = 10


@dataclass(frozen=True)
class Pair:
    """A number, what follows from it, and what the plain program computes."""

    number: int
    schedule: Schedule
    sizes: dict[str, int]
    arrays: Arrays
    expected: Arrays

    def __str__(self) -> str:
        return (
            f"pair {self.number}, {self.sizes}\n{show(self.schedule.plain)}\n{self.schedule.trace}"
        )


def pair(number: int) -> Pair:
    rng = np.random.default_rng((17, number))
    plain = random_plain(rng)
    s = on_a_grid(plain, rng)
    if not is_a_kernel(s.program):
        shared_at_last(s)
    verify(s.program)
    sizes = {d.name: int(rng.choice(SIZES)) for d in plain.dims}
    arrays = random_arrays(plain, sizes, rng, whole=True)
    return Pair(number, s, sizes, arrays, interpreted(plain, arrays))


def is_a_kernel(program: Program) -> bool:
    """Whether it has a form that a GPU runs; what has not is refused in words."""
    try:
        emitted(program)
    except CompileError:
        return False
    return True


@dataclass(frozen=True)
class Problem:
    """What went wrong, and with which of some pairs."""

    what: str
    index: int


def problem_of(pairs: list[Pair]) -> Problem | None:
    """What goes wrong in the emulator, if anything does."""
    whole = together([p.schedule.program for p in pairs])
    named = list(zip(whole.prefixes, pairs, strict=True))
    arrays = {f"{x}{k}": a for x, p in named for k, a in p.arrays.items()}
    sizes = {f"{x}{k}": n for x, p in named for k, n in p.sizes.items()}
    emulated = Emulated(whole.program)
    for order in ORDERS[:2]:
        run = emulated.run(arrays, order, **sizes)
        # NVRTC may load what a condition leaves out, and then not use it.
        findings = [f for f in run.findings if f.kind is not FindingKind.UNINITIALIZED]
        if findings:
            found = re.search(r"p(\d+)_", findings[0].kernel)
            assert found is not None, "a kernel is called after what it computes"
            return Problem("\n".join(f.message for f in findings[:3]), int(found[1]))
        for index, (prefix, p) in enumerate(named):
            for name, want in p.expected.items():
                if not np.array_equal(run.results[f"{prefix}{name}"], want, equal_nan=True):
                    return Problem(f"'{name}' differs with threads {order.order}", index)
    return None


@pytest.mark.parametrize("part", range(PARTS))
def test_random_schedules_on_grids_keep_the_results_and_have_no_race(part: int) -> None:
    pairs = [pair(number) for number in range(part, PAIRS, PARTS)]
    kernels = [p for p in pairs if is_a_kernel(p.schedule.program)]
    assert len(kernels) > 0.85 * len(pairs), "most random schedules have a form that a GPU runs"
    problem = problem_of(kernels)
    assert problem is None, f"{problem.what}\n{kernels[problem.index]}"
