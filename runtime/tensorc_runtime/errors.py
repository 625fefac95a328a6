"""The errors of a call, shared by the compiler and by machines that only run its output."""

from __future__ import annotations


class TensorcError(Exception):
    """Base of every error that tensorc raises for a mistake of its caller."""


class ArgumentError(TensorcError, ValueError, TypeError):
    """An argument of a compiled function that does not fit; the message names it."""


class CheckFailed(ArgumentError, IndexError):  # noqa: N818
    """A condition on the values of the arguments that does not hold, found during a call."""


class LoadError(TensorcError, OSError):
    """An exported function that is missing, damaged, or made for another machine."""
