"""Illegal schedules, each a real mistake: refused for its own reason, and nothing is changed.

The messages stand in `golden/refused.txt`, whole.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from schedule.lists import Refused, take
from schedule.nests import assert_same_results
from schedule.refused_grids import GRIDS
from schedule.refused_misfits import MISFITS
from schedule.refused_orders import ORDERS
from schedule.refused_places import PLACES
from schedule.refused_races import RACES
from tensorc.errors import ScheduleError
from tensorc.ir.printer import show

GOLDEN = Path(__file__).parent.parent / "golden" / "refused.txt"
ROWS = (*RACES, *ORDERS, *PLACES, *GRIDS, *MISFITS)
NAMES = [row.name for row in ROWS]


def messages() -> dict[str, str]:
    """The expected messages by the rows' names, as `golden/refused.txt` has them."""
    found: dict[str, str] = {}
    for section in GOLDEN.read_text(encoding="utf-8").split("\n\n["):
        name, _, text = section.removeprefix("[").partition("]\n")
        found[name] = text.rstrip("\n")
    return found


def refusal(row: Refused) -> str:
    """The message; the schedule must be as it was."""
    s = row.schedule()
    before, trace = show(s.program), str(s.trace)
    with pytest.raises(ScheduleError) as error:
        take(s, row.step)
    assert show(s.program) == before
    assert str(s.trace) == trace
    return str(error.value)


def test_the_list_is_long_and_its_names_are_its_own() -> None:
    assert len(ROWS) - len(MISFITS) >= 60
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_mistake_is_refused_for_its_own_reason(row: Refused) -> None:
    assert refusal(row) == messages()[row.name]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_steps_before_a_mistake_are_legal(row: Refused) -> None:
    s = row.schedule()
    if row.before and not row.strict:
        assert_same_results(s.plain, s.program, n=5, m=4)


def test_the_golden_text_has_these_messages_and_no_others(pytestconfig: pytest.Config) -> None:
    text = "\n\n".join(f"[{row.name}]\n{refusal(row)}" for row in ROWS) + "\n"
    if pytestconfig.option.update_golden:
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert GOLDEN.read_text(encoding="utf-8") == text
