"""Some nests of a program as a program of their own, and put back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorc as tc
from tensorc import nn, optim
from tensorc.ir.parser import parse
from tensorc.ir.printer import show
from tensorc.schedule.auto import apart as apart_module
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.excerpt import (
    Excerpt,
    Made,
    Outline,
    cut,
    filled_buffers,
    put_back,
    renewed,
)
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.spine import spine_of
from tensorc.schedule.tree import used_names

if TYPE_CHECKING:
    import pytest

    from tensorc.ir.stmt import Program

LAYERS = """
program layers(x: in float32[8], w: inout float32[8], y: out float32[8]):
  alloc a: float32[8]
    alloc b: float32[8]
      alloc c: float32[8]
        alloc d: float32[8]
          for i in range(8):
            a[i] = x[i] * w[i]
          for i in range(8):
            b[i] = max(a[i], 0.0)
          for i in range(8):
            c[i] = b[i] * w[i]
          for i in range(8):
            d[i] = max(c[i], 0.0)
          for i in range(8):
            w[i] = w[i] - b[i]
          for i in range(8):
            y[i] = d[i] + w[i]
"""


def outline(program: Program) -> Outline:
    spine = spine_of(program.body)
    assert spine is not None
    return Outline(program, spine)


def excerpt(program: Program, first: int, last: int) -> Excerpt | None:
    return cut(outline(program), first, last, filled_buffers(program))


def test_an_excerpt_allocates_what_nothing_else_touches_and_is_given_the_rest() -> None:
    program = parse(LAYERS)
    found = excerpt(program, 2, 3)
    assert found is not None
    assert show(found.program(program)).splitlines() == [
        "program layers(«2»: in float32[8], «3»: inout float32[8], «5»: out float32[8]):",
        "  alloc «1»: float32[8]",
        "    for i in range(8):",
        "      «1»[i] = «2»[i] * «3»[i]",
        "    for i in range(8):",
        "      «5»[i] = max(«1»[i], 0.0)",
    ]


def test_excerpts_that_differ_in_names_alone_have_one_key() -> None:
    program = parse(LAYERS)
    one, other = excerpt(program, 1, 1), excerpt(program, 3, 3)
    assert one is not None
    assert other is not None
    assert one.key == other.key
    first = excerpt(program, 0, 0)
    assert first is not None
    assert first.key != one.key


def test_what_was_made_of_an_excerpt_stands_for_all_alike() -> None:
    program = parse(LAYERS)
    one = excerpt(program, 1, 1)
    assert one is not None
    s = Schedule(one.program(program))
    stage = one.name_of("b")
    outer, inner = s.split(s.loop(stage, "i"), 4)
    s.cache_write(stage, outer)
    s.vectorize(inner)
    made = Made(one, s.program.body, s.trace.steps)
    whole, taken = outline(program), used_names(program)
    parts = []
    for place in (1, 3):
        found = excerpt(program, place, place)
        assert found is not None
        part = renewed(found, made, taken)
        assert part is not None
        parts.append(part)
    result = put_back(whole, parts)
    again = Schedule(program)
    for stage in "bd":
        outer, inner = again.split(again.loop(stage, "i"), 4)
        again.cache_write(stage, outer)
        again.vectorize(inner)
    assert show(result) == show(again.program)
    steps = [str(step) for part in parts for step in part.steps]
    assert steps == [str(step) for step in again.trace.steps]


def test_a_new_buffer_gets_a_name_that_is_free_in_the_whole() -> None:
    program = parse(LAYERS.replace("alloc a:", "alloc b.local:").replace("a[i]", "b.local[i]"))
    found = excerpt(program, 1, 1)
    assert found is not None
    s = Schedule(found.program(program))
    s.cache_write(found.name_of("b"), s.loop(found.name_of("b"), "i"))
    part = renewed(found, Made(found, s.program.body, s.trace.steps), used_names(program))
    assert part is not None
    again = Schedule(program)
    again.cache_write("b", again.loop("b", "i"))
    assert "b.local_1" in again.stages
    assert show(put_back(outline(program), [part])) == show(again.program)


def test_there_is_no_excerpt_that_reads_what_was_never_stored() -> None:
    program = parse(
        LAYERS.replace("for i in range(8):\n            a", "for i in range(7):\n            a")
    )
    assert excerpt(program, 1, 1) is None
    assert excerpt(program, 0, 1) is not None


def network(depth: int) -> Program:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(32, 32), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    model.initialize(0)
    return nn.training_step(model, nn.SoftmaxLoss(), optim.Adam(1e-3), 16).lower_to_program()


def test_equal_layers_are_scheduled_once_and_the_steps_lead_to_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []

    class Counted(Schedule):
        def __init__(self, program: Program) -> None:
            made.append(1)
            super().__init__(program)

    monkeypatch.setattr(apart_module, "Schedule", Counted)
    counts = []
    for depth in (4, 7):
        made.clear()
        program = network(depth)
        s = auto_schedule(program, tc.Target("cpu").resolved())
        counts.append(len(made))
        again = Schedule(program)
        again.replay(s.trace)
        assert show(again.program) == show(s.program)
    assert counts[0] == counts[1]
