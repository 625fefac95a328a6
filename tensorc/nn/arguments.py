"""Checks of the numbers that layers are made with."""

from __future__ import annotations

import operator

from tensorc.errors import ArgumentError


def at_least_one(layer: str, name: str, value: int) -> int:
    """`value` as an integer.

    Raises:
        ArgumentError: it is none, or below 1.
    """
    try:
        count = operator.index(value)
    except TypeError:
        raise ArgumentError(f"{layer}: {name} must be an integer, got {value!r}") from None
    if count < 1:
        raise ArgumentError(f"{layer}: {name} must be at least 1, got {count}")
    return count


def within(layer: str, name: str, value: float, low: float, below: float) -> float:
    """`value` as it is.

    Raises:
        ArgumentError: it is no number, below `low`, or not below `below`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < below:
        raise ArgumentError(
            f"{layer}: {name} must be at least {low:g} and below {below:g}, got {value!r}"
        )
    return value
