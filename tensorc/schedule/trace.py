"""The steps of a schedule as data: they print as Python, and save as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tensorc.errors import ScheduleError

Value = int | float | str | bool | None | tuple[str, ...] | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LoopRef:
    """A loop by name: the stage that it runs, and the loop's own name."""

    stage: str
    loop: str

    def __str__(self) -> str:
        return f's["{self.stage}"].loop("{self.loop}")'


@dataclass(frozen=True, slots=True)
class Step:
    """One step: the primitive's name, its arguments, and the names of the loops it made.

    `group` is the call of a composed primitive that took it, as text.
    """

    primitive: str
    args: tuple[LoopRef | Value, ...]
    options: Mapping[str, Value] = field(default_factory=dict)
    made: tuple[str, ...] = ()
    group: str = ""

    def __str__(self) -> str:
        given = [str(a) if isinstance(a, LoopRef) else _python(a) for a in self.args]
        given += [f"{k}={_python(v)}" for k, v in self.options.items()]
        return f"s.{self.primitive}({', '.join(given)})"


@dataclass(frozen=True, slots=True)
class Trace:
    """The steps taken, in order. `str` is Python that takes them again on a schedule `s`.

    Steps of a composed primitive have its call beside them, as a comment.
    """

    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        return "\n".join(f"{s}  # {s.group}" if s.group else str(s) for s in self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def to_json(self) -> str:
        """The trace as JSON text, read back by `from_json`."""
        rows = [
            {
                "primitive": s.primitive,
                "args": [
                    {"stage": a.stage, "loop": a.loop} if isinstance(a, LoopRef) else a
                    for a in s.args
                ],
                "options": dict(s.options),
                "made": list(s.made),
                **({"group": s.group} if s.group else {}),
            }
            for s in self.steps
        ]
        return json.dumps({"version": 1, "steps": rows}, indent=1)

    @staticmethod
    def from_json(text: str) -> Trace:
        """The trace that `to_json` wrote.

        Raises:
            ScheduleError: the text is not such a trace.
        """
        try:
            data = json.loads(text)
            if data["version"] != 1:
                raise ScheduleError(f"trace: version {data['version']} is not known; 1 is")
            return Trace(tuple(_step(row) for row in data["steps"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ScheduleError(f"trace: not a trace in JSON: {error}") from error


def _python(value: Value) -> str:
    finite = not isinstance(value, float) or math.isfinite(value)
    return repr(value) if finite else f'float("{value}")'


def _step(row: Mapping[str, object]) -> Step:
    args, options, made = row["args"], row["options"], row["made"]
    if not isinstance(args, list) or not isinstance(options, dict) or not isinstance(made, list):
        raise ValueError("a step needs args, options and made")
    return Step(
        str(row["primitive"]),
        tuple(_arg(a) for a in args),
        {str(k): _value(v) for k, v in options.items()},
        tuple(str(m) for m in made),
        str(row.get("group", "")),
    )


def _arg(value: object) -> LoopRef | Value:
    if isinstance(value, dict):
        return LoopRef(str(value["stage"]), str(value["loop"]))
    return _value(value)


def _value(value: object) -> Value:
    if isinstance(value, Sequence) and not isinstance(value, str):
        if all(isinstance(v, int) for v in value):
            return tuple(int(v) for v in value)
        return tuple(str(v) for v in value)
    if value is None or isinstance(value, int | float | str | bool):
        return value
    raise ValueError(f"{value!r} is no argument of a step")
