"""Legal schedules that are hard to prove: accepted, and the results are the same."""

from __future__ import annotations

import pytest

from schedule.accepted import LOOPS, MEMORY, PLACES
from schedule.lists import Accepted, take
from schedule.nests import assert_same_results
from tensorc.ir.parser import parse
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.trace import Trace

ROWS = (*LOOPS, *PLACES, *MEMORY)
NAMES = [row.name for row in ROWS]
SIZES = (0, 1, 2, 7, 9)


def test_the_list_is_long_and_its_names_are_its_own() -> None:
    assert len(ROWS) >= 40
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_legal_steps_are_accepted_and_keep_the_results(row: Accepted) -> None:
    plain = parse(row.program)
    s = Schedule(plain)
    take(s, row.steps)
    sizes = [{d.name: max(n, d.lower) for d in plain.dims} for n in SIZES]
    if len(plain.dims) > 1:
        sizes.append(dict(zip((d.name for d in plain.dims), (6, 3), strict=True)))
    for each in sizes if plain.dims else sizes[:1]:
        assert_same_results(plain, s.program, **each)
    again = Schedule(plain)
    again.replay(Trace.from_json(s.trace.to_json()))
    assert str(again) == str(s)
