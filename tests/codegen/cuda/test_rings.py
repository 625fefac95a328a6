"""Slots that copies of boxes fill in turn: what is no ring is refused, and how that reads."""

from __future__ import annotations

import pytest

from codegen.cuda.hopper_programs import ring
from codegen.cuda.test_boxes import refusal

USE = "S[i % 3, t % 4 * 4 + v, t // 4]"
GUARD = "        if i + 2 < 8:\n"
AFTER = """      for t in thread.x(128):
        B[0, b, t // 4, t % 4] = S[0, t % 4, t // 4]
"""


def reason(text: str) -> str:
    """What stands in the way, of a refusal whose other words are checked here."""
    said = refusal(text)
    begin = "shared buffer S, which copies of boxes fill: "
    end = (
        "; a copy stands before what uses it, in the same iteration, or some iterations ahead as "
        "pipeline makes it"
    )
    assert said.startswith(begin)
    assert said.endswith(end)
    return said[len(begin) : -len(end)]


def at_once(guard: str = "", *, times: int = 1, swapped: bool = False) -> str:
    """One slot, filled and used in each iteration; `guard` stands around each of its copies."""
    lines = ring(1).splitlines(keepends=True)
    copy, use = lines[4:8], lines[8:]
    assert copy[0].strip() == "if i + 0 < 8:"
    copy = [f"        if {guard}:\n", *copy[1:]] if guard else [x[2:] for x in copy[1:]]
    copy *= times
    body = [*use, *copy] if swapped else [*copy, *use]
    return "".join([*lines[:4], *body])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ring(3).replace(USE, "0.0"), "nothing uses it"),
        (
            ring(3).replace("a in range(2)", "a in range(b)"),
            "a copy stands neither beside its uses nor in a loop before them",
        ),
        (ring(3) + AFTER, "it is used outside of the loop in which it is filled"),
        (at_once(times=2), "2 of 2 copies stand beside its uses, where one may"),
        (at_once("i < 5"), "it is copied only where i < 5"),
        (at_once(swapped=True), "it is used before it is copied"),
        (ring(33), "its first dimension would be 2 to 32 slots of a loop"),
        (
            ring(3).replace("a in range(2)", "a in range(3)"),
            "copies are 3 iterations ahead, with 3 slots",
        ),
    ],
)
def test_copies_and_uses_that_do_not_take_turns_are_refused(text: str, why: str) -> None:
    assert reason(text) == why


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            USE,
            USE.replace("i %", "(i + 1) %"),
            "B[i, b, t // 4, t % 4 * 4 + v] = S[(i + 1) % 3, t % 4 * 4 + v, t // 4] uses "
            "(i + 1) % 3 == i % 3",
        ),
        (GUARD, GUARD.replace("8", "7"), "a copy is made where i + 2 < 7"),
        (GUARD, GUARD.replace("2", "1"), "a copy is made where there is i + 2 < 8"),
        ("S[(i + 2) % 3, r", "S[(i + 1) % 3, r", "a copy fills (i + 1) % 3 == (i + 2) % 3"),
        ("S[a, r, c]", "S[1 - a, r, c]", "a copy fills 1 - a == a % 3"),
    ],
)
def test_slots_that_are_not_those_of_their_turn_are_refused(old: str, new: str, why: str) -> None:
    assert reason(ring(3).replace(old, new)) == f"{why}, which is not so for all iterations"
