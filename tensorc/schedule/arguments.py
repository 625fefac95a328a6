"""The arguments of steps, checked before a step is taken."""

from __future__ import annotations

from inspect import isfunction
from typing import TYPE_CHECKING, TypeVar

from tensorc.errors import ScheduleError
from tensorc.schedule.handles import Loop
from tensorc.schedule.intrinsics import Intrinsic
from tensorc.schedule.trace import Trace
from tensorc.te.signatures import KINDS, Kind, checked

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


def _is_pair_of_names(value: object) -> bool:
    return isinstance(value, tuple | list) and [type(v) for v in value] == [str, str]


_KINDS: Mapping[str, Kind] = {
    **KINDS,
    "Loop": (lambda value: isinstance(value, Loop), 'a loop, as in s.loop("C", "i")'),
    "Trace": (lambda value: isinstance(value, Trace), "a trace, as s.trace"),
    "intrinsics.Intrinsic": (lambda value: isinstance(value, Intrinsic), "a tc.Intrinsic"),
    "str": (lambda value: isinstance(value, str), "a name"),
    "tuple[str, str]": (_is_pair_of_names, "two names"),
}


def checks_arguments(cls: type[T]) -> type[T]:
    """The class, each public method of which refuses arguments of a kind that it does not take."""
    for name, method in list(vars(cls).items()):
        if isfunction(method) and not name.startswith("_"):
            setattr(cls, name, checked(method, ScheduleError, _KINDS))
    return cls
