"""The generator of random programs and schedules; `codegen/test_random.py` runs pairs of them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import numpy as np
import pytest

import fuzz
from schedule.programs_random import FAMILIES, HARD, Writer, random_program
from schedule.steps_random import KINDS, scheduled_at_random
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule import parallel
from tensorc.schedule.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

PRIMITIVES = {
    name
    for name, method in inspect.getmembers(Schedule, inspect.isfunction)
    if "self._take(" in inspect.getsource(method) or "self._cut(" in inspect.getsource(method)
}


def test_a_seed_gives_one_program_and_one_schedule() -> None:
    texts = []
    for _ in range(2):
        rng = np.random.default_rng((3, 4))
        taken = scheduled_at_random(random_program(rng), rng)
        texts.append((show(taken.schedule.program), str(taken.schedule.trace), taken.steps))
    assert texts[0] == texts[1]


@pytest.mark.parametrize("family", dict.fromkeys(FAMILIES))
def test_every_kind_of_stage_stands_alone(family: Callable[[Writer], None]) -> None:
    for seed in range(12):
        w = Writer(np.random.default_rng(seed))
        family(w)
        plain = w.program()
        for sizes in ({"n": 0, "m": 3}, {"n": 5, "m": 1}):
            case = fuzz.Case((seed, 1), plain, (), (sizes,), strict=False)
            assert fuzz.problem_of(case, compiled=False) is None


def test_every_primitive_is_tried_and_accepted() -> None:
    assert PRIMITIVES - {"_cut"} <= set(KINDS)
    accepted: set[str] = set()
    for number in range(2000):
        rng = np.random.default_rng((11, number))
        taken = scheduled_at_random(random_program(rng), rng)
        accepted |= {step.primitive for step in taken.schedule.trace.steps}
        if accepted >= set(KINDS):
            break
    assert set(KINDS) - accepted == set()


def test_what_nobody_checks_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "carried_pair", lambda *_: None)
    found = (fuzz.pair(5, number, compiled=False) for number in range(400))
    failure = fuzz.minimal(next(f for f in found if f is not None))
    primitives = [step.primitive for step in failure.case.steps]
    assert primitives
    assert primitives[-1] in ("parallel", "bind")
    assert len(primitives) <= 2
    text = failure.case.python()
    assert text.startswith("from tensorc.ir.parser import parse\n")
    with pytest.raises(Exception, match=r"check: |Error|never written"):
        exec(text, {})


def test_the_texts_of_hard_programs_stay_among_those_drawn() -> None:
    drawn = {show(random_program(np.random.default_rng(seed))) for seed in range(400)}
    assert all(show(parse(text)) in drawn for text in HARD)
