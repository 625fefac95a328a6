"""What is to be compiled: a program, whether to schedule it, and where it came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from tensorc.driver.c_names import is_c_name
from tensorc.driver.obtain import timed
from tensorc.driver.stages import definitions_text
from tensorc.errors import CompileError
from tensorc.ir.expr import Expr, const_int
from tensorc.ir.printer import show
from tensorc.ir.stmt import Program
from tensorc.schedule.auto import auto_schedule
from tensorc.te.build import build, check_updates
from tensorc.te.tensor import Tensor
from tensorc_runtime.manifest import DimInfo, Manifest, ParamInfo

if TYPE_CHECKING:
    import numpy.typing as npt

    from tensorc.target import Target
    from tensorc_runtime.manifest import TargetInfo
    from tensorc_runtime.sizes import Size


@runtime_checkable
class ScheduleLike(Protocol):
    """A program as it has been scheduled, and the steps that led there."""

    program: Program

    @property
    def trace(self) -> object:
        """The steps; as text they are Python."""


@runtime_checkable
class StepLike(Protocol):
    """A program with state: a training step.

    `state` holds an array for each parameter of the program that a call does not pass.
    """

    state: dict[str, npt.NDArray[Any]]

    def lower_to_program(self) -> Program:
        """The plain program."""


Compilable: TypeAlias = Tensor | Sequence[Tensor] | Program | ScheduleLike | StepLike


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be compiled: a program, whether to schedule it, and where it came from."""

    program: Program
    scheduled: bool
    trace: Callable[[], str]
    definitions: Callable[[], str] | None
    state: Mapping[str, npt.NDArray[Any]]
    named: bool


def source_of(
    what: Compilable,
    name: str | None,
    inputs: Sequence[Tensor] | None,
    updates: Sequence[tuple[Tensor, Tensor]],
) -> Source:
    """What a call of `compile` asks for.

    Raises:
        CompileError: the arguments do not fit each other.
        IRError: the tensors make no program.
    """
    if name is not None and not (isinstance(name, str) and is_c_name(name)):
        raise CompileError(f"compile: name {name!r} cannot be the name of a C function")
    tensors = _tensors(what)
    if tensors is not None:
        return _tensor_source(tensors, name, inputs, updates)
    if inputs is not None or updates:
        raise CompileError(
            f"compile: inputs= and updates= go with tensors; {_kind(what)} states its own"
        )
    if isinstance(what, Program):
        return Source(_named(what, name), True, str, None, {}, _is_named(what, name))
    if isinstance(what, ScheduleLike):
        program, trace = what.program, what.trace
        return Source(
            _named(program, name), True, lambda: str(trace), None, {}, _is_named(program, name)
        )
    if isinstance(what, StepLike):
        program = _named(what.lower_to_program(), name)
        params = [p.buffer.name for p in program.params]
        unknown = [key for key in what.state if key not in params]
        if unknown:
            raise CompileError(
                f"compile: {program.name}: state {unknown[0]!r} is no parameter of its program; "
                f"there are {', '.join(params)}"
            )
        # A step made of tensors, as those of nn are, can show their definitions.
        defined = [*getattr(what, "outputs", ()), *(v for _, v in getattr(what, "updates", ()))]
        show_them = (lambda: definitions_text(defined)) if defined else None
        return Source(program, False, str, show_them, dict(what.state), _is_named(program, name))
    raise CompileError(
        f"compile: expected tensors, a schedule, a program or a training step, got {_kind(what)}"
    )


def _tensors(what: object) -> list[Tensor] | None:
    if isinstance(what, Tensor):
        return [what]
    if not isinstance(what, list | tuple):
        return None
    wrong = [x for x in what if not isinstance(x, Tensor)]
    if wrong:
        raise CompileError(f"compile: the outputs must be tensors, got {_kind(wrong[0])}")
    return list(what)


def _tensor_source(
    tensors: list[Tensor],
    name: str | None,
    inputs: Sequence[Tensor] | None,
    updates: Sequence[tuple[Tensor, Tensor]],
) -> Source:
    chosen = name
    check_updates(updates)
    if chosen is None:
        first = next((t.name for t in (*tensors, *(old for old, _ in updates))), "main")
        chosen = first if is_c_name(first) else "main"
    program = build(tensors, inputs, name=chosen, updates=updates)
    everything = [*tensors, *(value for _, value in updates)]
    return Source(program, False, str, lambda: definitions_text(everything), {}, name is not None)


def _named(program: Program, name: str | None) -> Program:
    if name is not None and name != program.name:
        return replace(program, name=name)
    if name is None and program.name != "main" and not is_c_name(program.name):
        raise CompileError(
            f"compile: program {program.name!r} has a name that no C function can have; give name="
        )
    return program


def _is_named(program: Program, name: str | None) -> bool:
    return name is not None or program.name != "main"


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"


def scheduled(
    source: Source, target: Target, timing: dict[str, float]
) -> tuple[Program, Callable[[], str]]:
    """The program as it will be compiled, scheduled by rule where nobody has; and its trace."""
    if source.scheduled:
        return source.program, source.trace
    with timed(timing, "schedule"):
        schedule = auto_schedule(source.program, target)
    return schedule.program, lambda: str(schedule.trace)


def manifest_of(source: Source, checks: tuple[str, ...], target: TargetInfo) -> Manifest:
    """The signature of what `source` becomes."""
    program = source.program
    return Manifest(
        program.name,
        _params(program, source.state),
        tuple(DimInfo(d.name, d.lower) for d in program.dims),
        checks,
        target,
    )


def _params(program: Program, state: Mapping[str, object]) -> tuple[ParamInfo, ...]:
    return tuple(
        ParamInfo(
            p.buffer.name,
            p.buffer.dtype.name,
            tuple(map(_size, p.buffer.shape)),
            p.role.value,
            p.buffer.name in state,
        )
        for p in program.params
    )


def _size(size: Expr) -> Size:
    value = const_int(size)
    return show(size) if value is None else value
