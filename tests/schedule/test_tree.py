"""Finding statements in a program, and the names that are taken."""

from __future__ import annotations

from tensorc.ir.expr import Var
from tensorc.ir.facts import facts, nests
from tensorc.ir.parser import parse
from tensorc.ir.stmt import Allocate, Block, For, Program
from tensorc.schedule.schedule import Schedule
from tensorc.schedule.tree import loop_names, path_to, replace_stmt, used_names

CHAIN = """
program chain(A: in float32[n], B: out float32[n], C: out float32[]) dims(n >= 0):
  for z in range(n):
    check A[z] > 0.0, "positive"
  alloc T: float32[n]
    alloc U: float32[n]
      for i in range(n):
        T[i] = A[i]
      for j in range(n):
        if T[j] > 0.0:
          for k in range(2):
            U[j] = T[j] + float32(k)
      for l in range(n):
        B[l] = U[l]
      C[] = 0.0
"""


def chain() -> Program:
    return parse(CHAIN)


def loop(program: Program, name: str) -> For:
    stack = [program.body]
    while stack:
        top = stack.pop()
        if isinstance(top, For) and top.var.name == name:
            return top
        stack += [getattr(top, "body", None) or Block(())] if not isinstance(top, Block) else []
        stack += top.stmts if isinstance(top, Block) else ()
    raise AssertionError(name)


def test_a_path_leads_through_allocations_and_guards() -> None:
    program = chain()
    path = path_to(program.body, loop(program, "k").var)
    assert path is not None
    kinds = [type(s).__name__ for s in path]
    assert kinds == ["Block", "Allocate", "Allocate", "Block", "For", "If", "For"]


def test_there_is_no_path_to_what_stands_elsewhere() -> None:
    program = chain()
    assert path_to(program.body, Var("i")) is None
    assert path_to(program.body, loop(chain(), "k")) is None
    assert path_to(loop(program, "j"), loop(program, "i")) is None


def test_a_replaced_statement_leaves_the_rest_as_it_was() -> None:
    program = chain()
    old = loop(program, "l")
    new = replace_stmt(program.body, old, Block(()))
    assert path_to(new, old.var) is None
    assert path_to(new, loop(program, "k")) is not None
    assert [type(s) for s in (new, program.body)] == [Block, Block]
    assert isinstance(new, Block)
    assert isinstance(new.stmts[1], Allocate)


def test_used_names_are_those_of_the_program_asked_about() -> None:
    one = chain()
    two = parse("program one(A: out float32[2]):\n  for q in range(2):\n    A[q] = 0.0\n")
    for _ in range(2):
        names = used_names(one)
        assert names == {*"ABCTU", *"ijklz", "n"}
        names.add("taken")
        assert used_names(two) == {"A", "q"}


def test_statements_meet_where_one_writes_what_the_other_touches() -> None:
    check, first, second, last, single = (facts(s) for s in nests(chain().body))
    assert first.meets(second)
    assert second.meets(last)
    assert last.meets(second)
    assert not first.meets(last)
    assert not single.meets(first)
    # A check ends the call where it stands, so what is written before or after it matters.
    assert check.meets(single)
    assert single.meets(check)


def test_a_name_is_taken_for_loops_of_the_same_nest_or_the_same_stage_alone() -> None:
    program = parse("""
program two(A: in float32[8], B: out float32[8], C: out float32[8]):
  for i in range(8):
    B[i] = A[i] * 2.0
  for j in range(8):
    B[j] += A[j]
  for k in range(8):
    C[k] = A[k] + 1.0
""")
    assert loop_names(program, loop(program, "i").var) == {"i", "j"}
    assert loop_names(program, loop(program, "k").var) == {"k"}
    s = Schedule(program)
    for stage, name in (("B", "i"), ("B", "j"), ("C", "k")):
        s.split(s.loop(stage, name), 4, names=("o", "n"))
    assert [x.name for x in s.loops("C")] == ["o", "n"]
    assert [x.name for x in s.loops("B")] == ["o_1", "n_1"]
