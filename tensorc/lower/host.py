"""What only a GPU has, refused where the target is a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensorc.errors import CompileError
from tensorc.ir.stmt import Allocate, For, ForKind, Program
from tensorc.ir.walk import walk_stmts

if TYPE_CHECKING:
    from tensorc.target import Target


def refuse_grids(program: Program, _: Target) -> Program:
    """The program as it is.

    Raises:
        CompileError: a loop is bound to a grid, or a buffer shared by a block of threads.
    """
    for stmt in walk_stmts(program.body):
        match stmt:
            case For(var, _, _, _, ForKind.BOUND):
                raise CompileError(
                    f"loop {var.name} is bound to {stmt.axis}, which the target cpu has not; "
                    "compile for cuda, or make the loop parallel instead"
                )
            case Allocate(buffer, _) if buffer.scope == "shared":
                raise CompileError(
                    f"buffer {buffer.name} has scope 'shared', which the target cpu has not; "
                    "compile for cuda, or set_scope it to 'global' or 'local'"
                )
            case _:
                pass
    return program
