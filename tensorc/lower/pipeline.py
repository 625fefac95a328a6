"""The passes from a scheduled program to what a backend emits, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Program
from tensorc.lower.cooperative import split_cooperative
from tensorc.lower.hoist import hoist_guards
from tensorc.lower.host import refuse_grids
from tensorc.lower.math import expand_math
from tensorc.lower.partition import partition
from tensorc.lower.promote import promote_accumulators
from tensorc.lower.radix import split_radix
from tensorc.lower.threads import spread_threads
from tensorc.target import Target

Pass: TypeAlias = Callable[[Program, Target], Program]


def simplify_program(program: Program, _: Target) -> Program:
    """Apply the algebraic rules; loops of extent 0 and 1 and decided conditions go away."""
    return replace(program, body=simplify(program.body))


def partition_tails(program: Program, _: Target) -> Program:
    """`partition`, the same for every target."""
    return partition(program)


def hoist(program: Program, _: Target) -> Program:
    """`hoist_guards`, the same for every target."""
    return hoist_guards(program)


def tell_digits(program: Program, _: Target) -> Program:
    """`split_radix`, the same for every target."""
    return split_radix(program)


def promote(program: Program, _: Target) -> Program:
    """`promote_accumulators`, the same for every target."""
    return promote_accumulators(program)


def spread(program: Program, _: Target) -> Program:
    """`spread_threads`, the same for every target."""
    return spread_threads(program)


def cooperate(program: Program, _: Target) -> Program:
    """`split_cooperative`, the same for every target."""
    return split_cooperative(program)


# The compiler's table of contents, by the kind of target.
PASSES: dict[str, tuple[Pass, ...]] = {
    "cpu": (
        refuse_grids,
        simplify_program,
        tell_digits,
        partition_tails,
        hoist,
        promote,
        expand_math,
    ),
    "cuda": (simplify_program, tell_digits, spread, cooperate, promote, expand_math),
}
PASSES["cuda-emu"] = PASSES["cuda"]


def lower(program: Program, target: Target) -> Program:
    """`program` after all passes.

    Loops with a vectorized or parallel kind keep it; what a backend gets has no transcendental
    call, and no guard in tiles that lie inside all bounds.
    """
    for run in PASSES[target.kind]:
        program = run(program, target)
    return program
