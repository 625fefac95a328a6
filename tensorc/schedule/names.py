"""Names of loops after a step that moved a nest: one name never stands inside of itself.

Traces, and users, know a loop by a statement inside of it and its name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tensorc.ir.expr import Var
from tensorc.ir.stmt import For
from tensorc.ir.walk import substitute
from tensorc.schedule.tree import (
    fresh_name,
    loop_names,
    loops_on,
    parts,
    path_to,
    replace_stmt,
    with_body,
    with_parts,
)

if TYPE_CHECKING:
    from tensorc.ir.stmt import Program, Stmt


def told_apart(program: Program, around: Var) -> tuple[Program, dict[Var, Var]]:
    """`program` where no loop inside of loop `around` has the name of one that stands around it.

    Returns the loops' new variables too, by the old ones.
    """
    path = path_to(program.body, around)
    assert path is not None, "the loop that something was moved into stands in the program"
    top = path[-1]
    assert isinstance(top, For), "a variable stands for its loop"
    used: set[str] = set()
    renamed: dict[Var, Var] = {}

    def visit(stmt: Stmt, names: frozenset[str]) -> Stmt:
        inside = frozenset((*names, stmt.var.name)) if isinstance(stmt, For) else names
        new = with_parts(stmt, tuple(visit(part, inside) for part in parts(stmt)))
        if not (isinstance(new, For) and new.var.name in names):
            return new
        if not used:
            used.update(loop_names(program, around))
        var = Var(fresh_name(new.var.name, used), new.var.dtype, loc=new.var.loc)
        renamed[new.var] = var
        return replace(new, var=var, body=substitute(new.body, {new.var: var}))

    outer = frozenset(loop.var.name for loop in loops_on(path[:-1]))
    names = outer | {top.var.name}
    body = visit(top.body, names)
    if not renamed:
        return program, renamed
    new = replace(top, body=body)
    return with_body(program, replace_stmt(program.body, top, new)), renamed
