"""How much memory a training step needs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from nn.test_step import mlp
from tensorc import nn, optim
from tensorc.ir.expr import const_int
from tensorc.lower.memory import plan_memory
from tensorc.schedule.auto import auto_schedule
from tensorc.schedule.schedule import Schedule
from tensorc.target import Target

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program

SIZES, BATCH = (784, 1024, 1024, 10), 256


def step_of(*sizes: int, batch: int) -> nn.Step:
    return nn.training_step(mlp(*sizes), nn.SoftmaxLoss(), optim.Adam(1e-3), batch)


def excess(step: nn.Step, program: Program, threads: int = 1) -> float:
    """The planned peak, over the bytes of parameters, moments, batch and each layer's output."""
    held = sum(array.nbytes for array in step.state.values()) + BATCH * (SIZES[0] + 1) * 4
    layout = plan_memory(program)
    shared, own = const_int(layout.shared), const_int(layout.slice)
    assert shared is not None
    assert own is not None
    return (held + shared + threads * own) / (held + BATCH * sum(SIZES[1:]) * 4)


def test_the_gradients_of_the_weights_live_one_after_the_other() -> None:
    step = step_of(*SIZES, batch=BATCH)
    program = step.lower_to_program()
    layout = plan_memory(program)
    lives = {b.name: life for b, life in layout.lives.items()}
    spans = sorted(lives[f"d.layer{i}.weight"] for i in (0, 2, 4))
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    # The products of a layer are gone once its output is there: that tells the mask as well.
    assert all(lives[f"add{n}"][1] == lives[f"relu{n}"][0] for n in ("", "_1"))
    # What is left beside the outputs of the layers: the one gradient of 4 MiB, and a cotangent.
    assert excess(step, program) <= 1.17


@pytest.mark.parametrize("threads", [1, 2])
def test_the_automatic_schedule_needs_little_more_than_what_must_live(threads: int) -> None:
    step = step_of(*SIZES, batch=BATCH)
    target = replace(Target().resolved(), threads=threads)
    scheduled = auto_schedule(step.lower_to_program(), target)
    assert excess(step, scheduled.program, threads) <= 1.15


def test_a_gradient_computed_by_blocks_of_rows_brings_the_peak_near_what_must_live() -> None:
    step = step_of(*SIZES, batch=BATCH)
    s = Schedule(step.lower_to_program())
    for weight in ("layer0.weight", "layer2.weight"):
        m, v = (s.loops(f"optimizer.{x}.{weight}")[0] for x in "mv")
        s.fuse_with(m, v)
        s.fuse_with(s.loops(f"optimizer.m.{weight}")[0], s.loops(weight)[0])
        rows, _ = s.split(s.loops(weight)[0], 132)
        s.compute_at(f"d.{weight}", rows)
    assert excess(step, s.program) <= 1.15


def test_the_workspace_of_a_deep_network_grows_by_its_activations_alone() -> None:
    def workspace(depth: int) -> int:
        program = step_of(32, *[64] * depth, 10, batch=BATCH).lower_to_program()
        return const_int(plan_memory(program).shared) or 0

    output = BATCH * 64 * np.dtype(np.float32).itemsize
    assert workspace(9) - workspace(5) == 4 * output
