"""The errors that a user of tensorc can meet: one hierarchy under `TensorcError`.

Each message says what was asked, what stands in the way with its numbers, and what would work.
The classes that report a bad argument of a call live in `tensorc_runtime`, since a machine that
only runs exported programs needs them too; they are re-exported here.
"""

from __future__ import annotations

from tensorc_runtime.errors import ArgumentError, CheckFailed, TensorcError

__all__ = [
    "ArgumentError",
    "BoundsError",
    "CheckFailed",
    "CompileError",
    "DTypeError",
    "DataError",
    "GradientError",
    "IRError",
    "ParseError",
    "ScheduleError",
    "ShapeError",
    "TensorcError",
]


class IRError(TensorcError, ValueError):
    """An IR node, program or tensor definition whose parts do not fit together."""


class ShapeError(IRError):
    """Shapes, ranks or sizes that do not agree."""


class DTypeError(TensorcError, TypeError):
    """A scalar type that an operation does not take."""


class BoundsError(IRError, IndexError):
    """An access that leaves its buffer; the message holds an index value that does."""


class GradientError(TensorcError, ValueError):
    """An expression that cannot be differentiated, or a gradient asked for in a wrong way."""


class ScheduleError(TensorcError, ValueError):
    """A schedule step that is illegal or does not fit; the schedule is as it was before."""


class ParseError(TensorcError, ValueError):
    """Text that is not a program; the message holds the line and the column."""


class CompileError(TensorcError, RuntimeError):
    """A target, linker or backend that cannot do what was asked."""


class DataError(TensorcError, OSError):
    """A data file that is missing, truncated or corrupt."""
