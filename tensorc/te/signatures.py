"""Arguments checked against a function's own annotations, so that what does not fit is named.

Only kinds that a table knows are checked; what is more than a kind, such as an axis that is there,
is left to the function.
"""

from __future__ import annotations

import inspect
from functools import wraps
from itertools import repeat
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

from tensorc.ir.expr import shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tensorc.errors import TensorcError

P = ParamSpec("P")
R = TypeVar("R")
Kind = tuple["Callable[[object], bool]", str]
"""Whether a value is of the kind, and what a message calls it."""


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(
        value, bool | np.complexfloating
    )


def _are_integers(value: object) -> bool:
    return isinstance(value, tuple | list) and all(map(_is_integer, value))


KINDS: Mapping[str, Kind] = {
    "None": (lambda value: value is None, "None"),
    "bool": (lambda value: isinstance(value, bool | np.bool_), "True or False"),
    "float": (_is_number, "a number"),
    "int": (_is_integer, "an integer"),
    "str": (lambda value: isinstance(value, str), "a string"),
    "Sequence[int]": (_are_integers, "a list of integers"),
}


def kind_of(annotation: str, kinds: Mapping[str, Kind]) -> Kind | None:
    """The kind that an annotation such as `int | None` stands for; None of one not in the table."""
    if annotation in kinds:
        return kinds[annotation]
    parts = annotation.split(" | ")
    if not all(part in kinds for part in parts):
        return None
    found = [kinds[part] for part in parts]
    words = [word for (_, word), part in zip(found, parts, strict=True) if part != "None"]
    return (lambda value: any(fits(value) for fits, _ in found)), " or ".join(words)


def checked(
    function: Callable[P, R], error: type[TensorcError], kinds: Mapping[str, Kind] = KINDS
) -> Callable[P, R]:
    """`function`, which raises `error` for an argument whose annotation says another kind."""
    parameters = inspect.signature(function).parameters.values()
    found = {p.name: kind_of(str(p.annotation), kinds) for p in parameters}
    rules = {name: kind for name, kind in found.items() if kind is not None}
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    placed = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        names = placed if rest is None else (*placed, *repeat(rest, len(args)))
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            rule = rules.get(name)
            if rule is not None and not rule[0](value):
                raise error(f"{function.__name__}: {name} must be {rule[1]}, got {shorten(value)}")
        return function(*args, **kwargs)

    return call
