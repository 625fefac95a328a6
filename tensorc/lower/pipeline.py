"""The passes from a scheduled program to what a backend emits, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from tensorc.ir.simplify import simplify
from tensorc.ir.stmt import Program
from tensorc.target import Target

Pass: TypeAlias = Callable[[Program, Target], Program]


def simplify_all(program: Program, _: Target) -> Program:
    """Apply the algebraic rules; loops of extent 0 and 1 and decided conditions go away."""
    return replace(program, body=simplify(program.body))


PASSES: tuple[Pass, ...] = (simplify_all,)


def lower(program: Program, target: Target) -> Program:
    """`program` after all passes."""
    for run in PASSES:
        program = run(program, target)
    return program
