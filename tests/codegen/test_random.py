"""Generated programs and random schedules: machine code against the interpreter, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from codegen.programs import check
from ir.programs import programs
from schedule.test_random import DIMS, PROGRAMS, scheduled_at_random
from tensorc.ir.expr import const_int
from tensorc.ir.stmt import Allocate, For, ForKind
from tensorc.ir.walk import replace_buffers, rewrite, walk_stmts
from tensorc.schedule.auto import auto_schedule
from tensorc.target import Target

if TYPE_CHECKING:
    from tensorc.ir.stmt import Node, Program


def has_a_stack(program: Program) -> bool:
    """Whether every buffer on the stack has a constant size: others are refused, in words."""
    return all(
        stmt.buffer.scope != "local" or all(const_int(n) is not None for n in stmt.buffer.shape)
        for stmt in walk_stmts(program.body)
        if isinstance(stmt, Allocate)
    )


runnable = programs().filter(has_a_stack)


def sizes(program: Program, n: int) -> dict[str, Any]:
    return {d.name: max(n, d.lower) for d in program.dims}


@settings(max_examples=25)
@given(program=runnable, n=st.integers(0, 9))
def test_generated_programs_run_as_in_the_interpreter(program: Program, n: int) -> None:
    check(program, **sizes(program, n))


@settings(max_examples=25)
@given(program=runnable, n=st.integers(0, 40))
def test_automatic_schedules_of_generated_programs_run_as_the_plain_ones(
    program: Program, n: int
) -> None:
    """Both against the interpreter: reductions of integers are exact, those of floats reordered."""
    s = auto_schedule(program, Target())
    check(s.program, threads=2, **sizes(program, n))


def for_a_cpu(program: Program) -> Program:
    """The program with parallel loops for those of a grid, and no memory that a grid shares."""

    def rule(node: Node) -> Node | None:
        if isinstance(node, For) and node.kind is ForKind.BOUND:
            return replace(node, kind=ForKind.PARALLEL, axis=None)
        return None

    shared = {
        s.buffer: replace(s.buffer, scope="global")
        for s in walk_stmts(program.body)
        if isinstance(s, Allocate) and s.buffer.scope == "shared"
    }
    return replace(program, body=rewrite(replace_buffers(program.body, shared), rule))


@settings(max_examples=40)
@given(plain=st.sampled_from(PROGRAMS), data=st.data())
def test_random_schedules_run_as_in_the_interpreter(plain: Program, data: st.DataObject) -> None:
    s = scheduled_at_random(plain, data)
    dims: dict[str, Any] = {d.name: DIMS[d.name] for d in plain.dims}
    check(for_a_cpu(s.program), threads=2, **dims)
