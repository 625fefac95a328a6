"""Handles: how steps name the loops and stages of a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tensorc.ir.expr import Var
    from tensorc.schedule.schedule import Schedule


@dataclass(frozen=True, slots=True, eq=False)
class Loop:
    """A handle on a loop. It stays valid while the loop stands, wherever steps move it."""

    schedule: Schedule
    stage: str
    var: Var

    @property
    def name(self) -> str:
        """The loop variable's name."""
        return self.var.name

    def __repr__(self) -> str:
        return f'Loop("{self.stage}", "{self.name}")'


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A handle on one buffer's computation: the statements that write it, the loops around."""

    schedule: Schedule
    name: str

    @property
    def loops(self) -> tuple[Loop, ...]:
        """The loops around its last statement, outermost first."""
        return self.schedule.loops(self.name)

    def loop(self, name: str) -> Loop:
        """The loop called `name` around any of its statements.

        Raises:
            ScheduleError: there is none; the message lists those there are.
        """
        return self.schedule.loop(self.name, name)
