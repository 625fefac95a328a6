"""`Schedule`: a program as it stands, and the trace of the steps that led there.

Every step is a function from program to program that proves itself legal or raises; then the
schedule is as it was. Loops and stages are addressed by handles or by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensorc.errors import ScheduleError
from tensorc.ir.printer import show
from tensorc.ir.stmt import For, Program
from tensorc.ir.walk import written_buffers
from tensorc.schedule import loops, memory, parallel, placement
from tensorc.schedule.trace import LoopRef, Step, Trace, Value
from tensorc.schedule.tree import find_loop, sites, stage_sites
from tensorc.te.build import build
from tensorc.te.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tensorc.ir.expr import Expr, Var


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


@dataclass(frozen=True, slots=True)
class Saved:
    """A schedule at one moment."""

    program: Program
    steps: tuple[Step, ...]
    fate: dict[Var, str]


class Schedule:
    """A loop program under rewriting.

    Args:
        what: the output tensors (or one), or a program.
        args: the input tensors in the order of the call; all that are used, in order of first use,
            where it is left out.
        name: the name of the compiled function.
    """

    def __init__(
        self,
        what: Tensor | Sequence[Tensor] | Program,
        args: Sequence[Tensor] | None = None,
        name: str = "main",
    ) -> None:
        """Start from the plain program: one loop nest for each tensor, in order."""
        if not isinstance(what, Program):
            outputs = [what] if isinstance(what, Tensor) else list(what)
            what = build(outputs, inputs=args, name=name)
        self.plain = what
        self.program = what
        self._steps: list[Step] = []
        self._fate: dict[Var, str] = {}

    def __str__(self) -> str:
        return show(self.program)

    @property
    def trace(self) -> Trace:
        """The steps taken so far."""
        return Trace(tuple(self._steps))

    # --- handles ---

    def __getitem__(self, name: str) -> Stage:
        if not stage_sites(self.program, name):
            raise ScheduleError(f"there is no stage '{name}'; there are {', '.join(self.stages)}")
        return Stage(self, name)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the buffers that the program computes, in order."""
        found = {b.name: None for s in sites(self.program.body) for b in written_buffers(s.leaf)}
        return tuple(found)

    def loops(self, stage: str) -> tuple[Loop, ...]:
        """The loops around the last statement that writes `stage`, outermost first."""
        self[stage]
        last = stage_sites(self.program, stage)[-1]
        return tuple(Loop(self, stage, x.var) for x in last.loops)

    def loop(self, stage: str, name: str) -> Loop:
        """The loop called `name` around any statement that writes `stage`."""
        self[stage]
        found: dict[str, Loop] = {}
        for site in stage_sites(self.program, stage):
            for x in site.loops:
                found[x.var.name] = Loop(self, stage, x.var)
        if name not in found:
            gone = next((f for v, f in self._fate.items() if v.name == name), None)
            raise ScheduleError(
                f"'{stage}' has no loop '{name}'{': it ' + gone if gone else ''}; "
                f"its loops are {', '.join(found)}"
            )
        return found[name]

    def extent(self, loop: Loop) -> Expr:
        """How many iterations a loop has, as it stands."""
        return self._find(loop).extent

    # --- steps ---

    def split(
        self, loop: Loop, factor: int, names: tuple[str, str] | None = None
    ) -> tuple[Loop, Loop]:
        """Split a loop in two: see `loops.split`. Returns (outer, inner)."""
        result: list[loops.Split] = []

        def step(program: Program) -> Program:
            result.append(loops.split(program, self._find(loop), factor, names))
            return result[0].program

        options: dict[str, Value] = {"names": names} if names else {}
        self._take("split", (self._ref(loop), factor), step, options)
        made = result[0]
        self._fate[loop.var] = f"was split into {made.outer.name} and {made.inner.name}"
        return Loop(self, loop.stage, made.outer), Loop(self, loop.stage, made.inner)

    def tile(self, i: Loop, j: Loop, i_factor: int, j_factor: int) -> tuple[Loop, Loop, Loop, Loop]:
        """Split two loops and order the four: outer i, outer j, inner i, inner j."""
        io, ii = self.split(i, i_factor)
        jo, ji = self.split(j, j_factor)
        self.reorder(io, jo, ii, ji)
        return io, jo, ii, ji

    def reorder(self, *order: Loop) -> None:
        """Put loops in the given order, outermost first: see `loops.reorder`."""
        self._take(
            "reorder",
            tuple(self._ref(x) for x in order),
            lambda p: loops.reorder(p, [self._find(x) for x in order]),
        )

    def unroll(self, loop: Loop) -> None:
        """Write a loop's iterations out: see `parallel.unroll`."""
        self._take("unroll", (self._ref(loop),), lambda p: parallel.unroll(p, self._find(loop)))

    def vectorize(self, loop: Loop, width: int | None = None) -> Loop:
        """Run a loop's iterations as vector lanes: see `parallel.vectorize`.

        With `width` the loop is split by it first. Returns the loop of lanes.
        """
        if width is not None:
            _, loop = self.split(loop, width)
        lanes = loop
        self._take(
            "vectorize", (self._ref(lanes),), lambda p: parallel.vectorize(p, self._find(lanes))
        )
        return lanes

    def parallel(self, loop: Loop) -> None:
        """Run a loop's iterations on several threads: see `parallel.parallel`."""
        self._take("parallel", (self._ref(loop),), lambda p: parallel.parallel(p, self._find(loop)))

    def inline(self, stage: str) -> None:
        """Replace uses of an element-wise stage by its definition: see `placement.inline`."""
        self[stage]
        self._take("inline", (stage,), lambda p: placement.inline(p, stage))

    def compute_at(self, stage: str, loop: Loop) -> None:
        """Compute a stage where it is used: see `placement.compute_at`."""
        self[stage]
        self._take(
            "compute_at",
            (stage, self._ref(loop)),
            lambda p: placement.compute_at(p, stage, self._find(loop)),
        )

    def cache_write(self, stage: str, loop: Loop, scope: str = "local") -> None:
        """Collect what an iteration writes in a buffer of its own: see `memory.cache_write`."""
        self[stage]
        options: dict[str, Value] = {} if scope == "local" else {"scope": scope}
        self._take(
            "cache_write",
            (stage, self._ref(loop)),
            lambda p: memory.cache_write(p, stage, self._find(loop), scope),
            options,
        )

    def cache_read(
        self, buffer: str, loop: Loop, scope: str = "global", order: Sequence[int] | None = None
    ) -> Stage:
        """Copy what an iteration reads to a buffer of its own: see `memory.cache_read`.

        Returns the stage of the copy.
        """
        options: dict[str, Value] = {} if scope == "global" else {"scope": scope}
        if order is not None:
            options["order"] = tuple(order)
        before = set(self.stages)
        self._take(
            "cache_read",
            (buffer, self._ref(loop)),
            lambda p: memory.cache_read(p, buffer, self._find(loop), scope, order),
            options,
        )
        return next(self[name] for name in self.stages if name not in before)

    def replay(self, trace: Trace) -> None:
        """Take the steps of `trace`, by name, on this schedule.

        Raises:
            ScheduleError: a step does not fit here; the steps before it are undone too.
        """
        saved = self.save()
        for number, step in enumerate(trace.steps, 1):
            try:
                self._replay_step(step)
            except ScheduleError as error:
                self.restore(saved)
                raise ScheduleError(
                    f"replay: step {number}, {step}, does not fit: {error}"
                ) from error

    def _replay_step(self, step: Step) -> None:
        method = _PRIMITIVES.get(step.primitive)
        if method is None:
            raise ScheduleError(
                f"no primitive '{step.primitive}'; there are {', '.join(_PRIMITIVES)}"
            )
        args = [self.loop(a.stage, a.loop) if isinstance(a, LoopRef) else a for a in step.args]
        try:
            method(self, *args, **step.options)
        except TypeError as error:
            raise ScheduleError(f"{step.primitive}: wrong arguments: {error}") from error

    def save(self) -> Saved:
        """The schedule as it stands, for `restore`: to take several steps together or none."""
        return Saved(self.program, tuple(self._steps), dict(self._fate))

    def restore(self, saved: Saved) -> None:
        """Go back to what `save` returned."""
        self.program, self._steps, self._fate = saved.program, list(saved.steps), dict(saved.fate)

    # --- how a step is taken ---

    def _find(self, loop: Loop) -> For:
        if not isinstance(loop, Loop) or loop.schedule is not self:
            raise ScheduleError(f"{loop!r} is not a loop of this schedule")
        found = find_loop(self.program, loop.var)
        if found is None:
            fate = self._fate.get(loop.var, "is not in the program any more")
            raise ScheduleError(f"loop {loop.name} of '{loop.stage}' {fate}")
        return found

    def _ref(self, loop: Loop) -> LoopRef:
        """The loop by name, under a stage that it runs now: caches move statements."""
        found = self._find(loop)
        inside = [b.name for x in sites(found) for b in written_buffers(x.leaf)]
        stage = loop.stage if loop.stage in inside or not inside else inside[0]
        return LoopRef(stage, loop.name)

    def _take(
        self,
        primitive: str,
        args: tuple[LoopRef | Value, ...],
        step: Callable[[Program], Program],
        options: dict[str, Value] | None = None,
    ) -> None:
        self.program = step(self.program)
        self._steps.append(Step(primitive, args, options or {}))


_PRIMITIVES: dict[str, Callable[..., object]] = {
    "split": Schedule.split,
    "reorder": Schedule.reorder,
    "unroll": Schedule.unroll,
    "vectorize": Schedule.vectorize,
    "parallel": Schedule.parallel,
    "inline": Schedule.inline,
    "compute_at": Schedule.compute_at,
    "cache_read": Schedule.cache_read,
    "cache_write": Schedule.cache_write,
}
